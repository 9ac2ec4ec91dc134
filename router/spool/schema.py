"""The ledger's tables, and how a connection to it is opened.

``instances``: one row for each arrival, kept as history after its release. ``deliveries``: one for each
instance and destination; its id is the instance's key plus an ordinal, so the deliveries of an instance lie
together and no index from key to delivery is needed. ``attempts``: one for each attempt. ``operations``: what
operators did. ``paused``: destinations that are sent nothing. A ledger of an earlier version is brought up to
date, in place, when the spool is opened.

Every index that the queue works by is partial: it holds what is not finished and nothing of the history,
so that claiming costs the same whatever lies behind or ahead. An index from segment to instances would cost
each instance three changes; what is live is found through the others instead (``LIVE_KEYS``), when the spool
is opened, and cleaning reads a segment's own headers.
"""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import apsw

from router.errors import StorageError
from router.model import DeliveryState, InstanceState, Priority
from router.spool.files import Files, rewrite

LEDGER_NAME = "ledger.db"
ORDINALS = 1024  # deliveries of one instance at most, and the step between keys: 20 bits of it count
KEY_MASK = -ORDINALS
LARGE = -1  # ``segment`` of an object in a file of its own
SCHEMA_VERSION = 6
_PAGE_BYTES = 4096
LOG_BYTES = 20 * 1024 * 1024  # a little more than the log holds between two checkpoints
_CACHE_KIB = 16 * 1024
_STATEMENTS = 256

# The order is used: up to DEAD a delivery is open, up to CORRUPT an instance is live.
DELIVERY_STATES = (
    DeliveryState.PENDING,
    DeliveryState.ACTIVE,
    DeliveryState.HELD,
    DeliveryState.DEAD,
    DeliveryState.DELIVERED,
    DeliveryState.DISCARDED,
)
DELIVERY_CODE = {state: code for code, state in enumerate(DELIVERY_STATES)}
PENDING, ACTIVE, HELD, DEAD, DELIVERED, DISCARDED = range(6)
INSTANCE_STATES = (
    InstanceState.RECEIVED,
    InstanceState.ROUTED,
    InstanceState.CORRUPT,
    InstanceState.RELEASED,
)
RECEIVED, ROUTED, CORRUPT, RELEASED = range(4)
PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
PRIORITY_CODE = {priority: code for code, priority in enumerate(PRIORITIES)}

_SCHEMA = """
CREATE TABLE instances(
  key INTEGER PRIMARY KEY, state INTEGER NOT NULL,
  segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
  data_set_offset INTEGER NOT NULL,
  hash BLOB NOT NULL, uid TEXT NOT NULL, arrival TEXT NOT NULL,
  decision TEXT, routed_at REAL, release_at REAL) STRICT;
CREATE INDEX instances_uid ON instances(uid);
CREATE INDEX instances_unrouted ON instances(key) WHERE state = 0;
CREATE INDEX instances_retained ON instances(release_at) WHERE state = 1 AND release_at IS NOT NULL;
CREATE INDEX instances_corrupt ON instances(key) WHERE state = 2;
CREATE TABLE destinations(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE deliveries(
  id INTEGER PRIMARY KEY, destination INTEGER NOT NULL, state INTEGER NOT NULL, reason TEXT NOT NULL,
  priority INTEGER NOT NULL, due_at REAL,
  attempts INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
  lease_owner TEXT, lease_until REAL, created_at REAL NOT NULL, changed_at REAL NOT NULL,
  last_status INTEGER, last_comment TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX deliveries_open ON deliveries(state, destination, priority, due_at) WHERE state < 4;
CREATE TABLE attempts(
  delivery INTEGER NOT NULL, number INTEGER NOT NULL, started_at REAL NOT NULL, ended_at REAL NOT NULL,
  reason TEXT NOT NULL, status INTEGER, comment TEXT NOT NULL, transfer_syntax TEXT NOT NULL,
  PRIMARY KEY(delivery, number)) STRICT, WITHOUT ROWID;
"""

# From each version to the next; every statement of one of them is a transaction together with the version.
MIGRATIONS = {
    1: """
CREATE TABLE operations(
  id INTEGER PRIMARY KEY, at REAL NOT NULL, ended_at REAL, who TEXT NOT NULL, address TEXT NOT NULL,
  action TEXT NOT NULL, target TEXT NOT NULL, count INTEGER NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE paused(
  destination TEXT PRIMARY KEY, since REAL NOT NULL, who TEXT NOT NULL) STRICT, WITHOUT ROWID;
""",
    3: """
DROP INDEX instances_retained;
CREATE INDEX instances_retained ON instances(release_at, length) WHERE state = 1 AND release_at IS NOT NULL;
""",
    2: "CREATE TABLE log_tail(id INTEGER PRIMARY KEY CHECK (id = 1), segment INTEGER NOT NULL) STRICT;",
    4: "ALTER TABLE attempts ADD COLUMN carried_by TEXT NOT NULL DEFAULT '';",  # a group's member
    5: """
ALTER TABLE deliveries ADD COLUMN wish TEXT;
ALTER TABLE attempts ADD COLUMN transcoding TEXT;
""",
}

# The destinations that a name stands for: itself, or the queues of the group that it is (``groups``).
NAMED = "(n.name = :name OR substr(n.name, 1, length(:name) + 1) = :name || '/')"

# An instance is live for one of these reasons, each with its index.
LIVE_KEYS = (
    "SELECT key FROM instances WHERE state = 0 UNION SELECT key FROM instances WHERE state = 2 "
    "UNION SELECT key FROM instances WHERE state = 1 AND release_at IS NOT NULL "
    f"UNION SELECT id & {KEY_MASK} FROM deliveries WHERE state < 4"
)


def connect(directory: Path, *, read_only: bool) -> apsw.Connection:
    """A connection to the ledger in ``directory``. ``StorageError`` if it cannot be opened or is too new."""
    path = directory / LEDGER_NAME
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENTS)
        connection.set_busy_timeout(10_000)
        if not read_only:
            _prepare(connection)
        version = connection.pragma("user_version")
    except apsw.Error as error:
        raise StorageError(f"{path}: {error}", out_of_resources=False) from error
    if version != SCHEMA_VERSION:
        connection.close()
        is_older = isinstance(version, int) and 0 < version < SCHEMA_VERSION
        hint = ": the gateway brings it up to date when it starts" if is_older else ""
        raise StorageError(
            f"{path}: ledger of version {version}, not {SCHEMA_VERSION}{hint}", out_of_resources=False
        )
    return connection


def open_log(directory: Path, files: Files) -> int:
    """A descriptor of the ledger's write-ahead log, which is given its extents where it has none yet.

    A commit that makes the log longer syncs metadata of the file system, too: 0.28 ms against 0.12 ms. Zeros
    behind the last frame are to SQLite what old frames are: they carry the wrong salt.

    What an earlier process committed without waiting is synced here, and the log's name with it: space that
    was released by it is about to be used again. May raise ``OSError``.
    """
    log = os.open(directory / f"{LEDGER_NAME}-wal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    size = os.fstat(log).st_size
    if size < LOG_BYTES:
        try:
            os.pwrite(log, bytes(LOG_BYTES - size), size)
        except OSError:  # a full disk: the log then grows as it may
            os.ftruncate(log, size)
    try:
        rewrite(files, log)
        files.fdatasync(log)
        files.sync_directory(directory)
    except OSError:
        os.close(log)
        raise
    return log


def _prepare(connection: apsw.Connection) -> None:
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")  # housekeeping does it, off the appends' way
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    version = connection.pragma("user_version")
    if version == 0:
        with connection:
            connection.execute(_SCHEMA)
            connection.execute("PRAGMA user_version=1")
            version = 1
    _migrate(connection, version)


def _migrate(connection: apsw.Connection, version: object) -> None:
    """Step by step; a crash in between leaves a whole earlier version. Later versions are left alone."""
    while isinstance(version, int) and version in MIGRATIONS:
        with connection:
            connection.execute(MIGRATIONS[version])
            version += 1
            connection.execute(f"PRAGMA user_version={version}")


@cache
def values(columns: int, rows: int) -> str:
    """``VALUES`` with ``rows`` rows of ``columns`` parameters."""
    row = "(" + ",".join("?" * columns) + ")"
    return "VALUES " + ",".join([row] * rows)


CHUNKS = (64, 32, 16, 8, 7, 6, 5, 4, 3, 2, 1)  # up to 8 in one statement, which then needs no BEGIN


def chunks(count: int) -> Sequence[int]:
    """``count`` as a sum of few sizes, so that few different statements are prepared.

    Many rows go into one statement because each step of a statement gives up the GIL, and getting it back
    from a busy loop may take the interpreter's whole switch interval.
    """
    if count == 1:
        return (1,)
    sizes = []
    for size in CHUNKS:
        while count >= size:
            sizes.append(size)
            count -= size
    return sizes
