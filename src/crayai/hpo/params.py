"""The hyperparameters of a script: ``hpo.Params([["--lr", 1e-3, (1e-5, 1e-1)], …])``."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from crayai.hpo.space.base import as_text
from crayai.hpo.space.parse import space_from_entries


class Params:
    """Hyperparameters with their ranges.

    Args:
        params: Entries ``[flag, default, (low, high)]`` (a range, whole if all three numbers are),
            ``[flag, default, [value, …]]`` (a list), both also without the default, and `Float`, `Int`, `Choice` and
            `Constant` objects.

    Raises:
        SpaceError: An entry that cannot be, with the flag, the rule and the value.
    """

    def __init__(self, params: Sequence[Any]) -> None:
        self.space = space_from_entries(params)

    def get_params(self) -> dict[str, str]:
        """Return each flag with its default as the program receives it; empty where there is none."""
        return {h.flag: "" if h.default is None else as_text(h.default) for h in self.space.hyperparameters}

    def get_dependency_graph_as_str(self) -> str:
        """Return the conditions, joined by semicolons."""
        return ";".join(f"{h.flag} when {h.when}" for h in self.space.hyperparameters if h.when is not None)

    def get_ordered_param_when_valid(self) -> list[str]:
        """Return the flags so ordered that each stands behind those that its condition speaks of."""
        return [self.space.flags[i] for i in self.space.order]

    @staticmethod
    def detect_cycle(graph: Any) -> bool:
        """Return whether `graph`, a networkx DiGraph, has a cycle."""
        try:
            _sorted_nodes(graph)
        except CycleError:
            return True
        return False

    @staticmethod
    def serialize_graph(graph: Any) -> list[str]:
        """Return the nodes of `graph`, a networkx DiGraph without cycles, in topological order.

        Raises:
            graphlib.CycleError: It has a cycle.
        """
        return [str(node) for node in _sorted_nodes(graph)]


def _sorted_nodes(graph: Any) -> list[Any]:
    return list(TopologicalSorter({node: list(graph.predecessors(node)) for node in graph.nodes}).static_order())
