"""What a site with Moab offers, as far as it tells users: its nodes; text in, text out.

Source: the Moab Workload Manager Administrator Guide (showq).
"""

import math
import re
from collections.abc import Sequence

from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.sites import pbs
from crayai.hpo.launch.sites.site import Partition, QueueLimits

KIND, UNIT = "queue", "nodes"
PARTITION_OPTION, TIME_OPTION, GPUS_OPTION = "-q NAME", "-l walltime=HOURS:00:00", "-l nodes=1:gpus={}"
seconds_wanted, wants_gpus = pbs.seconds_wanted, pbs.wants_gpus


def questions() -> list[list[str]]:
    """Return the command that counts the nodes."""
    return [["showq", "--xml"]]


def partitions(answers: Sequence[Answer]) -> list[Partition]:
    """Return one for all queues: which there are, nobody tells."""
    counts = {name: int(text) for name, text in re.findall(r'Local(\w+)="(\d+)"', answers[0].out)}
    nodes = counts.get("UpNodes", 0)
    if not nodes:
        return []
    cpus = counts.get("UpProcs", 0) // nodes
    return [Partition("all queues", True, True, nodes, counts.get("IdleNodes", 0), cpus, 0, math.inf, math.inf, 0)]


def queue_limits(answers: Sequence[Answer], partition: str) -> QueueLimits:  # noqa: ARG001 - nobody tells
    """Return nothing."""
    return QueueLimits()


def partition_wanted(arguments: Sequence[str]) -> str:  # noqa: ARG001 - it could not be looked up
    """Return the one for all."""
    return ""
