"""router.web.assets: addresses with hashes, and nothing else to be had; copied files are as they came."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from router.web.assets import DIRECTORY, Assets


def test_an_address_says_what_its_content_is(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text("1")
    first = Assets(tmp_path).address("page.js")
    asset = Assets(tmp_path).at(first)
    assert asset is not None
    assert (asset.content, asset.kind) == (b"1", "text/javascript; charset=utf-8")
    (tmp_path / "page.js").write_text("2")
    second = Assets(tmp_path)
    assert second.address("page.js") != first
    assert second.at(first) is None


@pytest.mark.parametrize(
    "address",
    [
        "/static/page.js",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/README.md",
    ],
)
def test_nothing_else_is_there(address: str) -> None:
    assert Assets().at(address) is None


def test_copied_files_are_those_that_were_copied() -> None:
    rows = re.findall(
        r"(?m)^\| `([^`]+)` .*\(`([^`]+)`\) \| `([0-9a-f]{64})` \|$", (DIRECTORY / "README.md").read_text()
    )
    assert len(rows) == 3
    for name, licence, wanted in rows:
        assert hashlib.sha256((DIRECTORY / name).read_bytes()).hexdigest() == wanted, name
        assert (DIRECTORY / licence).is_file()
    own = {"page.css", "page.js", "icon.svg", "README.md", "licences"}
    assert {path.name for path in DIRECTORY.iterdir()} == own | {name for name, _, _ in rows}
