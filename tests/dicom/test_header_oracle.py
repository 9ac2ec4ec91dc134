"""The tag scanner against pydicom: every element of every file, by number, by creator, through sequences."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from router.dicom.header import scan
from router.dicom.part10 import read_file_meta
from router.dicom.scanner import VALUE_CAP_BYTES
from router.dicom.tagpath import Step, TagPath
from router.dicom.values import Value
from tests.corpus import wants_every_file
from tests.dicom.oracle import BULK, comparable

DEPTH = 4
BUNDLED = sorted((Path(pydicom.data.__file__).parent / "test_files").rglob("*.dcm"))
BUNDLED += sorted((Path(pydicom.data.__file__).parent / "charset_files").rglob("*.dcm"))


def collect(
    data_set: Dataset, above: tuple[Step, ...], found: dict[TagPath, list[tuple[Value, ...] | None]]
) -> None:
    """Everything in a data set by path; None for what has no comparable value."""
    for tag in sorted(data_set.keys()):
        if tag.group <= 2:
            continue
        element = data_set[tag]
        assert isinstance(element, DataElement)
        for step in steps_to(data_set, tag):
            path = TagPath(steps=(*above, step), text="")
            values: tuple[Value, ...] | None = () if element.VR == "SQ" else None
            if element.VR not in BULK | {"SQ"} and not isinstance(element.value, bytes):
                values = comparable(element.value)
            found.setdefault(path, []).append(values)
            if element.VR == "SQ" and len(above) < DEPTH:
                for item in element.value:
                    collect(item, (*above, step), found)


def steps_to(data_set: Dataset, tag: BaseTag) -> Iterator[Step]:
    yield Step(tag=int(tag))
    if tag.is_private and tag.element > 0xFF:
        creator = data_set.get(BaseTag(tag.group << 16 | tag.element >> 8))
        if creator is not None and isinstance(creator.value, str) and creator.value.strip():
            yield Step(tag=tag.group << 16 | tag.element & 0xFF, creator=creator.value.strip())


def check(path: Path) -> int:
    meta = read_file_meta(path)
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: dict[TagPath, list[tuple[Value, ...] | None]] = {}
        collect(pydicom.dcmread(path, force=True), (), theirs)
    header = scan(content[meta.data_set_offset :], meta.transfer_syntax_uid, frozenset(theirs))
    for tag_path, expected in theirs.items():
        ours = header.values(tag_path)
        where = f"{path.name} {[str(s) for s in tag_path.steps]} {header.problem}"
        assert ours is not None, where
        if all(values is not None for values in expected):
            flat = tuple(v for values in expected if values for v in values)
            is_cut = header.truncated or len(str(flat)) > VALUE_CAP_BYTES
            assert ours == flat or (is_cut and ours == flat[: len(ours)]), where
    return len(theirs)


def is_readable(path: Path) -> bool:
    try:
        read_file_meta(path)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("path", [p for p in BUNDLED if is_readable(p)], ids=lambda p: p.name)
def test_every_element_of_pydicoms_files(path: Path) -> None:
    assert check(path) > 0


def test_every_element_of_the_corpus(corpus: Path) -> None:
    series = sorted((corpus / "series_public").rglob("*.dcm"))  # 600, of four kinds
    files = [p for p in sorted((corpus / "public").rglob("*.dcm")) if "bad" not in p.parts]
    files += series if wants_every_file() else series[::30]
    assert sum(check(path) for path in files) > 25_000
