"""``test``: what rules are expected to do, tried."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from xml.etree import ElementTree

import typer

from router.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    WRONG_USE,
    ConfigOption,
    err,
    fail,
    load_configuration,
    out,
)

if TYPE_CHECKING:
    from router.config.settings import Settings
    from router.rules import RuleSet
    from router.rules.cases import Case
    from router.ruletests import Verdict


def add_to(command: typer.Typer) -> None:
    """Register the command."""
    command.command("test")(test)


def test(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="NAME.test.yaml files; left out: those beside the configuration and its rules."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Also write a report for CI.", metavar="FILE")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed.")] = False,
) -> None:
    """Run the tests of rules: given an instance and its origin, which rules match, and what follows.

    A file NAME.test.yaml is about the rules of NAME.yaml beside it; beside the configuration it is about all
    of its rules. Exit code 0 when all passed, 1 when one failed, 2 when something is wrong with the files.

    Example: [bold]dicom-router test -c router.yaml rules/trauma-first.test.yaml[/bold]
    """
    from router.ruletests import found_tests, run

    settings, rule_set = load_configuration(config)
    paths = files or found_tests(config, rule_set)
    if not paths:
        fail(f"There is no NAME.test.yaml beside {config} or the rules that it reads.", WRONG_USE)
    verdicts: list[tuple[Path, list[Verdict]]] = []
    for path, tested, cases in _loaded(paths, config, settings, rule_set):
        verdicts.append((path, [run(case, tested, settings) for case in cases]))
        _print(path, verdicts[-1][1], quiet=quiet)
    if junit is not None:
        _write(junit, verdicts)
    all_of_them = [verdict for _, some in verdicts for verdict in some]
    failed = sum(not verdict.has_passed for verdict in all_of_them)
    out.print(f"{len(all_of_them)} tests, {failed} failed", style="red" if failed else "green")
    if failed:
        raise typer.Exit(FAILED)


def _loaded(
    paths: list[Path], config: Path, settings: Settings, rule_set: RuleSet
) -> list[tuple[Path, RuleSet, list[Case]]]:
    from router.config.yaml_nodes import Problems
    from router.rules.cases import Names, load_cases
    from router.ruletests import tested_by

    problems = Problems()
    found: list[tuple[Path, RuleSet, list[Case]]] = []
    for path in paths:
        tested = tested_by(path, config, rule_set)
        if tested is None:
            fail(
                f"{path}: it is named as its rules are (NAME.test.yaml beside NAME.yaml), and {config} reads "
                "no rules from there.",
                WRONG_USE,
            )
        names = Names(rules=[rule.name for rule in tested.rules], destinations=settings.destination_names)
        try:
            found.append((path, tested, load_cases(path, names, os.environ, problems)))
        except OSError as error:
            fail(f"{path}: {error.strerror or error}.", WRONG_USE)
    if problems.lines:
        for line in problems.lines:
            err.print(line, markup=False)
        fail(f"{len(problems.lines)} problem(s); nothing was tested.", WRONG_USE)
    return found


def _print(path: Path, verdicts: list[Verdict], *, quiet: bool) -> None:
    if quiet and all(verdict.has_passed for verdict in verdicts):
        return
    out.print(_near(path), style="bold", markup=False)
    for verdict in verdicts:
        if verdict.has_passed:
            if not quiet:
                out.print(f"  ✓ {verdict.case.name}", style="green", markup=False)
            continue
        out.print(f"  ✗ {verdict.case.name}  ({verdict.case.place})", style="red", markup=False)
        for failure in verdict.failures:
            out.print(f"      {failure}", markup=False)
        for trace in verdict.trace:
            mark = "+" if trace.matched else "-"
            out.print(f"      {mark} {trace.rule}: {trace.because}", style="dim", markup=False)


def _near(path: Path) -> str:
    """A path from here, where it is below."""
    resolved = path.resolve()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(path)


def _write(path: Path, verdicts: list[tuple[Path, list[Verdict]]]) -> None:
    """JUnit's XML, as CI systems read it."""
    root = ElementTree.Element("testsuites")
    for file, some in verdicts:
        failures = sum(not verdict.has_passed for verdict in some)
        suite = ElementTree.SubElement(
            root, "testsuite", name=_near(file), tests=str(len(some)), failures=str(failures)
        )
        for verdict in some:
            name = {"name": verdict.case.name, "classname": _near(file)}
            case = ElementTree.SubElement(suite, "testcase", name)
            if not verdict.has_passed:
                failure = ElementTree.SubElement(case, "failure", message=verdict.failures[0])
                failure.text = "\n".join(verdict.failures)
    try:
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        fail(f"{path}: {error.strerror or error}.", WRONG_USE)
