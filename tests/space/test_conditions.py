"""Conditions: when a hyperparameter counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crayai.hpo.errors import SpaceError
from crayai.hpo.space.conditions import (
    Combined,
    Comparison,
    Flag,
    Not,
    comparisons_in,
    flags_in,
    holds,
    parse_condition,
)

FLAGS = ("--optimizer", "--layers", "--lr", "--lr-decay", "--nesterov", "-a", "--optimizer lr", "units")
VALUES = {"--optimizer": "sgd", "--layers": 3, "--lr": 0.1, "--nesterov": True, "--optimizer lr": 0.5, "units": 64}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--optimizer == 'sgd'", True),
        ('--optimizer == "adam"', False),
        ("--optimizer != 'adam'", True),
        ("--layers > 2", True),
        ("--layers>3", False),
        ("--layers >= 3 and --layers <= 3", True),
        ("2 < --layers", True),
        ("--lr < 2e-1", True),
        ("--lr > -.5", True),
        ("--optimizer in ['sgd', 'adam']", True),
        ("--optimizer not in ['sgd', 'adam']", False),
        ("--layers in [1, 2]", False),
        ("--nesterov", True),
        ("not --nesterov", False),
        ("--nesterov == off", False),
        ("--nesterov == true", True),
        ("not --layers == 1", True),
        ("not (--layers == 1 or --layers == 3)", False),
        ("--layers == 1 or --lr == 0.1 and --nesterov", True),
        ("(--layers == 1 or --lr == 0.1) and --optimizer == 'adam'", False),
        ("--optimizer lr == 0.5", True),
        ("units == 64", True),
        ("--layers < units", True),
        ("--optimizer == 'and'", False),
        ("--optimizer < 3", False),
    ],
)
def test_what_a_condition_says(text, expected):
    """A condition is true or false of values as it reads."""
    assert holds(parse_condition(text, FLAGS), VALUES) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-a == 1", None),
        ("-a != 1", None),
        ("-a", None),
        ("not -a == 1", None),
        ("-a in [1]", None),
        ("-a not in [1]", None),
        ("-a == 1 or --layers == 3", True),
        ("-a == 1 or --layers == 4", None),
        ("-a == 1 and --layers == 4", False),
        ("-a == 1 and --layers == 3", None),
        ("--layers == -a", None),
    ],
)
def test_an_inactive_hyperparameter_is_neither(text, expected):
    """What compares an inactive hyperparameter is unknown, and spreads unless another part decides."""
    assert holds(parse_condition(text, FLAGS), VALUES) is expected


def test_and_binds_more_tightly_than_or():
    """The tree of a condition follows the grammar."""
    a, b, c = (Comparison(Flag("-a"), "==", n) for n in (1, 2, 3))
    assert parse_condition("-a == 1 or -a == 2 and not -a == 3", FLAGS) == Combined(
        "or", (a, Combined("and", (b, Not(c))))
    )


def test_the_longest_flag_is_read():
    """A flag that begins like another one is told from it."""
    assert flags_in(parse_condition("--lr-decay > 0 and --lr > 0 and --optimizer lr > 0", FLAGS)) == {
        "--lr-decay",
        "--lr",
        "--optimizer lr",
    }


def test_comparisons_come_in_the_order_written():
    """All comparisons of a condition are found, in order."""
    condition = parse_condition("-a == 1 or not (-a == 2 and --layers > 3)", FLAGS)
    assert [(c.operator, c.right) for c in comparisons_in(condition)] == [("==", 1), ("==", 2), (">", 3)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it ends too early"),
        ("--layers ==", "it ends too early"),
        ("--layers == 1 and", "it ends too early"),
        ("--layers == 1 --lr == 2", "'--lr' was not expected"),
        ("(--layers == 1", "')' was expected"),
        ("--layers in 1", "'[' was expected before 1"),
        ("--layers in [1, 2", "']' was expected"),
        ("--layers not 1", "'in' was expected"),
        ("--optimizer == sgd", "'sgd' is neither a hyperparameter (--layers, "),
        ("--typo == 1", "no hyperparameter or literal at '--typo == 1'"),
        ("--layers = 1", "no hyperparameter or literal at '= 1'"),
        ("--optimizer == 'sgd", 'no hyperparameter or literal at "\'sgd"'),
        ("3", "a comparison was expected after 3"),
        ("--lr == 1.2.3", "no hyperparameter or literal at '1.2.3'"),
        ("and", "'and' is neither"),
        ("--layers == in", "'in' is neither"),
    ],
)
def test_what_cannot_be_read_is_refused(text, problem):
    """The error quotes the condition and the place of the mistake."""
    with pytest.raises(SpaceError) as caught:
        parse_condition(text, FLAGS)
    assert str(caught.value).startswith(f"the condition {text!r} cannot be read: ")
    assert problem in str(caught.value)


literals = st.integers(-99, 99) | st.floats(-1e9, 1e9) | st.text(st.characters(exclude_characters="'\"\\"), max_size=5)


def written(condition):
    """Return the text of a condition, fully in parentheses."""
    match condition:
        case Comparison(Flag(name), operator, right):
            listed = f"[{', '.join(map(repr, right))}]" if isinstance(right, tuple) else repr(right)
            return f"{name} {operator} {listed}"
        case Not(part):
            return f"not ({written(part)})"
        case Combined(word, parts):
            return f" {word} ".join(f"({written(part)})" for part in parts)


printable = literals.filter(lambda value: not isinstance(value, str) or repr(value) == f"'{value}'")
comparisons = st.builds(
    Comparison,
    st.sampled_from(FLAGS).map(Flag),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    printable,
) | st.builds(
    Comparison,
    st.sampled_from(FLAGS).map(Flag),
    st.sampled_from(["in", "not in"]),
    st.lists(printable, min_size=1, max_size=3).map(tuple),
)
conditions = st.recursive(
    comparisons,
    lambda part: (
        part.map(Not)
        | st.builds(Combined, st.sampled_from(["and", "or"]), st.lists(part, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@given(conditions)
def test_what_was_written_is_read(condition):
    """Any condition, written with parentheses, reads back as itself."""
    assert parse_condition(written(condition), FLAGS) == condition


@given(conditions, st.dictionaries(st.sampled_from(FLAGS), printable | st.booleans()))
def test_a_negation_is_the_opposite(condition, values):
    """A condition and its negation are true, false or unknown together, never the same."""
    result = holds(condition, values)
    assert holds(Not(condition), values) is (None if result is None else not result)


@given(st.text(max_size=30))
def test_nonsense_is_refused_politely(text):
    """Any text is a condition, or a SpaceError."""
    try:
        condition = parse_condition(text, FLAGS)
    except SpaceError:
        return
    assert holds(condition, VALUES) in {True, False, None}
