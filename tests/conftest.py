"""Fixtures that every test may use: the loop, and the set of real files where it is there.

``DICOM_ROUTER_CI=1`` turns "not there, skipped" into a failure: nothing is left out in CI.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus import CorpusFile, read_manifest
from tests.peers import unavailable

_CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio is the loop that the gateway runs on; no other is tested."""
    return "asyncio"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The directory of real files (``DICOM_CORPUS``, or ``../shared/data`` beside the checkout)."""
    path = Path(os.environ.get("DICOM_CORPUS") or _CHECKOUT.parent / "shared" / "data").resolve()
    if not (path / "public" / "manifest.csv").is_file():
        unavailable(f"no test data at {path} (DICOM_CORPUS)")
    return path


@pytest.fixture(scope="session")
def manifest(corpus: Path) -> tuple[CorpusFile, ...]:
    """One record for each file of the public set, valid and not."""
    return read_manifest(corpus, "public")


@pytest.fixture(scope="session")
def series(corpus: Path) -> tuple[CorpusFile, ...]:
    """The files of the four public series."""
    return read_manifest(corpus, "series_public")
