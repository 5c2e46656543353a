"""What a site with PBS or TORQUE offers: queues, limits, nodes; text in, text out.

Sources: the manual pages of qstat, pbsnodes, pbs_queue_attributes and pbs_server_attributes of both.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.sites.site import Partition, QueueLimits, number_in, value_of
from crayai.hpo.launch.steps.slurm import seconds_in

KIND, UNIT = "queue", "nodes"
PARTITION_OPTION, TIME_OPTION, GPUS_OPTION = "-q NAME", "-l walltime=HOURS:00:00", "-l select=1:ngpus={}"
_MB = {"b": 2.0**-20, "kb": 2.0**-10, "mb": 1.0, "gb": 2.0**10, "tb": 2.0**20, "": 2.0**-20}
_PER_USER = ("max_user_queuable", "max_queued", "max_run")


def questions() -> list[list[str]]:
    """Return the commands that ask for the queues, the server and the nodes."""
    return [["qstat", "-Q", "-f"], ["qstat", "-B", "-f"], ["pbsnodes", "-a"]]


def partitions(answers: Sequence[Answer]) -> list[Partition]:
    """Return the queues; every node counts for each of them, for which has which is up to the site."""
    queues, servers, nodes = (_blocks(answer.out) for answer in answers)
    server = next(iter(servers.values()), {})
    kinds = Counter(_kind(facts) for facts in nodes.values())
    idle = Counter(_kind(facts) for facts in nodes.values() if facts.get("state") == "free" and not facts.get("jobs"))
    return [
        Partition(
            name=name,
            is_default=name == server.get("default_queue") or len(queues) == 1,
            is_up="False" not in (facts.get("enabled"), facts.get("started")),
            nodes=count,
            idle=idle[cpus, memory_mb, gpus],
            cpus=cpus,
            memory_mb=memory_mb,
            most_seconds=_limit("resources_max.walltime", facts, server),
            default_seconds=_limit("resources_default.walltime", facts, server),
            gpus=gpus,
        )
        for name, facts in queues.items()
        for (cpus, memory_mb, gpus), count in kinds.items()
    ]


def queue_limits(answers: Sequence[Answer], partition: str) -> QueueLimits:
    """Return how large an array may be, and how many jobs a user may have, as far as that is one number."""
    queue = _blocks(answers[0].out).get(partition, {})
    server = next(iter(_blocks(answers[1].out).values()), {})
    numbers = [re.search(r"(?:PBS_GENERIC=|^)(\d+)", queue.get(name, "")) for name in _PER_USER]
    most = min((int(found[1]) for found in numbers if found), default=0)
    together = queue.get("max_array_size") or server.get("max_array_size") or server.get("max_job_array_size", "")
    return QueueLimits(number_in(together), most, "one user")


def partition_wanted(arguments: Sequence[str]) -> str:
    """Return the queue that arguments ask for, without its server; empty: the default one."""
    return value_of("-q", arguments).partition("@")[0]


def seconds_wanted(arguments: Sequence[str]) -> float | None:
    """Return the limit of time that arguments ask for; None: none."""
    found = re.findall(r"walltime=([\d:]+)", " ".join(arguments))
    return seconds_in(found[-1]) if found else None


def wants_gpus(arguments: Sequence[str]) -> bool:
    """Return whether arguments ask for GPUs."""
    return "gpu" in " ".join(arguments)


def _blocks(text: str) -> dict[str, dict[str, str]]:
    """Return the attributes of queues, servers or nodes by their names, of which each begins a line.

    A long value goes on in the next line, and one of several parts, such as a limit for each of some users, may stand
    in a line for each.
    """
    found: dict[str, dict[str, str]] = {}
    facts: dict[str, str] = {}
    for line in re.sub(r"\n\t(?!\t*[\w.]+ = )", "", text).splitlines():
        if line[:1].isspace():
            key, _, value = (part.strip() for part in line.partition("="))
            facts[key] = f"{facts[key]},{value}" if key in facts else value
        elif name := line.rpartition(":")[2].strip():
            facts = found.setdefault(name, {})
    return found


def _kind(facts: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the cores, the memory in MB, and the GPUs of a node."""
    status = dict(part.partition("=")[::2] for part in facts.get("status", "").split(","))
    cpus = facts.get("resources_available.ncpus") or facts.get("np") or facts.get("pcpus", "")
    memory = re.match(r"(\d+)([kmgt]?b?)", facts.get("resources_available.mem") or status.get("physmem", ""))
    gpus = facts.get("resources_available.ngpus") or facts.get("gpus", "")
    return number_in(cpus), round(int(memory[1]) * _MB[memory[2]]) if memory else 0, number_in(gpus)


def _limit(name: str, *places: Mapping[str, str]) -> float:
    """Return a limit of time of the first of these that has one; infinite: none has."""
    text = next((facts[name] for facts in places if name in facts), "")
    seconds = seconds_in(text)
    return math.inf if seconds is None else seconds
