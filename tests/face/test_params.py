"""`hpo.Params`: every form of an entry, the documented methods, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crayai import hpo


@pytest.mark.parametrize(
    ("entry", "hyperparameter"),
    [
        (["-a", 1, (0, 5)], hpo.Int("-a", 0, 5, default=1)),
        (("-a", 1, (0, 5)), hpo.Int("-a", 0, 5, default=1)),
        (["-a", 0.5, (0, 5)], hpo.Float("-a", 0.0, 5.0, default=0.5)),
        (["-a", 3, (0.0, 5)], hpo.Float("-a", 0.0, 5.0, default=3.0)),
        (["-a", 1e-3, (1e-6, 1)], hpo.Float("-a", 1e-6, 1.0, default=1e-3)),
        (["-a", (1, 5)], hpo.Int("-a", 1, 5)),
        (["-a", (0.0, 1.0)], hpo.Float("-a", 0.0, 1.0)),
        (["-a", "x", ["x", "y"]], hpo.Choice("-a", ["x", "y"], default="x")),
        (["-a", ["x", "y"]], hpo.Choice("-a", ["x", "y"])),
        (["-a", 16, [16, 32]], hpo.Choice("-a", [16, 32], default=16)),
        (["-a", 16, [0.5, 16, "none"]], hpo.Choice("-a", [0.5, 16, "none"], default=16)),
        (["-a", 2, (1, 2, 4, 8)], hpo.Choice("-a", [1, 2, 4, 8], default=2)),
        (["-a", "x", ("x", "y")], hpo.Choice("-a", ["x", "y"], default="x")),
        (["--opt lr", 0.1, (0.0, 1.0)], hpo.Float("--opt lr", 0.0, 1.0, default=0.1)),
        (["-a", None, (1, 5)], hpo.Int("-a", 1, 5)),
    ],
)
def test_entry_is_a_hyperparameter(entry, hyperparameter) -> None:
    """Each historic form of an entry is the hyperparameter that it stands for."""
    assert hpo.Params([entry]).space.hyperparameters == (hyperparameter,)


def test_numpy_numbers_are_plain_numbers() -> None:
    """Bounds, lists and defaults from NumPy are taken as Python's numbers."""
    import numpy as np

    params = hpo.Params(
        [
            ["-i", np.int64(2), (np.int64(1), np.int64(5))],
            ["-f", np.float32(0.5), (np.float64(0), np.float64(1))],
            ["-l", tuple(np.logspace(-2, 0, 3))],
            ["-a", np.arange(4)],
        ]
    )
    assert params.space["-i"] == hpo.Int("-i", 1, 5, default=2)
    assert params.space["-f"] == hpo.Float("-f", 0.0, 1.0, default=0.5)
    assert params.space["-l"] == hpo.Choice("-l", [0.01, 0.1, 1.0])
    assert params.space["-a"] == hpo.Choice("-a", [0, 1, 2, 3])


def test_hyperparameter_objects_stand_beside_lists() -> None:
    """Entries may be `Float`, `Int`, `Choice` and `Constant` objects, in any mixture."""
    objects = [hpo.Float("-f", 1e-5, 1e-1, log=True), hpo.Constant("-c", 3), hpo.Int("-i", 1, 4)]
    params = hpo.Params([*objects, ["-x", 0.5, (0.0, 1.0)]])
    assert params.space.flags == ("-f", "-c", "-i", "-x")
    assert list(params.space.hyperparameters[:3]) == objects


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (["-a", 7.5, (0.0, 1.0)], "-a: the default 7.5 is outside 0.0..1.0"),
        (["-a", 9, (1, 5)], "-a: the default 9 is outside 1..5"),
        (["-a", "sgd", ["adam", "rmsprop"]], "-a: the default 'sgd' is outside adam|rmsprop"),
    ],
)
def test_default_outside_is_a_warning(entry, said) -> None:
    """A default outside its range or list is kept as the starting point, with a warning that names all three."""
    with pytest.warns(UserWarning, match=said.replace("|", r"\|").split("(")[0]):
        params = hpo.Params([entry])
    assert params.space["-a"].default == entry[1]


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ("-a", ["list of entries", "'-a'"]),
        (None, ["list of entries", "None"]),
        ([], ["empty"]),
        ([["-a"]], ["['-a']", "[flag, default, (low, high)]"]),
        ([["-a", 1, (0, 5), 7]], ["['-a', 1, (0, 5), 7]"]),
        ([[3, 1, (0, 5)]], ["[3, 1, (0, 5)]"]),
        (["-a"], ["'-a'", "[flag, default, (low, high)]"]),
        ([["", 1, (0, 5)]], ["needs a flag", "''"]),
        ([["-a", 1, 5]], ["-a", "range (low, high) or a list", "5"]),
        ([["-a", 1, "xy"]], ["-a", "range (low, high) or a list", "'xy'"]),
        ([["-a", 1, (5, 0)]], ["-a", "low must be below high", "low=5 high=0"]),
        ([["-a", 1, (2, 2)]], ["-a", "low must be below high", "low=2 high=2"]),
        ([["-a", 1.0, (0.0, float("inf"))]], ["-a", "high must be a finite number", "inf"]),
        ([["-a", 1.0, (float("nan"), 1.0)]], ["-a", "low must be a finite number", "nan"]),
        ([["-a", "x", ["x"]]], ["-a", "at least two", "['x']"]),
        ([["-a", 1, ()]], ["-a", "at least two", "[]"]),
        ([["-a", "x", ["x", "x"]]], ["-a", "must differ", "['x', 'x']"]),
        ([["-a", "one", (0.0, 1.0)]], ["-a", "number", "'one'"]),
        ([["-a", 1, (0, 5)], ["-a", 2, (0, 5)]], ["-a", "2 times"]),
    ],
)
def test_bad_entries_are_refused(params, named) -> None:
    """The message names the entry or flag, the rule and the value."""
    with pytest.raises(hpo.SpaceError) as caught:
        hpo.Params(params)
    for words in named:
        assert words in str(caught.value)


def test_errors_are_value_errors_too() -> None:
    """A script that catches ValueError catches a bad entry."""
    with pytest.raises(ValueError, match="low must be below high"):
        hpo.Params([["-a", 1, (5, 0)]])


def test_get_params_gives_defaults_as_text() -> None:
    """`get_params` maps each flag to the text that the program receives; empty where there is no default."""
    params = hpo.Params(
        [["-i", 3, (1, 5)], ["-f", 1 / 3, (0.0, 1.0)], ["-w", "relu", ["relu", "tanh"]], ["-n", (0.0, 1.0)]]
    )
    assert params.get_params() == {"-i": "3", "-f": "0.33333333", "-w": "relu", "-n": ""}


def conditional() -> hpo.Params:
    """Return hyperparameters of which the first depends on the second, and that on the third."""
    return hpo.Params(
        [
            hpo.Float("--nesterov", 0.0, 1.0, when="--momentum > 0.5"),
            hpo.Float("--momentum", 0.0, 0.99, when="--optimizer == 'sgd'"),
            hpo.Choice("--optimizer", ["sgd", "adam"]),
            hpo.Int("--layers", 1, 4),
        ]
    )


def test_dependency_graph_is_text_joined_by_semicolons() -> None:
    """`get_dependency_graph_as_str` joins the conditions with semicolons; without conditions it is empty."""
    assert conditional().get_dependency_graph_as_str() == (
        "--nesterov when --momentum > 0.5;--momentum when --optimizer == 'sgd'"
    )
    assert hpo.Params([["-a", 1, (0, 5)]]).get_dependency_graph_as_str() == ""


def test_ordered_params_stand_behind_what_they_depend_on() -> None:
    """`get_ordered_param_when_valid` lists every flag once, each behind those of its condition."""
    order = conditional().get_ordered_param_when_valid()
    assert sorted(order) == ["--layers", "--momentum", "--nesterov", "--optimizer"]
    assert order.index("--optimizer") < order.index("--momentum") < order.index("--nesterov")
    assert hpo.Params([["-b", (0, 5)], ["-a", (0, 5)]]).get_ordered_param_when_valid() == ["-b", "-a"]


def test_conditions_in_a_circle_are_refused() -> None:
    """Hyperparameters that depend on each other are refused, and the circle is named."""
    with pytest.raises(hpo.SpaceError, match=r"in a circle: .*-a.* depends on .*-b"):
        hpo.Params([hpo.Int("-a", 0, 5, when="-b > 1"), hpo.Int("-b", 0, 5, when="-a > 1")])


def graph(*edges):
    """Return a networkx DiGraph of these edges."""
    import networkx as nx

    return nx.DiGraph(edges)


def test_cycle_is_detected() -> None:
    """`detect_cycle` is true of a graph with a cycle, a loop of one node included, and of no other."""
    params = hpo.Params([["-a", 1, (0, 5)]])
    assert params.detect_cycle(graph(("a", "b"), ("b", "c"), ("c", "a")))
    assert params.detect_cycle(graph(("a", "a")))
    assert not params.detect_cycle(graph(("a", "b"), ("a", "c"), ("b", "c")))
    assert not params.detect_cycle(graph())
    assert params.detect_cycle(graph(("a", "b"), ("c", "d"), ("d", "c")))


def test_serialized_graph_is_in_topological_order() -> None:
    """`serialize_graph` lists the nodes, each behind its predecessors."""
    nodes = hpo.Params([["-a", 1, (0, 5)]]).serialize_graph(graph(("b", "a"), ("c", "b"), ("c", "a")))
    assert nodes == ["c", "b", "a"]


def test_graph_with_a_cycle_has_no_order() -> None:
    """`serialize_graph` refuses a graph with a cycle."""
    with pytest.raises(ValueError, match="cycle"):
        hpo.Params([["-a", 1, (0, 5)]]).serialize_graph(graph(("a", "b"), ("b", "a")))


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_graph_methods_agree_with_networkx(edges) -> None:
    """Whether there is a cycle is what networkx says; without one every edge points forward in the order."""
    import networkx as nx

    some = graph(*edges)
    acyclic = nx.is_directed_acyclic_graph(some)
    assert hpo.Params.detect_cycle(some) is not acyclic
    if acyclic:
        order = hpo.Params.serialize_graph(some)
        assert sorted(order) == sorted(map(str, some.nodes))
        assert all(order.index(str(a)) < order.index(str(b)) for a, b in some.edges)
