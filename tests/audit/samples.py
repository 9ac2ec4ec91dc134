"""A gateway's identity, and instances with what becomes of them, for the tests of the audit."""

from __future__ import annotations

from router.audit.events import Events, Identity
from router.config.settings import Destination, Modality, Settings
from router.dicom.header import Header
from router.dicom.tagpath import parse
from router.model import (
    Arrival,
    Decision,
    DeliveryState,
    Instance,
    InstanceState,
    Origin,
    Outcome,
    Place,
    Priority,
    Reason,
)

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
NOW = 1_700_000_000.0
ORIGIN = Origin(calling_ae="CT1", called_ae="ROUTER", peer="192.0.2.7", listener="main")
IDENTITY = Identity(process="4711", host="gw.example", user="dicom@gw.example", ae_title="ROUTER")
SETTINGS = Settings(
    modalities={
        "pacs": Modality(ae_title="PACS", host="192.0.2.5", port=104),
        "cloud": Modality(ae_title="CLOUD", host="cloud.example", port=104, local_ae_title="OUT"),
    },
    destinations={"files": Destination(folder="/mnt/files")},
)


def events() -> Events:
    return Events(IDENTITY, SETTINGS)


def instance(key: int = 1, *, sop_class_uid: str = CT, origin: Origin = ORIGIN) -> Instance:
    arrival = Arrival(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=f"1.2.{key}",
        transfer_syntax_uid=EXPLICIT,
        origin=origin,
        received_at=NOW,
    )
    place = Place(segment=0, offset=0, length_bytes=1000, data_set_offset=300)
    return Instance(
        key=key, arrival=arrival, place=place, content_hash=bytes(16), state=InstanceState.RECEIVED
    )


def header(study: str | None = "1.2.3", patient: str | None = "P1") -> Header:
    return Header.of(
        {
            parse("StudyInstanceUID"): None if study is None else (study,),
            parse("PatientID"): None if patient is None else (patient,),
        }
    )


def decision(*destinations: str) -> Decision:
    return Decision(destinations=destinations, priority=Priority.NORMAL, hold=False, trace=())


def outcome(
    key: int = 1,
    state: DeliveryState = DeliveryState.DELIVERED,
    reason: Reason = Reason.SUCCESS,
    *,
    destination: str = "pacs",
    carried_by: str = "",
    comment: str = "",
) -> Outcome:
    return Outcome(
        delivery_id=key,
        key=key,
        destination=destination,
        state=state,
        reason=reason,
        started_at=NOW + 1,
        ended_at=NOW + 2,
        carried_by=carried_by,
        comment=comment,
    )
