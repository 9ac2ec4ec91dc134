"""What the demonstration found: each instance's way, and whether its bytes arrived as they were sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from router.cli.client import Client
from router.cli.common import err, out, table, uid_name
from router.dicom.part10 import read_file_meta
from router.errors import UnknownItem
from router.model import DeliveryState
from router.samples import Sample
from router.views import DeliveryView, TraceView

_SETTLED = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.DISCARDED)
Arrived = Mapping[tuple[str, str], set[str]]  # (destination, SOP Instance UID) -> SHA-256 of data sets


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One instance: what the gateway says of it, and where its bytes are intact."""

    sample: Sample
    trace: TraceView | None  # None: the gateway does not know it
    intact_at: frozenset[str] = frozenset()

    @property
    def is_settled(self) -> bool:
        """Nothing more will happen to it."""
        if self.trace is None or self.trace.routed_at is None:
            return False
        return all(delivery.state in _SETTLED for delivery in self.trace.deliveries)

    @property
    def is_intact(self) -> bool:
        """It had somewhere to go, and arrived everywhere byte for byte."""
        if self.trace is None or not self.trace.destinations:
            return False
        return self.intact_at >= set(self.trace.destinations) and all(
            delivery.state is DeliveryState.DELIVERED for delivery in self.trace.deliveries
        )


def look(study: list[Sample], url: str) -> list[Finding]:
    """Ask the gateway for each instance, as ``trace`` does."""
    client = Client(url)
    findings = []
    for sample in study:
        try:
            traces = client.get(tuple[TraceView, ...], "trace", sample.sop_instance_uid)
        except UnknownItem:
            traces = ()
        findings.append(Finding(sample=sample, trace=traces[-1] if traces else None))
    return findings


def hashes(directory: Path) -> dict[tuple[str, str], set[str]]:
    """SHA-256 of the data set of every file below ``directory/DESTINATION``."""
    found: dict[tuple[str, str], set[str]] = {}
    for path in directory.rglob("*.dcm"):
        if path.name.startswith("."):
            continue  # not finished
        destination = path.relative_to(directory).parts[0]
        uid = read_file_meta(path).sop_instance_uid
        found.setdefault((destination, uid), set()).add(_sha256(path))
    return found


def compare(finding: Finding, arrived: Arrived) -> Finding:
    """Note where the very bytes that were sent have arrived."""
    if finding.trace is None:
        return finding
    sent, uid = _sha256(finding.sample.path), finding.sample.sop_instance_uid
    intact = (name for name in finding.trace.destinations if sent in arrived.get((name, uid), ()))
    return replace(finding, intact_at=frozenset(intact))


def report_of(findings: list[Finding]) -> Table:
    """What arrived where and why, one line for each delivery."""
    report = table("instance", "transfer syntax", "rule", "because", "destination", "state", "after", "bytes")
    report.columns[3].max_width = 60
    for finding in findings:
        for row in _rows(finding):
            report.add_row(*row)
    return report


def conclude(findings: list[Finding]) -> bool:
    """Say the verdict in one sentence."""
    intact = sum(finding.is_intact for finding in findings)
    if intact == len(findings):
        out.print(f"\nAll {intact} instances arrived intact.", style="bold green")
        return True
    err.print(f"\nOnly {intact} of {len(findings)} instances arrived intact.", style="bold red")
    return False


def _rows(finding: Finding) -> list[tuple[str, ...]]:
    sample, trace = finding.sample, finding.trace
    head = (sample.title, uid_name(sample.transfer_syntax_uid).split(" (")[0])
    if trace is None:
        return [(*head, "", "", "", "[red]unknown to the gateway[/red]", "", "")]
    matched = [rule for rule in trace.rules if rule.matched]
    rules = "\n".join(rule.rule for rule in matched) or "-"
    because = "\n".join(rule.because for rule in matched) or "no rule matched"
    if not trace.deliveries:
        return [(*head, rules, because, "-", "dropped" if trace.routed_at else "not routed", "", "")]
    rows = []
    for number, delivery in enumerate(trace.deliveries):
        first = (*head, rules, because) if number == 0 else ("", "", "", "")
        rows.append((*first, *_delivery(trace, delivery, delivery.destination in finding.intact_at)))
    return rows


def _delivery(trace: TraceView, delivery: DeliveryView, is_intact: bool) -> tuple[str, ...]:
    is_delivered = delivery.state is DeliveryState.DELIVERED
    state = f"[{'green' if is_delivered else 'red'}]{delivery.state}[/]"
    if not is_delivered:
        state += f" ({delivery.reason}{': ' + delivery.last_comment if delivery.last_comment else ''})"
    took = f"{(delivery.changed_at - trace.received_at) * 1000:.0f} ms" if is_delivered else ""
    same = "[green]same[/green]" if is_intact else "[red]not found[/red]"
    return delivery.destination or "-", state, took, same


def _sha256(path: Path) -> str:
    """Of the data set alone: the file meta is each writer's own."""
    with path.open("rb") as file:
        file.seek(read_file_meta(path).data_set_offset)
        return hashlib.file_digest(file, "sha256").hexdigest()
