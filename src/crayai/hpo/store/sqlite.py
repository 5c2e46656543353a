"""The log of a study in one SQLite file, written by one driver.

On a local file system a write-ahead log makes a commit cost microseconds: a killed process loses nothing, a machine
that loses power at most the last moments, and never the file. Network file systems have no shared memory for one;
there a rollback journal with full synchronisation takes its place. So it does on file systems without locks, where the
lock of the study alone keeps a second writer away, and readers look at copies.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crayai.hpo.errors import StoreError, StoreFull
from crayai.hpo.records import Event
from crayai.hpo.store.filesystem import has_locks, is_network
from crayai.hpo.store.lockless import open_lockless
from crayai.hpo.store.rows import (
    COLUMNS,
    EVENTS,
    INSERT,
    Row,
    event_in,
    event_of,
    held_row,
    is_intact,
    setting_row,
    table_row,
)
from crayai.hpo.store.schema import check_format, migrate

_CHECKPOINT_PAGES = 4000
"""Some 16 MB of write-ahead log before it is folded into the file, which waits for the disk."""

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC}

_NO_DAMAGE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_PROTOCOL,
}
"""Errors that say nothing about the contents of the file."""

_LASTS = " UNION ALL ".join(f"SELECT max(event) AS last FROM {table}" for table in COLUMNS)  # noqa: S608 - our own text
_LAST_EVENT = f"SELECT max(last) FROM ({_LASTS})"  # noqa: S608 - likewise
_WORKED_SECONDS = f"""
    WITH event_at(event, at) AS ({" UNION ALL ".join(f"SELECT event, at FROM {table}" for table in COLUMNS)}),
         session(start, last) AS (SELECT at, lead(event, 1, ?) OVER (ORDER BY number) FROM driver)
    SELECT total(max(event_at.at - start, 0)) FROM session JOIN event_at ON event = last
"""  # noqa: S608 - likewise
"""From each driver's start to its last event; wants the number of the last event of all."""


class SqliteLog:
    """A log in a file; the directory must exist.

    Args:
        path: The file; made where it is missing.
        clock: Returns seconds since 1970.

    Attributes:
        has_locks: Whether the file system has locks that all machines see; without them nobody else may open the file.

    Raises:
        StoreError: The file is no log, or of a later version.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._turn: list[tuple[str, tuple[Any, ...]]] = []
        path.touch(mode=0o600)
        self.has_locks = has_locks(path.parent)
        try:
            self._connection = (
                sqlite3.connect(path, isolation_level=None, timeout=60) if self.has_locks else open_lockless(path)
            )
            with _closed_on_error(self._connection):
                self._in_memory_index = self._set_up(self._connection)
                self._event: int = self._connection.execute(_LAST_EVENT).fetchone()[0] or 0
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _store_error(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_up(self, connection: sqlite3.Connection) -> bool:
        """Choose the journal; return whether readers need the shared index of a write-ahead log."""
        check_format(connection)
        write_ahead = self.has_locks and not is_network(self.path)
        connection.execute(f"PRAGMA journal_mode = {'WAL' if write_ahead else 'DELETE'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if write_ahead else 'FULL'}")
        migrate(connection)
        return write_ahead

    def settings(self) -> dict[str, Any]:
        """Return the settings of the study; empty before they were recorded."""
        return read_settings(self._connection, self.path)

    def check(self) -> None:
        """Make sure that the whole file can be read, also what nobody has asked for yet.

        Raises:
            StoreError: It is damaged.
        """
        try:
            (problem,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _store_error(self.path, error) from error
        if problem != "ok":
            raise unreadable(self.path, StoreError(problem))

    def record_settings(self, settings: Mapping[str, Any]) -> None:
        """Record `settings` in the place of those of the same names, at once."""
        merged = {**self.settings(), **settings}
        rows = [setting_row(name, value, len(merged)) for name, value in merged.items()]
        self._transaction([("INSERT OR REPLACE INTO setting VALUES (?, ?, ?, ?)", row) for row in rows])

    def record_driver(self, name: str) -> float:
        """Take note of who writes from now on; return for how many seconds drivers have worked so far."""
        try:
            worked: float = self._connection.execute(_WORKED_SECONDS, (self._event,)).fetchone()[0]
        except sqlite3.Error as error:
            raise _store_error(self.path, error) from error
        row = (self._event, float(self._clock()), name)
        self._transaction([("INSERT INTO driver (event, at, name) VALUES (?, ?, ?)", row)])
        return worked

    def events(self) -> Iterator[Event]:
        """Return all committed events in their order.

        Raises:
            StoreError: The file is damaged.
        """
        return read_events(self._connection, self.path)

    def held(self) -> dict[int, list[Event]]:
        """Return what was held of evaluations that could not be asked for, by their numbers.

        Raises:
            StoreError: The file is damaged.
        """
        held: dict[int, list[Event]] = {}
        try:
            for kind, content in self._connection.execute("SELECT kind, content FROM held ORDER BY entry"):
                event = event_in(kind, tuple(json.loads(content)))
                held.setdefault(event.number, []).append(event)
        except (sqlite3.Error, ValueError, StoreError) as error:
            raise unreadable(self.path, error) from error
        return held

    def hold(self, events: Iterable[tuple[float, Event]]) -> None:
        """Hold events of evaluations that cannot be asked for yet, each with its time."""
        rows = [held_row(event, entry, at) for entry, (at, event) in enumerate(events, start=1)]
        self._transaction([("INSERT INTO held VALUES (?, ?, ?)", row) for row in rows])

    def append(self, event: Event) -> None:
        """Add `event` to the turn."""
        self._event += 1
        table, row = table_row(event, self._event, float(self._clock()))
        self._turn.append((INSERT[table], row))

    def commit(self) -> None:
        """Write the turn in one transaction.

        Raises:
            StoreFull: There is no room; the turn is kept.
            StoreError: The file cannot be written.
        """
        if self._turn:
            self._transaction(self._turn)
            self._turn = []

    def close(self) -> None:
        """Close the file; a closed log is one file that any reader can open."""
        try:
            if self._in_memory_index:
                self._connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:
            pass  # a reader is looking, or the disk is full: the write-ahead log stays beside the file, complete
        finally:
            self._connection.close()

    def _transaction(self, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for statement, row in statements:
                execute(statement, row)
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise _store_error(self.path, error) from error


def read_events(connection: sqlite3.Connection, path: Path) -> Iterator[Event]:
    """Return all events in their order, and make sure that none is missing.

    Raises:
        StoreError: The file is damaged, with the first place where it is.
    """
    try:
        for order, row in enumerate(connection.execute(EVENTS), start=1):
            yield event_of(row, order)
    except (sqlite3.Error, UnicodeDecodeError, StoreError) as error:
        raise unreadable(path, error) from error


def read_settings(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """Return the settings of the study; empty before they were recorded.

    Raises:
        StoreError: The file is damaged.
    """
    try:
        rows = connection.execute("SELECT name, value, total, checksum FROM setting").fetchall()
        _check_settings(rows, has_events=bool(connection.execute(_LAST_EVENT).fetchone()[0]))
    except (sqlite3.Error, UnicodeDecodeError, StoreError) as error:
        raise unreadable(path, error) from error
    return {name: json.loads(value) for name, value, _, _ in rows}


def _check_settings(rows: list[Row], *, has_events: bool) -> None:
    if has_events and not rows:
        raise StoreError("there are evaluations without settings")
    for row in rows:
        if not is_intact("setting", row) or row[2] != len(rows):
            raise StoreError(f"the setting {row[0]!r} is damaged, or one beside it is missing")


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _store_error(path: Path, error: Exception) -> StoreError:
    if getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
        return StoreFull(f"no room to write {path}: {error}")
    return unreadable(path, error)


def unreadable(path: Path, error: Exception) -> StoreError:
    """Return what to tell the user about an `error` in reading the log `path`; if that is damaged, with the remedy."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # none: checksums, or text that is no UTF-8
    if code != sqlite3.SQLITE_IOERR_SHORT_READ and code & 0xFF in _NO_DAMAGE:
        return StoreError(f"{path} cannot be used as the log of a study: {error}")
    return StoreError(
        f"{path} is damaged, or no log of a study: {error}; crayai recover {path.parent} saves what can be read"
    )
