"""Who may come in and what they may ask: the answer to an A-ASSOCIATE-RQ as a pure decision.

What the caller says of itself is asked in this order, and the first that does not fit refuses: the listener's
addresses, the called AE title, the calling AE title, and then of the modalities with that title those whose
host or addresses, listeners, certificate and users fit. A user's passcode is not looked at here, because that
takes long: ``Admission.passport`` says that ``receive.identity`` has to.

What a peer is told are the codes of PS3.8 Table 9-21 and nothing else; ``Refusal.label`` is the word for
metric and log, and ``ADVICE`` what an administrator can do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType

from router.config.access import IdentityPolicy, Network
from router.config.settings import Listener, Modality, Operation, Settings
from router.dicom.codes import VERIFICATION, RejectReason, RejectResult, RejectSource, UserIdentityKind
from router.dicom.negotiation import (
    AssociateRequest,
    UserIdentity,
    is_storage,
    is_storage_or_verification,
)
from router.dicom.query import FIND_CLASSES, GET_CLASSES, MOVE_CLASSES, Model

# What is answered of query and retrieve where there is an index, by abstract syntax
QUERIES: Mapping[str, Operation] = MappingProxyType(
    {
        classes[model]: operation
        for operation, classes in (
            (Operation.FIND, FIND_CLASSES),
            (Operation.MOVE, MOVE_CLASSES),
            (Operation.GET, GET_CLASSES),
        )
        for model in (Model.PATIENT, Model.STUDY)
    }
)

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "address_not_allowed": "add the address to the listener's 'addresses', if it may come",
        "called_ae_not_recognised": "have the peer call one of our AE titles, or add to the listener's "
        "'called_ae' what it calls; check_called_ae: false asks for none",
        "calling_ae_not_recognised": "add a modality with this AE title, or let unknown callers in "
        "(accept_unknown)",
        "host_not_recognised": "the modality's 'host' or 'addresses' lack where it comes from: add it",
        "listener_not_allowed": "the modality's 'listeners' lack the one it came by: add it, or have it come "
        "by another",
        "certificate_not_recognised": "the modality's 'certificate_names' lack what its certificate is for, "
        "or it shows none: add the name, or have it come by a listener with client_ca",
        "identity_missing": "the listener or the modality asks for a user identity: have the peer send one, "
        "or see 'identity' and 'users'",
        "identity_not_recognised": "unknown user, one that the modality's 'users' lack, or a wrong passcode: "
        "compare 'users' with what the peer is configured to send",
        "identity_throttled": "wrong passcodes came from there lately; see "
        "limits.identity_failures_per_minute",
        "nothing_allowed": "the modality's 'accept' is empty: it may ask nothing of us",
        "protocol_version_not_supported": "the peer speaks another version of the protocol, or no DICOM",
        "application_context_not_supported": "the peer asks for something that is not DICOM",
        "contexts": "see limits.contexts; the peer proposes more presentation contexts",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The fields of the A-ASSOCIATE-RJ, and the word by which metrics and logs know it."""

    result: int
    source: int
    reason: int
    label: str

    @property
    def advice(self) -> str:
        """What an administrator can do about it."""
        return ADVICE.get(self.label, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """A user identity that has still to be verified."""

    username: str
    passcode: bytes | None  # None: none was sent

    def __repr__(self) -> str:
        return "Passport()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The peer may come in and ask these operations, once its ``passport`` has been verified."""

    operations: frozenset[Operation]
    passport: Passport | None = None  # None: there is nothing to verify, and nothing to answer
    has_index: bool = False  # queries are answered at all

    def allows(self, abstract_syntax: str) -> bool:
        """Whether a presentation context for this abstract syntax is for something the peer may ask."""
        if abstract_syntax == VERIFICATION:
            return Operation.ECHO in self.operations
        if abstract_syntax in QUERIES:
            return self.has_index and QUERIES[abstract_syntax] in self.operations
        return (Operation.STORE in self.operations or self._may_get) and is_storage(abstract_syntax)

    def takes_only(self, abstract_syntax: str) -> bool:
        """Whether the peer may be sent instances of this class on its association, and may send none."""
        return self._may_get and Operation.STORE not in self.operations and is_storage(abstract_syntax)

    @property
    def _may_get(self) -> bool:
        return self.has_index and Operation.GET in self.operations


def is_performed(settings: Settings, abstract_syntax: str) -> bool:
    """Whether some caller may ask this of us."""
    return is_storage_or_verification(abstract_syntax) or (settings.index and abstract_syntax in QUERIES)


def candidates(settings: Settings, calling_ae: str) -> tuple[Modality, ...]:
    """The configured modalities that go by this AE title; several may, on several hosts."""
    return tuple(m for m in settings.modalities.values() if m.ae_title == calling_ae)


def listener_of(settings: Settings, label: str) -> Listener:
    """The listener by which an association came."""
    return next((one for one in settings.listeners if one.label == label), settings.listeners[0])


def admit(
    settings: Settings,
    request: AssociateRequest,
    *,
    peer: str,
    addresses_of: Callable[[str], Collection[str]],
    certificate_names: Collection[str] = (),
    listener: Listener | None = None,
) -> Admission | Refusal:
    """Decide about a request from ``peer``. ``addresses_of`` gives the addresses of a configured host.

    ``certificate_names`` are those of the certificate that the peer has shown, in lower case; none without.
    ``listener`` is where it came in; None: the first.
    """
    listener = listener if listener is not None else settings.listeners[0]
    if listener.addresses and not is_within(peer, listener.addresses):
        return refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "address_not_allowed")
    if not _is_called(settings, listener, request.called_ae):
        return refuse(RejectReason.USER_CALLED_AE_NOT_RECOGNIZED, "called_ae_not_recognised")
    passport = _passport(request.user_identity)
    must_verify = passport is not None and listener.identity is not IdentityPolicy.IGNORED
    if listener.identity is IdentityPolicy.REQUIRED and passport is None:
        return refuse(RejectReason.USER_NO_REASON, "identity_missing")
    known = candidates(settings, request.calling_ae)
    if not known:
        unknown = listener.accept_unknown if listener.accept_unknown is not None else settings.accept_unknown
        if not unknown:
            return refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "calling_ae_not_recognised")
        return Admission(
            operations=frozenset(unknown),
            passport=passport if must_verify else None,
            has_index=settings.index,
        )
    here = [m for m in known if _is_from(m, peer, addresses_of)]
    if not here:
        return refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "host_not_recognised")
    here = [m for m in here if not m.listeners or listener.label in m.listeners]
    if not here:
        return refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "listener_not_allowed")
    here = [m for m in here if _is_shown(m.certificate_names, certificate_names)]
    if not here:
        return refuse(RejectReason.USER_CALLING_AE_NOT_RECOGNIZED, "certificate_not_recognised")
    here = [m for m in here if not m.users or (passport is not None and passport.username in m.users)]
    if not here:
        label = "identity_missing" if passport is None else "identity_not_recognised"
        return refuse(RejectReason.USER_NO_REASON, label)
    operations = frozenset(operation for modality in here for operation in modality.accept)
    if not operations:
        return refuse(RejectReason.USER_NO_REASON, "nothing_allowed")
    must_verify = must_verify or any(modality.users for modality in here)
    return Admission(
        operations=operations, passport=passport if must_verify else None, has_index=settings.index
    )


def refuse(reason: int, label: str) -> Refusal:
    """A permanent refusal by the service user: by us as we are configured."""
    return Refusal(
        result=RejectResult.PERMANENT, source=RejectSource.SERVICE_USER, reason=reason, label=label
    )


def is_within(peer: str, networks: Collection[Network]) -> bool:
    """Whether an address is in one of these networks."""
    try:
        address = address_of(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)


def address_of(peer: str) -> IPv4Address | IPv6Address:
    """A peer's address; an IPv4 address that came in over an IPv6 socket is itself. Raises ``ValueError``."""
    address = ip_address(peer.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped if mapped is not None else address


def _is_called(settings: Settings, listener: Listener, called_ae: str) -> bool:
    if listener.called_ae:
        return called_ae in listener.called_ae
    return not settings.check_called_ae or called_ae == settings.ae_title


def _is_from(modality: Modality, peer: str, addresses_of: Callable[[str], Collection[str]]) -> bool:
    if not modality.check_host and not modality.addresses:
        return True
    if is_within(peer, modality.addresses):
        return True
    return modality.check_host and peer.removeprefix("::ffff:") in addresses_of(modality.host)


def _is_shown(wanted: Collection[str], shown: Collection[str]) -> bool:
    return not wanted or any(name.casefold() in shown for name in wanted)


def _passport(identity: UserIdentity | None) -> Passport | None:
    """A user name, with or without a passcode; tickets and tokens are nothing that we could verify."""
    if identity is None or identity.kind not in (
        UserIdentityKind.USERNAME,
        UserIdentityKind.USERNAME_AND_PASSCODE,
    ):
        return None
    username = identity.primary.decode("utf-8", "replace")
    has_passcode = identity.kind == UserIdentityKind.USERNAME_AND_PASSCODE
    return Passport(username=username, passcode=identity.secondary if has_passcode else None)
