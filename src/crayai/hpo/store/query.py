"""Questions to the log of a study, read-only: they never make the driver wait."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from crayai.hpo.errors import StoreError
from crayai.hpo.records import Completed, Event, Outcome, Values
from crayai.hpo.store.rows import outcome_of
from crayai.hpo.store.sqlite import read_events

_COLUMNS = 'number, generation, deme, parents, "values", loss, cause, detail, asked_at, launched_at, told_at, attempt'


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """What the log knows of an evaluation; times are seconds since 1970, None: not yet."""

    number: int
    generation: int
    deme: int
    parents: tuple[int, ...]
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

    Raises:
        StoreError: There is no log, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StoreError(f"there is no study in {path.parent}: {path.name} is missing")
        self._path = path
        self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def settings(self) -> dict[str, Any]:
        """Return the settings of the study."""
        return {name: json.loads(value) for name, value in self._rows("SELECT name, value FROM setting")}

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
            number, generation, deme, parents, values, loss, cause, detail, asked, launched, told, attempt = row
            outcome = None if told is None else outcome_of(loss, cause, detail)
            yield StoredEvaluation(
                number, generation, deme, tuple(json.loads(parents)), json.loads(values),
                outcome, asked, launched, told, attempt,
            )  # fmt: skip

    def _rows(self, query: str, *arguments: int) -> Iterator[tuple[Any, ...]]:
        try:
            for row in self._connection.execute(query, arguments):  # noqa: UP028 - it would close the cursor late
                yield row
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be read: {error}") from error
