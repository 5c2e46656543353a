"""The kinds of hyperparameter."""

import math
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crayai.hpo.errors import SpaceError
from crayai.hpo.space.base import as_text, eight_digits
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space

places = st.floats(0, 1)
numbers = st.floats(-1e100, 1e100)
positive = st.floats(1e-100, 1e100)
wholes = st.integers(-(10**9), 10**9)


def with_start(draw, hyperparameter, inside):
    """Return the same hyperparameter, or one that starts in a part of its range; structural or not."""
    first, last = sorted((draw(inside), draw(inside)))
    if draw(st.booleans()):
        first, last = hyperparameter.low, hyperparameter.high
    start = (first, last) if first < last else None
    structural = draw(st.booleans())
    try:
        return replace(hyperparameter, start=start, structural=structural)
    except SpaceError:  # between two steps
        return replace(hyperparameter, structural=structural)


@st.composite
def floats(draw):
    """Draw a real range of any kind."""
    log = draw(st.booleans())
    low, high = sorted((draw(positive if log else numbers), draw(positive if log else numbers)))
    assume(low < high)
    step = None if log else draw(st.none() | st.integers(1, 50).map(lambda steps: (high - low) / steps))
    assume(step is None or 0 < step <= high - low)
    return with_start(draw, Float("--x", low, high, log=log, step=step), st.floats(low, high))


@st.composite
def ints(draw):
    """Draw a whole range of any kind."""
    log = draw(st.booleans())
    low = draw(st.integers(1, 10**9) if log else wholes)
    high = low + draw(st.integers(1, 10**9))
    step = 1 if log else draw(st.integers(1, high - low))
    return with_start(draw, Int("--n", low, high, log=log, step=step), st.integers(low, high))


@st.composite
def choices(draw):
    """Draw a list of choices."""
    values = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    listed = draw(st.lists(values, min_size=2, max_size=9, unique_by=as_text))
    return Choice("--c", listed, structural=draw(st.booleans()))


domains = floats() | ints() | choices()


@given(floats(), places)
def test_a_real_value_is_inside_and_has_eight_digits(hyperparameter, place):
    """Every place holds a value within the bounds, which has eight significant digits unless it is a bound."""
    value = hyperparameter.value(place)
    assert hyperparameter.low <= value <= hyperparameter.high
    assert value in {eight_digits(value), hyperparameter.low, hyperparameter.high}


@given(ints(), places)
def test_a_whole_value_is_inside_and_on_a_step(hyperparameter, place):
    """Every place of a whole range holds a Python int within the bounds, a number of steps from the lower one."""
    value = hyperparameter.value(place)
    assert type(value) is int
    assert hyperparameter.low <= value <= hyperparameter.high
    assert (value - hyperparameter.low) % hyperparameter.step == 0


@given(domains, places)
def test_a_value_is_found_at_its_place(hyperparameter, place):
    """The place of a value is in the unit interval, and holds that value."""
    value = hyperparameter.value(place)
    assert 0 <= hyperparameter.place(value) <= 1
    assert as_text(hyperparameter.value(hyperparameter.place(value))) == as_text(value) or (
        isinstance(value, float) and hyperparameter.value(hyperparameter.place(value)) == pytest.approx(value, rel=2e-7)
    )


@given(floats() | ints(), places, places)
def test_values_rise_with_places(hyperparameter, one, other):
    """The farther up the place, the larger the number."""
    low, high = sorted((one, other))
    assert hyperparameter.value(low) <= hyperparameter.value(high)


@given(floats() | ints(), numbers)
def test_the_place_of_what_is_outside_is_the_nearest_end(hyperparameter, number):
    """A number outside the range has a place inside the unit interval."""
    assert 0 <= hyperparameter.place(number) <= 1


@given(domains, places, places)
def test_places_to_start_from_are_places(hyperparameter, one, other):
    """A place of the range to start from is a place of the whole, in the same order; the same where none is given."""
    low, high = sorted((one, other))
    assert 0 <= hyperparameter.start_place(low) <= hyperparameter.start_place(high) <= 1
    if hyperparameter.start is None:
        assert (hyperparameter.start_place(low), hyperparameter.start_place(high)) == (low, high)


@given(floats() | ints(), places)
def test_a_search_starts_inside_the_range_to_start_from(hyperparameter, place):
    """The values of the first generation are within `start`, and on a step where there are steps."""
    value = Space([hyperparameter]).start_values([place])[hyperparameter.flag]
    low, high = hyperparameter.start or (hyperparameter.low, hyperparameter.high)
    assert low <= value <= high
    assert type(value) is type(hyperparameter.low)
    if isinstance(hyperparameter, Int):
        assert (value - hyperparameter.low) % hyperparameter.step == 0


@pytest.mark.parametrize(
    ("started", "alone"),
    [
        (Int("--n", 1, 9, start=(2, 4)), Int("--n", 2, 4)),
        (Int("--n", 1, 10**9, start=(1, 4)), Int("--n", 1, 4)),
        (Int("--n", 0, 100, step=10, start=(15, 55)), Int("--n", 20, 50, step=10)),
        (Int("--n", 1, 9, log=True, start=(1, 9)), Int("--n", 1, 9, log=True)),
        (Int("--n", 1, 512, log=True, start=(2, 9)), Int("--n", 2, 9, log=True)),
        (Float("--n", 0.0, 1.0, step=0.1, start=(0.25, 0.6)), Float("--n", 0.3, 0.6, step=0.1)),
        (Float("--n", 0.0, 1.0, step=0.1, start=(0.3, 0.61)), Float("--n", 0.3, 0.6, step=0.1)),
    ],
    ids=repr,
)
def test_a_range_to_start_from_is_drawn_from_like_a_range_of_its_own(started, alone):
    """Each value of the range to start from is as likely as in a range that is no larger."""
    grid = [(i + 0.5) / 9999 for i in range(9999)]
    space = Space([started])
    counts = Counter(space.start_values([place])["--n"] for place in grid)
    wanted = Counter(alone.value(place) for place in grid)
    assert counts.keys() == wanted.keys()
    assert all(abs(counts[value] - wanted[value]) <= 2 for value in wanted)


@pytest.mark.parametrize(
    "hyperparameter",
    [
        Int("--n", 0, 2**70, start=(1, 2**69)),
        Int("--n", 1, 2**70, log=True, start=(3, 2**69)),
        Float("--n", -1e16, 1e16, start=(1.0, 2.0)),
    ],
    ids=repr,
)
def test_a_huge_range_keeps_the_range_to_start_from(hyperparameter):
    """Where floats cannot tell neighbours apart, a start is still two ends that values stay within."""
    values = [Space([hyperparameter]).start_values([i / 9])["--n"] for i in range(10)]
    assert hyperparameter.start[0] <= min(values) <= max(values) <= hyperparameter.start[1]


def test_a_log_range_starts_in_the_middle_of_the_logarithm():
    """The middle of the range to start from is the geometric mean of its ends."""
    space = Space([Float("--lr", 1e-5, 1.0, log=True, start=(1e-3, 1e-1))])
    assert [space.start_values([place])["--lr"] for place in (0, 0.5, 1)] == [1e-3, 1e-2, 1e-1]


def test_a_default_may_be_outside_the_range_to_start_from():
    """The default is where the first evaluation is, whatever the others start from."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Int("--n", 1, 9, default=9, start=(1, 3)).default == 9
        assert Float("--x", 0.0, 1.0, default=1.0, start=(0.25, 0.5)).default == 1.0


@pytest.mark.parametrize("start", [(1, 3), [1, 3], (1.0, 3.0), np.array([1, 3]), (np.int64(1), np.float32(3)), "1..3"])
def test_a_range_to_start_from_has_numbers_of_the_kind_of_the_bounds(start):
    """Two numbers in any form become a tuple of whole or of real numbers, as the range is."""
    assert repr(Int("--n", 1, 9, start=start).start) == "(1, 3)"
    assert repr(Float("--x", 1, 9, start=start if isinstance(start, str) else tuple(start)).start) == "(1.0, 3.0)"


def test_what_is_structural_is_said():
    """Every kind says whether it is structural; a constant never is."""
    kinds = [Float("-x", 0.0, 1.0), Int("-n", 1, 2), Choice("-c", ["a", "b"]), Constant("-k", 1)]
    assert [kind.structural for kind in kinds] == [False] * 4
    assert all(replace(kind, structural=True).structural for kind in kinds[:2])
    assert Choice("-c", ["a", "b"], structural=True).structural


@given(domains, st.integers(1, 12))
def test_a_grid_has_different_values_of_the_domain(hyperparameter, points):
    """A grid holds no value twice, none outside, no more than asked for, and both ends if there is room for them."""
    grid = hyperparameter.grid(points)
    texts = [as_text(value) for value in grid]
    assert len(set(texts)) == len(texts) >= 1
    if isinstance(hyperparameter, Choice):
        assert texts == [as_text(choice) for choice in hyperparameter.choices]
        return
    assert len(grid) <= points
    assert all(hyperparameter.low <= value <= hyperparameter.high for value in grid)
    if points > 1:
        assert {hyperparameter.value(0.0), hyperparameter.value(1.0)} == {grid[0], grid[-1]}


@given(ints() | choices())
def test_the_size_is_the_number_of_values(hyperparameter):
    """A finite domain has as many values as its size says."""
    assume(hyperparameter.size <= 1000)
    assert len(hyperparameter.grid(1000)) == hyperparameter.size


def test_cells_of_whole_numbers_are_equal():
    """The unit interval is cut into equal cells, one for each whole number, whose middles are the places."""
    layers = Int("--layers", 1, 4)
    assert [layers.value(place) for place in (0, 0.2499, 0.25, 0.5, 0.75, 1)] == [1, 1, 2, 3, 4, 4]
    assert [layers.place(n) for n in (1, 2, 3, 4)] == [0.125, 0.375, 0.625, 0.875]


def test_a_log_range_is_halved_at_the_geometric_mean():
    """The middle of a log range is the geometric mean of its bounds."""
    assert Float("--lr", 1e-6, 1e-2, log=True).value(0.5) == 1e-4
    assert Float("--lr", 1e-6, 1e-2, log=True).place(1e-3) == pytest.approx(0.75)


def test_a_log_range_of_whole_numbers_gives_each_decade_its_share():
    """In a log range of whole numbers 1..9 and 10..99 are equally likely, and the ends can be reached."""
    units = Int("--units", 1, 99, log=True)
    share = sum(units.value((i + 0.5) / 1000) < 10 for i in range(1000)) / 1000
    assert 0.5 < share < 0.6
    assert (units.value(0.0), units.value(1.0)) == (1, 99)
    assert units.grid(3) == [1, 10, 99]


def test_steps_start_at_the_lower_bound():
    """A range with a step holds the lower bound and what is whole steps above it."""
    assert Float("--x", 0.1, 0.5, step=0.1).grid(9) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert Float("--x", 0.0, 1.0, step=0.3).grid(9) == [0.0, 0.3, 0.6, 0.9]
    assert Int("--units", 32, 130, step=32).grid(9) == [32, 64, 96, 128]
    assert Int("--n", 0, 11, step=3).place(11) == Int("--n", 0, 11, step=3).place(9) == 0.875


def test_a_grid_of_one_is_the_middle():
    """A grid of one point has the value in the middle of the range."""
    assert Float("--x", 0.0, 1.0).grid(1) == [0.5]
    assert Int("--n", 1, 5).grid(1) == [3]


def test_huge_whole_numbers_stay_inside():
    """A range beyond the precision of floats keeps its bounds."""
    high = 2**60 + 3
    assert max(Int("--n", 0, high).grid(4)) <= high
    assert Int("--n", 0, high).value(1.0) <= high


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_reads_back_as_the_value(value):
    """The text of a float reads back as the float itself; with eight digits at most it is ``%.8g``."""
    assert float(as_text(value)) == value
    assert as_text(eight_digits(value)) == f"{value:.8g}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1 / 3, repr(1 / 3)),
        (eight_digits(1 / 3), "0.33333333"),
        (1e-05, "1e-05"),
        (3.0, "3"),
        (3, "3"),
        (12345678901, "12345678901"),
        (True, "True"),
        ("a b", "a b"),
    ],
)
def test_values_as_text(value, text):
    """Floats are written ``%.8g`` where that is exact, everything else as Python does."""
    assert as_text(value) == text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Float("--lr", 0.0, 1.0, default=2.0),
        lambda: Int("--lr", 0, 1, default=2),
        lambda: Choice("--lr", [0, 1], default=2),
        lambda: Choice("--lr", ["0", "1"], default="2"),
    ],
)
def test_a_default_outside_is_accepted_with_a_warning(make):
    """The warning names the flag, the default and the domain; the default stays."""
    with pytest.warns(UserWarning, match=r"--lr: the default '?2(\.0)?'? is outside"):
        assert as_text(make().default) == "2"


def test_a_default_has_eight_digits():
    """A real default is rounded to what the program receives."""
    assert Float("--x", 0.0, 1.0, default=1 / 3).default == 0.33333333


@pytest.mark.parametrize(
    "number", [np.float64(0.25), np.float32(0.25), np.array([0.25])[0], np.int64(1), 0.25, 1], ids=repr
)
def test_numpy_scalars_are_numbers(number):
    """NumPy's scalars are taken as Python's own numbers wherever a value may stand."""
    assert type(Choice("--x", [number, 7]).choices[0]) is type(Constant("--x", number).constant)
    assert type(Constant("--x", number).constant) in {int, float}
    assert Float("--x", number, 2.0, default=number).default == float(number)
    assert "np." not in as_text(Choice("--x", [number, 7]).choices[0])


def test_numpy_whole_numbers_are_whole():
    """NumPy's integers are bounds of a whole range."""
    layers = Int("--n", np.int64(1), np.int32(5), default=np.int8(2))
    assert layers == Int("--n", 1, 5, default=2)
    assert type(layers.default) is int


def test_a_numpy_array_of_choices():
    """The choices may be an array, whose numbers are taken as they are."""
    lr = Choice("--lr", np.logspace(-3, 0, 6))
    assert lr.choices == tuple(np.logspace(-3, 0, 6).tolist())
    assert [float(as_text(value)) for value in lr.choices] == np.logspace(-3, 0, 6).tolist()


@pytest.mark.parametrize(
    ("values", "is_ordered"),
    [
        ([1, 2, 3], True),
        ([3, 2.5, 1], True),
        ([1, 3, 2], False),
        ([1, 2], False),
        ([1, 2, "3"], False),
        (["a", "b", "c"], False),
        ([True, False], False),
    ],
)
def test_three_rising_or_falling_numbers_are_ordered(values, is_ordered):
    """A list has an order if it is three or more numbers that rise or fall; `ordered` says otherwise."""
    assert Choice("--c", values).is_ordered is is_ordered
    assert Choice("--c", values, ordered=not is_ordered).is_ordered is not is_ordered


def test_an_unknown_value_is_near_the_nearest_choice():
    """The place of a number that is no choice is that of the nearest; of a word, the first."""
    assert Choice("--c", [1, 10, 100]).place(80) == Choice("--c", [1, 10, 100]).place(100)
    assert Choice("--c", ["a", "b"]).place("z") == Choice("--c", ["a", "b"]).place("a")


def test_booleans_are_a_switch():
    """A list of booleans, and a constant boolean, stand on the command line or do not; `pass_as` says otherwise."""
    assert Choice("--nesterov", [True, False]).pass_as == "switch"
    assert Choice("--nesterov", [True, False], pass_as="flag=value").pass_as == "flag=value"
    assert Constant("--amp", constant=True).pass_as == "switch"
    assert Choice("--c", [True, "auto"]).pass_as == Constant("--c", 1).pass_as == "flag=value"


def test_a_constant_is_the_same_everywhere():
    """A constant has one value, which is its default and its grid."""
    epochs = Constant("--epochs", 5)
    assert epochs.value(0.0) == epochs.value(1.0) == epochs.default == 5
    assert (epochs.grid(7), epochs.size) == ([5], 1)


BAD = [
    (lambda: Float("--lr", 1.0, 1.0), "--lr: low must be below high, got low=1.0 high=1.0: the range is empty"),
    (lambda: Int("--n", 5, 1), "--n: low must be below high, got low=5 high=1: the range is inverted"),
    (lambda: Float("--lr", 0.0, 1.0, log=True), "--lr: a log range needs low > 0, got low=0.0"),
    (lambda: Int("--n", 0, 9, log=True), "--n: a log range needs low > 0, got low=0"),
    (lambda: Float("--lr", math.nan, 1.0), "--lr: low must be a finite number, got nan"),
    (lambda: Float("--lr", 0.0, math.inf), "--lr: high must be a finite number, got inf"),
    (lambda: Float("--lr", "0", 1.0), "--lr: low must be a finite number, got '0'"),
    (lambda: Float("--lr", None, 1.0), "--lr: low must be a finite number, got None"),
    (lambda: Float("--lr", 0.0, 1.0, step="a"), "--lr: step must be a finite number, got 'a'"),
    (lambda: Float("--lr", 0.0, 1.0, step=0.0), "--lr: step must be above 0 and at most 1.0, got step=0.0"),
    (lambda: Float("--lr", 0.0, 1.0, step=2.0), "--lr: step must be above 0 and at most 1.0, got step=2.0"),
    (lambda: Float("--lr", 0.1, 1.0, log=True, step=0.1), "--lr: a log range takes no step, got step=0.1"),
    (lambda: Float("--lr", 0.0, 1.0, default="a"), "--lr: a number is needed, got 'a'"),
    (lambda: Float("--lr", 0.0, 1.0, default=[]), "--lr: a number is needed, got []"),
    (lambda: Float("--lr", 0.1, 1.0, log="yes"), "--lr: log must be true or false, got 'yes'"),
    (lambda: Float("--lr", 0.0, 1.0, when=True), "--lr: the condition 'when' must be text"),
    (lambda: Float("--lr", 0.0, 1.0, pass_as="x"), "--lr: pass_as must be one of 'flag=value', 'flag value'"),
    (lambda: Float("--lr", 0.0, 1.0, pass_as="switch"), "--lr: only booleans can be passed as a switch"),
    (lambda: Constant("--n", 1, pass_as="switch"), "--n: only booleans can be passed as a switch"),
    (lambda: Choice("--c", [1, 2], pass_as="switch"), "--c: only booleans can be passed as a switch"),
    (lambda: Float("--lr", 0.0, 1.0, pass_as="environment"), "--lr: an environment variable needs a name of letters"),
    (lambda: Int("--n", 1, 2.5), "--n: high of a whole-number range must be whole, got 2.5"),
    (lambda: Int("--n", 1, math.nan), "--n: high of a whole-number range must be whole, got nan"),
    (lambda: Int("--n", True, 2), "--n: low of a whole-number range must be whole, got True"),
    (lambda: Int("--n", 1, 9, step=0), "--n: step must be above 0 and at most 8, got step=0"),
    (lambda: Choice("--c", ["a"]), "--c: a list of choices needs at least two values, got ['a']"),
    (lambda: Choice("--c", []), "--c: a list of choices needs at least two values, got []"),
    (lambda: Choice("--c", ["a", "b", "a"]), "--c: the choices must differ, got ['a', 'b', 'a']"),
    (lambda: Choice("--c", [1, "1"]), "--c: the choices must differ, got [1, '1']"),
    (lambda: Choice("--c", "sgd"), "--c: choices must be a list of values, got 'sgd'"),
    (lambda: Choice("--c", 5), "--c: choices must be a list of values, got 5"),
    (lambda: Choice("--c", [1, None]), "--c: a value must be text, a number, true or false, got None"),
    (lambda: Choice("--c", [1, 2, 3], ordered="no"), "--c: ordered must be true or false, got 'no'"),
    (lambda: Constant("--c", None), "--c: a value must be text, a number, true or false, got None"),
    (lambda: Constant("--c", [1]), "--c: a value must be text, a number, true or false, got [1]"),
    (lambda: Float("--x", 0.0, 1.0, structural=1), "--x: structural must be true or false, got 1"),
    (lambda: Int("--n", 0, 1, structural="no"), "--n: structural must be true or false, got 'no'"),
    (lambda: Choice("--c", [1, 2], structural=None), "--c: structural must be true or false, got None"),
    *(
        (
            lambda start=start: Float("--x", 0.0, 1.0, start=start),
            f"--x: start must be two numbers within 0.0..1.0, {e}",
        )
        for start in [(0.5, 1.5), (-1, 1), (1, 0), (0.5, 0.5), (0.1,), (0, 0.5, 1), (0, math.nan), (0, math.inf)]
        for e in [f"the lower first, got {start!r}"]
    ),
    *(
        (lambda start=start: Int("--n", 0, 9, start=start), f"--n: start must be two whole numbers within 0..9, {e}")
        for start in [(0, 1.5), (0, math.inf), (0, True), ("0", "3"), (0, 10**400), True, {0, 3}, "a..b", "1", b"ab"]
        for e in [f"the lower first, got {start!r}"]
    ),
    (
        lambda: Int("--n", 0, 100, step=10, start=(12, 18)),
        "--n: start must hold a step from low=0, got start=(12, 18) step=10: widen it",
    ),
    (
        lambda: Float("--x", 0.0, 1.0, step=0.5, start=(0.6, 0.9)),
        "--x: start must hold a step from low=0.0, got start=(0.6, 0.9) step=0.5: widen it",
    ),
    (lambda: Constant("", 1), "a hyperparameter needs a flag, such as '--lr', got ''"),
    (lambda: Int(" ", 1, 2), "a hyperparameter needs a flag, such as '--lr', got ' '"),
    (lambda: Float(7, 0.0, 1.0), "a hyperparameter needs a flag, such as '--lr', got 7"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_refused(make, message):
    """The error names the flag, the rule and the value."""
    with pytest.raises(SpaceError) as caught:
        make()
    assert message in str(caught.value)
