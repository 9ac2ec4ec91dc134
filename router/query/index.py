"""The index of what lies in the spool: one row for each instance, with what callers may ask of it.

Derived data in a SQLite file of its own: what is missing, damaged or of another version is made anew, so
nobody ever waits for a sync of it. One connection writes, in one thread at a time; every query has a
read-only one, and sees what was there when it began. Blocking; for threads.

Several arrivals of one SOP Instance UID are several rows, and one instance to whoever asks: the latest.
"""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType

import apsw
import msgspec

from router.dicom.header import Header
from router.dicom.holdings import COUNTED, RANK, read_values, tag_of
from router.dicom.inquiry import Inquiry
from router.dicom.query import LEVELS, Level
from router.errors import RouterError
from router.model import Instance

INDEX_NAME = "index.db"
VERSION = 1
_CACHE_KIB = 8 * 1024
_SCHEMA = """
CREATE TABLE instances(
  key INTEGER PRIMARY KEY, patient TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL,
  uid TEXT NOT NULL, modality TEXT NOT NULL, sop_class TEXT NOT NULL, stored TEXT NOT NULL) STRICT;
CREATE INDEX by_study ON instances(study, series, uid);
CREATE INDEX by_patient ON instances(patient);
"""
_COLUMNS: Mapping[Level, str] = MappingProxyType(
    {Level.PATIENT: "patient", Level.STUDY: "study", Level.SERIES: "series", Level.INSTANCE: "uid"}
)
_COUNTS = (  # at which level, and what follows from the instances of one entity
    (Level.PATIENT, "NumberOfPatientRelatedStudies", "count(DISTINCT study)"),
    (Level.PATIENT, "NumberOfPatientRelatedSeries", "count(DISTINCT series)"),
    (Level.PATIENT, "NumberOfPatientRelatedInstances", "count(DISTINCT uid)"),
    (Level.STUDY, "ModalitiesInStudy", "json_group_array(DISTINCT modality) FILTER (WHERE modality <> '')"),
    (Level.STUDY, "SOPClassesInStudy", "json_group_array(DISTINCT sop_class)"),
    (Level.STUDY, "NumberOfStudyRelatedSeries", "count(DISTINCT series)"),
    (Level.STUDY, "NumberOfStudyRelatedInstances", "count(DISTINCT uid)"),
    (Level.SERIES, "NumberOfSeriesRelatedInstances", "count(DISTINCT uid)"),
)
_PATIENT_ID, _STUDY_UID, _SERIES_UID, _MODALITY = map(
    tag_of, ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
)
_INSTANCE_UID, _SOP_CLASS_UID = tag_of("SOPInstanceUID"), tag_of("SOPClassUID")

Row = tuple[int, str, str, str, str, str, str, str]
_encode = msgspec.json.Encoder().encode
_decode_values = msgspec.json.Decoder(dict[int, tuple[str, ...]]).decode
_decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode


class IndexFailed(RouterError):
    """The index could not be read or written; it can always be made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A patient, study, series or instance: its attributes by tag, what is counted among them."""

    key: int  # of its latest instance
    values: Mapping[int, tuple[str, ...]]


def make_row(instance: Instance, header: Header) -> Row:
    """The row of an instance from its header, scanned for ``holdings.STORED_PATHS``."""
    arrival = instance.arrival
    values = read_values(header)
    values[_INSTANCE_UID] = (arrival.sop_instance_uid,)  # as it will be sent
    values[_SOP_CLASS_UID] = (arrival.sop_class_uid,)
    patient, study, series, modality = (
        values.get(tag, ("",))[0] for tag in (_PATIENT_ID, _STUDY_UID, _SERIES_UID, _MODALITY)
    )
    return (
        instance.key,
        patient,
        study,
        series,
        arrival.sop_instance_uid,
        modality,
        arrival.sop_class_uid,
        _encode(values).decode(),
    )


class Index:
    """The file and what is written to it. Every method may raise ``IndexFailed``; none while another runs."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / INDEX_NAME
        self._connection: apsw.Connection | None = None
        self._lock = threading.Lock()

    def open(self) -> bool:
        """Open it, or make it anew where it cannot be used. Whether there was one."""
        self.close()
        try:
            connection = self._open_sound()
            if connection is not None:
                self._connection = connection
                return True
            self._remove()
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = self._connect()
            with self._connection:
                self._connection.execute(_SCHEMA)
                self._connection.execute(f"PRAGMA user_version={VERSION}")
        except (apsw.Error, OSError) as error:
            raise _failed(error) from error
        return False

    def _open_sound(self) -> apsw.Connection | None:
        """What is there, if it is whole and of this version."""
        if not self.path.exists():
            return None
        connection = None
        try:
            connection = self._connect()
            version, found = (
                connection.pragma("user_version"),
                connection.execute("PRAGMA quick_check(1)").get,
            )
            if version == VERSION and found == "ok":
                return connection
        except (apsw.CorruptError, apsw.NotADBError):
            pass
        if connection is not None:
            connection.close()
        return None

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(10_000)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # the last rows may be lost, and are made again
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        return connection

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).unlink()

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def update(self, rows: Sequence[Row], gone: Iterable[int]) -> None:
        """Add rows, in the place of those with the same keys, and take out those that are gone."""
        with self._lock:
            try:
                connection = self._writing()
                with connection:
                    connection.executemany("DELETE FROM instances WHERE key = ?", ((key,) for key in gone))
                    connection.executemany("REPLACE INTO instances VALUES(?,?,?,?,?,?,?,?)", rows)
            except apsw.Error as error:
                raise _failed(error) from error

    def known(self, keys: Sequence[int]) -> set[int]:
        """Those of these keys that have a row."""
        with self._lock:
            try:
                sql = "SELECT key FROM instances WHERE key IN (SELECT value FROM json_each(?))"
                return {int(key) for (key,) in self._writing().execute(sql, (_encode(list(keys)).decode(),))}
            except apsw.Error as error:
                raise _failed(error) from error

    def reconcile(self, live: array[int]) -> array[int]:
        """Take out every row but those of ``live``; return the keys of ``live`` that have none yet."""
        with self._lock:
            try:
                connection = self._writing()
                with connection:
                    connection.execute("DROP TABLE IF EXISTS temp.live")
                    connection.execute("CREATE TEMP TABLE live(key INTEGER PRIMARY KEY)")
                    connection.executemany("INSERT INTO live VALUES(?)", ((key,) for key in live))
                    connection.execute("DELETE FROM instances WHERE key NOT IN (SELECT key FROM live)")
                    sql = (
                        "SELECT key FROM live WHERE key NOT IN (SELECT key FROM instances) ORDER BY key DESC"
                    )
                    missing = array("q", (int(key) for (key,) in connection.execute(sql)))
                    connection.execute("DROP TABLE live")
                return missing
            except apsw.Error as error:
                raise _failed(error) from error

    def _writing(self) -> apsw.Connection:
        if self._connection is None:
            raise IndexFailed("the index is not open")
        return self._connection

    def look(self) -> Look:
        """A view of it as it is now, for one query. Close it."""
        try:
            return Look(self.path)
        except apsw.Error as error:
            raise _failed(error) from error


class Look:
    """One query's view. For one thread at a time; ``with`` closes it."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.set_busy_timeout(10_000)

    def __enter__(self) -> Look:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()

    def find(self, inquiry: Inquiry) -> Iterator[Entity | None]:
        """What matches; None for each that was looked at and does not, so that the caller keeps the pace."""
        column = _COLUMNS[inquiry.level]
        where, bindings = _where(inquiry)
        sql = (
            "SELECT i.key, i.stored, i.patient, i.study, i.series FROM "
            f"(SELECT max(key) AS key FROM instances WHERE {where} GROUP BY {column}) g "
            "CROSS JOIN instances i ON i.key = g.key"
        )
        try:
            for key, stored, *names in self._connection.execute(sql, bindings):
                values = _decode_values(str(stored))
                if not inquiry.fits(values):
                    yield None
                    continue
                if inquiry.wants_counts:
                    for level, name in zip(LEVELS, names, strict=False):
                        if RANK[level] <= RANK[inquiry.level]:
                            values.update(self._counted(level, str(name), str(names[1])))
                    if not inquiry.fits_counts(values):
                        yield None
                        continue
                yield Entity(key=int(str(key)), values=values)
        except (apsw.Error, msgspec.DecodeError) as error:
            raise _failed(error) from error

    def _counted(self, level: Level, name: str, study: str) -> dict[int, tuple[str, ...]]:
        """What is counted of one patient, study or series."""
        counts = [(tag_of(keyword), sql) for at, keyword, sql in _COUNTS if at is level]
        where, bindings = f"{_COLUMNS[level]} = ?", [name]
        if level is Level.SERIES:
            where, bindings = "study = ? AND series = ?", [study, name]
        sql = f"SELECT {', '.join(sql for _, sql in counts)} FROM instances WHERE {where} AND study <> ''"
        (row,) = self._connection.execute(sql, bindings)
        return {
            tag: _decode_texts(value) if isinstance(value, str) else (str(value),)
            for (tag, _), value in zip(counts, row, strict=True)
        }

    def select(self, inquiry: Inquiry) -> Iterator[tuple[int, str]]:
        """Key and SOP Instance UID of what a retrieval names, in the order in which it came."""
        where, bindings = _where(inquiry)
        sql = f"SELECT max(key) AS key, uid FROM instances WHERE {where} GROUP BY uid ORDER BY key"
        try:
            for key, uid in self._connection.execute(sql, bindings):
                yield int(str(key)), str(uid)
        except apsw.Error as error:
            raise _failed(error) from error


def _where(inquiry: Inquiry) -> tuple[str, list[str]]:
    """By the unique keys. What has no study or series of its own can be asked for by nobody."""
    where, bindings = ["study <> ''", "series <> ''"], []
    for level, values in inquiry.unique.items():
        where.append(f"{_COLUMNS[level]} IN (SELECT value FROM json_each(?))")
        bindings.append(_encode(values).decode())
    return " AND ".join(where), bindings


def _failed(error: Exception) -> IndexFailed:
    return IndexFailed(f"{INDEX_NAME}: {error}")


assert {tag_of(keyword) for _, keyword, _ in _COUNTS} == set(COUNTED)  # noqa: S101 - two tables of one thing
