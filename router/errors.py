"""The errors of the gateway: who is wrong, and whether trying again can help.

Foreign exceptions are converted to one of these at the door where they enter. Every failure of a delivery
is classified by ``router.deliver.verdict``; nothing else decides about retries.
"""

from __future__ import annotations


class RouterError(Exception):
    """The base of everything that the gateway raises on purpose."""


class ConfigurationError(RouterError):
    """The configuration or a rule file is wrong. Carries one ``file:line:column: message`` per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LocalProtocolError(RouterError):
    """We asked for something that the association's state does not allow: a defect of ours."""


class RemoteProtocolError(RouterError):
    """The peer broke the protocol (PS3.8 §9.2). The association answers with A-ABORT and is over.

    ``abort_reason`` is the reason/diagnostic field of the A-ABORT PDU (PS3.8 Table 9-26); ``limit`` the key
    of the limit that it is over, where that is what is wrong.
    """

    def __init__(self, message: str, *, abort_reason: int = 0, limit: str = "") -> None:
        super().__init__(message)
        self.abort_reason = abort_reason
        self.limit = limit


class AssociationError(RouterError):
    """An association could not be made or was lost."""


class ConnectFailed(AssociationError):
    """No transport connection: refused, unreachable, unknown host, no answer in time, TLS failed."""


class TlsFailed(ConnectFailed):
    """A TLS handshake failed. ``reason`` is a word of a small closed set, fit for a metric's label."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class AssociationRejected(AssociationError):
    """A-ASSOCIATE-RJ. ``result`` 1 is permanent, 2 transient; source and reason as in PS3.8 Table 9-21."""

    def __init__(self, *, result: int, source: int, reason: int, text: str) -> None:
        super().__init__(text)
        self.result = result
        self.source = source
        self.reason = reason


class AssociationLost(AssociationError):
    """An A-ABORT arrived or the connection went away while something was outstanding."""


class AssociationAborted(AssociationLost):
    """An A-ABORT arrived while something was outstanding."""


class AssociationTimeout(AssociationError):
    """The peer did not answer in time. The association has been aborted and must not be used again.

    ``limit`` is the key of the limit that has passed; empty where it was not one of a listener's.
    """

    def __init__(self, message: str, *, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class StorageError(RouterError):
    """The spool could not store. ``out_of_resources`` says A700 (disk full or low) rather than 0110."""

    def __init__(self, message: str, *, out_of_resources: bool) -> None:
        super().__init__(message)
        self.out_of_resources = out_of_resources


class CorruptRecord(StorageError):
    """Stored bytes do not match the hash taken when they arrived. They must never leave the gateway."""

    def __init__(self, message: str) -> None:
        super().__init__(message, out_of_resources=False)


class TlsUnusable(RouterError):
    """A file that TLS needs cannot be used. ``key`` is the key of the ``tls`` block that names it."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class UnknownItem(RouterError):
    """An operator named something that does not exist."""


class NotAllowed(RouterError):
    """An operator's request that the item's state does not allow."""


class CannotTranscode(RouterError):
    """This instance cannot have that form, and why: another form may do, the same one never will."""


class CannotEdit(CannotTranscode):
    """What is to be edited cannot be, in whatever form: it must not leave."""


class BrokenCodec(CannotTranscode):
    """A codec's result is not what it should be: the proof failed. Nothing of it may be used."""


class TranscodeFailed(RouterError):
    """A worker process died, took too long or could not be had. The same form may do another time."""
