"""Imports go to lower floors only, and each fenced dependency stays behind its fence (design.md, Layout)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROUTER = Path(__file__).resolve().parent.parent / "router"

# The first part of a module's name below ``router`` -> its floor.
FLOORS = {
    "errors": 0,
    "secrets": 0,
    "clock": 0,
    "model": 0,
    "wording": 0,
    "dicom": 1,
    "rules": 1,
    "config": 1,
    "samples": 1,
    "net": 2,
    "audit": 2,
    "spool": 2,
    "telemetry": 2,
    "logs": 2,
    "filing": 2,
    "plan": 3,
    "throughput": 3,
    "groups": 3,
    "duplicates": 3,
    "transform": 3,
    "receive": 4,
    "routing": 4,
    "deliver": 4,
    "query": 5,
    "gauges": 5,
    "admin": 5,
    "admin_actions": 5,
    "outlook": 5,
    "ruletests": 5,
    "sink": 5,
    "scu": 5,
    "transcoding": 5,
    "views": 5,
    "api": 6,
    "web": 6,
    "app": 7,
    "cli": 8,
    "__main__": 9,
}
SYNCHRONOUS_FLOORS = (0, 1, 3)

# A dependency -> the parts that may import it.
FENCES = {
    "prometheus_client": {"telemetry"},
    "aiohttp": {"net"},
    "pynetdicom": {"dicom"},
    "pydicom": {"dicom", "rules", "transform", "samples", "cli"},
    "ssl": {"net"},
    "cryptography": {"net"},
    "apsw": {"spool", "query"},
    "sqlite3": set[str](),
    "structlog": {"logs"},
    "uvicorn": {"api"},
    "fastapi": {"api"},
    "starlette": {"api", "web"},
    "typer": {"cli"},
    "rich": {"cli"},
    "socket": {"net", "receive", "api", "app", "cli"},
    "yaml": {"config", "rules"},
    "jinja2": {"web"},
    "markupsafe": {"web"},
    "re2": {"rules"},
    "numpy": {"transform"},
    "imagecodecs": {"transform"},
    "jpeg_ls": {"transform"},
    "openjpeg": {"transform"},
    "rle": {"transform"},
}
MODULE_LINES = 450
FUNCTION_LINES = 60
TABLES = {"dicom/state.py"}  # data, not code: as long as the standard's table


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One source file, parsed."""

    path: Path
    part: str
    tree: ast.Module
    lines: int

    @property
    def name(self) -> str:
        return self.path.relative_to(ROUTER).as_posix()


def _module(path: Path) -> Module:
    source = path.read_text(encoding="utf-8")
    relative = path.relative_to(ROUTER)
    part = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    return Module(path=path, part=part, tree=ast.parse(source), lines=source.count("\n"))


MODULES = [_module(path) for path in sorted(ROUTER.rglob("*.py")) if path != ROUTER / "__init__.py"]
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every imported module, with the names taken from it where they may be modules, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            if node.module == "router":
                yield from ((f"router.{alias.name}", node.lineno) for alias in node.names)
            elif node.module is not None:
                yield node.module, node.lineno


def _inner(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The parts of the gateway that a module imports; ``router`` itself has only its version."""
    for name, line in _imports(tree):
        packages = name.split(".")
        if packages[0] == "router" and packages[1:] not in ([], ["__version__"]):
            yield packages[1], line


def test_there_is_something_to_hold() -> None:
    assert len(MODULES) > 20
    assert any(list(_inner(module.tree)) for module in MODULES)


@each_module
def test_every_module_has_a_floor(module: Module) -> None:
    assert module.part in FLOORS, f"give {module.name} a floor"


@each_module
def test_imports_go_down(module: Module) -> None:
    floor = FLOORS[module.part]
    upwards = [
        f"line {line}: {module.part} (floor {floor}) imports {part} (floor {FLOORS[part]})"
        for part, line in _inner(module.tree)
        if part != module.part and not _may_import(module.part, part)
    ]
    assert not upwards, "\n".join(upwards)


def _may_import(importer: str, imported: str) -> bool:
    """Below, or beside where the two are no siblings that meet only in the spool."""
    own, other = FLOORS[importer], FLOORS[imported]
    return other < own or (other == own and own not in (4, 8))


@each_module
def test_fences_hold(module: Module) -> None:
    through = [
        f"line {line}: {name} belongs to {sorted(FENCES[root])}"
        for name, line in _imports(module.tree)
        if (root := name.split(".")[0]) in FENCES and module.part not in FENCES[root]
    ]
    assert not through, "\n".join(through)


@each_module
def test_pure_floors_are_synchronous(module: Module) -> None:
    if FLOORS[module.part] not in SYNCHRONOUS_FLOORS:
        return
    waiting = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    assert not waiting, f"async on floor {FLOORS[module.part]} in lines {waiting}"


@each_module
def test_no_task_without_an_owner(module: Module) -> None:
    loose = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("create_task", "ensure_future", "add_done_callback")
        and not (node.attr == "create_task" and _is_group(node.value))
    ]
    assert not loose, f"task groups only: lines {loose}"


def _is_group(node: ast.expr) -> bool:
    """By its name, as everywhere here: ``tasks`` of a function, ``_tasks`` of an object."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("tasks", "_tasks")


@each_module
def test_a_module_says_what_it_owns_and_stays_small(module: Module) -> None:
    assert ast.get_docstring(module.tree), f"{module.name} has no docstring"
    assert module.lines < MODULE_LINES or module.name in TABLES, f"{module.lines} lines"


@each_module
def test_functions_stay_small(module: Module) -> None:
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long, ", ".join(long)


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("net", "dicom", True),
        ("dicom", "net", False),
        ("receive", "deliver", False),
        ("routing", "receive", False),
        ("deliver", "spool", True),
        ("admin", "app", False),
        ("rules", "config", True),
        ("config", "rules", True),
        ("cli", "app", True),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    assert _may_import(importer, imported) is allowed
