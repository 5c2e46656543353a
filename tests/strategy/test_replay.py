"""Replay: the schedule and constant values, trained from scratch with several seeds."""

from typing import Any

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Cause, Completed, Failed
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import Strategy
from crayai.hpo.strategy.replay import Replay, constant_settings
from crayai.hpo.testing.strategies import Search, StrategyConformance, bowl

SPACE = Space(
    [
        Float("--lr", 1e-4, 1.0, log=True),
        Int("--batch", 1, 9),
        Choice("--act", ["relu", "tanh", "gelu"]),
        Float("--momentum", 0.0, 0.9, when="--act == 'relu'"),
    ]
)


class TestReplay(StrategyConformance):
    """Replay keeps the rules of strategies that speak of no search: its points are given."""

    trains_on = True

    def make(self, space: Space) -> Strategy[Any]:
        """Return a replay of four windows with three constant settings."""
        schedule = [space.values([share] * len(space.flags)) for share in (0.1, 0.3, 0.6, 0.9)]
        arms = [schedule, *([values] * 4 for values in constant_settings(space, schedule))]
        return Replay(space=space, arms=arms, seeds=3)

    def test_the_default_comes_first(self) -> None:
        """The schedule comes first, whatever the defaults are."""
        first = self.search(SPACE, 0).run().suggestions[0]
        assert first.values == SPACE.values([0.1] * 4)


def arms(*losses):
    """Return arms of two windows that the judge below gives these losses at the end."""
    return [[{"--lr": 1.0}, {"--lr": loss}] for loss in losses]


def judge(values):
    """Return the learning rate as the loss, a failure above 2."""
    return Completed(values["--lr"]) if values["--lr"] < 2 else Failed(Cause.EXIT_CODE, "1")


def run(strategy, slots=3):
    """Return a replay that is over."""
    return Search(strategy, judge, 0, slots).run()


def test_every_training_goes_on_from_its_own_window_before():
    """The first window of a training is from scratch, every other one goes on from the one before, in the same arm."""
    search = run(Replay(space=SPACE, arms=arms(0.5, 0.7, 0.6, 0.9), seeds=4))
    assert len(search.record) == 4 * 2 + 3 * 2 + 3 * 2
    children = [s.resume_from for s in search.suggestions if s.resume_from is not None]
    assert len(children) == len(set(children)) == len(search.record) / 2
    for s in search.suggestions:
        assert (s.generation == 0) == (s.resume_from is None)
        if s.resume_from is not None:
            before = search.record.suggestion(s.resume_from)
            assert (before.generation, before.deme) == (s.generation - 1, s.deme)


def test_the_best_constant_gets_all_seeds():
    """Schedule and best constant setting are trained as often as there are seeds, the other constant ones once."""
    strategy = Replay(space=SPACE, arms=arms(0.5, 0.7, 0.6, 0.9), seeds=4)
    search = run(strategy)
    assert strategy.best_constant(search.record) == 2
    assert [strategy.losses(search.record, arm) for arm in range(4)] == [[0.5] * 4, [0.7], [0.6] * 4, [0.9]]


def test_a_failed_window_spoils_its_training():
    """A training with a failed window has no figure of merit, even if a later one completes, and ranks last."""
    strategy = Replay(space=SPACE, arms=[[{"--lr": 5.0}, {"--lr": 0.1}], *arms(0.6)], seeds=2)
    assert strategy.losses(run(strategy).record, 0) == [float("inf")] * 2
    strategy = Replay(space=SPACE, arms=[*arms(0.5), [{"--lr": 5.0}, {"--lr": 0.1}], *arms(0.6)], seeds=2)
    assert strategy.best_constant(run(strategy).record) == 2


def test_a_schedule_alone_is_replayed_too():
    """Without constant settings the schedule is trained alone."""
    strategy = Replay(space=SPACE, arms=arms(0.5), seeds=3)
    search = run(strategy)
    assert len(search.record) == strategy.evaluations == 6
    assert strategy.best_constant(search.record) is None


def test_windows_have_the_numbers_of_the_search():
    """Where a window of the search has failed its number is left out, as the program was told there."""
    search = run(Replay(space=SPACE, arms=arms(0.5, 0.7), seeds=2, numbers=[1, 4], windows=6))
    assert {s.generation for s in search.suggestions} == {1, 4}


def test_checkpoints_are_kept_as_long_as_they_are_needed():
    """Whatever is trained on from later is among what is kept."""
    search = Search(Replay(space=SPACE, arms=arms(0.5, 0.7, 0.6), seeds=3), bowl(SPACE), 0, 4)
    for _ in search.steps():
        suggestion = search.ask()
        if suggestion is not None and suggestion.resume_from is not None:
            assert suggestion.resume_from in search.strategy.resumable(search.states[-1])


def test_a_schedule_is_compared_with_its_first_last_and_mean():
    """Numbers are averaged on their own scale, choices by count; what never changes stays to the last digit."""
    schedule = [
        {"--lr": 0.001, "--batch": 2, "--act": "relu", "--momentum": 0.123456789},
        {"--lr": 0.1, "--batch": 8, "--act": "gelu"},
        {"--lr": 0.01, "--batch": 8, "--act": "relu", "--momentum": 0.123456789},
    ]
    first, last, mean = constant_settings(SPACE, schedule)
    assert (first, last) == (schedule[0], schedule[2])
    assert mean == {"--lr": 0.01, "--batch": 6, "--act": "relu", "--momentum": 0.123456789}
    assert list(mean) == list(SPACE.flags)


def test_equal_settings_are_tried_once():
    """A constant setting that equals another is left out, and a constant schedule has none."""
    schedule = [{"--lr": 0.1, "--batch": 2, "--act": "tanh"}, {"--lr": 0.2, "--batch": 2, "--act": "tanh"}]
    assert constant_settings(SPACE, [*schedule, schedule[0]])[0] == schedule[0]
    assert len(constant_settings(SPACE, [*schedule, schedule[0]])) == 2
    assert constant_settings(SPACE, [schedule[0]] * 3) == []
    assert constant_settings(SPACE, schedule[:1]) == []


@pytest.mark.parametrize(
    "arguments", [{}, {"arms": [[]]}, {"arms": [*arms(1.0), []]}, {"arms": arms(1.0), "numbers": [0]}]
)
def test_arms_that_do_not_fit_are_refused(arguments):
    """Arms must be of one length, at least one window, and as many numbers."""
    with pytest.raises(SettingsError, match="a replay needs arms"):
        Replay(space=SPACE, **arguments)
