"""The ladder: in which transfer syntaxes an instance may be sent to a destination, the best first. Pure.

As received; then what the destination prefers; then the lossless forms; then Explicit and Implicit VR Little
Endian. Three things change that order: a rule that says in which form to send comes first; a destination that
lists what it prefers is sent those forms first, unless the instance came in one of them; and what came
uncompressed is rather sent uncompressed in another way than compressed by us, because that costs nothing.
Nothing lossy is on the ladder unless a rule or the destination says how much may be lost.

Which of the rungs a destination accepts is found out by negotiation (``plan``); whether an instance can have
a form at all, by trying (``transcode``).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from router.config.forms import AS_RECEIVED
from router.dicom.syntaxes import LOSSLESS_TARGETS, NATIVE_TARGETS, Encoding, syntax_of
from router.model import Form, Wish

_LOSSLESS = tuple(Form(transfer_syntax_uid=uid) for uid in LOSSLESS_TARGETS)
_NATIVE = tuple(Form(transfer_syntax_uid=uid) for uid in NATIVE_TARGETS)
_READABLE = (Encoding.NATIVE, Encoding.LOSSLESS, Encoding.LOSSY)


def rungs(
    received_uid: str,
    *,
    wish: Wish | None,
    preferred: tuple[Form, ...] = (),
    may_transcode: bool = True,
    makeable: Container[str],
) -> tuple[Form, ...]:
    """The forms to try, each transfer syntax once.

    ``makeable``: the transfer syntaxes for which there is an encoder. Where it is lossy, a form is only made
    if it says how much may be lost; being received in it is always allowed. Every rung has the wish's edits.
    """
    plain = _unedited(received_uid, wish, preferred, may_transcode=may_transcode, makeable=makeable)
    edits = wish.edits if wish is not None else ()
    return tuple(replace(form, edits=edits) for form in plain) if edits else plain


def _unedited(
    received_uid: str,
    wish: Wish | None,
    preferred: tuple[Form, ...],
    *,
    may_transcode: bool,
    makeable: Container[str],
) -> tuple[Form, ...]:
    received = Form(transfer_syntax_uid=received_uid)
    avoid = wish.avoid if wish is not None else ()
    if not may_transcode:
        return () if received_uid in avoid else (received,)
    ladder: dict[str, Form] = {}
    for form in _in_order(received, wish, preferred):
        uid = form.transfer_syntax_uid
        if form == AS_RECEIVED or uid == received_uid:  # what came lossy is not lost more of
            form, uid = received, received_uid
        if uid not in avoid and uid not in ladder and (form == received or _can_be_made(form, makeable)):
            ladder[uid] = form
    if syntax_of(received_uid).encoding not in _READABLE:
        ladder = {uid: form for uid, form in ladder.items() if uid == received_uid}
    return tuple(ladder.values())


def _in_order(received: Form, wish: Wish | None, preferred: tuple[Form, ...]) -> Iterable[Form]:
    if wish is not None and wish.form is not None:
        yield wish.form
    uid = received.transfer_syntax_uid
    if not preferred or any(form.transfer_syntax_uid == uid for form in preferred):
        yield received
    yield from preferred
    yield received
    if syntax_of(uid).is_native:
        yield from (*_NATIVE, *_LOSSLESS)
    else:
        yield from (*_LOSSLESS, *_NATIVE)


def _can_be_made(form: Form, makeable: Container[str]) -> bool:
    uid = form.transfer_syntax_uid
    return uid in makeable and (form.is_lossy or syntax_of(uid).encoding is not Encoding.LOSSY)
