"""Events as rows of the log's tables, and back; every row carries a checksum, for disks and people do damage files."""

import json
import zlib
from typing import Any

from crayai.hpo.errors import StoreError
from crayai.hpo.records import (
    Asked,
    AttemptFailed,
    Cause,
    Completed,
    Event,
    Failed,
    Launched,
    Outcome,
    Suggestion,
    Told,
)

Row = tuple[Any, ...]

COLUMNS = {
    "asked": ("number", "event", "at", "generation", "deme", "parents", "resume_from", '"values"', "checksum"),
    "launched": ("number", "attempt", "event", "at", "checksum"),
    "attempt_failed": ("number", "attempt", "event", "at", "cause", "detail", "seconds", "location", "checksum"),
    "told": ("number", "event", "at", "loss", "cause", "detail", "seconds", "proof", "checksum"),
}
"""The tables of events, with their columns in order."""

SETTING = ("name", "value", "total", "checksum")
"""The columns of the table of settings."""

_WIDTH = max(map(len, COLUMNS.values()))

INSERT = {table: f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})" for table, names in COLUMNS.items()}  # noqa: S608 - our own text

_SELECTS = [
    f"SELECT event AS place, '{table}', {', '.join(names)}{', NULL' * (_WIDTH - len(names))} FROM {table}"  # noqa: S608 - likewise
    for table, names in COLUMNS.items()
]
EVENTS = " UNION ALL ".join(_SELECTS) + " ORDER BY place"
"""Asks for all events in their order; `event_of` reads the rows."""

_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def table_row(event: Event, order: int, at: float) -> tuple[str, Row]:
    """Return the table of `event`, and its row there; `order` is its number in the order of all events."""
    match event:
        case Asked(number, s):
            parents = _compact(s.parents) if s.parents else "[]"
            values = _compact(dict(s.values))
            return _signed("asked", (number, order, at, s.generation, s.deme, parents, s.resume_from, values))
        case Launched(number, attempt):
            return _signed("launched", (number, attempt, order, at))
        case AttemptFailed(number, attempt, failed, seconds, where):
            why = (str(failed.cause), failed.detail)
            return _signed("attempt_failed", (number, attempt, order, at, *why, seconds, where))
        case Told(number, Completed(loss), seconds, proof):
            loss = float(loss) + 0.0  # no -0 in SQLite
            return _signed("told", (number, order, at, loss, None, None, seconds, proof))
        case Told(number, Failed(cause, detail), seconds, proof):
            return _signed("told", (number, order, at, None, str(cause), detail, seconds, proof))
    raise StoreError(f"no such event: {event!r}")


def setting_row(name: str, value: Any, total: int) -> Row:
    """Return the row of a setting; `total` is how many there are."""
    return _signed("setting", (name, _compact(value), total))[1]


def held_row(event: Event, order: int, at: float) -> Row:
    """Return the row of the table of held events that holds the row of `event`."""
    table, row = table_row(event, order, at)
    return order, table, _compact(row)


def event_of(found: Row, order: int) -> Event:
    """Return the event that a row of `EVENTS` says; `order` is its number among all, from 1.

    Raises:
        StoreError: The row is damaged, or one before it is missing.
    """
    if found[0] != order:
        raise StoreError(f"event {order} is missing")
    table = found[1]
    return event_in(table, found[2 : 2 + len(COLUMNS[table])])


def event_in(table: str, row: Row) -> Event:
    """Return the event that a `row` of `table` says.

    Raises:
        StoreError: The row is damaged.
    """
    if not is_intact(table, row):
        raise StoreError(f"the record of evaluation {row[0]} in the table {table} is damaged")
    match table, row:
        case "asked", (number, _, _, generation, deme, parents, resume_from, values, _):
            parents = () if parents == "[]" else tuple(json.loads(parents))
            return Asked(number, Suggestion(json.loads(values), generation, deme, parents, resume_from))
        case "launched", (number, attempt, *_):
            return Launched(number, attempt)
        case "attempt_failed", (number, attempt, _, _, cause, detail, seconds, where, _):
            return AttemptFailed(number, attempt, Failed(Cause(cause), detail), seconds, where)
    number, _, _, loss, cause, detail, seconds, proof, _ = row
    return Told(number, outcome_of(loss, cause, detail), seconds, proof)


def is_intact(table: str, row: Row) -> bool:
    """Return whether `row` of `table` is what was written."""
    return bool(row[-1] == _checksum(table, row[:-1]))


def outcome_of(loss: float | None, cause: str, detail: str) -> Outcome:
    """Return the outcome that a row of the table ``told`` says."""
    return Completed(loss) if loss is not None else Failed(Cause(cause), detail)


def _signed(table: str, row: Row) -> tuple[str, Row]:
    return table, (*row, _checksum(table, row))


def _checksum(table: str, row: Row) -> int:
    return zlib.crc32(repr((table, row)).encode())
