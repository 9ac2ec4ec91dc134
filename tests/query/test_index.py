from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from router.query.index import INDEX_NAME, Index, IndexFailed, Row


def row(key: int) -> Row:
    return (key, "P1", "1.2", "1.2.3", f"1.2.3.{key}", "CT", "1.2.840.10008.5.1.4.1.1.2", "{}")


def test_what_is_sound_is_used_again(tmp_path: Path) -> None:
    index = Index(tmp_path)
    assert not index.open()
    index.update([row(1), row(2)], ())
    index.close()
    again = Index(tmp_path)
    assert again.open()
    assert again.known([1, 2, 3]) == {1, 2}
    again.close()


def test_it_is_compared_with_what_is_here(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.open()
    index.update([row(1), row(2), row(3)], ())
    assert list(index.reconcile(array("q", [2, 7, 3, 5]))) == [7, 5]
    assert index.known([1, 2, 3, 5, 7]) == {2, 3}
    assert list(index.reconcile(array("q"))) == []
    assert index.known([1, 2, 3]) == set()
    index.close()


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.open()
    index.update([row(1)], ())
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob(f"{INDEX_NAME}*")} == {0}
    index.close()


def test_what_is_not_open_says_so(tmp_path: Path) -> None:
    index = Index(tmp_path)
    with pytest.raises(IndexFailed):
        index.update([row(1)], ())
    with pytest.raises(IndexFailed):
        index.look()
    (tmp_path / INDEX_NAME).mkdir()
    with pytest.raises(IndexFailed):
        index.open()
