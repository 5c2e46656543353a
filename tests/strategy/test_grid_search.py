"""Grid search."""

from itertools import islice

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.grid_search import GridSearch
from crayai.hpo.testing.strategies import Search, bowl, mixed_space, tiny_space


def points_of(strategy, seed=0):
    """Return what a grid search asks for."""
    return Search(strategy, bowl(strategy.space), seed).run().points


def cube(dimensions, **options):
    """Return a space of ranges from -1 to 1."""
    return Space([Float(f"-{chr(97 + i)}", -1.0, 1.0, **options) for i in range(dimensions)])


def test_seven_ranges_at_two_points_are_129_evaluations():
    """The grid of 2^7 points is searched in full, and the default point besides, though it is one of the corners."""
    space = Space([Float(f"-{flag}", -1.0, 1.0, default=(-1.0) ** i) for i, flag in enumerate("abcdefg")])
    search = GridSearch(space=space, grid_size=2)
    points = points_of(search)
    assert len(points) == search.evaluations == 129
    assert tuple(points[0].values()) == (1, -1, 1, -1, 1, -1, 1)
    assert len({tuple(point.values()) for point in points[1:]}) == 128


def test_both_bounds_and_equal_distances():
    """A range gives equidistant points, both bounds included, and the last hyperparameter turns fastest."""
    points = points_of(GridSearch(space=cube(2, default=0.5), grid_size=3))
    assert [tuple(point.values()) for point in points] == [
        (0.5, 0.5), (-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1),
    ]  # fmt: skip


def test_a_log_range_has_equal_ratios():
    """The points of a log range are a geometric sequence."""
    space = Space([Float("--lr", 1e-4, 1e-1, default=1e-3, log=True)])
    assert [p["--lr"] for p in points_of(GridSearch(space=space, grid_size=4))[1:]] == [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize(("grid_size", "expected"), [(1, [2]), (2, [1, 3]), (3, [1, 2, 3]), (100, [1, 2, 3])])
def test_whole_numbers_do_not_repeat(grid_size, expected):
    """A range of three whole numbers gives at most three points, each once."""
    points = points_of(GridSearch(space=Space([Int("-n", 1, 3, default=1)]), grid_size=grid_size))
    assert [point["-n"] for point in points[1:]] == expected


def test_choices_are_taken_in_full():
    """A list of choices has all its values on the grid, whatever the size of the grid."""
    space = Space([Choice("--kind", list("abcde"), default="c")])
    assert [p["--kind"] for p in points_of(GridSearch(space=space, grid_size=2))[1:]] == list("abcde")


def test_a_huge_grid_starts_at_once():
    """A grid of 10^12 points is counted and begun without being built."""
    search = GridSearch(space=cube(12), grid_size=10)
    assert search.evaluations == 10**12 + 1
    run = Search(search, bowl(search.space), slots=100)
    suggestions = list(islice(run.steps(), 100))
    assert len({tuple(s.values.values()) for s in suggestions}) == 100


def test_a_huge_grid_with_conditions_starts_at_once():
    """A grid too large to be counted, because of conditions, begins without a known number of evaluations."""
    space = Space([*cube(12).hyperparameters, Float("-z", -1.0, 1.0, when="-a > 0")])
    search = GridSearch(space=space, grid_size=10)
    assert search.evaluations is None
    assert len(list(islice(Search(search, bowl(space), slots=50).steps(), 50))) == 50


def test_conditions_make_no_repeats():
    """Points that differ in an inactive hyperparameter alone are one point of the grid, and no point is left out."""
    search = GridSearch(space=tiny_space(), grid_size=5)
    points = [tuple(point.items()) for point in points_of(search)[1:]]
    wanted = {(("--size", size), ("--kind", kind)) for size in (-2, -1) for kind in "abcd"} | {(("--size", 0),)}
    assert len(points) == len(wanted) == 9
    assert set(points) == wanted


def test_the_count_with_conditions_is_exact():
    """A grid with conditions that can be counted has as many evaluations as announced."""
    search = GridSearch(space=mixed_space(), grid_size=2)
    points = [tuple(point.items()) for point in points_of(search)]
    assert len(points) == search.evaluations
    assert len(set(points[1:])) == len(points) - 1


def test_chunks_are_generations():
    """Each chunk of the grid is one generation of the records; the default point belongs to the first."""
    search = Search(GridSearch(space=tiny_space(), chunk_size=4), bowl(tiny_space())).run()
    assert [s.generation for s in search.suggestions] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_without_chunks_all_is_one_generation():
    """Without a chunk size the whole grid is generation 0."""
    search = Search(GridSearch(space=tiny_space()), bowl(tiny_space())).run()
    assert {s.generation for s in search.suggestions} == {0}


def test_slots_are_never_left_empty():
    """A grid has no barrier: everything can be out at once."""
    search = Search(GridSearch(space=tiny_space()), bowl(tiny_space()))
    while (suggestion := search.ask()) is not None:
        search.append(Asked(len(search.record), suggestion))
    assert len(search.record) == 10
    assert not search.strategy.is_done(search.states[-1])


@pytest.mark.parametrize("settings", [{"grid_size": 0}, {"grid_size": 2.0}, {"chunk_size": 0}, {"chunk_size": "4"}])
def test_sizes_that_cannot_be_are_refused(settings):
    """The error names the setting, the rule and the value."""
    ((name, value),) = settings.items()
    with pytest.raises(SettingsError, match=f"{name} must be a whole number of at least 1, got {value!r}"):
        GridSearch(space=tiny_space(), **settings)
