"""Queries as people ask them: models, levels and keys, checked and completed (PS3.4 Annexes C and K).

Pure. Everything that is wrong with a question is a ``ValueError`` with a sentence for whoever asked it,
before anybody is connected to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, MAX_UID_LENGTH
from router.dicom.tagpath import TagPath, parse


class Model(StrEnum):
    """An information model, by the name that commands have for it."""

    PATIENT = "patient"
    STUDY = "study"
    WORKLIST = "worklist"


class Level(StrEnum):
    """What one match is."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


# PS3.4 Tables C.6.1.3-1 and C.6.2.3-1, §K.5
FIND_CLASSES = {
    Model.PATIENT: "1.2.840.10008.5.1.4.1.2.1.1",
    Model.STUDY: "1.2.840.10008.5.1.4.1.2.2.1",
    Model.WORKLIST: "1.2.840.10008.5.1.4.31",
}
MOVE_CLASSES = {Model.PATIENT: "1.2.840.10008.5.1.4.1.2.1.2", Model.STUDY: "1.2.840.10008.5.1.4.1.2.2.2"}
GET_CLASSES = {Model.PATIENT: "1.2.840.10008.5.1.4.1.2.1.3", Model.STUDY: "1.2.840.10008.5.1.4.1.2.2.3"}
IDENTIFIER_CLASSES = frozenset((*FIND_CLASSES.values(), *MOVE_CLASSES.values(), *GET_CLASSES.values()))
IDENTIFIER_SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

LEVELS = tuple(Level)  # from above; Study Root has no patient level (PS3.4 §C.6.2.1)
LEVEL_WORDS = {  # (0008,0052)
    Level.PATIENT: "PATIENT",
    Level.STUDY: "STUDY",
    Level.SERIES: "SERIES",
    Level.INSTANCE: "IMAGE",
}
UNIQUE_KEYS = {  # PS3.4 §C.6.1.1
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.INSTANCE: "SOPInstanceUID",
}
_PATIENT_KEYS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY_KEYS = (
    "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "StudyDescription",
    "NumberOfStudyRelatedInstances", "StudyInstanceUID",
)  # fmt: skip
_STEP = "ScheduledProcedureStepSequence."
_WORKLIST_KEYS = (
    "AccessionNumber", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "RequestedProcedureID", "RequestedProcedureDescription",
    _STEP + "Modality", _STEP + "ScheduledStationAETitle", _STEP + "ScheduledProcedureStepStartDate",
    _STEP + "ScheduledProcedureStepStartTime", _STEP + "ScheduledPerformingPhysicianName",
    _STEP + "ScheduledProcedureStepDescription", _STEP + "ScheduledProcedureStepID",
)  # fmt: skip
DEFAULT_KEYS = {  # asked for at each level: what people look for, and what the next question needs
    Level.PATIENT: (*_PATIENT_KEYS, "NumberOfPatientRelatedStudies"),
    Level.STUDY: (*_PATIENT_KEYS[:2], *_STUDY_KEYS),
    Level.SERIES: (
        "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined",
        "NumberOfSeriesRelatedInstances", "SeriesInstanceUID",
    ),
    Level.INSTANCE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}  # fmt: skip

_WILDCARDS = frozenset("*?")
_LIST = re.compile(r"[0-9.]*(?:\\[0-9.]+)*").fullmatch
_DATES = re.compile(r"(?:\d{8})?(?:-(?:\d{8})?)?").fullmatch
_TIMES = re.compile(r"[0-9.]*(?:-[0-9.]*)?").fullmatch
_NO_TEXT = frozenset("OB OD OF OL OV OW".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One attribute of an identifier: what it must match, or "" where it is only asked for."""

    path: TagPath
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A whole question: what goes into the identifier, in the order in which people see it."""

    model: Model
    level: Level  # STUDY for a worklist, which has none
    keys: tuple[Key, ...]
    character_set: str = ""  # (0008,0005) of the request; "": what its keys need

    def value(self, keyword: str) -> str:
        """What a key must match; "" where it is not among them."""
        wanted = parse(keyword)
        return next((key.value for key in self.keys if key.path == wanted), "")


def parse_key(text: str) -> Key:
    """``Keyword=value``, ``(gggg,eeee)=value``, ``Sequence.Keyword=value``; with no value it is asked for."""
    name, _, value = text.partition("=")
    path = parse(name.strip())
    if any(step.creator for step in path.steps):
        raise ValueError(
            f"{name}: a private attribute cannot be asked for by its creator; give its (gggg,eeee)"
        )
    if path.steps[0].tag in (0x00080005, 0x00080052):
        what = "--character-set" if path.steps[0].tag == 0x00080005 else "--level"
        raise ValueError(f"{name} is set by {what}")
    _check_value(name, path.vr, value)
    return Key(path=path, value=value)


def _check_value(name: str, vr: str, value: str) -> None:
    """What no peer could make sense of, or would take for something else, is said before it is sent."""
    if not value:
        return
    if vr == "SQ":
        raise ValueError(f"{name} is a sequence: give a key inside of it, as {name}.Keyword=value")
    if vr[:2] in _NO_TEXT:
        raise ValueError(f"{name} cannot be matched, as it is of VR {vr}; without a value it is asked for")
    if not value.isprintable():
        raise ValueError(f"{name}: the value has a control character in it")
    if vr == "UI" and not _LIST(value):
        raise ValueError(f"{name}: {value!r} is no UID; UIDs are matched whole, without wildcards")
    if vr == "UI" and any(len(uid) > MAX_UID_LENGTH for uid in value.split("\\")):
        raise ValueError(f"{name}: a UID has at most {MAX_UID_LENGTH} characters")
    if vr == "DA" and not _DATES(value):
        raise ValueError(
            f"{name}: {value!r} is no date (20260131), nor a range (20260101-20260131, 20260101-)"
        )
    if vr == "TM" and not _TIMES(value):
        raise ValueError(f"{name}: {value!r} is no time (1430, 143005), nor a range (1200-1430, 1200-)")


def parse_keys(texts: Iterable[str]) -> tuple[Key, ...]:
    """Every key once; a UID that is given several times becomes a list (PS3.4 §C.2.2.2.2)."""
    keys: dict[TagPath, Key] = {}
    for text in texts:
        key = parse_key(text)
        before = keys.get(key.path)
        if before is not None and before.value and key.value:
            if key.path.vr != "UI":
                raise ValueError(f"{key.path} is given twice; only UIDs can be matched by a list")
            key = Key(path=key.path, value=f"{before.value}\\{key.value}")
        elif before is not None and before.value:
            continue
        keys[key.path] = key
    return tuple(keys.values())


def find_query(
    keys: Sequence[Key], *, level: Level | None = None, model: Model | None = None, character_set: str = ""
) -> Query:
    """The question that C-FIND asks: given keys, and what is asked for by default at that level."""
    defaults: tuple[str, ...]
    if model is Model.WORKLIST:
        if level is not None:
            raise ValueError("a worklist has no levels: leave --level out")
        level, defaults = Level.STUDY, _WORKLIST_KEYS
    else:
        level = level or Level.STUDY
        model = _model(level, model)
        _need_unique_keys(keys, model, level, above=True)
        defaults = _defaults(model, level)
    given = {key.path: key for key in keys}
    # Those by default come first, in their own order: tables look the same whatever is asked.
    ordered = [given.pop(path, Key(path=path)) for path in map(parse, defaults)]
    return Query(model=model, level=level, keys=(*ordered, *given.values()), character_set=character_set)


def retrieve_query(keys: Sequence[Key], *, level: Level | None = None, model: Model | None = None) -> Query:
    """What C-MOVE and C-GET name: unique keys and nothing else (PS3.4 §C.4.2.1.4).

    Without a level it is that of the lowest unique key.
    """
    if model is Model.WORKLIST:
        raise ValueError("nothing can be retrieved from a worklist: the models are patient and study")
    unique = {parse(keyword): one for one, keyword in UNIQUE_KEYS.items()}
    for key in keys:
        if key.path not in unique:
            raise ValueError(
                f"{key.path} is no unique key, and only those say what is retrieved: "
                f"{', '.join(UNIQUE_KEYS.values())}. Look for it with find, and retrieve what that finds."
            )
        if key.value and _WILDCARDS.intersection(key.value):
            raise ValueError(f"{key.path}={key.value}: what is retrieved is named whole, without wildcards")
    named = [unique[key.path] for key in keys if key.value]
    if not named:
        raise ValueError(f"say what to retrieve, with -k {UNIQUE_KEYS[level or Level.STUDY]}=...")
    level = level or max(named, key=LEVELS.index)
    model = _model(level, model)
    _need_unique_keys(keys, model, level, above=False)
    lower = next((one for one in named if LEVELS.index(one) > LEVELS.index(level)), None)
    if lower is not None:
        raise ValueError(
            f"{UNIQUE_KEYS[lower]} is below the level {level}: leave --level out, or say {lower}"
        )
    sent = tuple(key for key in keys if model is Model.PATIENT or unique[key.path] is not Level.PATIENT)
    return Query(model=model, level=level, keys=sent)


def levels_of(model: Model) -> tuple[Level, ...]:
    """The levels of a model, from above."""
    return LEVELS if model is Model.PATIENT else LEVELS[1:]


def _model(level: Level, model: Model | None) -> Model:
    if level is Level.PATIENT:
        if model is Model.STUDY:
            raise ValueError("the study root model has no patient level: leave --model out, or say patient")
        return Model.PATIENT
    return model or Model.STUDY


def _defaults(model: Model, level: Level) -> tuple[str, ...]:
    """In the patient root model, what belongs to the patient is no attribute of a study (PS3.4 §C.6.1.1)."""
    if model is Model.PATIENT and level is Level.STUDY:
        return _STUDY_KEYS
    return DEFAULT_KEYS[level]


def _need_unique_keys(keys: Sequence[Key], model: Model, level: Level, *, above: bool) -> None:
    """Whatever is above must be named, by one value each (PS3.4 §C.4.1.2.1); retrieving, itself too."""
    values = {key.path: key.value for key in keys}
    levels = levels_of(model)
    at = levels.index(level)
    upper = levels[:at]
    missing = [name for one in upper if not values.get(parse(name := UNIQUE_KEYS[one]))]
    if not above and not values.get(parse(UNIQUE_KEYS[level])):
        missing.append(UNIQUE_KEYS[level])
    if missing:
        raise ValueError(
            f"at the level {level}, the {model} root model needs to know {' and '.join(missing)}: "
            f"add {' '.join(f'-k {name}=...' for name in missing)}"
        )
    for one in upper:
        value = values[parse(UNIQUE_KEYS[one])]
        if _WILDCARDS.intersection(value) or "\\" in value:
            raise ValueError(
                f"{UNIQUE_KEYS[one]}={value} must name one {one}, as it is above the level {level}"
            )
