"""The key for de-identification: made once, kept, and never replaced by another one."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from threading import Thread

import pytest

from router.config.settings import Deidentify
from router.deliver.project_key import FILE_NAME, ProjectKey

KEY = "0123456789abcdef" * 2


def test_the_configurations_is_used_and_nothing_is_made(tmp_path: Path) -> None:
    assert ProjectKey(Deidentify(key=f"{KEY}\n"), tmp_path).get() == KEY
    assert not list(tmp_path.iterdir())


def test_one_is_made_at_first_need_and_found_again(tmp_path: Path) -> None:
    made = ProjectKey(Deidentify(), tmp_path)
    assert not list(tmp_path.iterdir())
    key = made.get()
    assert len(bytes.fromhex(key)) == 32
    (path,) = tmp_path.iterdir()
    assert path.name == FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ProjectKey(Deidentify(), tmp_path).get() == made.get() == key
    assert ProjectKey(Deidentify(key=path.read_text()), tmp_path / "other").get() == key
    assert ProjectKey(Deidentify(), tmp_path.parent).get() != key
    (tmp_path.parent / FILE_NAME).unlink()


def test_what_a_crash_left_of_one_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / f".{FILE_NAME}.part").write_text("0123")
    assert len(ProjectKey(Deidentify(), tmp_path).get()) == 64
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_file_that_cannot_be_right_stays_and_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(ValueError, match="has no key of 32 characters or more"):
        ProjectKey(Deidentify(), tmp_path).get()
    assert path.read_bytes() == content


def test_those_who_ask_at_the_same_time_get_the_same(tmp_path: Path) -> None:
    key, found = ProjectKey(Deidentify(), tmp_path), list[str]()
    threads = [Thread(target=lambda: found.append(key.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_it_is_in_no_log_and_in_no_repr(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        key = ProjectKey(Deidentify(), tmp_path).get()
    assert key not in caplog.text
    assert KEY not in repr(Deidentify(key=KEY))
