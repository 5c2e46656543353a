"""Every strategy keeps the rules of strategies."""
# ruff: noqa: D102 - the protocol says what the methods do

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from crayai.hpo.records import Suggestion
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import Strategy
from crayai.hpo.strategy.genetic import Genetic
from crayai.hpo.strategy.grid_search import GridSearch
from crayai.hpo.strategy.random_search import RandomSearch, RandomState
from crayai.hpo.strategy.repeats import Repeated
from crayai.hpo.testing.strategies import StrategyConformance


class TestRandomSearch(StrategyConformance):
    """Random search keeps them."""

    def make(self, space: Space) -> Strategy[Any]:
        return RandomSearch(space=space, num_iters=60)


class TestGridSearch(StrategyConformance):
    """Grid search keeps them; the default point may be on the grid too."""

    default_comes_again = True

    def make(self, space: Space) -> Strategy[Any]:
        return GridSearch(space=space, grid_size=2, chunk_size=7)


class TestGenetic(StrategyConformance):
    """The genetic search keeps them, with demes that exchange their best."""

    def make(self, space: Space) -> Strategy[Any]:
        return Genetic(space=space, generations=5, pop_size=4, num_demes=3, migration_interval=2)


class TestGeneticOfOne(StrategyConformance):
    """The genetic search keeps them even with a population of one."""

    def make(self, space: Space) -> Strategy[Any]:
        return Genetic(space=space, generations=30, pop_size=1, num_demes=1, migration_interval=1)


class TestRepeatedRandomSearch(StrategyConformance):
    """Repeated random search keeps them."""

    repeats = 3

    def make(self, space: Space) -> Strategy[Any]:
        return Repeated(RandomSearch(space=space, num_iters=25), 3)


class TestRepeatedGenetic(StrategyConformance):
    """The repeated genetic search keeps them."""

    repeats = 2

    def make(self, space: Space) -> Strategy[Any]:
        return Repeated(Genetic(space=space, generations=4, pop_size=3, num_demes=2, migration_interval=2), 2)


class TestRepeatedGridSearch(StrategyConformance):
    """Repeated grid search keeps them."""

    repeats = 2
    default_comes_again = True

    def make(self, space: Space) -> Strategy[Any]:
        return Repeated(GridSearch(space=space, grid_size=2), 2)


class Flaw:
    """Random search with one rule broken."""

    def __init__(self, space: Space) -> None:
        self.inner = RandomSearch(space=space, num_iters=20)
        self.evaluations: int | None = 20

    def start(self) -> Any:
        return self.inner.start()

    def ask(self, state: Any, history: Any, rng: Any) -> Suggestion | None:
        return self.inner.ask(state, history, rng)

    def fold(self, state: Any, event: Any) -> Any:
        return self.inner.fold(state, event)

    def is_done(self, state: Any) -> bool:
        return self.inner.is_done(state)


class DependsOnArrival(Flaw):
    """Suggests otherwise if outcomes are in."""

    def ask(self, state: RandomState, history: Any, rng: Any) -> Suggestion | None:
        rng.random(state.told)
        return super().ask(state, history, rng)


class Remembers(Flaw):
    """Counts its askings outside the state."""

    calls = 0

    def ask(self, state: Any, history: Any, rng: Any) -> Suggestion | None:
        self.calls += 1
        rng.random(self.calls)
        return super().ask(state, history, rng)


@dataclass
class Counter:
    """A state that changes."""

    asked: int = 0
    told: int = 0


class MutableState(Flaw):
    """Changes its state while asking."""

    def start(self) -> Any:
        return Counter()

    def ask(self, state: Any, history: Any, rng: Any) -> Suggestion | None:
        suggestion = super().ask(state, history, rng)
        state.told += 0 if suggestion is None else 1
        return suggestion


class NeverDone(Flaw):
    """Neither asks nor ends."""

    def is_done(self, state: Any) -> bool:  # noqa: ARG002 - the flaw
        return False


class DoneEarly(Flaw):
    """Is done before the last outcome."""

    def is_done(self, state: Any) -> bool:
        return state.told >= 19


class EverythingActive(Flaw):
    """Sends inactive hyperparameters too."""

    def ask(self, state: Any, history: Any, rng: Any) -> Suggestion | None:
        suggestion = super().ask(state, history, rng)
        return suggestion and replace(suggestion, values={"--momentum": 0.5, **suggestion.values})


class OutOfBounds(Flaw):
    """Leaves the bounds."""

    def ask(self, state: Any, history: Any, rng: Any) -> Suggestion | None:
        suggestion = super().ask(state, history, rng)
        return suggestion and replace(suggestion, values={**suggestion.values, "--layers": 5})


class AsksTwice(Flaw):
    """Asks for each point twice."""

    def ask(self, state: Any, history: Any, rng: Any) -> Suggestion | None:
        return history.suggestion(len(history) - 1) if len(history) % 2 else super().ask(state, history, rng)


class StopsAtFailure(Flaw):
    """Ends with the first failure."""

    def fold(self, state: Any, event: Any) -> Any:
        after = super().fold(state, event)
        return replace(after, told=20, asked=20) if hasattr(getattr(event, "outcome", None), "cause") else after


class ShunsPoorLosses(Flaw):
    """Takes an enormous loss for worse than a failure."""

    def fold(self, state: Any, event: Any) -> Any:
        after = super().fold(state, event)
        return replace(after, asked=20, told=20) if getattr(getattr(event, "outcome", None), "loss", 0) > 1e9 else after


class NoDefault(Flaw):
    """Skips the default point."""

    def ask(self, state: Any, history: Any, rng: Any) -> Suggestion | None:
        return super().ask(replace(state, asked=state.asked + 1), history, rng) if state.asked < 19 else None


@pytest.mark.parametrize(
    ("flaw", "broken"),
    [
        (DependsOnArrival, "test_points_depend_on_the_seed_alone"),
        (Remembers, "test_asking_changes_nothing"),
        (MutableState, "test_asking_changes_nothing"),
        (Remembers, "test_folding_the_events_resumes"),
        (NeverDone, "test_it_ends_when_everything_asked_for_is_over"),
        (DoneEarly, "test_it_ends_when_everything_asked_for_is_over"),
        (EverythingActive, "test_only_active_hyperparameters_have_values"),
        (OutOfBounds, "test_values_stay_inside"),
        (AsksTwice, "test_no_point_twice_until_all_were_asked"),
        (StopsAtFailure, "test_failures_never_stop_the_search"),
        (ShunsPoorLosses, "test_a_failed_evaluation_ranks_last"),
        (NoDefault, "test_the_default_comes_first"),
    ],
)
def test_the_suite_catches(flaw: type[Flaw], broken: str) -> None:
    """Each rule of the suite fails for a strategy that breaks it."""

    class Suite(StrategyConformance):
        seeds: ClassVar = (0,)

        def make(self, space: Space) -> Strategy[Any]:
            return flaw(space)

    with pytest.raises(AssertionError):
        getattr(Suite(), broken)()


def test_the_suite_catches_too_few_repeats() -> None:
    """A strategy that promises three evaluations a point and makes two is caught."""

    class Suite(StrategyConformance):
        seeds: ClassVar = (0,)
        repeats: ClassVar = 3

        def make(self, space: Space) -> Strategy[Any]:
            return Repeated(RandomSearch(space=space, num_iters=10), 2)

    with pytest.raises(AssertionError, match="each 3 times"):
        Suite().test_each_point_comes_as_often_as_promised()
