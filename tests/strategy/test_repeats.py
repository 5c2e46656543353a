"""Every point several times."""

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked, Cause, Completed, Failed, Suggestion, Told
from crayai.hpo.space.hyperparameters import Float
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import Record
from crayai.hpo.strategy.genetic import Genetic
from crayai.hpo.strategy.random_search import RandomSearch
from crayai.hpo.strategy.repeats import Repeated, RepeatedHistory, mean_outcome
from crayai.hpo.testing.strategies import Search, bowl, mixed_space

FAILED = Failed(Cause.SIGNAL, "9")


class Listener:
    """A strategy that asks for 0, 1, 2 …, each with the point before as parent; its state is all that it hears."""

    evaluations = None

    def start(self):
        """Return that nothing was heard."""
        return ()

    def ask(self, state, history, rng):  # noqa: ARG002 - any state, no chance
        """Return the next number."""
        return Suggestion({"-n": len(history)}, parents=(len(history) - 1,) if len(history) else ())

    def fold(self, state, event):
        """Hear."""
        return (*state, event)

    def is_done(self, state):
        """Return whether two points are over."""
        return sum(isinstance(event, Told) for event in state) >= 2


def asked(strategy, count):
    """Return a search that asked for `count` evaluations."""
    search = Search(strategy, lambda _: Completed(0.0))
    for number in range(count):
        search.append(Asked(number, search.ask()))
    return search


def test_each_point_comes_several_times_in_a_row():
    """The repeats of a point have following numbers and the same suggestion."""
    search = asked(Repeated(Listener(), 3), 7)
    assert [point["-n"] for point in search.points] == [0, 0, 0, 1, 1, 1, 2]


def test_the_strategy_inside_hears_of_points():
    """The strategy inside is told of one asking and one mean outcome for each point, under the point's number."""
    search = asked(Repeated(Listener(), 2), 4)
    for number, loss in [(3, 10.0), (0, 1.0), (1, 4.0), (2, 20.0)]:
        search.append(Told(number, Completed(loss)))
    assert search.states[-1].inner == (
        Asked(0, Suggestion({"-n": 0})),
        Asked(1, Suggestion({"-n": 1}, parents=(0,))),
        Told(0, Completed(2.5)),
        Told(1, Completed(15.0)),
    )


def test_parents_are_evaluations_outside_and_points_inside():
    """In the records a parent is the first evaluation of its point."""
    search = asked(Repeated(Listener(), 3), 7)
    assert [suggestion.parents for suggestion in search.suggestions] == [(), (), (), (0,), (0,), (0,), (3,)]


def test_a_point_that_failed_once_has_failed():
    """One failed repeat makes the point a failed one: its mean is not known."""
    search = asked(Repeated(Listener(), 3), 3)
    for number, outcome in [(1, Completed(1.0)), (2, FAILED), (0, Completed(2.0))]:
        search.append(Told(number, outcome))
    assert search.states[-1].inner[-1] == Told(0, FAILED)


def test_it_is_not_done_before_the_last_repeat():
    """A search is done when the strategy inside is, and every repeat is over."""
    search = asked(Repeated(Listener(), 2), 5)
    done = []
    for number in (0, 1, 4, 2, 3):
        search.append(Told(number, Completed(0.0)))
        done.append(search.strategy.is_done(search.states[-1]))
    assert done == [False, False, False, False, False]
    assert search.states[-1].open == ((2, 4, Completed(0.0)),)


def test_the_number_of_evaluations_is_multiplied():
    """There are `repeats` evaluations for each one of the strategy inside, or an unknown number."""
    space = mixed_space()
    assert Repeated(RandomSearch(space=space, num_iters=7), 3).evaluations == 21
    assert Repeated(Listener(), 3).evaluations is None


@pytest.mark.parametrize("seed", range(3))
def test_once_is_as_without(seed):
    """One evaluation a point gives the same search as the strategy alone."""
    strategy = Genetic(space=mixed_space(), generations=4, pop_size=5, num_demes=2)
    alone = Search(strategy, bowl(mixed_space()), seed).run()
    once = Search(Repeated(strategy, 1), bowl(mixed_space()), seed).run()
    assert once.suggestions == alone.suggestions


def test_means_beat_noise():
    """The strategy inside ranks by the mean: a point that was lucky once does not survive a good one."""
    strategy = Repeated(Genetic(space=Space([Float("-x", 0.0, 1.0)]), generations=2, pop_size=2, num_demes=1), 2)
    search = asked(strategy, 4)
    for number, loss in enumerate([0.0, 10.0, 2.0, 2.0]):
        search.append(Told(number, Completed(loss)))
    assert [tuple(individual) for individual in search.states[-1].inner.demes[0]] == [(2.0, 1), (5.0, 0)]


def test_the_history_inside_has_one_entry_a_point():
    """Length, suggestions and outcomes of the history inside are by point; an outcome is there when all repeats are."""
    record = Record()
    for number in range(4):
        record.append(Asked(number, Suggestion({"-n": number // 2})))
    for number, loss in [(0, 1.0), (1, 2.0), (3, 5.0)]:
        record.append(Told(number, Completed(loss)))
    history = RepeatedHistory(record, 2)
    assert len(history) == 2
    assert [history.suggestion(point).values["-n"] for point in range(2)] == [0, 1]
    assert [history.outcome(point) for point in range(2)] == [Completed(1.5), None]
    assert history.was_asked({"-n": 1})
    assert not history.was_asked({"-n": 2})


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Completed(0.5), Completed(1.0), Completed(3.0)], Completed(1.5)),
        ([Completed(1e308)] * 3, Completed(1e308)),
        ([Completed(1e16), Completed(1.0), Completed(-1e16)], Completed(1 / 3)),
        ([Completed(1.0), FAILED, Failed(Cause.LOST)], FAILED),
    ],
)
def test_mean_outcome(outcomes, expected):
    """Huge losses do not disturb the mean; that of a point with failed repeats is its first failure."""
    assert mean_outcome(outcomes) == expected


@pytest.mark.parametrize("repeats", [0, -1, 1.0, True])
def test_repeats_that_cannot_be_are_refused(repeats):
    """The error names the setting, the rule and the value."""
    with pytest.raises(SettingsError, match=f"repeats must be a whole number of at least 1, got {repeats!r}"):
        Repeated(Listener(), repeats)
