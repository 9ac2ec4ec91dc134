"""Which cells are measured, and against whom: the issue's table of what must be and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass

from bench.cells import Cell, Mode

SMALL, MIDDLE, LARGE = 40_000, 525_000, 50_000_000
SIZES = {"40k": SMALL, "525k": MIDDLE, "50m": LARGE}
ASSOCIATIONS = (1, 4, 16)
FORWARDING = ("ours", "orthanc")
RECEIVING = (
    "ours",
    "ours-hold",
    "orthanc",
    "storescp",
    "storescp+B",
    "pynetdicom",
    "pynetdicom-raw",
    "limit",
    "harness",
)

# Orthanc slows down as a run grows (the job of its automatic routing is written down anew with each instance,
# and its index grows), so where it takes part both are given the same work: to forward a study of so many
# instances, and a short series besides; to receive so many.
STUDY = {SMALL: 1000, MIDDLE: 600, LARGE: 12}
INTAKE = {SMALL: 10_000, MIDDLE: 3000, LARGE: 20}  # some seconds of ours; an hour of one busy scanner
SERIES = 100
_SAME_WORK = ("ours", "ours-hold", "orthanc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How many times a peer's rate ours must be, and is meant to be."""

    mode: Mode
    peer: str
    associations: int
    size: int
    must: float
    aim: float


TARGETS = tuple(
    Target(mode=mode, peer=peer, associations=n, size=size, must=must, aim=aim)
    for mode, peer, n, size, must, aim in (
        (Mode.FORWARD, "orthanc", 4, MIDDLE, 5, 8),
        (Mode.FORWARD, "orthanc", 4, SMALL, 30, 50),
        (Mode.RECEIVE, "orthanc", 4, MIDDLE, 4, 6),
        (Mode.RECEIVE, "orthanc", 4, SMALL, 7, 12),
        (Mode.RECEIVE, "storescp+B", 1, MIDDLE, 1.2, 1.7),
        (Mode.RECEIVE, "storescp+B", 1, SMALL, 0.4, 1),
        (Mode.RECEIVE, "pynetdicom", 1, MIDDLE, 7, 10),
        (Mode.RECEIVE, "pynetdicom", 1, SMALL, 10, 15),
    )
)
MEMORY_MUST_BYTES, MEMORY_AIM_BYTES = 200_000_000, 120_000_000
IDLE_MUST, IDLE_AIM = 500, 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run measures, in the order in which a round does it."""

    cells: tuple[Cell, ...]
    rounds: int
    seconds: float  # of load in each cell


def _cells(
    mode: Mode,
    sizes: tuple[int, ...],
    associations: tuple[int, ...],
    servers: tuple[str, ...],
) -> list[Cell]:
    return [
        Cell(
            mode=mode,
            size=size,
            associations=n,
            server=server,
            count=_count(mode, size, n) if server in _SAME_WORK else None,
        )
        for size in sizes
        for n in associations
        for server in servers
    ]


def _count(mode: Mode, size: int, associations: int) -> int | None:
    if mode is Mode.FORWARD:
        return STUDY[size]
    return INTAKE[size] if associations == 4 else None


def _series(sizes: tuple[int, ...]) -> list[Cell]:
    return [
        Cell(mode=Mode.FORWARD, size=size, associations=4, server=server, count=SERIES)
        for size in sizes
        if size < LARGE
        for server in FORWARDING
    ]


def _kept(names: tuple[str, ...], servers: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not servers or name in servers)


def full(modes: frozenset[Mode], sizes: tuple[int, ...], servers: frozenset[str]) -> Plan:
    """Everything: each size, number of associations and server."""
    cells: list[Cell] = []
    if Mode.FORWARD in modes:
        cells += _cells(Mode.FORWARD, sizes, ASSOCIATIONS, _kept(FORWARDING, servers))
        cells += [c for c in _series(sizes) if not servers or c.server in servers]
    if Mode.RECEIVE in modes:
        cells += _cells(Mode.RECEIVE, sizes, ASSOCIATIONS, _kept(RECEIVING, servers))
    return Plan(cells=tuple(cells), rounds=3, seconds=3.0)


def quick(modes: frozenset[Mode], sizes: tuple[int, ...], servers: frozenset[str]) -> Plan:
    """What the targets need, once over and with few instances."""
    small = tuple(size for size in sizes if size < LARGE) or sizes
    cells: list[Cell] = []
    if Mode.FORWARD in modes:
        cells += _cells(Mode.FORWARD, small, (4,), _kept(FORWARDING, servers))
        cells += _cells(Mode.FORWARD, (MIDDLE,), (16,), _kept(("ours",), servers))
    if Mode.RECEIVE in modes:
        one = ("ours", "storescp", "storescp+B", "pynetdicom", "limit")
        cells += _cells(Mode.RECEIVE, small, (1,), _kept(one, servers))
        cells += _cells(Mode.RECEIVE, small, (4,), _kept(("ours", "ours-hold", "orthanc", "limit"), servers))
    return Plan(cells=tuple(cells), rounds=1, seconds=1.5)
