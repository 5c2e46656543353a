"""`hpo.Search`: ask and tell, for those who evaluate by themselves."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crayai import hpo

PARAMS = [["-x", 0.5, (-1.0, 1.0)], ["-n", 3, (1, 9)], ["-w", "a", ["a", "b", "c"]]]


def bowl(values) -> float:
    """Return a figure of merit that is least at x = 0.3, n = 5."""
    return (values["-x"] - 0.3) ** 2 + (values["-n"] - 5) ** 2


def finish(search: hpo.Search) -> list:
    """Ask and tell until the end; return what was suggested."""
    suggested = []
    while not search.is_done:
        one = search.ask()
        suggested.append(one)
        search.tell(one.number, bowl(one.values))
    return suggested


def test_search_runs_to_its_end() -> None:
    """Asking and telling in turn goes through the whole budget, then `ask` gives None and `is_done` is true."""
    search = hpo.Search(PARAMS, "genetic", seed=1, generations=3, pop_size=4, num_demes=2)
    suggested = finish(search)
    assert [s.number for s in suggested] == list(range(24))
    assert [s.generation for s in suggested] == [n // 8 for n in range(24)]
    assert suggested[0].values == {"-x": 0.5, "-n": 3, "-w": "a"}
    assert search.is_done
    assert search.ask() is None


def test_params_object_and_list_are_the_same() -> None:
    """The hyperparameters may be an `hpo.Params` or the list for one."""
    first = finish(hpo.Search(hpo.Params(PARAMS), "random", seed=2, num_iters=5))
    assert first == finish(hpo.Search(PARAMS, "random", seed=2, num_iters=5))


def test_several_are_out_at_once() -> None:
    """A generation may be asked for as a whole; then nothing comes before another tell."""
    search = hpo.Search(PARAMS, "genetic", seed=1, generations=2, pop_size=5, num_demes=1)
    out = [search.ask() for _ in range(5)]
    assert search.ask() is None
    assert not search.is_done
    for one in reversed(out[1:]):
        search.tell(one.number, bowl(one.values))
    assert search.ask() is None
    search.tell(0, bowl(out[0].values))
    assert search.ask().generation == 1


def test_order_of_telling_changes_no_point() -> None:
    """The same seed gives the same points, in whatever order outcomes arrive."""
    runs = []
    for order in (1, -1):
        search = hpo.Search(PARAMS, "genetic", seed=7, generations=3, pop_size=4, num_demes=1)
        asked = []
        while not search.is_done:
            out = list(iter(search.ask, None))
            asked += [one.values for one in out]
            for one in out[::order]:
                search.tell(one.number, bowl(one.values))
        runs.append(asked)
    assert runs[0] == runs[1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), strategy=st.sampled_from(["genetic", "random"]))
def test_same_seed_same_points(seed, strategy) -> None:
    """Two searches of one seed suggest the same, with the same seeds for the program; all points are inside."""
    arguments = {"num_iters": 12} if strategy == "random" else {"generations": 3, "pop_size": 4, "num_demes": 1}
    first, second = (finish(hpo.Search(PARAMS, strategy, seed=seed, **arguments)) for _ in range(2))
    assert first == second
    assert all(-1 <= s.values["-x"] <= 1 and s.values["-n"] in range(1, 10) for s in first)
    assert len({s.seed for s in first}) == 12


def test_different_seeds_differ() -> None:
    """Another seed gives other points; no seed draws one."""
    runs = [finish(hpo.Search(PARAMS, "random", seed=seed, num_iters=5)) for seed in (1, 2, None, None)]
    points = [str([s.values for s in run]) for run in runs]
    assert len(set(points)) == 4


def test_best_is_the_least() -> None:
    """`best` is the completed evaluation with the least figure of merit; before any it is None."""
    search = hpo.Search(PARAMS, "random", seed=3, num_iters=10)
    assert search.best is None
    finish(search)
    assert search.best == min(search.evaluations, key=lambda e: e.fom)
    assert search.best.fom == bowl(search.best.values)


def test_best_is_the_greatest_when_maximising() -> None:
    """With goal='maximize' the best is the greatest, as it was told."""
    search = hpo.Search(PARAMS, "random", seed=3, goal="maximize", num_iters=10)
    finish(search)
    assert search.best.fom == max(e.fom for e in search.evaluations)


def test_first_of_equals_is_best() -> None:
    """Ties go to the lower number, whatever came first."""
    search = hpo.Search(PARAMS, "random", seed=3, num_iters=4)
    for number in [search.ask().number for _ in range(4)][::-1]:
        search.tell(number, 1.0)
    assert search.best.number == 0


def test_failed_ones_are_passed_over() -> None:
    """A search goes on past reported failures; they have no figure of merit, and say why."""
    search = hpo.Search(PARAMS, "genetic", seed=3, generations=2, pop_size=3, num_demes=1)
    for _ in range(6):
        one = search.ask()
        if one.number % 2:
            search.tell_failed(one.number, "the GPU fell off")
        else:
            search.tell(one.number, bowl(one.values))
    assert search.is_done
    failed = [e for e in search.evaluations if e.fom is None]
    assert [e.number for e in failed] == [1, 3, 5]
    assert all(e.failure == "reported as failed: the GPU fell off" for e in failed)
    assert search.best.number % 2 == 0


@pytest.mark.parametrize("fom", [math.nan, math.inf, -math.inf])
def test_figures_that_are_not_finite_count_as_failed(fom) -> None:
    """What is not a number and the infinities are failures, not the best."""
    search = hpo.Search(PARAMS, "random", seed=3, num_iters=2)
    search.tell(search.ask().number, fom)
    assert search.evaluations[0].failure == f"not a number: {fom}"
    assert search.best is None
    search.tell(search.ask().number, 5)
    assert search.best.number == 1


@pytest.mark.parametrize("number", [1, -1, 99])
def test_unknown_numbers_are_refused(number) -> None:
    """Telling of an evaluation that was never asked for names it, and changes nothing."""
    search = hpo.Search(PARAMS, "random", num_iters=3)
    search.ask()
    with pytest.raises(hpo.SettingsError, match=f"evaluation {number} was never asked for; 1 were"):
        search.tell(number, 1.0)
    assert [e.fom for e in search.evaluations] == [None]


def test_telling_twice_is_refused() -> None:
    """A second outcome of one evaluation is refused, and the first one stays."""
    search = hpo.Search(PARAMS, "random", num_iters=3)
    search.ask()
    search.tell(0, 1.0)
    with pytest.raises(hpo.SettingsError, match="evaluation 0 was told before"):
        search.tell(0, 0.5)
    with pytest.raises(hpo.SettingsError, match="evaluation 0 was told before"):
        search.tell_failed(0)
    assert search.best.fom == 1.0


def test_directory_keeps_the_search(tmp_path) -> None:
    """A search in a directory goes on where it was, unfinished evaluations first, as if nothing had happened."""
    arguments = {"seed": 5, "generations": 3, "pop_size": 4, "num_demes": 1}
    whole = finish(hpo.Search(PARAMS, "genetic", **arguments))
    with hpo.Search(PARAMS, "genetic", directory=tmp_path / "kept", **arguments) as search:
        out = [search.ask() for _ in range(4)]
        for number in (2, 0):
            search.tell(number, bowl(out[number].values))
    with hpo.Search(PARAMS, "genetic", directory=tmp_path / "kept", **arguments) as search:
        again = [search.ask(), search.ask()]
        assert again == [out[1], out[3]]
        assert search.ask() is None
        for one in again:
            search.tell(one.number, bowl(one.values))
        rest = finish(search)
        best = search.best
    assert out + rest == whole
    with hpo.Search(PARAMS, "genetic", directory=tmp_path / "kept", **arguments) as search:
        assert search.is_done
        assert search.ask() is None
        assert search.best == best


def test_drawn_seed_is_kept(tmp_path) -> None:
    """A search without a seed goes on with the one that was drawn."""
    with hpo.Search(PARAMS, "random", directory=tmp_path, num_iters=6) as search:
        first = search.ask()
    with hpo.Search(PARAMS, "random", directory=tmp_path, num_iters=6) as search:
        assert search.ask() == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_iters": 7}, "strategy num_iters: 6 there, 7 now"),
        ({"seed": 6}, "seed: 5 there, 6 now"),
        ({"goal": "maximize"}, "goal: 'minimize' there, 'maximize' now"),
        ({"repeats": 2}, "strategy repeats: 1 there, 2 now"),
        ({"params": [["-x", 0.5, (-1.0, 2.0)]]}, "params -x"),
    ],
)
def test_changed_settings_are_refused(tmp_path, change, named) -> None:
    """A search in the directory of another one is refused, and the message names each difference."""
    arguments = {"params": [["-x", 0.5, (-1.0, 1.0)]], "strategy": "random", "seed": 5, "num_iters": 6}
    hpo.Search(directory=tmp_path, **arguments).close()
    with pytest.raises(hpo.StudyChanged) as caught:
        hpo.Search(directory=tmp_path, **{**arguments, **change})
    assert named in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_directory_in_use_is_refused(tmp_path) -> None:
    """A second search on a directory is refused with the process that holds it."""
    with (
        hpo.Search(PARAMS, "random", directory=tmp_path, num_iters=6),
        pytest.raises(hpo.StudyLocked, match="in use by process"),
    ):
        hpo.Search(PARAMS, "random", directory=tmp_path, num_iters=6)


def test_repeats_suggest_a_point_again() -> None:
    """With repeats each point is suggested so often in a row, with a new seed for the program."""
    search = hpo.Search(PARAMS, "random", seed=3, repeats=3, num_iters=2)
    suggested = finish(search)
    assert [s.values for s in suggested[:3]] == 3 * [suggested[0].values]
    assert len({s.seed for s in suggested}) == 6


def test_inactive_hyperparameters_are_not_suggested() -> None:
    """A hyperparameter whose condition is false is not among the values."""
    params = [hpo.Choice("-w", ["a", "b"]), hpo.Float("-x", 0.0, 1.0, when="-w == 'b'")]
    search = hpo.Search(params, "random", seed=3, num_iters=12)
    values = [search.ask().values for _ in range(12)]
    assert all(("-x" in v) == (v["-w"] == "b") for v in values)
    assert {v["-w"] for v in values} == {"a", "b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "genetics"}, "unknown strategy 'genetics'; did you mean 'genetic'"),
        ({"strategy": "random", "num_itres": 3}, "no argument 'num_itres'; did you mean 'num_iters'"),
        ({"strategy": "random", "generations": 3}, "'random' has no argument 'generations'"),
        ({"strategy": "random", "num_iters": 0}, "num_iters must be a whole number of at least 1, got 0"),
        ({"strategy": "grid", "grid_size": 2.5}, "grid_size must be a whole number of at least 1, got 2.5"),
        ({"mutation_rate": 1.5}, "mutation_rate must be between 0 and 1, got 1.5"),
        ({"crossover_rate": "high"}, "crossover_rate must be between 0 and 1, got 'high'"),
        ({"goal": "max"}, "goal must be 'minimize' or 'maximize', got 'max'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message) -> None:
    """The message names the argument, the rule and the value."""
    with pytest.raises(hpo.SettingsError) as caught:
        hpo.Search(PARAMS, **arguments)
    assert message in str(caught.value)


def test_the_mean_of_repeats_decides() -> None:
    """Of repeated points the one with the best mean is the best, not the one with the luckiest repeat."""
    search = hpo.Search([hpo.Float("-x", 0.0, 1.0)], "random", seed=1, num_iters=2, repeats=2)
    for fom in (10.0, 0.0, 3.0, 3.5):
        search.tell(search.ask().number, fom)
    assert search.best.number == 2
    assert search.best.fom == pytest.approx(3.25)
    assert search.best.values == search.evaluations[3].values
