"""Raw data sets against pydicom, DCMTK's ``dcmconv`` and every real file."""

from __future__ import annotations

import subprocess
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag

from router.dicom.syntaxes import syntax_of
from router.errors import CannotTranscode
from tests.corpus import CorpusFile, Part10, read_part10, some_of_each, valid_files
from tests.peers import require
from tests.transform.raw import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    NATIVE,
    Flat,
    file_of,
    flat,
    is_same,
    read,
    written,
)

DCMCONV = {IMPLICIT: "+ti", EXPLICIT: "+te", BIG: "+tb", DEFLATED: "+td"}
REFUSED_BIG_ENDIAN = (  # programs disagree, and so does one of these with the other two
    "pydicom__rtdose_expb.dcm",
    "pydicomdata__SC_rgb_expb_16bit_2frame.dcm",
)
NO_ORACLE = (  # an UN of undefined length, whose items pydicom takes for big endian: DCMTK and PS3.5 do not
    "nested_priv_SQ.dcm",
    "UN_sequence.dcm",
)


def bundled() -> list[Path]:
    """pydicom's own files that are whole, with file meta information."""
    directory = Path(pydicom.data.__file__).parent
    files = sorted((directory / "test_files").glob("*.dcm")) + sorted(
        (directory / "charset_files").glob("*.dcm")
    )
    return [path for path in files if path.read_bytes()[128:132] == b"DICM"]


def vr_names(data_set: Dataset) -> Iterator[tuple[int, str]]:
    """Each element's VR, as pydicom knows it; of what no dictionary knows and of group lengths nothing."""
    for element in data_set:
        if element.tag.element == 0:
            continue
        yield int(element.tag), str(element.VR)
        if element.VR == "SQ":
            for item in element.value:
                yield from vr_names(item)


def raw_vr_names(data_set: Dataset) -> Iterator[tuple[int, str]]:
    """Each element's VR, as it lies; of what lies in implicit VR, inside of UN, nothing."""
    for tag in data_set.keys():
        element = data_set.get_item(tag)
        if element.VR is None:
            continue
        yield int(tag), str(element.VR)
        if element.VR == "SQ":
            for item in data_set[tag].value:
                yield from raw_vr_names(item)


def differing(one: Dataset, other: Dataset) -> Iterator[BaseTag]:
    """Elements that pydicom reads differently. It leaves OW as it lies, and takes UN for big endian too."""
    for element in one:
        found = other[element.tag]
        assert isinstance(found, DataElement)
        if element.VR == "SQ":
            for mine, theirs in zip(element.value, found.value, strict=True):
                yield from differing(mine, theirs)
        elif element.VR != "OW" and not element.tag.is_private and element != found:
            yield element.tag


def opened(content: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(content))


def test_vrs_of_implicit_vr_are_those_of_pydicom() -> None:
    compared = 0
    for path in bundled():
        part10 = read_part10(path)
        if path.name in NO_ORACLE or not syntax_of(part10.transfer_syntax_uid).is_native:
            continue
        try:
            implicit = written(read(part10.data_set, part10.transfer_syntax_uid), IMPLICIT)
        except CannotTranscode:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = opened(file_of(implicit, IMPLICIT))
            theirs = correct_ambiguous_vr(theirs, True)
            ours = opened(file_of(written(read(implicit, IMPLICIT), EXPLICIT), EXPLICIT))
            ours_by_tag, theirs_by_tag = dict(raw_vr_names(ours)), dict(vr_names(theirs))
            assert ours_by_tag == {tag: theirs_by_tag[tag] for tag in ours_by_tag}, path.name
        compared += len(ours_by_tag)
    assert compared > 1000


def test_pydicom_reads_the_same_from_every_transfer_syntax() -> None:
    for path in bundled():
        part10 = read_part10(path)
        if not syntax_of(part10.transfer_syntax_uid).is_native:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data_set = read(part10.data_set, part10.transfer_syntax_uid)
                before = opened(file_of(written(data_set, EXPLICIT), EXPLICIT))
                for syntax in (EXPLICIT, DEFLATED, BIG)[: 2 if path.name in NO_ORACLE else 3]:
                    after = opened(file_of(written(data_set, syntax), syntax))
                    assert list(differing(before, after)) == [], (path.name, syntax)
            except CannotTranscode as error:
                assert "no number" not in str(error)


def every_file(manifest: tuple[CorpusFile, ...], series: tuple[CorpusFile, ...]) -> list[tuple[str, Part10]]:
    return [(file.name, read_part10(file.path)) for file in valid_files(manifest + series[::20])]


def test_every_real_file_is_written_as_it_was_read(
    manifest: tuple[CorpusFile, ...], series: tuple[CorpusFile, ...]
) -> None:
    """But for group lengths, padding, and OW where encapsulated pixel data shall be OB (PS3.5 §A.4)."""
    unchanged = 0
    for name, part10 in every_file(manifest, series):
        if name in REFUSED_BIG_ENDIAN:
            continue
        uid = part10.transfer_syntax_uid
        before = part10.data_set
        data_set = read(before, uid)
        after = written(data_set, uid)
        if uid == DEFLATED:
            before, after = (zlib.decompressobj(-15).decompress(one) for one in (before, after))
        if before == after:
            unchanged += 1
        else:
            assert written(read(after, EXPLICIT if uid == DEFLATED else uid), uid) == written(data_set, uid)
            assert (
                b"\0\0UL\4\0" in before
                or b"\0\0\4\0\0\0" in before
                or len(before) % 2
                or b"OW\0\0\xff" in before
            )
    assert unchanged > 200


def test_every_real_file_comes_back_from_every_transfer_syntax(
    manifest: tuple[CorpusFile, ...], series: tuple[CorpusFile, ...]
) -> None:
    refused = set()
    for name, part10 in every_file(manifest, series):
        if name in REFUSED_BIG_ENDIAN or not syntax_of(part10.transfer_syntax_uid).is_native:
            continue
        data_set = read(part10.data_set, part10.transfer_syntax_uid)
        before = flat(data_set)
        for through in NATIVE:
            try:
                once = written(data_set, through)
            except CannotTranscode as error:
                refused.add((name, through, str(error)))
                continue
            assert len(once) % 2 == 0
            back = read(once, through)
            assert is_same(flat(back), before), (name, through)
            if through in (EXPLICIT, BIG):
                assert written(back, EXPLICIT) == written(data_set, EXPLICIT), (name, through)
    assert {through for _, through, _ in refused} <= {BIG}
    assert len(refused) < 10


def converted(part10_file: bytes, target: str, directory: Path) -> Flat | str:
    source, result = directory / "source.dcm", directory / "result.dcm"
    source.write_bytes(part10_file)
    result.unlink(missing_ok=True)
    command = [require("dcmconv"), DCMCONV[target], "-g", "-e", str(source), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=60)
    return flat(read(read_part10(result).data_set, target)) if done.returncode == 0 else done.stderr


@pytest.mark.interop
@pytest.mark.slow
def test_dcmconv_makes_the_same_values(manifest: tuple[CorpusFile, ...], tmp_path: Path) -> None:
    compared, refused = 0, []
    for file in some_of_each(valid_files(manifest), 2):
        part10 = read_part10(file.path)
        if file.name in REFUSED_BIG_ENDIAN or not syntax_of(part10.transfer_syntax_uid).is_native:
            continue
        data_set = read(part10.data_set, part10.transfer_syntax_uid)
        for first, second in ((EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT), (EXPLICIT, BIG), (BIG, EXPLICIT)):
            try:
                ours = written(data_set, first)
                expected = flat(read(written(read(ours, first), second), second))
            except CannotTranscode:
                continue
            theirs = converted(file_of(ours, first), second, tmp_path)
            if isinstance(theirs, str):
                refused.append((file.name, first, second, theirs))
                continue
            assert is_same(theirs, expected), (file.name, first, second)
            compared += 1
    assert compared > 200
    assert not refused
