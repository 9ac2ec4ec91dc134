"""What an acceptor refuses by itself, before its user is asked (PS3.8 AE-6), and how it says so."""

from __future__ import annotations

from router.dicom.codes import (
    APPLICATION_CONTEXT,
    RejectReason,
    RejectResult,
    RejectSource,
    describe_rejection,
)
from router.dicom.events import AssociationRejected
from router.dicom.negotiation import AssociateRequest

Codes = tuple[int, int, int]  # result, source, reason: PS3.8 Table 9-21

_VERSION: Codes = (
    RejectResult.PERMANENT,
    RejectSource.SERVICE_PROVIDER_ACSE,
    RejectReason.ACSE_PROTOCOL_VERSION_NOT_SUPPORTED,
)
_APPLICATION: Codes = (
    RejectResult.PERMANENT,
    RejectSource.SERVICE_USER,
    RejectReason.USER_APPLICATION_CONTEXT_NOT_SUPPORTED,
)
# Permanent: the same request would be over the limit again.
_CONTEXTS: Codes = (
    RejectResult.PERMANENT,
    RejectSource.SERVICE_PROVIDER_PRESENTATION,
    RejectReason.PRESENTATION_LOCAL_LIMIT_EXCEEDED,
)
_LABELS = {
    _VERSION: "protocol_version_not_supported",
    _APPLICATION: "application_context_not_supported",
    _CONTEXTS: "contexts",
}


def refusal_of(request: AssociateRequest, *, most_contexts: int) -> Codes | None:
    """Why the service provider cannot speak with whoever asks so (PS3.8 Table 9-11); None where it can."""
    if not request.protocol_version & 1:
        return _VERSION
    if request.application_context != APPLICATION_CONTEXT:
        return _APPLICATION
    return _CONTEXTS if len(request.contexts) > most_contexts else None


def label_of(event: AssociationRejected) -> str:
    """The word for a refusal of our own: one of a small closed set."""
    return _LABELS.get((event.result, event.source, event.reason), "protocol")


def rejected(result: int, source: int, reason: int) -> AssociationRejected:
    """The event, with the codes in words."""
    text = describe_rejection(result, source, reason)
    return AssociationRejected(result=result, source=source, reason=reason, text=text)
