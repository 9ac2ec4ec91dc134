"""Who may come in and what they may ask: the answer to an A-ASSOCIATE-RQ as a pure decision."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from router.config.settings import Modality, Operation, Settings
from router.dicom.codes import VERIFICATION, RejectReason, RejectResult, RejectSource
from router.dicom.negotiation import AssociateRequest, is_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The fields of the A-ASSOCIATE-RJ, and the word by which metrics and logs know it."""

    result: int
    source: int
    reason: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The peer may come in and ask these operations."""

    operations: frozenset[Operation]

    def allows(self, abstract_syntax: str) -> bool:
        """Whether a presentation context for this abstract syntax is for something the peer may ask."""
        if abstract_syntax == VERIFICATION:
            return Operation.ECHO in self.operations
        return Operation.STORE in self.operations and is_storage(abstract_syntax)


def candidates(settings: Settings, calling_ae: str) -> tuple[Modality, ...]:
    """The configured modalities that go by this AE title; several may, on several hosts."""
    return tuple(m for m in settings.modalities.values() if m.ae_title == calling_ae)


def admit(
    settings: Settings,
    request: AssociateRequest,
    *,
    peer: str,
    addresses_of: Callable[[str], Collection[str]],
    certificate_names: Collection[str] = (),
) -> Admission | Refusal:
    """Decide about a request from ``peer``. ``addresses_of`` gives the addresses of a configured host.

    ``certificate_names`` are those of the certificate that the peer has shown, in lower case; none without.
    """
    if settings.check_called_ae and request.called_ae != settings.ae_title:
        return _refuse(RejectReason.USER_CALLED_AE_NOT_RECOGNIZED, "called_ae_not_recognised")
    known = candidates(settings, request.calling_ae)
    if not known:
        if not settings.accept_unknown:
            return _refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "calling_ae_not_recognised")
        return Admission(operations=frozenset(settings.accept_unknown))
    here = [m for m in known if not m.check_host or _unmapped(peer) in addresses_of(m.host)]
    if not here:
        return _refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "host_not_recognised")
    here = [m for m in here if _is_shown(m.certificate_names, certificate_names)]
    if not here:
        return _refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "certificate_not_recognised")
    operations = frozenset(operation for modality in here for operation in modality.accept)
    if not operations & {Operation.ECHO, Operation.STORE}:
        return _refuse(RejectReason.USER_NO_REASON, "nothing_allowed")
    return Admission(operations=operations)


def _is_shown(wanted: Collection[str], shown: Collection[str]) -> bool:
    return not wanted or any(name.casefold() in shown for name in wanted)


def _refuse(reason: int, label: str) -> Refusal:
    return Refusal(
        result=RejectResult.PERMANENT, source=RejectSource.SERVICE_USER, reason=reason, label=label
    )


def _unmapped(address: str) -> str:
    """An IPv4 address that came in over an IPv6 socket, as itself."""
    return address.removeprefix("::ffff:")
