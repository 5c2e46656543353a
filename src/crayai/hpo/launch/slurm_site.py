"""What a cluster of Slurm's offers: partitions, limits, accounting; text in, text out.

Sources: the manual pages of sinfo and slurm.conf.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crayai.hpo.launch.dialect import Answer
from crayai.hpo.launch.slurm import given
from crayai.hpo.launch.slurm_steps import seconds_in

_FIELDS = "%P|%a|%F|%c|%m|%l|%L|%G"
_GPUS = re.compile(r"gpu:(?:[^:,()]+:)?(\d+)")


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition, or those of its nodes that are alike.

    Attributes:
        name: Of the partition.
        is_default: Whether jobs go there that name none.
        is_up: Whether it takes jobs.
        nodes: How many there are; those that are down, too.
        idle: How many of them have nothing to do.
        cpus: Of a node.
        memory_mb: Of a node.
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


def ask_partitions() -> list[str]:
    """Return the command that asks for all partitions."""
    return ["sinfo", "--noheader", "--exact", f"--format={_FIELDS}"]


def partitions(answer: Answer) -> list[Partition]:
    """Return the partitions, a row for each kind of node."""
    rows = [line.strip().split("|") for line in answer.out.splitlines() if line.count("|") == _FIELDS.count("|")]
    return [
        Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            is_up=is_up == "up",
            nodes=_number(counts.split("/")[-1]),
            idle=_number(counts.split("/")[1]) if "/" in counts else 0,
            cpus=_number(cpus),
            memory_mb=_number(memory),
            most_seconds=_limit(most),
            default_seconds=_limit(most) if default == "n/a" else _limit(default),
            gpus=sum(int(found) for found in _GPUS.findall(gres)),
        )
        for name, is_up, counts, cpus, memory, most, default, gres in rows
    ]


def partition_wanted(arguments: Sequence[str]) -> str:
    """Return the partition that arguments ask for; empty: the default one."""
    return _value(given(("-p", "--partition"), arguments))


def seconds_wanted(arguments: Sequence[str]) -> float | None:
    """Return the limit of time that arguments ask for, which is in minutes where it has one number; None: none."""
    text = _value(given(("-t", "--time"), arguments))
    if not text:
        return None
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if dash:
        parts += ["0"] * (3 - len(parts))
    elif len(parts) == 1:
        parts.append("0")
    return seconds_in(dash.join((days, ":".join(parts))))


def wants_gpus(arguments: Sequence[str]) -> bool:
    """Return whether arguments ask for GPUs."""
    words = " ".join(arguments)
    return "gpu" in words or bool(given(("-G", "--gres"), arguments))


def ask_settings() -> list[str]:
    """Return the command that asks for the settings of the cluster."""
    return ["scontrol", "show", "config"]


def setting(answer: Answer, name: str) -> str:
    """Return one of the settings; empty: not known."""
    found = re.search(rf"^{name}\s*=\s*(\S+)", answer.out, re.MULTILINE)
    return found[1] if found else ""


def _value(word: str) -> str:
    """Return what is asked for by ``--time=5``, ``--time 5``, ``-t 5`` or ``-t5``."""
    if word.startswith("--"):
        return re.split("[ =]", word, maxsplit=1)[-1]
    return word[2:].strip()


def _limit(text: str) -> float:
    seconds = seconds_in("UNLIMITED" if text == "infinite" else text)
    return math.inf if seconds is None else seconds


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
