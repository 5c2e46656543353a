"""Slurm's words for steps in an allocation; text in, text out.

Sources: the manual pages of salloc, srun and squeue.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from crayai.hpo.launch.base import Loss
from crayai.hpo.launch.batch.arguments import given
from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.batch.slurm import LOSSES, OVER

_FIELDS = "%A|%T|%L|%D|%C|%N|%r"
_SIZES = ("-n", "--ntasks", "--ntasks-per-node", "-c", "--cpus-per-task", "--cpus-per-gpu", "-s", "--oversubscribe",
          "--exclusive", "--mem", "--mem-per-cpu", "--mem-per-gpu")  # fmt: skip
_ENDED = {*OVER, "COMPLETING"}


@dataclass(frozen=True, slots=True)
class Held:
    """What Slurm says of an allocation.

    Attributes:
        job: Its number.
        state: In Slurm's words.
        seconds_left: Until its limit of time; infinite: there is none, None: not known.
        nodes: How many.
        cpus: Of all nodes together.
        node_list: Their names, as Slurm writes them.
        reason: Why it waits.
    """

    job: str
    state: str
    seconds_left: float | None
    nodes: int
    cpus: int
    node_list: str
    reason: str

    @property
    def is_over(self) -> bool:
        """Whether nothing can run in it any more."""
        return self.state in _ENDED


def allocate(name: str, nodes: int, arguments: str) -> list[str]:
    """Return the command that waits for an allocation of whole nodes, unless the user's arguments say which parts."""
    return ["salloc", *nodes_words(nodes, arguments), f"--job-name={name}", "--no-shell"]


def nodes_words(nodes: int, arguments: str) -> list[str]:
    """Return the arguments that ask for so many nodes, which may fail one by one."""
    words = shlex.split(arguments)
    whole = [] if given(_SIZES, words) else ["--exclusive"]
    return ["--no-kill", *whole, *words, f"--nodes={nodes}"]


def granted(answer: Answer) -> str:
    """Return the number of the allocation that was granted; empty: none was."""
    found = re.search(r"Granted job allocation (\d+)", answer.err + answer.out)
    return found[1] if answer.code == 0 and found else ""


def ask_named(name: str) -> list[str]:
    """Return the command that asks for allocations of ours by their name."""
    return ["squeue", "--noheader", f"--user={os.getuid()}", f"--name={name}", f"--format={_FIELDS}"]


def ask_held(job: str) -> list[str]:
    """Return the command that asks for an allocation by its number."""
    return ["squeue", "--noheader", "--states=all", f"--jobs={job}", f"--format={_FIELDS}"]


def held(answer: Answer) -> list[Held] | None:
    """Return the allocations of which Slurm has told; None: it has told nothing that can be relied on."""
    if answer.code != 0:
        return [] if "Invalid job id" in answer.err else None
    rows = [line.split("|", 6) for line in answer.out.splitlines() if line.count("|") >= 6]  # noqa: PLR2004 - fields
    return [
        Held(job, state.split()[0], seconds_in(left), _number(nodes), _number(cpus), node_list, reason)
        for job, state, left, nodes, cpus, node_list, reason in rows
    ]


def ask_names(node_list: str) -> list[str]:
    """Return the command that writes out a list of nodes such as ``n[1-4]``."""
    return ["scontrol", "show", "hostnames", node_list]


def step(
    job: str, name: str, nodes: int, arguments: str, cpus: int | None, avoid: Sequence[str], command: Sequence[str]
) -> list[str]:
    """Return the command that runs a step on so many nodes, and where several share one, on so many of its CPUs.

    The user's arguments come behind ours, so that they count.
    """
    words = shlex.split(arguments)
    tasks = [] if given(("-n", "--ntasks", "--ntasks-per-node"), words) else [f"-n{nodes}"]
    part = [] if cpus is None else ["--exact", f"--cpus-per-task={cpus}", "--mem=0"]
    away = [f"--exclude={','.join(avoid)}"] if avoid else []
    ours = [f"--jobid={job}", f"--job-name={name}", "-K", f"-N{nodes}", *tasks, *part, *away]
    return ["srun", *ours, *words, *command]


def ask_steps(job: str) -> list[str]:
    """Return the command that asks for the steps of an allocation."""
    return ["squeue", "--noheader", "--steps", f"--jobs={job}", "--format=%i|%j"]


def steps(answer: Answer) -> dict[str, str] | None:
    """Return the steps by their names; None: nothing that can be relied on was answered."""
    if answer.code != 0:
        return {} if "Invalid job id" in answer.err else None
    rows = (line.strip().split("|", 1) for line in answer.out.splitlines() if "|" in line)
    return {name: step for step, name in rows}


def loss_in(said: str) -> tuple[str, Loss]:
    """Return on which node, if that is known, and by what a step was lost of which ``srun`` says this."""
    found = re.search(
        r"Node failure on (\S+)|STEP \S+ ON (\S+) CANCELLED AT \S+(?: DUE TO (NODE FAILURE|PREEMPTION))?", said
    )
    if found is None:
        return "", Loss.UNKNOWN
    node, step_node, cause = found.groups()
    return (node, Loss.NODE_FAILURE) if node else (step_node, LOSSES[cause])


def cancel(names: Sequence[str]) -> list[str]:
    """Return the command that ends allocations or steps."""
    return ["scancel", "--quiet", *names]


def cancel_named(name: str) -> list[str]:
    """Return the command that ends all allocations of ours that have this name."""
    return ["scancel", "--quiet", f"--name={name}", f"--user={os.getuid()}"]


def seconds_in(text: str) -> float | None:
    """Return what ``1-02:03:04``, ``03:04`` and the like stand for; infinite: UNLIMITED, None: not known."""
    if text == "UNLIMITED":
        return float("inf")
    days, _, clock = text.rpartition("-")
    if not re.fullmatch(r"\d+(:\d+)*", clock):
        return None
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return float(total + 86400 * int(days or 0))


def _number(text: str) -> int:
    """Return a number, of which Slurm shortens large ones to ``1K``."""
    found = re.match(r"(\d+(?:\.\d+)?)([KM]?)", text)
    return int(float(found[1]) * {"": 1, "K": 1000, "M": 1_000_000}[found[2]]) if found else 0
