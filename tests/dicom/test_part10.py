"""File meta information: what we write pydicom reads, and what others write we read or refuse plainly."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import read_file_meta_info

from router.dicom import part10
from router.dicom.codes import IMPLEMENTATION_CLASS_UID
from router.dicom.part10 import file_meta, read_file_meta
from router.model import Arrival, Origin

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DATA_SET = b"\x08\x00\x16\x00UI\x1a\x00" + CT.encode() + b"\0"


def arrival(sop_instance_uid: str = "1.2.3", calling_ae: str = "CT1", sop_class_uid: str = CT) -> Arrival:
    return Arrival(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=EXPLICIT,
        origin=Origin(calling_ae=calling_ae, called_ae="ROUTER", peer="10.0.0.1", listener="11112"),
        received_at=0.0,
    )


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "1." + "2" * 62, "9" * 80, "../../x", ""])
def test_pydicom_reads_what_we_write(uid: str) -> None:
    written = file_meta(arrival(uid))
    read = pydicom.dcmread(BytesIO(written + DATA_SET))
    assert read.file_meta.MediaStorageSOPClassUID == CT
    assert (read.file_meta.MediaStorageSOPInstanceUID or "") == uid
    assert read.file_meta.TransferSyntaxUID == EXPLICIT
    assert read.file_meta.SourceApplicationEntityTitle == "CT1"
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.FileMetaInformationGroupLength == len(written) - 132 - 12
    assert read.SOPClassUID == CT


def test_we_read_what_we_write() -> None:
    written = file_meta(arrival())
    meta = read_file_meta(written + DATA_SET)
    assert (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid) == (CT, "1.2.3", EXPLICIT)
    assert meta.data_set_offset == len(written)


def test_a_uid_longer_than_any_length_field_is_cut_not_refused() -> None:
    meta = read_file_meta(file_meta(arrival("1" * 100_001, "A" * 70_000, "\u20ac" * 70_000)))
    assert meta.sop_instance_uid == "1" * part10.UID_CAP_BYTES


def test_no_preamble_and_no_group_length() -> None:
    written = file_meta(arrival())
    bare = written[132 + 12 :]  # without preamble, DICM and group length
    meta = read_file_meta(bare + DATA_SET)
    assert (meta.sop_instance_uid, meta.data_set_offset) == ("1.2.3", len(bare))
    assert read_file_meta(b"DICM" + bare).data_set_offset == len(bare) + 4


def test_a_bare_data_set_shows_its_transfer_syntax() -> None:
    assert read_file_meta(DATA_SET).transfer_syntax_uid == EXPLICIT
    implicit = b"\x08\x00\x16\x00\x1a\x00\x00\x00" + CT.encode() + b"\0"
    assert read_file_meta(implicit).transfer_syntax_uid == "1.2.840.10008.1.2"
    big = b"\x00\x08\x00\x16UI\x00\x1a" + CT.encode() + b"\0"
    assert read_file_meta(big).transfer_syntax_uid == "1.2.840.10008.1.2.2"


def test_large_private_information_is_read_over(tmp_path: Path) -> None:
    private = b"\x02\x00\x02\x01OB\x00\x00" + (100_000).to_bytes(4, "little") + bytes(100_000)
    path = tmp_path / "large.dcm"
    path.write_bytes(file_meta(arrival()) + private + DATA_SET)
    meta = read_file_meta(path)
    assert meta.data_set_offset == path.stat().st_size - len(DATA_SET)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"<html>" * 100, "neither DICM at offset 128 nor a data set"),
        (bytes(4096), "neither DICM at offset 128 nor a data set"),
        (bytes(128) + b"DICM", "no file meta information after DICM"),
        (file_meta(arrival())[:200], "ends inside its file meta"),
        (file_meta(arrival())[:139], "ends inside its file meta"),
        (bytes(128) + b"DICM\x02\x00\x01\x00OB\x00\x00\xff\xff\xff\xff", "absurd length"),
        (bytes(128) + b"DICM\x02\x00\x03\x00UI\x02\x001\x00", "names no transfer syntax"),
    ],
)
def test_what_is_no_dicom_file_is_refused_with_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_file_meta(content)


def test_the_corpus_reads_as_pydicom_reads_it(corpus: Path) -> None:
    files = [p for p in sorted(corpus.rglob("*.dcm")) if "bad" not in p.parts]
    assert len(files) > 250
    for path in files:
        theirs = read_file_meta_info(path)
        ours = read_file_meta(path)
        assert ours.transfer_syntax_uid == theirs.TransferSyntaxUID, path
        assert ours.sop_instance_uid == theirs.MediaStorageSOPInstanceUID, path
        assert ours.sop_class_uid == theirs.MediaStorageSOPClassUID, path


def test_bad_files_give_a_value_error_or_an_offset(corpus: Path) -> None:
    for path in sorted((corpus / "public" / "bad").rglob("*")):
        if path.is_file():
            try:
                meta = read_file_meta(path)
            except ValueError as error:
                assert "DICOM" in str(error) or "file meta" in str(error)
            else:
                assert 0 <= meta.data_set_offset <= path.stat().st_size
