"""``serve`` and ``check``: run the gateway, and see whether it would run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.common import DEFAULT_CONFIG, FAILED, ConfigOption, err, fail, load_configuration, out

if TYPE_CHECKING:
    from router.config.settings import Settings

# The spool's writer needs the GIL some ten times for each sync, for microseconds: at Python's own 5 ms it
# waits for the event loop longer than for the disk. A fifth more instances, and half the tail.
SWITCH_S = 0.0005


def add_to(command: typer.Typer) -> None:
    """Register the commands."""
    command.command()(serve)
    command.command()(check)


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    ready_file: Annotated[
        Path | None,
        typer.Option(help='Written once instances are taken: {"dicom":[PORTS],"http":PORT}.', metavar="PATH"),
    ] = None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    The first signal drains: ports close, what is under way ends. A second one stops at once; nothing that was
    acknowledged is lost either way. SIGHUP reads rules, certificates and keys again.

    Example: [bold]dicom-router serve -c /etc/dicom-router/router.yaml[/bold]
    """
    _import_lean()
    sys.setswitchinterval(SWITCH_S)
    import anyio

    from router import logs
    from router.app import Gateway, StartFailed
    from router.net.memory import settle

    settings, rule_set = load_configuration(config, with_files=True)
    logs.configure(settings.log_level)
    if os.geteuid() == 0:
        logs.get_logger("app").warning("running as root: give it a user (deploy/dicom-router.service)")
    gateway = Gateway(settings, rule_set, config_path=config, ready_file=ready_file)
    settle()
    try:
        anyio.run(gateway.run)
    except StartFailed as error:
        fail(str(error))
    except Exception:  # a part died of a defect: say all that is known, and let a supervisor restart us
        logs.get_logger("app").exception("the gateway died")
        raise typer.Exit(FAILED) from None


def _import_lean() -> None:
    """Import pydicom without numpy, and before all else: 20 MB less at the peak, and a quicker start.

    No pixel is decoded in this process. pydicom takes numpy where it is installed (None in ``sys.modules``
    makes an import fail), and its dictionaries need much for a moment, which later imports then use again.
    """
    sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]
    import pydicom  # noqa: F401


def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read configuration and rules, and print every problem as file:line:column: message.

    Exit code 0 when there is none, 2 otherwise. Nothing is started or written.

    Example: [bold]dicom-router check -c router.yaml[/bold]
    """
    settings, rule_set = load_configuration(config, with_files=True)
    counts = (
        f"{len(settings.listeners)} listener(s)",
        f"{len(settings.modalities)} modality(ies)",
        f"{len(settings.destinations) + len(settings.groups)} other destination(s)",
        f"{len(rule_set.rules)} rule(s)",
    )
    out.print(f"{config}: no problems. {', '.join(counts)}; unmatched: {settings.unmatched}.", markup=False)
    _warn_of_ends(settings)
    for warning in settings.http.warnings:
        err.print(f"{warning}.", style="yellow", markup=False)
    if not rule_set.rules and settings.unmatched == "hold":
        err.print("There are no rules: everything that arrives will be held.", style="yellow")


def _warn_of_ends(settings: Settings) -> None:
    """Certificates that end soon, or have ended, are no reason not to start."""
    from time import time

    from router.net.key_keeper import describe_end, ends_soon
    from router.net.keyring import Keyring

    now = time()
    for one in Keyring(settings).dated(now):
        if ends_soon(one, settings.tls.warn_before, now):
            err.print(f"{describe_end(one, now)}.", style="yellow", markup=False)
