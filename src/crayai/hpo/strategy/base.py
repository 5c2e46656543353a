"""What a strategy is, and what it is shown."""

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked, Outcome, Suggestion, Told, Values

if TYPE_CHECKING:
    from numpy.random import Generator

S = TypeVar("S")


def check_at_least(least: int, **settings: int | None) -> None:
    """Refuse whole-number settings below `least`.

    Raises:
        SettingsError: With the setting, the rule and the value.
    """
    for name, value in settings.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise SettingsError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_above(bound: float, **settings: float | None) -> None:
    """Refuse settings that are no finite number above `bound`.

    Raises:
        SettingsError: With the setting, the rule and the value.
    """
    for name, value in settings.items():
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not bound < value < math.inf:
            rule = f"above {bound:g}" if math.isfinite(bound) else "a number"
            raise SettingsError(f"{name} must be {rule}, got {value!r}")


def check_rate(**settings: float) -> None:
    """Refuse settings that are no probability.

    Raises:
        SettingsError: With the setting, the rule and the value.
    """
    for name, value in settings.items():
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise SettingsError(f"{name} must be between 0 and 1, got {value!r}")


class History(Protocol):
    """Every suggestion with its outcome, by number; for a strategy to read."""

    def __len__(self) -> int:
        """Return how many evaluations were asked for."""

    def suggestion(self, number: int) -> Suggestion:
        """Return what evaluation `number` is."""

    def outcome(self, number: int) -> Outcome | None:
        """Return what became of evaluation `number`; None: not over."""

    def was_asked(self, values: Values) -> bool:
        """Return whether the program was, or is to be, given just these values; in constant time."""


class Record:
    """The history that the engine keeps: grows at the end, never changes otherwise."""

    def __init__(self) -> None:
        self._suggestions: list[Suggestion] = []
        self._outcomes: list[Outcome | None] = []
        self._open: dict[int, None] = {}
        self._keys: set[int] = set()  # hashes of 64 bits: a false match costs one redrawn point in 10^19

    def __len__(self) -> int:
        return len(self._suggestions)

    def suggestion(self, number: int) -> Suggestion:
        """Return what evaluation `number` is."""
        return self._suggestions[number]

    def outcome(self, number: int) -> Outcome | None:
        """Return what became of evaluation `number`; None: not over."""
        return self._outcomes[number]

    def was_asked(self, values: Values) -> bool:
        """Return whether just these values were asked before."""
        return _key(values) in self._keys

    def append(self, event: Asked | Told) -> None:
        """Take in what happened."""
        if isinstance(event, Told):
            self._outcomes[event.number] = event.outcome
            del self._open[event.number]
        else:
            self._suggestions.append(event.suggestion)
            self._outcomes.append(None)
            self._open[event.number] = None
            self._keys.add(_key(event.suggestion.values))

    def unfinished(self) -> Iterable[int]:
        """Return the numbers of the evaluations that have no outcome."""
        return tuple(self._open)


def _key(values: Values) -> int:
    return hash(repr(tuple(values.items())))  # the text, because hash(-1) == hash(-2) and True == 1


class Strategy(Protocol[S]):
    """A search algorithm: its settings are in the object, what it must remember is in a small immutable state.

    The state is a fold over the events: `ask` is the only place where anything is random, and `fold` is
    deterministic, so a study is resumed by folding its log.
    """

    @property
    def evaluations(self) -> int | None:
        """How many evaluations there will be; None: not known beforehand."""

    def start(self) -> S:
        """Return the state before the first event."""

    def ask(self, state: S, history: History, rng: "Generator") -> Suggestion | None:
        """Return what to evaluate as number ``len(history)``; None: not before another outcome, or no more.

        `rng` is made for that number alone, so that a second call in the same state gives the same answer.
        """

    def fold(self, state: S, event: Asked | Told) -> S:
        """Return the state after `event`."""

    def is_done(self, state: S) -> bool:
        """Return whether all has been asked for and is over."""

    def resumable(self, state: S) -> Collection[int]:
        """Return the evaluations that a later suggestion may train on from; their checkpoints are kept."""
