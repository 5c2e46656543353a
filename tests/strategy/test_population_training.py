"""Population based training."""

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Cause, Completed, Failed, loss_of
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.population_training import PopulationTraining
from crayai.hpo.testing.strategies import Search, StrategyConformance, bowl, mixed_space

FAILED = Failed(Cause.NOT_A_NUMBER, "nan")


class TestPopulationTraining(StrategyConformance):
    """The rules of every strategy hold for population based training."""

    trains_on = True

    def make(self, space):
        """Return a small population."""
        return PopulationTraining(space=space, pop_size=6, windows=5)


class TestDemes(StrategyConformance):
    """They hold for demes of different frequency, without lag, and for tournaments."""

    trains_on = True

    def make(self, space):
        """Return three demes of four."""
        return PopulationTraining(space=space, pop_size=4, num_demes=3, windows=6, lag=0, exploit="tournament")


def trained(judge=None, seed=0, space=None, slots=4, **settings):
    """Return a population's training that is over."""
    space = space or mixed_space()
    strategy = PopulationTraining(space=space, **{"pop_size": 8, "windows": 6, **settings})
    return Search(strategy, judge or bowl(space), seed, slots=slots).run()


def by_member(search):
    """Yield window, member, the suggestion, its own last one's number, and the population."""
    population = search.strategy.population
    for number, suggestion in enumerate(search.suggestions):
        yield number // population, number % population, suggestion, number - population, population


@pytest.mark.parametrize("seed", range(3))
def test_members_train_on_from_the_window_before(seed):
    """Every evaluation but those of the first window goes on from a checkpoint of the window before."""
    for window, _, suggestion, _, population in by_member(trained(seed=seed)):
        source = suggestion.resume_from
        assert suggestion.generation == window
        assert source is None if window == 0 else source // population == window - 1, f"seed {seed}"


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_the_worst_are_replaced_from_the_best(lag):
    """At a decision the worst quarter takes over from the best quarter, as they were `lag` windows before."""
    search = trained(lag=lag, windows=7)
    for window, member, suggestion, own, population in by_member(search):
        if window == 0:
            continue
        first = own - member
        judged = []
        for other in range(population):
            ancestor = first + other
            for _ in range(lag):
                ancestor = None if ancestor is None else search.suggestions[ancestor].resume_from
            judged.append((float("inf") if ancestor is None else loss_of(search.record.outcome(ancestor)), other))
        ranks = [other for _, other in sorted(judged)]
        is_replaced = suggestion.resume_from != own
        if window <= lag:
            assert not is_replaced, "there is nothing to judge by yet"
        elif is_replaced:
            assert member in ranks[-2:], (window, member, ranks)
            assert suggestion.resume_from - first in ranks[:2]
        elif judged[member][0] > judged[ranks[1]][0]:
            assert member not in ranks[-2:]


def test_who_goes_on_keeps_its_values():
    """A member that is not replaced trains on with the values that it has."""
    search = trained()
    for window, _, suggestion, own, _ in by_member(search):
        if window and suggestion.resume_from == own:
            assert suggestion.values == search.suggestions[own].values


def test_there_is_a_schedule_to_learn():
    """Where the best value moves with time, members at the end have a better one than those that never change."""
    space = Space([Float("--lr", 0.0, 1.0)])

    def judge_at(window):
        return lambda values: abs(values["--lr"] - (0.9 if window < 6 else 0.2))

    class Moving(Search):
        def append(self, event):
            super().append(event)

    strategy = PopulationTraining(space=space, pop_size=16, windows=12, lag=0)
    search = Moving(strategy, bowl(space))
    search.judge = lambda values: Completed(judge_at((len(search.record) - 1) // 16)(values))
    search.slots = 16
    search.run()
    assert min(loss_of(search.record.outcome(number)) for number in range(176, 192)) < 0.2, (
        "most were at 0.9 at half time"
    )


@pytest.mark.parametrize("lag", [0, 1])
def test_a_failed_member_is_replaced_at_the_next_decision(lag):
    """A member that failed goes on from a better one, even between two decisions of its deme."""
    count = iter(range(1000))
    outcomes = lambda _: FAILED if (n := next(count)) % 8 == 3 and n // 8 == 1 else Completed(float(n % 8))  # noqa: E731
    search = Search(PopulationTraining(space=mixed_space(), pop_size=8, windows=5, interval=100, lag=lag), outcomes)
    search.run()
    after = search.suggestions[8 * (2 + lag) + 3]
    assert after.resume_from is not None
    assert after.resume_from % 8 != 3
    assert [s.resume_from for s in search.suggestions[24 + 8 * lag :]] == list(range(16 + 8 * lag, 32))


def test_where_nobody_has_a_checkpoint_all_start_anew():
    """When everybody failed, members start from scratch with other values, and go on from there."""
    count = iter(range(1000))
    search = Search(
        PopulationTraining(space=mixed_space(), pop_size=8, windows=4, lag=0),
        lambda _: FAILED if next(count) < 8 else Completed(1.0),
    ).run()
    assert [s.resume_from for s in search.suggestions[8:16]] == [None] * 8
    assert all(s.resume_from is not None for s in search.suggestions[16:])


def test_structure_goes_with_the_weights():
    """What is structural is as in the evaluation whose weights are taken, whatever else changes."""
    space = Space([Float("--lr", 1e-4, 1.0, log=True), Int("--layers", 1, 6, structural=True),
                   Choice("--kind", ["a", "b", "c"], structural=True)])  # fmt: skip
    search = trained(space=space, num_demes=2, resample_rate=0.9)
    for suggestion in search.suggestions:
        if suggestion.resume_from is not None:
            weights = search.suggestions[suggestion.resume_from].values
            assert (suggestion.values["--layers"], suggestion.values["--kind"]) == (
                weights["--layers"], weights["--kind"],
            )  # fmt: skip


def test_words_change_only_when_drawn_anew():
    """Unordered choices are redrawn at the resample rate, ordered ones move to a neighbour."""
    space = Space([Choice("--kind", list("abcdefgh")), Choice("--size", [1, 2, 4, 8, 16])])
    search = trained(space=space, resample_rate=0.0, perturbation=0.01, windows=8)
    sizes = [1, 2, 4, 8, 16]
    for suggestion in search.suggestions[8:]:
        source = search.suggestions[suggestion.parents[0]].values
        assert suggestion.values["--kind"] == source["--kind"]
        assert abs(sizes.index(suggestion.values["--size"]) - sizes.index(source["--size"])) <= 1


def test_slow_demes_decide_less_often():
    """Each further deme decides at fewer windows."""
    search = trained(num_demes=3, windows=10, slowdown=3, lag=0)
    replaced = {d: set() for d in range(3)}
    for window, _, suggestion, own, _ in by_member(search):
        if window and suggestion.resume_from != own:
            replaced[suggestion.deme].add(window)
    assert replaced[1] <= {3, 6, 9}
    assert replaced[2] <= {9}
    assert len(replaced[0]) > len(replaced[1]) > 0


def test_from_a_fast_deme_come_the_weights_alone():
    """The worst of a slow deme takes weights from a better fast deme, hyperparameters from its own."""
    count = iter(range(1000))
    search = Search(
        PopulationTraining(space=mixed_space(), pop_size=4, num_demes=2, windows=7, lag=0),
        lambda _: Completed(float(next(count) % 8)),  # the fast deme is better throughout
    ).run()
    migrants = [s for s in search.suggestions if s.deme == 1 and s.resume_from is not None and s.resume_from % 8 < 4]
    assert migrants
    assert all(s.parents[0] % 8 >= 4 for s in migrants)


def test_no_member_waits_for_the_slowest():
    """With a lag, a whole window can be asked for while none of the one before is over."""
    space = mixed_space()
    search = Search(PopulationTraining(space=space, pop_size=8, windows=4, lag=1), bowl(space), slots=16)
    steps = search.steps()
    assert all(next(steps) is not None for _ in range(16))
    assert next(steps) is None


def test_what_can_be_resumed_from_is_little():
    """What a later suggestion may train on from is at most two windows."""
    search = trained(slots=8)
    for state in search.states:
        assert len(search.strategy.resumable(state)) <= 2 * search.strategy.population
    for state, event in zip(search.states, search.events, strict=False):
        source = getattr(getattr(event, "suggestion", None), "resume_from", None)
        assert source is None or source in search.strategy.resumable(state)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"windows": 0}, "windows must be a whole number of at least 1, got 0"),
        ({"pop_size": 3}, "pop_size=3 members of a deme; got quantile=0.25, which is 0 members"),
        ({"quantile": 0.6}, "quantile must be at most 0.5"),
        ({"exploit": "steal"}, "exploit must be 'truncation' or 'tournament', got 'steal'"),
        ({"perturbation": 0}, "perturbation must be above 0"),
        ({"lag": -1}, "lag must be a whole number of at least 0"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    """A setting that cannot be is refused with the rule and the value."""
    with pytest.raises(SettingsError, match=words.replace("(", r"\(")):
        PopulationTraining(space=mixed_space(), **settings)
