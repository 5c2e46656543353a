"""What a site with Grid Engine offers: queues, their slots and limits; text in, text out.

Sources: the manual pages of qconf, qstat and queue_conf.
"""

import math
import re
from collections.abc import Sequence

from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.sites.site import Partition, QueueLimits, value_of
from crayai.hpo.launch.steps.slurm import seconds_in

KIND, UNIT = "queue", "slots"
PARTITION_OPTION, TIME_OPTION, GPUS_OPTION = "-q NAME", "-l h_rt=HOURS:00:00", "-l gpu={}"
_COLUMNS = 8


def questions() -> list[list[str]]:
    """Return the commands that ask for the queues, and for their slots."""
    return [["qconf", "-sq", "*"], ["qstat", "-g", "c"]]


def partitions(answers: Sequence[Answer]) -> list[Partition]:
    """Return the queues; a job that names none may go to any of them."""
    texts = re.split(r"^qname\s+", answers[0].out, flags=re.MULTILINE)[1:]
    rows = [line.split() for line in answers[1].out.splitlines()[2:]]
    slots = {row[0]: (int(row[5]), int(row[4])) for row in rows if len(row) == _COLUMNS}
    queues = {text.split()[0]: dict(re.findall(r"^([sh]_rt)\s+(\S+)", text, re.MULTILINE)) for text in texts}
    limits = {name: min([math.inf, *map(_seconds, found.values())]) for name, found in queues.items()}
    return [
        Partition(name, True, True, *slots.get(name, (0, 0)), 0, 0, limit, limit, 0) for name, limit in limits.items()
    ]


def _seconds(text: str) -> float:
    """Return a limit of time; infinite: none."""
    return seconds_in(text) or math.inf


def queue_limits(answers: Sequence[Answer], partition: str) -> QueueLimits:  # noqa: ARG001 - only for its managers
    """Return nothing: users are not told."""
    return QueueLimits()


def partition_wanted(arguments: Sequence[str]) -> str:
    """Return the first queue that arguments ask for, without its host; empty: any."""
    return re.split("[@,]", value_of("-q", arguments))[0]


def seconds_wanted(arguments: Sequence[str]) -> float | None:
    """Return the limit of time that arguments ask for; None: none."""
    found = re.findall(r"h_rt=([\d:]+)", " ".join(arguments))
    return seconds_in(found[-1]) if found else None


def wants_gpus(arguments: Sequence[str]) -> bool:
    """Return whether arguments ask for GPUs."""
    return "gpu" in " ".join(arguments)
