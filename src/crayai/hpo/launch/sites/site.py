"""What there is at a site, for the doctor to compare with what a study asks for; each manager has its own words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from crayai.hpo.launch.batch.dialect import Answer


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition or queue, or those of its nodes that are alike.

    Attributes:
        name: Of the partition.
        is_default: Whether jobs go there that name none.
        is_up: Whether it takes jobs.
        nodes: How many there are; those that are down, too.
        idle: How many of them have nothing to do.
        cpus: Of a node; 0: not known.
        memory_mb: Of a node; 0: not known.
        most_seconds: The longest limit of time that a job may have; infinite: any.
        default_seconds: The limit of a job that asks for none; infinite: none.
        gpus: Of a node.
    """

    name: str
    is_default: bool
    is_up: bool
    nodes: int
    idle: int
    cpus: int
    memory_mb: int
    most_seconds: float
    default_seconds: float
    gpus: int


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What jobs meet in the queue.

    Attributes:
        together: How many jobs an array may have; 0: not known, or no arrays are used.
        most: How many jobs it holds, of all users, or of one; 0: not known.
        whose: Of whom it holds so many.
        remark: What else there is to know.
    """

    together: int = 0
    most: int = 0
    whose: str = "all users"
    remark: str = ""


class Site(Protocol):
    """How a workload manager is asked what there is; modules are such.

    Attributes:
        KIND: What it calls a partition.
        UNIT: What it counts: nodes or slots.
        PARTITION_OPTION: How a partition is asked for.
        TIME_OPTION: How a limit of time is asked for.
        GPUS_OPTION: How GPUs are asked for, with a place for their number.
    """

    KIND: str
    UNIT: str
    PARTITION_OPTION: str
    TIME_OPTION: str
    GPUS_OPTION: str

    def questions(self) -> list[list[str]]:
        """Return the commands that ask for everything."""

    def partitions(self, answers: Sequence[Answer]) -> list[Partition]:
        """Return the partitions, a row for each kind of node; none: it has not answered."""

    def queue_limits(self, answers: Sequence[Answer], partition: str) -> QueueLimits:
        """Return what jobs meet in the queue."""

    def partition_wanted(self, arguments: Sequence[str]) -> str:
        """Return the partition that arguments ask for; empty: the default one."""

    def seconds_wanted(self, arguments: Sequence[str]) -> float | None:
        """Return the limit of time that arguments ask for; None: none."""

    def wants_gpus(self, arguments: Sequence[str]) -> bool:
        """Return whether arguments ask for GPUs."""


def value_of(option: str, arguments: Sequence[str]) -> str:
    """Return the last value of an option of one letter, as in ``-q gpu`` or ``-qgpu``; empty: it is not given."""
    found = ""
    for word, value in pairwise([*arguments, ""]):
        if word == option:
            found = value
        elif word.startswith(option):
            found = word[len(option) :]
    return found


def number_in(text: str) -> int:
    """Return the number with which a text begins; 0: it begins with none."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
