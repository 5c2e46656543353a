"""What a cluster of Slurm's offers: partitions, limits, accounting; text in, text out.

Sources: the manual pages of sinfo and slurm.conf.
"""

import math
import re
from collections.abc import Sequence

from crayai.hpo.launch.batch.arguments import given
from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.sites.site import Partition, QueueLimits, number_in
from crayai.hpo.launch.steps.slurm import seconds_in

KIND, UNIT = "partition", "nodes"
PARTITION_OPTION, TIME_OPTION, GPUS_OPTION = "-p NAME", "-t HOURS:00:00", "--gres=gpu:{}"
_FIELDS = "%P|%a|%F|%c|%m|%l|%L|%G"
_GPUS = re.compile(r"gpu:(?:[^:,()]+:)?(\d+)")


def questions() -> list[list[str]]:
    """Return the commands that ask for all partitions, and for the settings of the cluster."""
    return [["sinfo", "--noheader", "--exact", f"--format={_FIELDS}"], ask_settings()]


def partitions(answers: Sequence[Answer]) -> list[Partition]:
    """Return the partitions, a row for each kind of node."""
    lines = answers[0].out.splitlines()
    rows = [line.strip().split("|") for line in lines if line.count("|") == _FIELDS.count("|")]
    return [
        Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            is_up=is_up == "up",
            nodes=number_in(counts.split("/")[-1]),
            idle=number_in(counts.split("/")[1]) if "/" in counts else 0,
            cpus=number_in(cpus),
            memory_mb=number_in(memory),
            most_seconds=_limit(most),
            default_seconds=_limit(most) if default == "n/a" else _limit(default),
            gpus=sum(int(found) for found in _GPUS.findall(gres)),
        )
        for name, is_up, counts, cpus, memory, most, default, gres in rows
    ]


def queue_limits(answers: Sequence[Answer], partition: str) -> QueueLimits:  # noqa: ARG001 - it is for all of them
    """Return what jobs meet in the queue, and whether what has become of them can be looked up."""
    together, most = (number_in(setting(answers[1], name)) for name in ("MaxArraySize", "MaxJobCount"))
    keeps = setting(answers[1], "AccountingStorageType") not in ("", "accounting_storage/none", "(null)")
    accounting = "accounting is there" if keeps else "there is no accounting, so ends are known by the queue alone"
    return QueueLimits(together, most, "all users", accounting)


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
