"""Whose an instance is: read when it is routed, and remembered until it has been delivered. Pure.

The header is read for routing anyway. What is not remembered any more, after a restart or behind a long
backlog, is read once more when a lane claims it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from router.audit.gathering import UNKNOWN, Subject
from router.config.audit import AuditPatient
from router.dicom.header import Header
from router.dicom.tagpath import TagPath, parse
from router.model import Instance

STUDY = parse("StudyInstanceUID")
PATIENT_ID = parse("PatientID")
KNOWN_MAX = 65536  # some 10 MB; half a minute of the fastest reception
UNKNOWN_PATIENT = "unknown"
VALUE_CHARS = 64  # UI and LO have no more (PS3.5 §6.2)


class Subjects:
    """The subjects of the latest instances. ``asked`` is what has to be read of a header."""

    def __init__(self, patient: AuditPatient) -> None:
        self._tells_patient = patient is AuditPatient.ID
        self.asked: frozenset[TagPath] = frozenset({STUDY, PATIENT_ID} if self._tells_patient else {STUDY})
        self._unknown = replace(UNKNOWN, patient_id=UNKNOWN_PATIENT if self._tells_patient else "")
        self._by_key: dict[int, Subject] = {}  # the oldest first
        self._last = self._unknown

    def __contains__(self, key: int) -> bool:
        return key in self._by_key

    def read(self, instance: Instance, header: Header) -> None:
        """Remember whose ``instance`` is; ``header`` has what is ``asked``."""
        patient_id = _first(header.values(PATIENT_ID)) if self._tells_patient else ""
        subject = Subject(
            study_instance_uid=_first(header.values(STUDY)) or self._unknown.study_instance_uid,
            patient_id=patient_id or self._unknown.patient_id,
        )
        if subject == self._last:  # one value for all instances of a study
            subject = self._last
        self._last = subject
        if len(self._by_key) >= KNOWN_MAX:
            del self._by_key[next(iter(self._by_key))]
        self._by_key[instance.key] = subject

    def of(self, instance: Instance) -> Subject:
        """Whose it is."""
        return self._by_key.get(instance.key, self._unknown)


def _first(values: Sequence[object] | None) -> str:
    return str(values[0])[:VALUE_CHARS] if values else ""
