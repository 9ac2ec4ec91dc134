"""Which attributes of what we hold can be asked for, and at which level each belongs (PS3.4 §C.6.1.1). Pure.

Required and unique keys of PS3.4 Tables C.6-1 to C.6-5 with the optional ones that people ask for. What
follows from several instances is counted when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from router.dicom.header import Header
from router.dicom.query import LEVELS, Level
from router.dicom.tagpath import TagPath, parse

_STORED = {
    Level.PATIENT: """
        PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs
        OtherPatientNames EthnicGroup PatientComments""",
    Level.STUDY: """
        StudyDate StudyTime AccessionNumber StudyID StudyInstanceUID ReferringPhysicianName StudyDescription
        NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight
        Occupation AdditionalPatientHistory""",
    Level.SERIES: """
        Modality SeriesNumber SeriesInstanceUID SeriesDescription SeriesDate SeriesTime BodyPartExamined
        Laterality ProtocolName OperatorsName PerformingPhysicianName Manufacturer ManufacturerModelName
        InstitutionName InstitutionalDepartmentName StationName PerformedProcedureStepStartDate
        PerformedProcedureStepStartTime PerformedProcedureStepID""",
    Level.INSTANCE: """
        InstanceNumber SOPInstanceUID SOPClassUID ContentDate ContentTime AcquisitionNumber AcquisitionDate
        AcquisitionTime InstanceCreationDate InstanceCreationTime ImageType NumberOfFrames Rows Columns
        BitsAllocated""",
}
_COUNTED = {
    Level.PATIENT: """
        NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances""",
    Level.STUDY: """
        ModalitiesInStudy SOPClassesInStudy NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances""",
    Level.SERIES: "NumberOfSeriesRelatedInstances",
}
MOST_CHARACTERS = 10240  # of a value: the longest that a VR with a limit has (LT)
MOST_VALUES = 64


def tag_of(keyword: str) -> int:
    """The tag of a keyword."""
    return parse(keyword).tag


STORED_PATHS: frozenset[TagPath] = frozenset(
    parse(keyword) for keywords in _STORED.values() for keyword in keywords.split()
)
COUNTED: Mapping[int, str] = MappingProxyType(
    {tag_of(keyword): keyword for keywords in _COUNTED.values() for keyword in keywords.split()}
)
LEVEL_OF: Mapping[int, Level] = MappingProxyType(
    {
        tag_of(keyword): level
        for table in (_STORED, _COUNTED)
        for level, keywords in table.items()
        for keyword in keywords.split()
    }
)
RANK: Mapping[Level, int] = MappingProxyType({level: rank for rank, level in enumerate(LEVELS)})

Values = Mapping[int, tuple[str, ...]]  # by tag


def read_values(header: Header) -> dict[int, tuple[str, ...]]:
    """What a header, scanned for ``STORED_PATHS``, says: text, whatever its VR; nothing of what is empty."""
    found: dict[int, tuple[str, ...]] = {}
    for path in STORED_PATHS:
        values = header.values(path)
        texts = tuple(_storable(str(value)) for value in values[:MOST_VALUES]) if values else ()
        if any(texts):
            found[path.tag] = texts
    return found


def _storable(text: str) -> str:
    """Broken text of a sender's may hold what has no encoding."""
    text = text[:MOST_CHARACTERS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
