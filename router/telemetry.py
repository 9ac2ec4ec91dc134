"""Every metric of the gateway, declared once: names, labels, and the methods by which others count.

Nobody else imports prometheus_client. Labels come from the configuration or from small closed sets, never
from the wire. Children are cached here, because looking one up costs more than counting in it. Counting is
safe from any thread; :meth:`Telemetry.render` walks everything and belongs in a thread (45 ms with 200
destinations).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from router.model import DeliveryState, QueueDepth, Reason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED_LABEL = "(unmatched)"  # what no rule matched has no destination; an empty label would be no label

# Few buckets: there is one series of them for each destination.
_STORE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_DELIVERY_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0)
_WAITING = (DeliveryState.PENDING, DeliveryState.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What has come in and what has arrived since the start of the process."""

    received: float = 0.0
    received_bytes: float = 0.0
    delivered: float = 0.0
    delivered_bytes: float = 0.0


class Telemetry:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry if registry is not None else CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._declare_reception()
        self._declare_delivery()
        self._declare_store()
        self._declare_tls()
        self._http_denials = self._counter("http_denials", "HTTP requests not let in, and why.", "reason")
        self._declare_audit()

    def _declare_reception(self) -> None:
        self._received = self._counter("instances_received", "Instances acknowledged to their sender.")
        self._received_bytes = self._counter("received_bytes", "Bytes of data sets acknowledged.")
        self._associations = self._gauge("associations", "Associations that are open.", "role")
        self._rejections = self._counter("association_rejections", "Associations refused.", "reason")
        self._store_seconds = Histogram(
            "dicom_router_store_seconds",
            "From a complete C-STORE request to its response.",
            buckets=_STORE_BUCKETS,
            registry=self._registry,
        )
        self._rule_matches = self._counter("rule_matches", "Instances that a rule matched.", "rule")
        self._duplicates = self._counter("duplicates_skipped", "Instances not sent: arrived before.")
        self._quota_refusals = self._counter(
            "quota_refusals", "Instances refused because a quota is used up.", "source"
        )
        self._undelivered = self._gauge("undelivered_bytes", "Bytes of a source with a quota.", "source")
        self._tasks = self._gauge("tasks", "Tasks of the event loop.")
        self._limits_reached = self._counter("limits_reached", "Times that a limit was reached.", "limit")
        self._contexts_refused = self._counter(
            "presentation_contexts_refused", "Presentation contexts refused to callers.", "reason"
        )
        self._queries = self._counter(
            "queries", "Queries and retrievals of callers, and how each ended.", "operation", "outcome"
        )
        self._by_role: dict[str, Gauge] = {}
        self._by_rejection: dict[str, Counter] = {}
        self._by_rule: dict[str, Counter] = {}

    def _declare_delivery(self) -> None:
        self._deliveries = self._counter(
            "deliveries", "Deliveries that came to an end, and which.", "destination", "outcome"
        )
        self._attempts = self._counter(
            "delivery_attempts", "Attempts to deliver, and how each ended.", "destination", "reason"
        )
        self._delivery_seconds = Histogram(
            "dicom_router_delivery_seconds",
            "From received to delivered.",
            ("destination",),
            buckets=_DELIVERY_BUCKETS,
            registry=self._registry,
        )
        self._delivered_bytes = self._counter(
            "delivered_bytes", "Bytes of data sets delivered, as they were received.", "destination"
        )
        self._destination_up = self._gauge("destination_up", "Whether a destination answers.", "destination")
        self._destination_paused = self._gauge(
            "destination_paused", "Whether an operator has paused a destination.", "destination"
        )
        self._transcodes = self._counter(
            "transcodes", "Instances brought into another transfer syntax.", "from", "to", "outcome"
        )
        self._by_outcome: dict[tuple[str, str], Counter] = {}
        self._by_attempt: dict[tuple[str, str], Counter] = {}
        self._by_delivery: dict[str, tuple[Histogram, Counter]] = {}
        self._by_up: dict[str, Gauge] = {}
        self._up: dict[str, bool] = {}
        self._outages: dict[str, Reason] = {}

    def _declare_store(self) -> None:
        self._depth = self._gauge("queue_depth", "Deliveries in a state.", "destination", "state")
        self._oldest = self._gauge("queue_oldest_seconds", "Age of the oldest that waits.", "destination")
        self._spool_bytes = self._gauge("spool_bytes", "Bytes that the spool takes on disk.")
        self._spool_free_bytes = self._gauge("spool_free_bytes", "Bytes free on the spool's disk.")
        self._reloads = self._counter("config_reloads", "Reloads of the configuration.", "outcome")
        self._by_depth: dict[tuple[str, str], Gauge] = {}
        self._by_oldest: dict[str, Gauge] = {}

    def _declare_tls(self) -> None:
        self._handshakes = self._counter(
            "tls_handshakes", "TLS handshakes that succeeded.", "role", "version", "resumed"
        )
        self._tls_failures = self._counter("tls_failures", "TLS handshakes that failed.", "role", "reason")
        self._tls_reloads = self._counter("tls_reloads", "Certificates and keys read again.", "outcome")
        self._expiry = self._gauge(
            "certificate_expiry_seconds", "Until a configured file ends; below 0: it has.", "kind", "path"
        )

    def _declare_audit(self) -> None:
        self._audit_messages = self._counter(
            "audit_messages", "Audit messages handed over, or lost for want of room.", "outlet", "outcome"
        )
        self._audit_waiting = self._gauge("audit_waiting", "Audit messages not handed over yet.", "outlet")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"dicom_router_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"dicom_router_{name}", text, labels, registry=self._registry)

    # Reception

    def received(self, instance_bytes: int) -> None:
        """One instance was acknowledged with success."""
        self._received.inc()
        self._received_bytes.inc(instance_bytes)

    def association_opened(self, role: str) -> None:
        """``role`` is ``acceptor`` or ``requestor``: ours."""
        self._role(role).inc()

    def association_closed(self, role: str) -> None:
        """The end of one that was opened."""
        self._role(role).dec()

    def _role(self, role: str) -> Gauge:
        child = self._by_role.get(role)
        if child is None:
            child = self._by_role[role] = self._associations.labels(role)
        return child

    def association_rejected(self, reason: str) -> None:
        """We answered A-ASSOCIATE-RJ; ``reason`` is from the closed set of whoever rejects."""
        child = self._by_rejection.get(reason)
        if child is None:
            child = self._by_rejection[reason] = self._rejections.labels(reason)
        child.inc()

    def limit_reached(self, limit: str) -> None:
        """``limit`` is a key of a listener's ``limits``, or ``descriptors``."""
        self._limits_reached.labels(limit).inc()

    def set_tasks(self, count: int) -> None:
        """How many tasks the loop has."""
        self._tasks.set(count)

    def contexts_refused(self, reason: str, count: int) -> None:
        """``reason`` is from the closed set of ``router.receive.gate``."""
        self._contexts_refused.labels(reason).inc(count)

    def query_ended(self, operation: str, outcome: str) -> None:
        """``operation`` is ``find``, ``move`` or ``get``; ``outcome`` is from ``router.query.answering``."""
        self._queries.labels(operation, outcome).inc()

    def store_answered(self, seconds: float) -> None:
        """A C-STORE response was handed to the wire ``seconds`` after its request was complete."""
        self._store_seconds.observe(seconds)

    def rule_matched(self, rule: str) -> None:
        """``rule`` is a name from the configuration."""
        child = self._by_rule.get(rule)
        if child is None:
            child = self._by_rule[rule] = self._rule_matches.labels(rule)
        child.inc()

    def duplicate_skipped(self) -> None:
        """An instance goes nowhere because it is one that arrived before."""
        self._duplicates.inc()

    def quota_refused(self, source: str) -> None:
        """An instance was answered with A700; ``source`` is a name of the configuration."""
        child = self._quota_refusals.labels(source)
        child.inc()

    def undelivered(self, source: str, used_bytes: int) -> None:
        """How much of its quota a source uses."""
        child = self._undelivered.labels(source)
        child.set(used_bytes)

    # Delivery

    def delivery_finished(self, destination: str, outcome: str, count: int = 1) -> None:
        """Deliveries reached a state in which no lane touches them again."""
        child = self._by_outcome.get((destination, outcome))
        if child is None:
            child = self._deliveries.labels(destination or UNMATCHED_LABEL, outcome)
            self._by_outcome[destination, outcome] = child
        child.inc(count)

    def given_up(self, by_destination: Mapping[str, int]) -> None:
        """An operator has discarded deliveries, or given them to another destination."""
        for destination, count in by_destination.items():
            self.delivery_finished(destination, DeliveryState.DISCARDED.value, count)

    def attempt_made(self, destination: str, reason: str) -> None:
        """One attempt ended."""
        child = self._by_attempt.get((destination, reason))
        if child is None:
            child = self._by_attempt[destination, reason] = self._attempts.labels(destination, reason)
        child.inc()

    def delivered(self, destination: str, seconds: float, instance_bytes: int) -> None:
        """A delivery succeeded ``seconds`` after its instance was received."""
        children = self._by_delivery.get(destination)
        if children is None:
            children = (self._delivery_seconds.labels(destination), self._delivered_bytes.labels(destination))
            self._by_delivery[destination] = children
        children[0].observe(max(seconds, 0.0))
        children[1].inc(instance_bytes)

    def transcoded(self, source: str, target: str, outcome: str) -> None:
        """One transcoding ended: ``lossless``, ``lossy``, ``refused``, ``broken`` or ``failed``.

        ``source`` and ``target`` are short names of transfer syntaxes, or ``other``.
        """
        child = self._transcodes.labels(source, target, outcome)
        child.inc()

    def destination_up(self, destination: str, up: bool) -> None:
        """What the lane believes of its destination."""
        self._up[destination] = up
        child = self._by_up.get(destination)
        if child is None:
            child = self._by_up[destination] = self._destination_up.labels(destination)
        child.set(1 if up else 0)

    def outage(self, destination: str, reason: Reason) -> None:
        """Why a destination is down, by the last that was tried."""
        self._outages[destination] = reason

    def destination_paused(self, destination: str, is_paused: bool) -> None:
        """Whether an operator has stopped the sending to it."""
        self._destination_paused.labels(destination).set(1 if is_paused else 0)

    def destinations_up(self) -> dict[str, bool]:
        """What was last said by :meth:`destination_up` of each."""
        return dict(self._up)

    def outages(self) -> dict[str, Reason]:
        """What was last said by :meth:`outage` of each; it may be over."""
        return dict(self._outages)

    # TLS

    def tls_secured(self, role: str, version: str, *, is_resumed: bool) -> None:
        """A handshake is through; ``role`` is ours, ``version`` one that OpenSSL knows."""
        self._handshakes.labels(role, version, str(is_resumed).lower()).inc()

    def tls_failed(self, role: str, reason: str) -> None:
        """There is no TLS connection; ``reason`` is from the closed set of ``router.net.tls_words``."""
        self._tls_failures.labels(role, reason).inc()

    def tls_reloaded(self, outcome: str) -> None:
        """Files that changed were read again: ``success`` or ``failure``."""
        self._tls_reloads.labels(outcome).inc()

    def certificate_ends(self, kind: str, path: str, in_s: float) -> None:
        """How long a ``certificate``, ``ca`` or ``crl`` of the configuration is still good."""
        self._expiry.labels(kind, path).set(in_s)

    # HTTP

    def http_denied(self, reason: str) -> None:
        """A request was refused before it was looked at; ``reason`` is one of ``router.api.access``."""
        self._http_denials.labels(reason).inc()

    # Audit

    def audit_sent(self, outlet: str, count: int) -> None:
        """So many messages were handed over; ``outlet`` is ``syslog`` or ``file``."""
        self._audit_messages.labels(outlet, "sent").inc(count)

    def audit_dropped(self, outlet: str, count: int) -> None:
        """So many messages are lost."""
        self._audit_messages.labels(outlet, "dropped").inc(count)

    def audit_waiting(self, outlet: str, count: int) -> None:
        """How many messages wait."""
        self._audit_waiting.labels(outlet).set(count)

    # Store

    def set_depths(self, depths: Iterable[QueueDepth], now: float) -> None:
        """Take over the whole queue's depths; what is not named is 0. ``now`` is wall time."""
        empty_depths, empty_oldest = set(self._by_depth), set(self._by_oldest)
        oldest: dict[str, float] = {}
        for depth in depths:
            name = depth.destination or UNMATCHED_LABEL
            key = (name, depth.state.value)
            empty_depths.discard(key)
            if key not in self._by_depth:
                self._by_depth[key] = self._depth.labels(*key)
            self._by_depth[key].set(depth.count)
            if depth.state in _WAITING and depth.count and depth.oldest_at is not None:
                oldest[name] = max(oldest.get(name, 0.0), now - depth.oldest_at)
        for name, seconds in oldest.items():
            empty_oldest.discard(name)
            if name not in self._by_oldest:
                self._by_oldest[name] = self._oldest.labels(name)
            self._by_oldest[name].set(seconds)
        for key in empty_depths:
            self._by_depth[key].set(0)
        for name in empty_oldest:
            self._by_oldest[name].set(0)

    def set_spool(self, bytes_used: int, free_bytes: int) -> None:
        """How much the spool takes and how much its disk has left."""
        self._spool_bytes.set(bytes_used)
        self._spool_free_bytes.set(free_bytes)

    def reload(self, outcome: str) -> None:
        """A reload of the configuration was tried: ``success`` or ``failure``."""
        child = self._reloads.labels(outcome)
        child.inc()

    def totals(self) -> Totals:
        """What has come in and arrived so far, over all destinations: a few µs for each of them."""
        arrived = DeliveryState.DELIVERED.value
        finished = [child for (_, outcome), child in [*self._by_outcome.items()] if outcome == arrived]
        return Totals(
            received=_value(self._received),
            received_bytes=_value(self._received_bytes),
            delivered=sum(map(_value, finished)),
            delivered_bytes=sum(_value(child) for _, child in self._by_delivery.values()),
        )

    def render(self) -> bytes:
        """Everything in Prometheus' text format (:data:`CONTENT_TYPE`). Slow: call it in a thread."""
        return generate_latest(self._registry)


def _value(counter: Counter) -> float:
    """What a counter without labels, or a child, stands at."""
    return next(
        (s.value for metric in counter.collect() for s in metric.samples if s.name.endswith("_total")), 0.0
    )
