"""``explain`` and ``trace``: what would happen to a file, and what has happened to an image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.common import (
    DEFAULT_CALLING_AE,
    DEFAULT_CONFIG,
    DEFAULT_URL,
    FAILED,
    ConfigOption,
    JsonOption,
    UrlOption,
    err,
    fail,
    load_configuration,
    out,
    print_json,
    size,
    uid_name,
    when,
)
from router.cli.identity import asks_gateway
from router.cli.source import DataDirOption, open_source

if TYPE_CHECKING:
    from router.model import RuleTrace
    from router.views import Explanation, TraceView


def add_to(command: typer.Typer) -> None:
    """Register the commands."""
    command.command()(explain)
    command.command()(asks_gateway(trace))


def explain(
    files: Annotated[list[Path], typer.Argument(help="DICOM files.", exists=True, dir_okay=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    calling_ae: Annotated[
        str, typer.Option("--calling-ae", help="As if sent by this AE title.", metavar="AE")
    ] = DEFAULT_CALLING_AE,
    called_ae: Annotated[
        str | None, typer.Option("--called-ae", help="As if this AE title was called.", metavar="AE")
    ] = None,
    peer: Annotated[str, typer.Option(help="As if sent from this address.", metavar="IP")] = "127.0.0.1",
    listener: Annotated[str | None, typer.Option(help="As if it came in at this listener.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a file would go, rule by rule, and why. No gateway is needed.

    The answer comes from the code that decides when an instance is received.

    Example: [bold]dicom-router explain -c router.yaml image.dcm --calling-ae CT1[/bold]
    """
    from time import time

    from router.admin import explain_file
    from router.model import Origin

    settings, rule_set = load_configuration(config)
    origin = Origin(
        calling_ae=calling_ae,
        called_ae=called_ae if called_ae is not None else settings.ae_title,
        peer=peer,
        listener=listener if listener is not None else settings.listeners[0].label,
    )
    explanations: list[Explanation] = []
    for path in files:
        try:
            explanations.append(explain_file(path, rule_set, origin, now=time(), groups=settings.groups))
        except (OSError, ValueError) as error:
            err.print(f"{path}: {error}", style="red", markup=False)
    if as_json:
        print_json(explanations)
    else:
        for explanation in explanations:
            _print_explanation(explanation)
    if len(explanations) < len(files):
        raise typer.Exit(FAILED)


def trace(
    sop_instance_uid: Annotated[str, typer.Argument(help="The image's SOP Instance UID.")],
    data_dir: DataDirOption = None,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Say what happened to an image: who sent it, which rules matched and why, each attempt, when it arrived.

    Example: [bold]dicom-router trace 1.2.840.113619.2.5.1762583153.215519.978957063.78[/bold]
    """
    from router.errors import RouterError

    try:
        traces = open_source(url, data_dir).trace(sop_instance_uid)
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(traces)
        return
    for item in traces:
        _print_trace(item)


def print_rules(rules: tuple[RuleTrace, ...]) -> None:
    """Each rule with its reason; those that matched stand out."""
    for rule in rules:
        mark, style = ("✓", "green") if rule.matched else ("·", "dim")
        out.print(f"  {mark} {rule.rule}: {rule.because}", style=style, markup=False)


def _print_explanation(explanation: Explanation) -> None:
    out.print(f"{explanation.file}", style="bold", markup=False)
    what = f"{uid_name(explanation.sop_class_uid)}, {uid_name(explanation.transfer_syntax_uid)}"
    out.print(f"  {what}, {size(explanation.size_bytes)}", markup=False)
    print_rules(explanation.rules)
    if explanation.destinations:
        names = ", ".join(map(partial(_in_its_form, explanation.forms), explanation.destinations))
        out.print(f"  → {names} (priority {explanation.priority})", markup=False)
        _print_edits(explanation.edits)
    else:
        out.print("  → held: no rule sends it" if explanation.hold else "  → dropped: no rule sends it")
    for problem in explanation.problems:
        err.print(f"  {problem}", style="yellow", markup=False)


def _print_edits(edits: dict[str, tuple[str, ...]]) -> None:
    for name, sentences in edits.items():
        out.print(f"  → in what {name} gets: {'; '.join(sentences)}", markup=False)


def _in_its_form(forms: dict[str, str], destination: str) -> str:
    return f"{destination} as {forms[destination]}" if destination in forms else destination


def _print_trace(item: TraceView) -> None:
    from router.cli.queue import print_delivery

    out.print(f"{item.sop_instance_uid}  (key {item.key}, {item.state})", style="bold", markup=False)
    out.print(
        f"  received {when(item.received_at)} from {item.calling_ae} at {item.peer}, which called "
        f"{item.called_ae} on listener {item.listener}: {size(item.size_bytes)}, "
        f"{uid_name(item.sop_class_uid)}, {uid_name(item.transfer_syntax_uid)}",
        markup=False,
    )
    if item.routed_at is None:
        out.print("  not routed yet")
    else:
        out.print(f"  routed {when(item.routed_at)}")
        print_rules(item.rules)
        for name in item.forms:
            out.print(f"  → {_in_its_form(item.forms, name)}", markup=False)
        _print_edits(item.edits)
        if item.hold:
            out.print("  → held: no rule sends it", style="yellow")
        elif not item.destinations:
            out.print("  → dropped: no rule sends it")
    for delivery in item.deliveries:
        print_delivery(delivery)
