"""The numbers and UIDs of PS3.5 to PS3.8 that the code uses by name.

Integers are ``IntEnum`` so that they compare with what was read from the wire; an unknown number from the
wire stays a plain ``int``.
"""

from __future__ import annotations

from enum import IntEnum

# PS3.7 Annex A.2.1: the only application context there is.
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH = "1.2.840.10008.1.20.1"

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

# Who we say we are (PS3.7 D.3.3.2); a UUID-derived UID (PS3.5 B.2), made once for this implementation.
IMPLEMENTATION_CLASS_UID = "2.25.251759779541142292120685629754107306376"
IMPLEMENTATION_VERSION = "DICOM_ROUTER_0_1"  # at most 16 characters

MAX_UID_LENGTH = 64  # PS3.5 §9.1
MAX_AE_TITLE_LENGTH = 16  # PS3.5 §6.2
MAX_CONTEXTS = 128  # odd context ids 1 to 255: PS3.8 §7.1.1.13


class PduType(IntEnum):
    """PS3.8 §9.3."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class ItemType(IntEnum):
    """Items and sub-items of A-ASSOCIATE-RQ and -AC (PS3.8 §9.3.2, PS3.7 Annex D)."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION = 0x55
    EXTENDED_NEGOTIATION = 0x56
    COMMON_EXTENDED_NEGOTIATION = 0x57
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


class ContextResult(IntEnum):
    """Result of one presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class RejectResult(IntEnum):
    """PS3.8 Table 9-21."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectSource(IntEnum):
    """PS3.8 Table 9-21."""

    SERVICE_USER = 1
    SERVICE_PROVIDER_ACSE = 2
    SERVICE_PROVIDER_PRESENTATION = 3


class RejectReason:
    """Reasons of A-ASSOCIATE-RJ: a number means another thing for each source (PS3.8 Table 9-21)."""

    USER_NO_REASON = 1
    USER_APPLICATION_CONTEXT_NOT_SUPPORTED = 2
    USER_CALLING_AE_NOT_RECOGNIZED = 3
    USER_CALLED_AE_NOT_RECOGNIZED = 7
    ACSE_NO_REASON = 1
    ACSE_PROTOCOL_VERSION_NOT_SUPPORTED = 2
    PRESENTATION_TEMPORARY_CONGESTION = 1
    PRESENTATION_LOCAL_LIMIT_EXCEEDED = 2


_REJECT_WORDS: dict[tuple[int, int], str] = {
    (RejectSource.SERVICE_USER, 1): "no reason given",
    (RejectSource.SERVICE_USER, 2): "application context name not supported",
    (RejectSource.SERVICE_USER, 3): "calling AE title not recognized",
    (RejectSource.SERVICE_USER, 7): "called AE title not recognized",
    (RejectSource.SERVICE_PROVIDER_ACSE, 1): "no reason given (ACSE)",
    (RejectSource.SERVICE_PROVIDER_ACSE, 2): "protocol version not supported",
    (RejectSource.SERVICE_PROVIDER_PRESENTATION, 1): "temporary congestion",
    (RejectSource.SERVICE_PROVIDER_PRESENTATION, 2): "local limit exceeded",
}


def describe_rejection(result: int, source: int, reason: int) -> str:
    """Say an A-ASSOCIATE-RJ in words; any numbers are good, also those that the standard reserves."""
    how = {1: "permanently", 2: "for now"}.get(result, f"with result {result}")
    return f"rejected {how}: {_REJECT_WORDS.get((source, reason), f'source {source}, reason {reason}')}"


class AbortSource(IntEnum):
    """PS3.8 Table 9-26."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


class UserIdentityKind(IntEnum):
    """PS3.7 Table D.3-14."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JSON_WEB_TOKEN = 5


RESPONSE_BIT = 0x8000  # set in the command field of every response (PS3.7 Annex E.1)


class CommandField(IntEnum):
    """(0000,0100), PS3.7 Annex E.1."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


class DimsePriority(IntEnum):
    """(0000,0700), PS3.7 Annex E.1."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


class Status(IntEnum):
    """DIMSE status codes by name (PS3.7 Annex C, PS3.4 §B.2.3)."""

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    INVALID_ARGUMENT = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORISED = 0x0124
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_MISMATCH = 0xA900
    COERCION_OF_DATA_ELEMENTS = 0xB000
    ELEMENTS_DISCARDED = 0xB006
    DATA_SET_DOES_NOT_MATCH_WARNING = 0xB007
    CANNOT_UNDERSTAND = 0xC000
    CANCEL = 0xFE00
    PENDING = 0xFF00
