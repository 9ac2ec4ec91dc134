"""Who comes in: asks ``admission`` and ``identity``, answers the request, and tells metrics and log.

A line in the log says what an administrator can do about it; of those that say the same of one peer there is
one a minute, with how many were left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from router.audit import gathering as refusals
from router.clock import Clock
from router.config.settings import Settings
from router.dicom.codes import ContextResult
from router.dicom.events import AssociationRejected, AssociationRequested
from router.dicom.negotiation import Acceptance, AssociateRequest, negotiate
from router.dicom.refusal import label_of
from router.errors import AssociationTimeout, RemoteProtocolError, RouterError
from router.logs import get_logger
from router.net.connection import Connection
from router.net.repeats import Repeats
from router.receive.admission import (
    ADVICE,
    QUERIES,
    Admission,
    Refusal,
    admit,
    candidates,
    is_performed,
    listener_of,
)
from router.receive.hosts import Hosts
from router.receive.identity import Identities
from router.telemetry import Telemetry

_CONTEXT_WORDS: dict[int, str] = {
    ContextResult.USER_REJECTION: "not_allowed",
    ContextResult.NO_REASON: "malformed",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "abstract_syntax_not_supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer_syntaxes_not_supported",
}

log = get_logger("receive")


class Gate:
    """The door of every listener. ``settings`` is asked anew for each association."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        clock: Clock,
        telemetry: Telemetry,
        *,
        on_refused: Callable[[refusals.Refusal], None] = lambda refusal: None,
    ) -> None:
        self._on_refused = on_refused
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._hosts = Hosts(clock)
        self._identities = Identities(clock)
        self._repeats = Repeats()

    async def establish(self, connection: Connection) -> AssociateRequest | None:
        """The request, once it has been accepted; None where it was refused.

        Raises what ``Connection.next_event`` does.
        """
        event = await connection.next_event()
        if isinstance(event, AssociationRejected):  # the service provider itself has refused it
            asked = connection.association.request
            assert asked is not None  # noqa: S101 - it is what was refused
            self._refused(connection, asked, label_of(event))
            return None
        if not isinstance(event, AssociationRequested):
            return None
        request = event.request
        verdict = await self._verdict(connection, request)
        if isinstance(verdict, Refusal):
            self._refused(connection, request, verdict.label)
            connection.association.reject(verdict.result, verdict.source, verdict.reason)
            await connection.flush()
            return None
        settings = self._settings()
        asks = any(
            c.abstract_syntax in QUERIES and verdict.allows(c.abstract_syntax) for c in request.contexts
        )
        acceptance = negotiate(
            request,
            allowed=verdict.allows,
            supported=partial(is_performed, settings),
            only_scp=verdict.takes_only,
            async_ops=(1 if asks else connection.limits.window, 1),  # one query at a time
            user_identity_response=b"" if verdict.passport is not None else None,  # PS3.7 Table D.3-15
        )
        self._count_contexts(connection, request, acceptance)
        connection.association.accept(acceptance)
        await connection.flush()
        log.debug("association accepted", calling_ae=request.calling_ae, peer=connection.peer)
        return request

    def ended(self, connection: Connection, failure: RouterError) -> None:
        """An association ended in another way than by release."""
        is_timeout = isinstance(failure, AssociationTimeout)
        limit = failure.limit if isinstance(failure, AssociationTimeout | RemoteProtocolError) else ""
        if is_timeout:
            what, tell = "association timed out", log.info
        elif isinstance(failure, RemoteProtocolError):
            what, tell = "protocol error", log.warning
        else:
            what, tell = "association lost", log.info
        left_out = self._repeats.left_out(self._clock.monotonic(), f"{what} {limit}", connection.peer)
        if left_out is not None:
            said = {"limit": limit} if limit else {}
            tell(what, peer=connection.peer, detail=str(failure), left_out=left_out, **said)

    async def _verdict(self, connection: Connection, request: AssociateRequest) -> Admission | Refusal:
        settings = self._settings()
        hosts = [m.host for m in candidates(settings, request.calling_ae) if m.check_host]
        addresses = await self._hosts.addresses_of(hosts)
        verdict = admit(
            settings,
            request,
            peer=connection.peer,
            addresses_of=lambda host: addresses[host],
            certificate_names=connection.certificate_names,
            listener=listener_of(settings, connection.listener),
        )
        if isinstance(verdict, Refusal) or verdict.passport is None:
            return verdict
        problem = await self._identities.problem(
            settings,
            verdict.passport,
            peer=connection.peer,
            failures_per_minute=connection.limits.identity_failures_per_minute,
        )
        return problem if problem is not None else verdict

    def _refused(self, connection: Connection, request: AssociateRequest, label: str) -> None:
        self._telemetry.association_rejected(label)
        self._on_refused(_told(connection, request, label))
        if label in ("contexts", "identity_throttled"):
            limit = "contexts" if label == "contexts" else "identity_failures_per_minute"
            self._telemetry.limit_reached(limit)
        left_out = self._repeats.left_out(self._clock.monotonic(), label, connection.peer)
        if left_out is not None:
            log.warning(
                "association rejected",
                reason=label,
                calling_ae=request.calling_ae,
                called_ae=request.called_ae,
                peer=connection.peer,
                listener=connection.listener,
                left_out=left_out,
                what_to_do=ADVICE.get(label, ""),
            )

    def _count_contexts(
        self, connection: Connection, request: AssociateRequest, acceptance: Acceptance
    ) -> None:
        refused = Counter(_CONTEXT_WORDS.get(a.result, "") for a in acceptance.answers if a.result)
        for word, count in refused.items():
            self._telemetry.contexts_refused(word, count)
        if acceptance.contexts or not refused:
            return
        left_out = self._repeats.left_out(self._clock.monotonic(), "no context", connection.peer)
        if left_out is not None:
            log.warning(
                "every presentation context refused",
                calling_ae=request.calling_ae,
                peer=connection.peer,
                reasons=dict(refused),
                left_out=left_out,
                what_to_do="not_allowed: see 'accept' of its modality, or accept_unknown",
            )


def _told(connection: Connection, request: AssociateRequest, label: str) -> refusals.Refusal:
    """A rejected association, for the audit."""
    return refusals.Refusal(
        what=refusals.Refused.CALLER,
        where=connection.listener,
        because=f"association rejected: {label}",
        who=request.calling_ae,
        address=connection.peer.removeprefix("::ffff:"),
    )
