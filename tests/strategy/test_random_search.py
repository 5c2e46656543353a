"""Random search."""

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.random_search import RandomSearch
from crayai.hpo.testing.strategies import Search, bowl, tiny_space


def points_of(space, num_iters, seed=0):
    """Return what a random search asks for."""
    return Search(RandomSearch(space=space, num_iters=num_iters), bowl(space), seed).run().points


@pytest.mark.parametrize("num_iters", [1, 2, 30])
def test_num_iters_counts_the_default_point(num_iters):
    """There are `num_iters` evaluations, the default point being one of them."""
    space = Space([Float("--lr", 0.0, 1.0, default=0.25)])
    points = points_of(space, num_iters)
    assert len(points) == num_iters == RandomSearch(space=space, num_iters=num_iters).evaluations
    assert points[0] == {"--lr": 0.25}


def test_a_missing_default_is_drawn():
    """Where there is no default, the first value depends on the seed and is inside."""
    space = Space([Int("--layers", 1, 1000), Float("--lr", 0.0, 1.0, default=0.25)])
    firsts = [points_of(space, 1, seed)[0] for seed in range(5)]
    assert all(first["--lr"] == 0.25 and 1 <= first["--layers"] <= 1000 for first in firsts)
    assert len({first["--layers"] for first in firsts}) == 5


def test_a_default_outside_is_evaluated_and_then_left():
    """A default outside its range is the first point; all others are inside."""
    with pytest.warns(UserWarning, match="--lr"):
        space = Space([Float("--lr", 0.0, 1.0, default=3.0)])
    first, *others = (point["--lr"] for point in points_of(space, 50))
    assert first == 3.0
    assert all(0 <= lr <= 1 for lr in others)


def test_a_log_range_is_searched_evenly_in_orders_of_magnitude():
    """Each of the four decades of a log range gets its quarter of the points."""
    space = Space([Float("--lr", 1e-5, 1e-1, log=True)])
    values = [point["--lr"] for point in points_of(space, 2000, seed=1)]
    for exponent in range(-5, -1):
        share = sum(10.0**exponent <= value < 10.0 ** (exponent + 1) for value in values) / len(values)
        assert 0.22 < share < 0.28, f"seed 1, decade {exponent}"


def test_choices_are_drawn_equally_often():
    """Each of three choices gets its third of the points."""
    space = Space([Choice("--kind", ["a", "b", "c"]), Float("--lr", 0.0, 1.0)])
    kinds = [point["--kind"] for point in points_of(space, 1500, seed=2)]
    assert all(0.29 < kinds.count(kind) / len(kinds) < 0.38 for kind in "abc"), "seed 2"


@pytest.mark.parametrize("seed", range(5))
def test_an_exhausted_space_is_asked_again(seed):
    """The nine points of a tiny space come first, once each; the search then goes on to its end with known ones."""
    keys = [tuple(point.items()) for point in points_of(tiny_space(), 20, seed)]
    assert len(keys) == 20
    assert len(set(keys[:9])) == 9


def test_minus_one_and_minus_two_are_different_points():
    """Values whose hashes Python makes equal, such as -1 and -2, are both asked for."""
    assert sorted(point["-a"] for point in points_of(Space([Int("-a", -2, -1, default=-1)]), 2)) == [-2, -1]


def test_one_and_true_are_different_points():
    """Values that Python holds for equal but writes differently are both asked for."""
    points = points_of(Space([Choice("-a", [1, True], default=1, pass_as="flag=value")]), 2)
    assert sorted(repr(point["-a"]) for point in points) == ["1", "True"]


@pytest.mark.parametrize("num_iters", [0, -1, 1.5, True, "10"])
def test_a_number_of_iterations_that_cannot_be_is_refused(num_iters):
    """The error names the setting, the rule and the value."""
    with pytest.raises(SettingsError, match=f"num_iters must be a whole number of at least 1, got {num_iters!r}"):
        RandomSearch(space=tiny_space(), num_iters=num_iters)
