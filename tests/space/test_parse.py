"""Hyperparameters as people write them."""

import tomllib
import warnings

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crayai.hpo.errors import SpaceError
from crayai.hpo.space.base import as_text
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.parse import (
    as_line,
    from_line,
    space_from_entries,
    space_from_lines,
    space_from_table,
)


def read(entry):
    """Return the hyperparameter of one historic entry."""
    return space_from_entries([entry]).hyperparameters[0]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (["-a", 1.0, (-1.0, 1.0)], Float("-a", -1.0, 1.0, default=1.0)),
        (["-a", 3, (1, 5)], Int("-a", 1, 5, default=3)),
        (["-a", 3, (1.0, 5)], Float("-a", 1.0, 5.0, default=3.0)),
        (["-a", 3.0, (1, 5)], Float("-a", 1.0, 5.0, default=3.0)),
        (["-a", 0.0, (-1, 1)], Float("-a", -1.0, 1.0, default=0.0)),
        (["-a", 1e-3, (1e-6, 1)], Float("-a", 1e-6, 1.0, default=1e-3)),
        (["-a", (0.0, 1.0)], Float("-a", 0.0, 1.0)),
        (["-a", (1, 5)], Int("-a", 1, 5)),
        (("-a", 3, (1, 5)), Int("-a", 1, 5, default=3)),
        (["-a", ["x", "y"]], Choice("-a", ["x", "y"])),
        (["-a", "y", ["x", "y"]], Choice("-a", ["x", "y"], default="y")),
        (["-a", 64, [32, 64]], Choice("-a", [32, 64], default=64)),
        (["-a", 0.5, [1, 0.5, "auto"]], Choice("-a", [1, 0.5, "auto"], default=0.5)),
        (["-a", (1, 2, 3)], Choice("-a", [1, 2, 3])),
        (["-a", ("x", "y")], Choice("-a", ["x", "y"])),
        (["-a", range(1, 4)], Choice("-a", [1, 2, 3])),
        (["-a", True, [True, False]], Choice("-a", [True, False], default=True, pass_as="flag=value")),
        (["--optimizer lr", 0.1, (0.0, 1.0)], Float("--optimizer lr", 0.0, 1.0, default=0.1)),
    ],
    ids=repr,
)
def test_historic_entries(entry, expected):
    """Cray's lists mean what they meant: bounds inclusive, int stays int, any float makes the range real."""
    assert read(entry) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (["-a", np.int64(3), (np.int64(1), np.int32(5))], Int("-a", 1, 5, default=3)),
        (["-a", np.float64(3), (1, 5)], Float("-a", 1.0, 5.0, default=3.0)),
        (["-a", np.float32(0.5), (np.float64(0), 1)], Float("-a", 0.0, 1.0, default=0.5)),
        (["-a", np.array([1, 2])], Choice("-a", [1, 2])),
        (["-a", 0.001, np.logspace(-3, 0, 4)], Choice("-a", [0.001, 0.01, 0.1, 1.0], default=0.001)),
        (["-a", tuple(np.logspace(-3, 0, 4))], Choice("-a", [0.001, 0.01, 0.1, 1.0])),
        (["-a", np.str_("x"), np.array(["x", "y"])], Choice("-a", ["x", "y"], default="x")),
    ],
    ids=repr,
)
def test_numpy_in_entries(entry, expected):
    """NumPy's scalars and arrays stand for Python's numbers, text and lists."""
    hyperparameter = read(entry)
    assert hyperparameter == expected
    values = [*hyperparameter.grid(3), hyperparameter.default or 0]
    assert all(type(value) in {int, float, str} for value in values)
    assert not any("np." in as_text(value) for value in values)


@pytest.mark.parametrize(
    "entry", [["-a", 9, (1, 5)], ["-a", 9.5, (1.0, 5.0)], ["-a", 9, [1, 2]], ["-a", "z", ["x", "y"]]]
)
def test_a_default_outside_is_accepted_with_a_warning(entry):
    """Old scripts start from a default outside the range or list; they go on to do so."""
    with pytest.warns(UserWarning, match="-a: the default .* is outside"):
        assert read(entry).default == entry[1]


def test_hyperparameter_objects_may_stand_among_entries():
    """Objects and lists may be mixed, and keep their order."""
    space = space_from_entries([Float("--lr", 0.0, 1.0), ["-a", 3, (1, 5)], Constant("-c", 1)])
    assert space.flags == ("--lr", "-a", "-c")


BAD_ENTRIES = [
    ([["-a"]], "the entry ['-a'] cannot be read: it needs [flag, default, (low, high)]"),
    ([["-a", 1, (0, 1), 2]], "the entry ['-a', 1, (0, 1), 2] cannot be read"),
    ([[1, 1, (0, 1)]], "the entry [1, 1, (0, 1)] cannot be read"),
    (["-a"], "the entry '-a' cannot be read"),
    ([None], "the entry None cannot be read"),
    ("-a", "the hyperparameters must be a list of entries, got '-a'"),
    (None, "the hyperparameters must be a list of entries, got None"),
    ({"-a": 1}, "the hyperparameters must be a list of entries"),
    ([], "the search space is empty"),
    ([["-a", 1, 5]], "-a: a range (low, high) or a list of values is needed, got 5"),
    ([["-a", "xyz"]], "-a: a range (low, high) or a list of values is needed, got 'xyz'"),
    ([["-a", 1, (1, 1)]], "-a: low must be below high, got low=1 high=1: the range is empty"),
    ([["-a", 1.5, (2.0, 1.0)]], "-a: low must be below high, got low=2.0 high=1.0: the range is inverted"),
    ([["-a", "x", (0.0, 1.0)]], "-a: a number is needed, got 'x'"),
    ([["-a", 1, [1]]], "-a: a list of choices needs at least two values, got [1]"),
    ([["-a", [1, 2]], ["-a", [1, 2]]], "-a: the flag occurs 2 times"),
    ([["-a", [[1], [2]]]], "-a: a value must be text, a number, true or false, got [1]"),
    ([["", [1, 2]]], "a hyperparameter needs a flag"),
]


@pytest.mark.parametrize(("entries", "message"), BAD_ENTRIES, ids=[message for _, message in BAD_ENTRIES])
def test_entries_that_cannot_be_are_refused(entries, message):
    """The error quotes the entry, or names the flag, the rule and the value."""
    with pytest.raises(SpaceError) as caught:
        space_from_entries(entries)
    assert message in str(caught.value)


TABLE = """
"--lr" = { low = 1e-5, high = 1e-1, log = true, default = 1e-3 }
"--layers" = { low = 1, high = 4 }
"--units" = { low = 32, high = 512, step = 32 }
"--x" = { low = 0, high = 4, default = 0.0 }
"--y" = { low = 0, high = 4, step = 0.5 }
"--optimizer" = { choices = ["sgd", "adam"], default = "adam" }
"--momentum" = { low = 0.0, high = 0.99, when = "--optimizer == 'sgd'" }
"--decay" = { low = 1e-5, high = 1, log = true, start = [1e-3, 1e-1] }
"--depth" = { low = 1, high = 8, start = [2, 4], structural = true }
"--norm" = { choices = ["batch", "layer"], structural = true }
"--epochs" = 1
"--amp" = true
"--name" = { constant = "a b", pass_as = "flag value" }
"""


def test_the_table_of_a_study_file():
    """Ranges, lists and constants of a study file become hyperparameters; two whole bounds make a whole range."""
    assert space_from_table(tomllib.loads(TABLE)).hyperparameters == (
        Float("--lr", 1e-5, 1e-1, log=True, default=1e-3),
        Int("--layers", 1, 4),
        Int("--units", 32, 512, step=32),
        Float("--x", 0.0, 4.0, default=0.0),
        Float("--y", 0.0, 4.0, step=0.5),
        Choice("--optimizer", ["sgd", "adam"], default="adam"),
        Float("--momentum", 0.0, 0.99, when="--optimizer == 'sgd'"),
        Float("--decay", 1e-5, 1.0, log=True, start=(1e-3, 1e-1)),
        Int("--depth", 1, 8, start=(2, 4), structural=True),
        Choice("--norm", ["batch", "layer"], structural=True),
        Constant("--epochs", 1),
        Constant("--amp", constant=True),
        Constant("--name", "a b", pass_as="flag value"),
    )


BAD_TABLES = [
    ({"-a": {"low": 0, "high": 1, "defualt": 1}}, "-a: unknown key 'defualt'; did you mean 'default'?"),
    ({"-a": {"low": 0, "hihg": 1}}, "-a: unknown key 'hihg'; did you mean 'high'?"),
    ({"-a": {"choices": [1, 2], "log": True}}, "-a: unknown key 'log'; known here: choices, default"),
    ({"-a": {"chocies": [1, 2]}}, "-a: unknown key 'chocies'; did you mean 'choices'?"),
    ({"-a": {"low": 0}}, "-a: 'high' is missing; a hyperparameter needs low and high, or choices, or a constant"),
    ({"-a": {}}, "-a: 'low' is missing"),
    ({"-a": [1, 2]}, "-a: write { choices = [1, 2] } for a list of choices"),
    ({"-a": {"choices": "sgd"}}, "-a: choices must be a list of values, got 'sgd'"),
    ({"-a": {"low": "0", "high": 1}}, "-a: low must be a finite number, got '0'"),
    ({"-a": {"low": 0, "high": True}}, "-a: high of a whole-number range must be whole, got True"),
    ({"-a": {"low": 0.1, "high": 1, "log": "yes"}}, "-a: log must be true or false, got 'yes'"),
    ({"-a": {"low": 0, "high": 1, "when": 3}}, "-a: the condition 'when' must be text"),
    ({"-a": {"low": 0, "high": 9, "step": "2"}}, "-a: step must be a finite number, got '2'"),
    (
        {"-a": {"low": 0, "high": 9, "start": 2}},
        "-a: start must be two whole numbers within 0..9, the lower first, got 2",
    ),
    (
        {"-a": {"low": 0, "high": 9, "start": [2, 11]}},
        "-a: start must be two whole numbers within 0..9, the lower first",
    ),
    ({"-a": {"low": 0, "high": 9, "structural": "yes"}}, "-a: structural must be true or false, got 'yes'"),
    ({"-a": {"choices": [1, 2], "start": [1, 2]}}, "-a: unknown key 'start'"),
    ({"-a": {"constant": 1, "structural": True}}, "-a: unknown key 'structural'"),
    ([1], "the hyperparameters must be a table with a key for each flag, got [1]"),
    ({}, "the search space is empty"),
]


@pytest.mark.parametrize(("table", "message"), BAD_TABLES, ids=[message for _, message in BAD_TABLES])
def test_tables_that_cannot_be_are_refused(table, message):
    """The error names the flag, the key or rule, and the nearest known key."""
    with pytest.raises(SpaceError) as caught:
        space_from_table(table)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--lr=1e-5..1e-1 log default=0.001", Float("--lr", 1e-5, 1e-1, log=True, default=1e-3)),
        ("  --lr=0..1.0  ", Float("--lr", 0.0, 1.0)),
        ("--lr=.5..1.", Float("--lr", 0.5, 1.0)),
        ("--layers=1..4", Int("--layers", 1, 4)),
        ("--layers=-4..-1", Int("--layers", -4, -1)),
        ("--layers=1..4 default=2.0", Float("--layers", 1.0, 4.0, default=2.0)),
        ("--x=0..4 default=0.0", Float("--x", 0.0, 4.0, default=0.0)),
        ("--units=32..512 step=32", Int("--units", 32, 512, step=32)),
        ("--activation=relu|tanh default=relu", Choice("--activation", ["relu", "tanh"], default="relu")),
        ("--c=1|2.5|on|'x y'|\"a\\nb\"", Choice("--c", [1, 2.5, True, "x y", "a\nb"])),
        ("--c=3|2|1 ordered=off", Choice("--c", [3, 2, 1], ordered=False)),
        ("--nesterov=on|off", Choice("--nesterov", [True, False])),
        ("--nesterov=true|false pass_as='flag value'", Choice("--nesterov", [True, False], pass_as="flag value")),
        ("--lr=1e-5..1.0 log start=1e-3..1e-1", Float("--lr", 1e-5, 1.0, log=True, start=(1e-3, 1e-1))),
        ("--layers=1..8 structural start=2..4", Int("--layers", 1, 8, structural=True, start=(2, 4))),
        ("--kind=a|b structural", Choice("--kind", ["a", "b"], structural=True)),
        ("--epochs=5", Constant("--epochs", 5)),
        ("--name='1..2'", Constant("--name", "1..2")),
        ("--name=''", Constant("--name", "")),
        ("--amp=on", Constant("--amp", constant=True)),
        ("--url=http://host:80/a", Constant("--url", "http://host:80/a")),
        ("--optimizer lr=0.0..1.0", Float("--optimizer lr", 0.0, 1.0)),
        ('"--a=b"=1..2', Int("--a=b", 1, 2)),
        (
            "--momentum=0.0..0.99 default=0.9 when --optimizer == 'sgd'",
            Float("--momentum", 0.0, 0.99, default=0.9, when="--optimizer == 'sgd'"),
        ),
    ],
)
def test_lines(line, expected):
    """A line of text says what a hyperparameter object does."""
    assert from_line(line) == expected


def test_lines_make_a_space():
    """Lines keep their order, and conditions speak of the flags of other lines."""
    space = space_from_lines(["--momentum=0.0..0.99 when --optimizer == 'sgd'", "--optimizer=sgd|adam"])
    assert space.flags == ("--momentum", "--optimizer")
    assert space.values([0.5, 0.9]) == {"--optimizer": "adam"}


BAD_LINES = [
    ("--lr", "the hyperparameter '--lr' cannot be read: it needs FLAG=DOMAIN, such as '--lr=1e-5..1e-1 log'"),
    ("", "it needs FLAG=DOMAIN"),
    ("=1..2", "it needs FLAG=DOMAIN"),
    ("--lr=", "its domain needs low..high, a|b|c or a constant"),
    ("--lr=a|", "its domain needs low..high, a|b|c or a constant"),
    ("--lr=a||b", "its domain needs low..high, a|b|c or a constant"),
    ("--lr='a'b", "its domain needs low..high, a|b|c or a constant"),
    ("--lr=1..", "a range needs two numbers, got ''"),
    ("--lr=a..b", "a range needs two numbers, got 'a'"),
    ("--lr=on..2", "a range needs two numbers, got 'on'"),
    ("--lr=1..2 Log", "an option was expected at 'Log'"),
    ("--lr=1..2 defualt=1", "--lr: unknown key 'defualt'; did you mean 'default'?"),
    ("--lr=1..2 default=x", "--lr: a number is needed, got 'x'"),
    ("--c=a|b step=2", "--c: unknown key 'step'"),
    ("--c=a|b ordered=maybe", "--c: ordered must be true or false, got 'maybe'"),
    ("--x=1..4 start=0..3", "--x: start must be two whole numbers within 1..4, the lower first, got '0..3'"),
    ("--x=1..4 start=3", "--x: start must be two whole numbers within 1..4"),
    ("--x=1.0..4.0 start=3..2", "--x: start must be two numbers within 1.0..4.0, the lower first, got '3..2'"),
    ("--x=1..4 start=1.5..3", "--x: start must be two whole numbers"),
    ("--c=a|b start=a", "--c: unknown key 'start'"),
    ("--x=1..4 structural=3", "--x: structural must be true or false, got 3"),
    ('--c="\\x"', "Invalid \\escape"),
    ("--lr=2..1", "--lr: low must be below high, got low=2 high=1: the range is inverted"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[line for line, _ in BAD_LINES])
def test_lines_that_cannot_be_are_refused(line, message):
    """The error quotes the line and what is wrong with it."""
    with pytest.raises(SpaceError) as caught:
        from_line(line)
    assert message in str(caught.value)


flags = (
    st.text(min_size=1, max_size=12)
    | st.sampled_from(["--lr", "--optimizer lr", "--a=b", "it's", '"', "when", "--x\ny", "--größe", "-", "a|b", "a..b"])
).filter(str.strip)
values = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["on", "1", "1e5", "a b", "it's", '"', "a|b", "1..2", "\n", "", "nan", "=", "\\", "ä", "\u2028"])
)
whens = st.none() | st.sampled_from(["--o == 'sgd'", "--n > 1 and (--b or --c in ['a when b', \"it's\"])"])
ways = st.sampled_from(["flag=value", "flag value"])
floats = st.floats(allow_nan=False, allow_infinity=False)


def maybe(draw, **options):
    """Return some of the options, with drawn values."""
    return {name: draw(values) for name, values in options.items() if draw(st.booleans())}


@st.composite
def hyperparameters(draw):
    """Draw a hyperparameter of any kind, however odd; defaults outside included."""
    flag, common = draw(flags), maybe(draw, when=whens, pass_as=ways)
    kind = draw(st.sampled_from([Float, Int, Choice, Constant]))
    if kind is Constant:
        return Constant(flag, draw(values), **common)
    if kind is Choice:
        choices = draw(st.lists(values, min_size=2, max_size=5, unique_by=as_text))
        extra = maybe(draw, default=st.sampled_from(choices) | values, ordered=st.booleans(), structural=st.booleans())
        return Choice(flag, choices, **extra, **common)
    low, high = sorted(draw(st.lists(floats if kind is Float else st.integers(), min_size=2, max_size=2, unique=True)))
    extra = maybe(draw, default=floats if kind is Float else st.integers(), log=st.just(low > 0))
    if not extra.get("log") and draw(st.booleans()):
        extra["step"] = draw(st.floats(0, high - low) if kind is Float else st.integers(1, high - low))
        assume(0 < extra["step"] <= high - low < float("inf"))
    middle = low + (high - low) // 2 if kind is Int else low / 2 + high / 2
    if low < middle < high:
        extra |= maybe(
            draw, start=st.sampled_from([(low, middle), (middle, high), [low, high]]), structural=st.booleans()
        )
    return kind(flag, low, high, **extra, **common)


@given(st.data())
def test_a_line_reads_back_as_what_was_written(data):
    """Any hyperparameter, written as a line, reads back as an equal one of the same kind, and writes the same line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        hyperparameter = data.draw(hyperparameters())
        line = as_line(hyperparameter)
        again = from_line(line)
        assert repr(again) == repr(hyperparameter), line  # 1 == 1.0 == True, but not their texts
        assert again == hyperparameter, line
        assert as_line(again) == line


@given(st.text(max_size=40))
@example("--x=1..2..3")
@example("'")
@example('"a')
@example("''=1")
def test_nonsense_is_refused_politely(line):
    """Any text is a hyperparameter, or a SpaceError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            hyperparameter = from_line(line)
        except SpaceError:
            return
    assert hyperparameter.flag.strip()


def test_a_kind_that_is_not_ours_cannot_be_written():
    """An unknown kind of hyperparameter is refused by name."""

    class Normal:
        flag = "-a"

    with pytest.raises(SpaceError, match="-a: a Normal cannot be written as a line"):
        as_line(Normal())
