"""What callers asked and were sent, told to the auditor."""

from __future__ import annotations

from router.audit.auditor import Auditor
from router.audit.gathering import Caller
from router.audit.lookup import ReadHead, look_up
from router.model import Instance
from router.query.dialogue import Dialogue, Ended

_REFUSALS = {
    Ended.REFUSED: "refused",
    Ended.BUSY: "refused for now",
    Ended.FAILED: "failed",
    Ended.LOST: "the association was lost",
}


class Teller:
    """Tells one auditor; without one it does nothing."""

    def __init__(self, auditor: Auditor | None, read_head: ReadHead) -> None:
        self._auditor = auditor
        self._read_head = read_head

    def queried(self, dialogue: Dialogue, ended: Ended) -> None:
        """A C-FIND has ended."""
        if self._auditor is not None:
            context = dialogue.context
            self._auditor.queried(
                caller_of(dialogue),
                context.abstract_syntax,
                context.transfer_syntax,
                _REFUSALS.get(ended, ""),
            )

    async def sent(self, dialogue: Dialogue, instance: Instance, destination: str | None) -> None:
        """An instance was stored: by a destination, or by the caller (None)."""
        if self._auditor is None:
            return
        if not self._auditor.is_known(instance):
            await look_up(self._auditor, self._read_head, instance)
        self._auditor.retrieved(instance, destination if destination is not None else caller_of(dialogue))


def caller_of(dialogue: Dialogue) -> Caller:
    """Who asks."""
    request = dialogue.connection.association.request
    return Caller(
        ae_title=request.calling_ae if request is not None else "",
        address=dialogue.connection.peer.removeprefix("::ffff:"),
    )
