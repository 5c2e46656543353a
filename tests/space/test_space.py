"""The ordered whole of the hyperparameters."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crayai.hpo.errors import SpaceError
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.testing.strategies import mixed_space, tiny_space


def chain(*whens):
    """Return whole ranges 0..2 named -a, -b, … with these conditions."""
    return Space([Int(f"-{chr(97 + i)}", 0, 2, default=1, when=when) for i, when in enumerate(whens)])


def test_values_are_in_the_order_of_the_space():
    """Values come by flag, in the order given, whatever the order of the conditions."""
    space = chain("-c > 0", "-a > 0", None)
    assert list(space.values([0.9, 0.9, 0.9])) == ["-a", "-b", "-c"]


def test_an_inactive_hyperparameter_has_no_value():
    """What its condition does not allow is left out, and so is what depends on that."""
    space = chain(None, "-a > 0", "-b > 0")
    assert space.values([0.9, 0.9, 0.9]) == {"-a": 2, "-b": 2, "-c": 2}
    assert space.values([0.9, 0.1, 0.9]) == {"-a": 2, "-b": 0}
    assert space.values([0.1, 0.9, 0.9]) == {"-a": 0}


def test_a_constant_may_depend():
    """A constant with a condition is passed only where it is true."""
    space = Space([Choice("--o", ["sgd", "adam"]), Constant("--warmup", 5, when="--o == 'adam'")])
    assert [space.values([place, 0.5]) for place in (0.1, 0.9)] == [{"--o": "sgd"}, {"--o": "adam", "--warmup": 5}]


def test_places_of_inactive_hyperparameters_are_none():
    """The places of values are those of the active ones, and None for the others."""
    assert chain(None, "-a > 0").places({"-a": 0}) == (pytest.approx(1 / 6), None)


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_values_are_found_at_their_places(point):
    """The places of any values hold these values again."""
    space = mixed_space()
    values = space.values(point)
    full = [0.5 if place is None else place for place in space.places(values)]
    again = space.values(full)
    assert list(again) == list(values)
    for flag, value in values.items():
        assert again[flag] == (pytest.approx(value, rel=2e-7, abs=1e-12) if isinstance(value, float) else value)


def test_the_start_is_the_default_point():
    """Defaults come first; where there is none, the value at the fallback; inactive ones are left out."""
    space = Space([Float("-x", 0.0, 1.0, default=0.25), Int("-n", 1, 4), Int("-m", 1, 4, default=2, when="-n > 2")])
    assert space.start([0.9, 0.0, 0.9]) == {"-x": 0.25, "-n": 1}
    assert space.start([0.9, 1.0, 0.9]) == {"-x": 0.25, "-n": 4, "-m": 2}


def test_what_is_searched():
    """Constants are passed along, not searched."""
    space = Space([Constant("-c", 1), Int("-n", 1, 4), Constant("-d", 1), Float("-x", 0.0, 1.0)])
    assert space.searched == (1, 3)


def test_size():
    """The size is the product of the numbers of values, and unknown for a continuum."""
    assert tiny_space().size == 12
    assert mixed_space().size is None
    assert Space([Float("-x", 0.0, 1.0, step=0.25), Constant("-c", 1)]).size == 5


def test_a_circle_is_named():
    """Conditions that run in a circle are refused; the error names the circle."""
    with pytest.raises(SpaceError, match=r"conditions run in a circle: (-\w depends on ){3}-\w$") as caught:
        chain("-b > 0", "-c > 0", "-a > 0", None)
    named = str(caught.value).split(": ")[1].split(" depends on ")
    assert named[0] == named[-1]
    after = {"-a": "-b", "-b": "-c", "-c": "-a"}
    assert all(after[flag] == other for flag, other in pairwise(named))


def test_a_hyperparameter_that_depends_on_itself_is_a_circle():
    """The smallest circle has one member."""
    with pytest.raises(SpaceError, match="in a circle: -a depends on -a"):
        chain("-a > 0")


BAD = [
    (lambda: Space([]), "the search space is empty: give at least one hyperparameter"),
    (lambda: Space([Int("-a", 0, 1), Int("-a", 0, 2)]), "-a: the flag occurs 2 times; each may occur once"),
    (lambda: chain(None, "--z > 0"), "-b: the condition '--z > 0' cannot be read"),
    (
        lambda: Space([Choice("--o", ["sgd", "adam"]), Int("-n", 0, 1, when="--o == 'sdg'")]),
        "-n: its condition compares --o with 'sdg', which it never is; did you mean 'sgd'?",
    ),
    (
        lambda: Space([Choice("--o", ["sgd", "adam"]), Int("-n", 0, 1, when="'zzz' != --o")]),
        "-n: its condition compares --o with 'zzz', which it never is; it can be 'sgd', 'adam'",
    ),
    (
        lambda: Space([Choice("--o", ["sgd", "adam"]), Int("-n", 0, 1, when="--o in ['sgd', 'adm']")]),
        "-n: its condition compares --o with 'adm', which it never is; did you mean 'adam'?",
    ),
    (
        lambda: Space([Choice("--o", ["sgd", "adam"]), Int("-n", 0, 1, when="--o > 'a'")]),
        "-n: its condition compares --o with 'a': only numbers have an order",
    ),
    (lambda: chain(None, "-a == 'x'"), "-b: its condition compares -a with 'x': only numbers have an order"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_refused(make, message):
    """The error names the flag, the rule and the value."""
    with pytest.raises(SpaceError) as caught:
        make()
    assert message in str(caught.value)


def points_of(space, points):
    """Return the points of a grid, as hashable things."""
    grid = space.grid(points)
    return [tuple(grid.values(digits).items()) for digits in grid]


def test_a_grid_is_walked_from_the_last_hyperparameter():
    """The last hyperparameter turns fastest."""
    space = Space([Int("-a", 0, 1), Choice("-b", ["x", "y"])])
    assert [tuple(dict(point).values()) for point in points_of(space, 2)] == [(0, "x"), (0, "y"), (1, "x"), (1, "y")]


whens = st.sampled_from([None, "{} > 0", "{} == 1", "not {} == 2", "{} in [0, 2]"])


@given(st.lists(whens, min_size=1, max_size=5), st.randoms(use_true_random=False), st.booleans())
def test_a_grid_with_conditions_is_complete_and_has_no_repeats(templates, random, backwards):
    """A grid has every different point once, whatever the conditions; its count is the number of points."""
    flags = [f"-{chr(97 + i)}" for i in range(len(templates))]
    whens = [
        None if when is None or i == 0 else when.format(flags[random.randrange(i)]) for i, when in enumerate(templates)
    ]
    hyperparameters = [Int(flag, 0, 2, when=when) for flag, when in zip(flags, whens, strict=True)]
    space = Space(hyperparameters[::-1] if backwards else hyperparameters)
    points = points_of(space, 3)
    cells = [(digit + 0.5) / 3 for digit in range(3)]
    wanted = {tuple(space.values(point).items()) for point in product_of(cells, len(templates))}
    assert len(points) == len(set(points)) == space.grid(3).count(10**6)
    assert set(points) == wanted


def product_of(cells, dimensions):
    """Return all points with these places in each dimension."""
    return [()] if dimensions == 0 else [(cell, *rest) for cell in cells for rest in product_of(cells, dimensions - 1)]


def test_counting_has_a_limit():
    """Where conditions make a grid larger than the limit, its number of points is unknown; without, it is computed."""
    assert chain(None, "-a > 0").grid(3).count(6) is None
    assert chain(None, "-a > 0").grid(3).count(7) == 7
    assert chain(None, None).grid(3).count(1) == 9


@pytest.mark.parametrize(
    ("hyperparameter", "low", "high"),
    [
        (Float("--x", 1e-5, 1.0, log=True, start=(1e-3, 1e-1)), 1e-3, 1e-1),
        (Float("--x", 0.0, 1.0, start=(0.25, 0.5)), 0.25, 0.5),
        (Float("--x", 0.0, 1.0, step=0.125, start=(0.25, 0.5)), 0.25, 0.5),
        (Int("--x", 1, 9, start=(2, 4)), 2, 4),
        (Int("--x", 1, 512, log=True, start=(8, 64)), 8, 64),
    ],
)
def test_a_search_starts_in_the_range_to_start_from(hyperparameter, low, high):
    """The unit interval covers the range to start from, both ends included, and nothing else."""
    space = Space([hyperparameter])
    started = [space.start_values([i / 1000])["--x"] for i in range(1001)]
    assert (min(started), max(started)) == (low, high)
    assert started == sorted(started)
    if hyperparameter.size is not None and not hyperparameter.log:
        counts = [started.count(value) for value in set(started)]
        assert max(counts) - min(counts) <= 2, "all equally likely"
