"""Cray's log files of a genetic search: one line a generation, and one file a deme with a line an individual.

Written as each generation ends, readable with pandas: columns are separated by blanks, and text with blanks stands
in double quotes. What is not known is ``N/A``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Outcome, Suggestion, Value, Values, loss_of
from crayai.hpo.space.base import as_text

_UNKNOWN = "N/A"
_SHARPNESS = 10.0


class History(Protocol):
    """The individuals with their outcomes, by number."""

    def __len__(self) -> int:
        """Return how many were made."""

    def suggestion(self, number: int) -> Suggestion:
        """Return individual `number`."""

    def outcome(self, number: int) -> Outcome | None:
        """Return what became of it; None: not over."""


@dataclass(kw_only=True)
class LogFiles:
    """The log files of one study.

    Args:
        path: Of the file with a line a generation; the others stand beside it as ``Deme<i>_<name>``.
        flags: The columns of hyperparameters.
        pop_size: Individuals per deme and generation.
        num_demes: Demes.
        sign: 1, or -1 where the figure of merit is maximised: turns a loss into it.
        gens_per_epoch: Generations per epoch of training.
        checkpoint_of: Returns the checkpoint of an individual; None: there are none.
    """

    path: Path
    flags: Sequence[str]
    pop_size: int
    num_demes: int
    sign: int = 1
    gens_per_epoch: int = 1
    checkpoint_of: Callable[[int], str] | None = None
    _generation: int = field(default=0, init=False)
    _best: tuple[float, int] = field(default=(math.inf, -1), init=False)

    def begin(self) -> None:
        """Make the files with their headers, in the place of older ones.

        Raises:
            SettingsError: They cannot be written to.
        """
        columns = [_quoted(flag) for flag in self.flags]
        header = [
            "generation",
            " epoch",
            " best_fom",
            " avg_fom",
            "checkpoint_in",
            "checkpoint_out",
            *columns,
        ]
        deme_header = ["generation", "tag", "fitness", "FoM", *columns]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(" ".join(header) + "\n", encoding="utf-8")
            for deme in range(self.num_demes):
                self._deme_path(deme).write_text(" ".join(deme_header) + "\n", encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"the log file {self.path} cannot be written to: {error.strerror}") from error

    def update(self, history: History) -> None:
        """Write the lines of every generation that is over and not written."""
        size = self.pop_size * self.num_demes
        while len(history) >= (end := (self._generation + 1) * size):
            numbers = range(end - size, end)
            outcomes = [history.outcome(number) for number in numbers]
            losses = [loss_of(outcome) for outcome in outcomes if outcome is not None]
            if len(losses) < size:
                return
            self._write_generation(history, numbers, losses)
            self._generation += 1

    def _write_generation(self, history: History, numbers: range, losses: Sequence[float]) -> None:
        before = [self._best] if self._generation else []
        self._best = min([*before, *zip(losses, numbers, strict=True)])
        finite = [loss for loss in losses if math.isfinite(loss)]
        average = math.fsum(finite) / len(finite) if finite else math.nan
        line = [
            str(self._generation),
            str(self._generation // self.gens_per_epoch + 1),
            f"{self._fom(self._best[0]):e}",
            f"{self.sign * average:e}",
            self._checkpoint(history.suggestion(self._best[1]).resume_from),
            self._checkpoint(self._best[1]),
            *self._columns(history.suggestion(self._best[1]).values),
        ]
        _append(self.path, [line])
        for deme in range(self.num_demes):
            part = slice(deme * self.pop_size, (deme + 1) * self.pop_size)
            self._write_deme(deme, history, numbers[part], losses[part])

    def _write_deme(self, deme: int, history: History, numbers: range, losses: Sequence[float]) -> None:
        fitness = _fitness(losses)
        first = self._generation * self.pop_size
        lines = [
            [
                str(self._generation),
                f"deme{deme + 1}_ind{first + i}",
                f"{fitness[i]:g}",
                f"{self._fom(losses[i]):g}",
                *self._columns(history.suggestion(number).values),
            ]
            for i, number in enumerate(numbers)
        ]
        _append(self._deme_path(deme), lines)

    def _deme_path(self, deme: int) -> Path:
        return self.path.with_name(f"Deme{deme + 1}_{self.path.name}")

    def _checkpoint(self, number: int | None) -> str:
        return _UNKNOWN if self.checkpoint_of is None or number is None else _quoted(self.checkpoint_of(number))

    def _columns(self, values: Values) -> list[str]:
        return [_column(values.get(flag)) for flag in self.flags]

    def _fom(self, loss: float) -> float:
        return self.sign * loss if math.isfinite(loss) else math.nan


def _fitness(losses: Sequence[float]) -> list[float]:
    """Return exp(-10 ((loss - best) / (worst - best))^2) within a deme and generation; 0 for failed ones."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    best, worst = min(finite, default=0.0), max(finite, default=0.0)
    spread = (worst - best) or 1.0
    return [math.exp(-_SHARPNESS * ((loss - best) / spread) ** 2) if math.isfinite(loss) else 0.0 for loss in losses]


def _column(value: Value | None) -> str:
    return _UNKNOWN if value is None else _quoted(as_text(value))


def _quoted(text: str) -> str:
    if text and not any(letter.isspace() or letter == '"' for letter in text):
        return text
    return '"' + " ".join(text.replace('"', '""').splitlines()) + '"'


def _append(path: Path, lines: Sequence[Sequence[str]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(" ".join(line) + " \n" for line in lines)
