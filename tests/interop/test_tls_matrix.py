"""Each cell of the matrix in docs/tls.md, measured anew."""

from __future__ import annotations

import pytest

from tests.interop.tls_matrix import CELLS, Cell, World, documented
from tests.peers import require

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]
PROGRAMS = {"Orthanc": "Orthanc", "DCMTK": "storescu"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("matrix"))


def test_the_document_has_every_cell_and_no_other() -> None:
    assert documented().keys() == CELLS.keys()


@pytest.mark.parametrize("cell", CELLS, ids=", ".join)
def test_it_is_as_the_document_says(world: World, cell: Cell) -> None:
    for name, program in PROGRAMS.items():
        if cell[0].startswith(name):
            require(program)
    assert CELLS[cell](world) == documented()[cell]
