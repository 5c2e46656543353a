"""Questions to the log of a study, read-only: they never make the driver wait."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from crayai.hpo.errors import StoreError
from crayai.hpo.records import Completed, Event, Outcome, Values
from crayai.hpo.store.filesystem import is_network
from crayai.hpo.store.lockless import copy_of
from crayai.hpo.store.rows import outcome_of
from crayai.hpo.store.sqlite import read_events, read_settings, unreadable

_COLUMNS = (
    'number, generation, deme, parents, resume_from, "values", loss, cause, detail, asked_at, launched_at, told_at, '
    "attempt"
)


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """What the log knows of an evaluation; times are seconds since 1970, None: not yet.

    `resume_from` is the evaluation whose checkpoint it trained on from; None: from scratch.
    """

    number: int
    generation: int
    deme: int
    parents: tuple[int, ...]
    resume_from: int | None
    values: Values
    outcome: Outcome | None
    asked_at: float
    launched_at: float | None
    told_at: float | None
    attempt: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a study is."""

    asked: int
    completed: int
    failed: int
    under_way: int


class Reader:
    """Reads the log in the file `path`.

    Beside a write-ahead log the driver does not notice readers. Elsewhere their locks would make it wait: there a copy
    is read, made without a lock, of the time of the first question.

    Args:
        path: The log.
        copied: Whether it is a copy that is read in any case.

    Raises:
        StoreError: There is no log, or it cannot be read.
    """

    def __init__(self, path: Path, *, copied: bool = False) -> None:
        if not path.exists():
            raise StoreError(f"there is no study in {path.parent}: {path.name} is missing")
        self._path = path
        self._copied = copied
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        """The log, which has something in it."""
        connection = self._opened()
        try:
            is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        except sqlite3.Error as error:
            raise unreadable(self._path, error) from error
        if is_empty:
            raise StoreError(
                f"there is nothing in {self._path} yet: wait if the study has just begun; else the log is damaged, and "
                f"crayai recover {self._path.parent} saves what can be read"
            )
        return connection

    def _opened(self) -> sqlite3.Connection:
        """Return the file itself beside a write-ahead log, else a copy."""
        try:
            if not self._copied and Path(f"{self._path}-wal").exists() and not is_network(self._path):
                address = f"file:{quote(str(self._path))}?mode=ro"
                live = self._open.enter_context(closing(sqlite3.connect(address, uri=True, timeout=60)))
                if live.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                    return live
                live.close()  # the driver has ended meanwhile
            return self._open.enter_context(closing(copy_of(self._path)))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise unreadable(self._path, error) from error
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.Error):
                raise unreadable(self._path, error.__cause__) from error
            raise

    def check(self) -> int:
        """Make sure that every record is there as it was written; return how many events there are.

        Raises:
            StoreError: The log is damaged.
        """
        self.settings()
        (problem,) = next(self._rows("PRAGMA integrity_check(1)"))
        if problem != "ok":
            raise unreadable(self._path, StoreError(problem))
        next(iter(self.evaluations()), None)  # through the view, whose text may be damaged
        return sum(1 for _ in self.events())

    def attempts(self) -> dict[int, int]:
        """Return the last attempt at each evaluation that was launched."""
        return dict(self._rows("SELECT number, max(attempt) FROM launched GROUP BY number"))

    def settings(self) -> dict[str, Any]:
        """Return the settings of the study; empty before they were recorded."""
        return read_settings(self._connection, self._path)

    def counts(self) -> Counts:
        """Return how many evaluations were asked for, have ended, and are under way."""
        row = next(
            self._rows(
                """
                SELECT (SELECT count(*) FROM asked), (SELECT count(loss) FROM told), (SELECT count(cause) FROM told),
                       (SELECT count(DISTINCT number) FROM launched WHERE number NOT IN (SELECT number FROM told))
                """
            )
        )
        return Counts(*row)

    def failures(self) -> dict[str, int]:
        """Return how many evaluations have failed, by cause."""
        return dict(self._rows("SELECT cause, count(*) FROM told WHERE cause IS NOT NULL GROUP BY cause"))

    def failed_attempts(self) -> dict[str, int]:
        """Return how many attempts have failed after which another was to be made, by cause."""
        return dict(self._rows("SELECT cause, count(*) FROM attempt_failed GROUP BY cause"))

    def best(self, repeats: int = 1) -> StoredEvaluation | None:
        """Return the completed evaluation with the least loss, the earlier of equals.

        Of points that are evaluated `repeats` times, the mean counts, and the first evaluation bears it.
        """
        return self._point("ORDER BY avg(loss), min(number) LIMIT 1", repeats)

    def default(self, repeats: int = 1) -> StoredEvaluation | None:
        """Return the default point with its mean loss, if all its evaluations have completed."""
        return self._point("AND min(number) = 0", repeats)

    def _point(self, rest: str, repeats: int) -> StoredEvaluation | None:
        query = f"SELECT min(number), avg(loss) FROM told GROUP BY number / ? HAVING count(loss) = ? {rest}"  # noqa: S608 - our own text
        for number, loss in self._rows(query, repeats, repeats):
            found = self.evaluation(number)
            return None if found is None else replace(found, outcome=Completed(loss))
        return None

    def evaluation(self, number: int) -> StoredEvaluation | None:
        """Return one evaluation; None: there is none of that number."""
        return next(self._evaluations("WHERE number = ?", number), None)

    def evaluations(self) -> Iterator[StoredEvaluation]:
        """Return all evaluations by number."""
        return self._evaluations("ORDER BY number")

    def events(self) -> Iterator[Event]:
        """Return all events in their order."""
        return read_events(self._connection, self._path)

    def times(self) -> tuple[float, float] | None:
        """Return when the first evaluation was asked for and the last one ended; None: none has ended."""
        first, last = next(self._rows("SELECT (SELECT min(at) FROM asked), (SELECT max(at) FROM told)"))
        return None if first is None or last is None else (first, last)

    def _evaluations(self, rest: str, *arguments: int) -> Iterator[StoredEvaluation]:
        for row in self._rows(f"SELECT {_COLUMNS} FROM evaluation {rest}", *arguments):  # noqa: S608 - our own text
            number, generation, deme, parents, resume, values, loss, cause, detail, asked, launched, told, attempt = row
            outcome = None if told is None else outcome_of(loss, cause, detail)
            yield StoredEvaluation(
                number, generation, deme, tuple(json.loads(parents)), resume, json.loads(values),
                outcome, asked, launched, told, attempt,
            )  # fmt: skip

    def _rows(self, query: str, *arguments: int) -> Iterator[tuple[Any, ...]]:
        try:
            for row in self._connection.execute(query, arguments):  # noqa: UP028 - it would close the cursor late
                yield row
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise unreadable(self._path, error) from error
