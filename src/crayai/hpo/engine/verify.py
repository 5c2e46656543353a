"""An audit: asks everything anew from the seed, and compares with the log."""

from collections.abc import Iterable
from dataclasses import dataclass

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import Study
from crayai.hpo.records import Asked, AttemptFailed, Event, Launched, Suggestion
from crayai.hpo.space.base import as_text
from crayai.hpo.store.base import MemoryLog


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the log says something else than the seed.

    Attributes:
        number: The evaluation.
        recorded: What the log holds.
        asked: What the strategy suggests in the same state; None: nothing.
    """

    number: int
    recorded: Suggestion
    asked: Suggestion | None


def first_difference(study: Study, events: Iterable[Event]) -> Difference | None:
    """Return the first suggestion in the log that the strategy would not make from the seed; None: there is none."""
    search = Search(study, MemoryLog())
    for event in events:
        if isinstance(event, Launched | AttemptFailed):
            continue
        if not isinstance(event, Asked):
            search.append(event)
            continue
        asked = search.ask()
        suggestion = None if asked is None else asked.suggestion
        if suggestion is None or not are_equal(suggestion, event.suggestion):
            return Difference(event.number, event.suggestion, suggestion)
    return None


def are_equal(one: Suggestion, other: Suggestion) -> bool:
    """Return whether two suggestions are the same to a program."""
    return _facts(one) == _facts(other)


def _facts(suggestion: Suggestion) -> tuple[object, ...]:
    values = {flag: as_text(value) for flag, value in suggestion.values.items()}
    return values, suggestion.generation, suggestion.deme, suggestion.parents, suggestion.resume_from
