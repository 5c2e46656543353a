"""Nodes that are held for a study, and how evaluations lie in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crayai.hpo.launch.base import Exited, Gone, Task
from crayai.hpo.launch.notices import Notices


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How evaluations lie in an allocation.

    Attributes:
        nodes: Of the allocation.
        nodes_per_eval: Of each evaluation.
        evals_per_node: How many share a node; 1: an evaluation has its nodes for itself.
        arguments: Of the command that launches, as the user has given them.
    """

    nodes: int
    nodes_per_eval: int = 1
    evals_per_node: int = 1
    arguments: str = ""

    @property
    def slots(self) -> int:
        """How many run at once."""
        return self.nodes // self.nodes_per_eval * self.evals_per_node


class Nodes(Protocol):
    """An allocation: its nodes, and the words for what runs in it.

    Attributes:
        runs_everywhere: Whether a step's script runs on each of its nodes, and what it prints comes out here; else it
            runs on the first one alone, and writes the files of output itself.
        reason: Why nothing can run in it any more; empty: something can.
        notices: What the user is told.
    """

    runs_everywhere: bool
    reason: str
    notices: Notices

    @property
    def is_ready(self) -> bool:
        """Whether steps can run in it."""

    def seconds_left(self) -> float:
        """Return how long it lasts, as far as is known."""

    def look(self) -> None:
        """Ask for it, or how it is, when it is time to; nothing is waited for but an answer.

        Raises:
            LaunchError: It is refused, or an allocation that was named is over.
        """

    def is_there(self) -> bool | None:
        """Return whether what ran in it may have ended by itself; None: nobody says so at present."""

    def release(self) -> None:
        """Give it back if it is ours, also one that is still waited for."""

    def requests(self) -> list[list[str]]:
        """Return the commands that ask for it."""

    def prefix(self, shape: Shape) -> list[str]:
        """Return the words before the command of an evaluation, in its script."""

    def step(self, task: Task, name: str, shape: Shape, script: Path) -> list[str]:
        """Return the command to be run here that runs the script of a task on nodes of its own, under this name."""

    def avoid(self, locations: Sequence[str], shape: Shape) -> tuple[str, ...]:
        """Return the slots here that would run a task at these locations."""

    def end_step(self, owner: str) -> None:
        """End a step that nobody keeps any more, by what its script calls itself, and wait until it is over."""

    def lost(self, said: str) -> Exited | Gone:
        """Return the end of a step that ran, and has left no record: its command has said this."""

    def is_outage(self, said: str) -> bool:
        """Return whether a step did not start for want of an answer, of which its command has said this."""
