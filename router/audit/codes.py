"""The coded values of PS3.15 A.5 that are used: DCM terms (PS3.16 CID 400 to 405) and RFC 3881's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value; ``meaning`` is what DICOM calls the Code Meaning."""

    value: str
    scheme: str
    meaning: str


def _dcm(value: int, meaning: str) -> Code:
    return Code(str(value), "DCM", meaning)


# Events
APPLICATION_ACTIVITY = _dcm(110100, "Application Activity")
BEGIN_TRANSFERRING = _dcm(110102, "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = _dcm(110103, "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dcm(110104, "DICOM Instances Transferred")
QUERY = _dcm(110112, "Query")
SECURITY_ALERT = _dcm(110113, "Security Alert")
USER_AUTHENTICATION = _dcm(110114, "User Authentication")

# Kinds of these
APPLICATION_START = _dcm(110120, "Application Start")
APPLICATION_STOP = _dcm(110121, "Application Stop")
LOGIN = _dcm(110122, "Login")
NODE_AUTHENTICATION = _dcm(110126, "Node Authentication")
SECURITY_CONFIGURATION = _dcm(110129, "Security Configuration")
SOFTWARE_CONFIGURATION = _dcm(110131, "Software Configuration")
RESTRICTED_FUNCTION = _dcm(110132, "Use of Restricted Function")
RECORDING_STARTED = _dcm(110134, "Audit Recording Started")

# Roles of participants
APPLICATION = _dcm(110150, "Application")
APPLICATION_LAUNCHER = _dcm(110151, "Application Launcher")
DESTINATION = _dcm(110152, "Destination Role ID")
SOURCE = _dcm(110153, "Source Role ID")

# What an object's identifier is
STUDY_INSTANCE_UID = _dcm(110180, "Study Instance UID")
SOP_CLASS_UID = _dcm(110181, "SOP Class UID")
NODE_ID = _dcm(110182, "Node ID")
PATIENT_NUMBER = Code("2", "RFC-3881", "Patient Number")
URI = Code("12", "RFC-3881", "URI")


class Action(StrEnum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    EXECUTE = "E"


class EventOutcome(StrEnum):
    """EventOutcomeIndicator. Of an alert the failures say how grave it is (A.5.3.11)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"  # refused, or tried again: no harm was done
    SERIOUS_FAILURE = "8"  # given up


class AccessPoint(StrEnum):
    """NetworkAccessPointTypeCode."""

    NAME = "1"
    ADDRESS = "2"
    URI = "5"


class ObjectType(StrEnum):
    """ParticipantObjectTypeCode."""

    PERSON = "1"
    SYSTEM = "2"


class ObjectRole(StrEnum):
    """ParticipantObjectTypeCodeRole."""

    PATIENT = "1"
    REPORT = "3"
    MASTER_FILE = "5"
    SECURITY_RESOURCE = "13"


SOURCE_TYPE = "4"  # AuditSourceTypeCode: application server process
