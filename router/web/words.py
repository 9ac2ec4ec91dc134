"""What states, reasons and statuses are called on the page: tables, and whole sentences made from them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.config.http import Scope
from router.model import DeliveryState, InstanceState, Reason
from router.spool.orders import Action
from router.views import AttemptView, DeliveryView, Ordered, Phase
from router.wording import plural, span, when


class Tone(StrEnum):
    """How something is to be taken; a class of the stylesheet."""

    GOOD = "good"
    BUSY = "busy"
    WAITS = "waits"
    WARNS = "warns"
    BAD = "bad"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A word, and how it is to be taken."""

    text: str
    tone: Tone


STATES: dict[DeliveryState, Badge] = {
    DeliveryState.PENDING: Badge(text="pending", tone=Tone.WAITS),
    DeliveryState.ACTIVE: Badge(text="being sent", tone=Tone.BUSY),
    DeliveryState.DELIVERED: Badge(text="delivered", tone=Tone.GOOD),
    DeliveryState.HELD: Badge(text="held", tone=Tone.WARNS),
    DeliveryState.DEAD: Badge(text="dead", tone=Tone.BAD),
    DeliveryState.DISCARDED: Badge(text="discarded", tone=Tone.PLAIN),
}

REASONS: dict[Reason, str] = {
    Reason.ROUTED: "not tried yet",
    Reason.UNMATCHED: "no rule sends it anywhere",
    Reason.SUCCESS: "it was stored",
    Reason.WARNING: "it was stored, with a warning",
    Reason.DUPLICATE: "the destination had it already",
    Reason.OUT_OF_RESOURCES: "the destination has no room, or is too busy",
    Reason.PROCESSING_FAILURE: "the destination failed to process it",
    Reason.DATA_SET_MISMATCH: "the destination says that the data set does not fit its SOP class",
    Reason.CANNOT_UNDERSTAND: "the destination cannot make sense of it",
    Reason.SOP_CLASS_NOT_SUPPORTED: "the destination does not take this kind of image",
    Reason.NOT_AUTHORISED: "the destination does not allow us to store",
    Reason.INVALID_INSTANCE: "the destination says that the image is not valid",
    Reason.NO_CONTEXT: "the destination accepted no presentation context for it",
    Reason.TRANSCODE: "it could not be brought into a form that the destination takes",
    Reason.REJECTED_TRANSIENT: "the destination rejected the association for now",
    Reason.REJECTED_PERMANENT: "the destination rejects our associations: it does not know us",
    Reason.CONNECT_FAILED: "no connection to the destination",
    Reason.TLS_FAILED: "no secure connection to the destination",
    Reason.CONNECTION_LOST: "the connection was lost while it was being sent",
    Reason.ABORTED: "the destination aborted the association",
    Reason.TIMEOUT: "the destination did not answer in time",
    Reason.PROTOCOL_ERROR: "the destination broke the protocol",
    Reason.CORRUPT: "our stored copy is damaged and is never sent",
    Reason.DISK: "a disk here could not be read or written",
    Reason.MISCONFIGURED: "the destination is no longer in the configuration",
    Reason.LEASE_EXPIRED: "the gateway ended while it was being sent",
    Reason.STOPPED: "the gateway was stopped while it was being sent",
    Reason.MAX_ATTEMPTS: "no attempts are left",
    Reason.MAX_AGE: "it has waited for longer than allowed",
    Reason.FAILED_OVER: "that member of the group was down; another one takes it",
    Reason.OPERATOR: "by an operator's order",
    Reason.REDIRECTED: "an operator gave it to another destination",
}

# What prevents that instances are taken (``Readiness.reasons``).
READINESS = {
    Phase.STARTING.value: "It is starting and takes no images yet.",
    Phase.DRAINING.value: "It takes nobody new in and delivers what is here.",
    "disk_low": "The disk is nearly full. Senders are told to come again (A700); what is here is delivered.",
    "disk_gone": "The spool's directory is gone. Nothing can be taken until it is back.",
    "disk_failing": "The disk fails to write. What is tried next shows whether it does again.",
}

INSTANCES = {
    InstanceState.RECEIVED: "safe on disk, not routed yet",
    InstanceState.ROUTED: "its bytes are kept here",
    InstanceState.RELEASED: "its bytes are no longer needed here; this record is its history",
    InstanceState.CORRUPT: "its bytes are damaged: they do not match their hash, and are never sent",
}

# PS3.4 Table B.2-1 and PS3.7 Annex C
_STATUSES = {
    0x0000: "Success",
    0x0001: "Warning: optional attributes are not supported",
    0x0105: "No such attribute",
    0x0106: "Invalid attribute value",
    0x0107: "Warning: attribute list error",
    0x0110: "Processing failure",
    0x0111: "Duplicate SOP instance",
    0x0112: "No such SOP instance",
    0x0115: "Invalid argument value",
    0x0116: "Warning: attribute value out of range",
    0x0117: "Invalid SOP instance",
    0x0118: "No such SOP class",
    0x0119: "Class and instance conflict",
    0x0120: "Missing attribute",
    0x0121: "Missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "Not authorised",
    0x0210: "Duplicate invocation",
    0x0211: "Unrecognised operation",
    0x0212: "Mistyped argument",
    0x0213: "Resource limitation",
    0xB000: "Warning: elements were coerced",
    0xB006: "Warning: elements were discarded",
    0xB007: "Warning: the data set does not match its SOP class",
}
NO_FAILURE = (Reason.ROUTED, Reason.OPERATOR, Reason.REDIRECTED)
_BY_HIGH_BYTE = {0xA7: "Out of resources", 0xA9: "Data set does not match SOP class"}
_BY_HIGH_NIBBLE = {0xB: "Warning", 0xC: "Cannot understand"}

ORDERS: dict[str, str] = {
    Action.HOLD: "Hold",
    Action.RESUME: "Resume",
    Action.RETRY: "Try now",
    Action.DISCARD: "Discard",
    "pause": "Pause",
    "unpause": "Resume",
    Action.DRAIN: "Drain",
    Action.UNDRAIN: "Take images again",
}
_DONE: dict[str, str] = {
    Action.HOLD: "held",
    Action.RESUME: "going on",
    Action.RETRY: "to be tried now",
    Action.DISCARD: "discarded",
}
SCOPES = {
    Scope.READ: "may look",
    Scope.OPERATE: "may look and operate",
    Scope.ADMIN: "may do everything",
}


def status_words(status: str | None) -> str:
    """What a DIMSE status means, with its number; empty where none came."""
    if status is None:
        return ""
    number = int(status, 16)
    words = _STATUSES.get(number) or _BY_HIGH_BYTE.get(number >> 8) or _BY_HIGH_NIBBLE.get(number >> 12)
    return f"{words or 'A status that the standard does not know'} ({status})"


def badge_of(delivery: DeliveryView) -> Badge:
    """The state of a delivery; what was tried before, or waits for its schedule, says so."""
    if delivery.state is DeliveryState.PENDING:
        if delivery.opens_at is not None:
            return Badge(text="closed by schedule", tone=Tone.WAITS)
        if delivery.reason not in NO_FAILURE:
            return Badge(text="to be tried again", tone=Tone.WARNS)
    return STATES[delivery.state]


def delivery_words(delivery: DeliveryView, blocker: str = "", received_at: float | None = None) -> str:
    """Where a delivery stands, as a sentence.

    ``blocker``: what is in the way at its destination. ``received_at``: of its image, where that is known.
    """
    state, reason = delivery.state, REASONS[delivery.reason]
    tries = plural(delivery.attempts, "attempt")
    if state is DeliveryState.DELIVERED:
        took = f", {span(delivery.changed_at - received_at)} after it came in" if received_at else ""
        said = "" if delivery.reason is Reason.SUCCESS else f": {reason}"
        return f"Delivered at {when(delivery.changed_at)}{took}{said}."
    if state is DeliveryState.ACTIVE:
        return f"Being sent since {when(delivery.changed_at)}" + (
            f", after {tries}." if tries[0] != "0" else "."
        )
    if state is DeliveryState.HELD:
        way_out = "resumes it" if delivery.destination else "redirects it (queue redirect) or discards it"
        return f"Held since {when(delivery.changed_at)}: {reason}. It waits until somebody {way_out}."
    if state is DeliveryState.DEAD:
        return f"Given up at {when(delivery.changed_at)} after {tries}: {reason}."
    if state is DeliveryState.DISCARDED:
        return f"Discarded at {when(delivery.changed_at)}: {reason}."
    return _pending_words(delivery, blocker, reason, tries)


def _pending_words(delivery: DeliveryView, blocker: str, reason: str, tries: str) -> str:
    if delivery.opens_at is not None:
        return f"Waits until {when(delivery.opens_at)}, when its destination's schedule opens."
    if delivery.reason in NO_FAILURE:
        return f"Waits: {blocker}." if blocker else "Waits for its turn."
    failed = f" {tries} failed." if delivery.attempts else ""
    if blocker:
        last = "" if reason in blocker else f" The last time, {reason}."
        return f"Waits to be tried again: {blocker}.{last}{failed}"
    return f"To be tried again at {when(delivery.due_at)}: {reason}.{failed}"


def attempt_words(attempt: AttemptView) -> str:
    """How one attempt ended."""
    return REASONS[attempt.reason]


def attempt_tone(attempt: AttemptView) -> Tone:
    """Whether it was a success."""
    if attempt.reason in (Reason.SUCCESS, Reason.DUPLICATE):
        return Tone.GOOD
    return Tone.WARNS if attempt.reason is Reason.WARNING else Tone.BAD


def done_words(action: str, target: str, done: Ordered) -> str:
    """What became of an order, as a sentence."""
    if action == "pause":
        return f"Nothing more is sent to {target}: it is paused. What is on its way there ends."
    if action == "unpause":
        return f"Images are sent to {target} again."
    if action == Action.DRAIN:
        return "Draining: nobody new comes in, and what is here goes out."
    if action == Action.UNDRAIN:
        return "Images are taken again."
    verb = "is" if done.count == 1 else "are"
    said = f"{plural(done.count, 'delivery')} {verb} {_DONE[action]}."
    if done.left_alone:
        said += " Left alone: " + ", ".join(f"{n} {word}" for word, n in done.left_alone.items()) + "."
    return said
