"""A file: its meta information, the tags that rules ask for, its identity, and its place in a folder.

The preamble's first byte, which means nothing, says whether the data set of a deflated transfer syntax is to
be deflated first (1), and its second how much of it is seen at first.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from router.deliver.placeholders import COMPONENT_BYTES, fill, parse_template
from router.dicom.header import Header, scan
from router.dicom.identity import identify
from router.dicom.part10 import FileMeta, read_file_meta
from router.dicom.tagpath import TagPath, parse
from router.dicom.values import Value
from router.model import Priority
from router.receive.intake import IDENTITY_BYTES
from router.rules.loading import load
from router.rules.ruleset import RuleSet, explain
from router.rules.subjects import Facts
from tests.deliver.samples import instance

_DEFLATED = "1.2.840.10008.1.2.1.99"
WORDS = (
    b"DICM",
    *(uid.encode() for uid in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", _DEFLATED)),
    b"\x02\x00\x10\x00UI",
    b"\x08\x00\x05\x00CS",
    b"\x08\x00\x60\x00CS",
    b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff",
    b"\x40\x00\x09\x00SH",
    b"\x28\x00\x03\x01US\x02\x00\x01\x00",
    b"\x28\x00\x06\x01",
    b"\x20\x00\x13\x00IS",
    b"\x29\x00\x10\x00LO\x12\x00SIEMENS CSA HEADER",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"UN\0\0",
    b"ISO 2022 IR 87",
    b"\\ISO 2022 IR 149",
    b"GB18030",
)

_PATHS = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "Modality",
    "PatientName",
    "PatientID",
    "PatientAge",
    "InstanceNumber",
    "SliceThickness",
    "SmallestImagePixelValue",
    "RequestAttributesSequence.ScheduledProcedureStepID",
    "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue",
    '(0029,"SIEMENS CSA HEADER",08)',
    "(0029,1008)",
    "PixelData",
)
ASKED: frozenset[TagPath] = frozenset(map(parse, _PATHS))
_RULES: RuleSet = load(
    [
        {"rule": "text", "when": {"PatientName": {"matches": "^M.*a$", "ignore_case": True}}, "send": "a"},
        {"rule": "number", "when": {"InstanceNumber": {"between": [3, 7]}}, "send": "a"},
        {"rule": "equal", "when": {"InstanceNumber": [1, 2]}, "send": "a"},
        {"rule": "decimal", "when": {"SliceThickness": {"lt": 1.5}}, "send": "a"},
        {"rule": "date", "when": {"StudyDate": {"ge": "2020-01-31"}}, "send": "a"},
        {"rule": "age", "when": {"PatientAge": {"ge": 18}}, "send": "a"},
        {"rule": "signed", "when": {"SmallestImagePixelValue": {"lt": 0}}, "send": "a"},
        {"rule": "inside", "when": {_PATHS[11]: {"glob": "X*"}, _PATHS[12]: {"exists": False}}, "send": "a"},
        {"rule": "private", "when": {_PATHS[13]: "IMAGE"}, "unless": {"Modality": "CT"}, "send": "a"},
    ],
    Path("/nowhere"),
    ["a"],
    {},
    unmatched="drop",
)  # fmt: skip
_TEMPLATE = parse_template("/store/{PatientID}/{StudyDate}-{PatientName}/{InstanceNumber}{Modality}.dcm")
_TEMPLATE_PARTS = 5


def target(data: bytes) -> None:
    """See the module."""
    try:
        meta = read_file_meta(data)
    except ValueError:
        return
    assert 0 <= meta.data_set_offset <= len(data)
    assert meta.transfer_syntax_uid
    content = data[meta.data_set_offset :]
    if meta.transfer_syntax_uid == _DEFLATED and data[0] & 1:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = deflate.compress(content) + deflate.flush()
    header = scan(content, meta.transfer_syntax_uid, ASKED)
    found = _values(header)
    _check_decided(header, meta, len(content))
    _check_place(header)
    identify(content[:IDENTITY_BYTES], meta.transfer_syntax_uid)
    part = scan(
        content[: data[1] * 8 if len(data) > 1 else 0], meta.transfer_syntax_uid, ASKED, is_complete=False
    )
    if not part.truncated and not part.problem and not header.problem and part._decoded == {}:
        assert _values(part) == found, "more of a data set than was needed has other values"


def _values(header: Header) -> list[tuple[Value, ...] | None]:
    values = [header.values(path) for path in sorted(ASKED, key=str)]
    for one in values:
        assert one is None or all(isinstance(value, str | int | float) for value in one)
    return values


def _check_decided(header: Header, meta: FileMeta, size: int) -> None:
    facts = Facts(
        calling_ae="CT1", called_ae="ROUTER", peer="192.0.2.1", listener="11112",
        transfer_syntax=meta.transfer_syntax_uid, sop_class=meta.sop_class_uid, size_bytes=size,
        received_at=1_700_000_000.0, priority=Priority.NORMAL,
    )  # fmt: skip
    decision = _RULES.decide(facts, header)
    assert explain(decision)
    is_read = not header.problem and not header.truncated
    assert decision.destinations or decision.hold or is_read, "dropped although it could not be read"


def _check_place(header: Header) -> None:
    path = fill(_TEMPLATE, header, instance(7))
    assert path.parts[:2] == ("/", "store")
    assert len(path.parts) == _TEMPLATE_PARTS, path
    for part in path.parts[1:]:
        assert part not in (".", "..") and "\0" not in part
        assert 0 < len(part.encode()) <= COMPONENT_BYTES, part
