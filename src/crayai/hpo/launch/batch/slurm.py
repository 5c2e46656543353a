"""The dialect of Slurm 20 and later.

Sources: the manual pages of sbatch, squeue, sacct and scancel; the states are those of squeue(1), JOB STATE CODES.
"""

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch.arguments import given, refusal
from crayai.hpo.launch.batch.dialect import Answer, Dialect, Queue, Seen, Standing, Trouble

_FIELDS = "%F|%K|%T|%N|%r|%o"
_WAITS = {
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
}  # fmt: skip
OVER: Mapping[str, tuple[Limit | None, Loss | None]] = {
    "COMPLETED": (None, None),
    "FAILED": (None, None),
    "TIMEOUT": (Limit.TIME, None),
    "DEADLINE": (Limit.TIME, None),
    "OUT_OF_MEMORY": (Limit.MEMORY, None),
    "NODE_FAIL": (None, Loss.NODE_FAILURE),
    "BOOT_FAIL": (None, Loss.NODE_FAILURE),
    "LAUNCH_FAILED": (None, Loss.NODE_FAILURE),
    "RECONFIG_FAIL": (None, Loss.NODE_FAILURE),
    "PREEMPTED": (None, Loss.PREEMPTED),
    "CANCELLED": (None, Loss.CANCELLED),
    "REVOKED": (None, Loss.UNKNOWN),
}
"""The states of what is over, each with the limit or the loss that it means."""
_OUTAGE = re.compile(
    r"Unable to contact slurm|Connection (refused|timed out|reset)|Socket timed out|Zero Bytes|"
    r"slurm_(load|persist|receive).*(error|fail)|try again|in standby|Transport endpoint|Communication connection",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"\b(QOS|Assoc)\w+Limit", re.IGNORECASE)
_FULL = re.compile(
    r"submit limit|MaxJobCount|temporarily unable to accept|Job array.*exceed|"
    r"would exceed.*limit",
    re.IGNORECASE,
)
_ENDED = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+ (?:\*\*\*|DUE TO (NODE FAILURE|PREEMPTION))")
LOSSES = {None: Loss.CANCELLED, "NODE FAILURE": Loss.NODE_FAILURE, "PREEMPTION": Loss.PREEMPTED}
"""What Slurm says behind "CANCELLED AT ... DUE TO" of a job or a step."""
_MEMORY = re.compile(r"exceeded (job |step )?memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE)
_NEVER = re.compile(
    r"Partition(NodeLimit|TimeLimit|Config)|BadConstraints|DependencyNeverSatisfied|(Assoc|QOS)\w*PerJob|Invalid(Account|QOS)|"
    r"JobHeldAdmin|AccountNotAllowed|QOSNotAllowed"
)
_BLAMED: Mapping[str, Sequence[str]] = {
    "partition": ("-p", "--partition"),
    "account": ("-A", "--account"),
    "qos": ("-q", "--qos"),
    "time limit": ("-t", "--time"),
    "gres|generic resource": ("--gres", "--gpus", "-G", "--gpus-per-node", "--gpus-per-task"),
    "feature|constraint": ("-C", "--constraint"),
    "reservation": ("--reservation",),
    "node name|nodelist": ("-w", "--nodelist", "-x", "--exclude"),
    "memory": ("--mem", "--mem-per-cpu", "--mem-per-gpu"),
    "processors|cpu count|tasks": ("-n", "--ntasks", "-c", "--cpus-per-task", "--ntasks-per-node"),
    "node count|node configuration": ("-N", "--nodes"),
}
"""What a refusal speaks of, and the options that say it."""


class Slurm(Dialect):
    """Slurm's words; every submission is a job array, whose tasks are named ``JOB_PLACE``."""

    retrying = "sleeping and retrying"
    passes_environment = True
    most_together = 1000

    def script(self, directory: Path, count: int) -> str:
        """Return the script of a submission."""
        where = shlex.quote(str(directory))
        return (
            "#!/bin/sh\n"
            f"# {count} evaluations of a crayai study\n"
            f'_place="${{SLURM_ARRAY_TASK_ID:-0}}"\n'
            'export CRAYAI_JOB="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}_$_place"\n'
            f'exec /bin/sh {where}/"$_place"\n'
        )

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits: what we rely on stands last, where it counts."""
        log = f"{_escaped(script.parent)}/log.%a"
        ours = [
            f"--job-name={name}",
            f"--array=0-{count - 1}",
            f"--output={log}",
            f"--error={log}",
            "--open-mode=append",
        ]
        return ["sbatch", *arguments, "--parsable", *ours, str(script)]

    def submit_driver(self, script: Path, name: str, log: Path, minutes: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits one job."""
        place = _escaped(log)
        ours = [
            f"--job-name={name}",
            f"--time={minutes}",
            f"--output={place}",
            f"--error={place}",
            "--open-mode=append",
        ]
        return ["sbatch", *arguments, "--parsable", "--requeue", *ours, str(script)]

    def nodes(self, count: int, arguments: Sequence[str]) -> list[str]:  # noqa: ARG002 - they follow, and so count
        """Return what asks for nodes."""
        return [f"--nodes={count}"]

    def launch(self, nodes: int, arguments: Sequence[str]) -> list[str]:
        """Return the words before a command that runs on all nodes of a job."""
        return ["srun", "-K", *arguments] if arguments or nodes > 1 else []

    def limit(self, seconds: float | None, arguments: Sequence[str]) -> list[str]:
        """Return a limit in whole minutes, and some more for the start and the end."""
        is_known = seconds is None or given(("-t", "--time"), arguments)
        return [] if is_known else [f"--time={math.ceil((seconds or 0) / 60) + 2}"]

    def submission(self, answer: Answer) -> str:
        """Return the job id, behind which a cluster may stand."""
        found = re.search(r"^(\d+)(?:;|$)", answer.out, re.MULTILINE)
        return found[1] if answer.code == 0 and found else ""

    def job(self, submission: str, place: int) -> str:
        """Return the name of a task of an array."""
        return f"{submission}_{place}"

    def submission_of(self, job: str) -> str:
        """Return the number of the array of a task."""
        return job.partition("_")[0]

    def ask(self, name: str, known: Sequence[str]) -> list[str]:  # noqa: ARG002 - all have the name
        """Return the command that asks for all jobs of a study, also those that ended some minutes ago."""
        return ["squeue", "--noheader", "--states=all", f"--name={name}", f"--format={_FIELDS}"]

    def queue(self, answer: Answer) -> Queue | None:
        """Return what squeue answered."""
        if answer.code != 0:
            return None
        jobs: dict[str, Seen] = {}
        submitted: dict[str, str] = {}
        for line in answer.out.splitlines():
            fields = line.split("|", 5)
            if len(fields) < 6:  # noqa: PLR2004 - as many as we asked for
                continue
            array, places, state, nodes, reason, command = fields
            submitted[command.strip()] = array
            seen = _seen(state, nodes, reason)
            for place in _places(places):
                jobs[self.job(array, place)] = seen
        return Queue(jobs, submitted)

    def ask_past(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that asks the accounting, which not every site has."""
        arrays = sorted(set(map(self.submission_of, jobs)))
        return ["sacct", "-n", "-P", "-X", f"--jobs={','.join(arrays)}", "--format=JobID,State,NodeList"]

    def past(self, answer: Answer) -> Mapping[str, Seen] | None:
        """Return what sacct answered, which may be that there is no accounting."""
        if answer.code is None:
            return None
        rows = [line.split("|") for line in answer.out.splitlines()] if answer.code == 0 else []
        found: dict[str, Seen] = {}
        for job, state, nodes in (row for row in rows if len(row) == 3):  # noqa: PLR2004 - as many as we asked for
            array, _, places = job.partition("_")
            for place in _places(places or "N/A"):
                found[self.job(array, place)] = _seen(state, nodes, "")
        return found

    def is_hopeless(self, reason: str) -> bool:
        """Return whether a job that waits for this reason would wait for ever."""
        return bool(_NEVER.search(reason))

    def cause_in(self, said: str) -> Limit | Loss | None:
        """Return by what a job was ended, if Slurm has said so in its log."""
        found = _ENDED.search(said)
        return limit_in(said) or (LOSSES[found[1]] if found else None)

    def refusal(self, answer: Answer, argv: Sequence[str]) -> str:
        """Return what was refused, and by which argument."""
        return refusal(answer, argv, _BLAMED)

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that ends jobs."""
        return ["scancel", "--quiet", *jobs]

    def trouble(self, answer: Answer) -> Trouble:
        """Return why a command that failed did, by its words."""
        said = answer.err
        if _OUTAGE.search(said) or (answer.code is None and self.retrying not in said):
            return Trouble.OUTAGE
        if limit := _LIMIT.search(said):  # named by newer versions before a sentence that may mean any limit
            return Trouble.FULL if "submit" in limit[0].lower() else Trouble.REFUSED
        return Trouble.FULL if _FULL.search(said) else Trouble.REFUSED


def limit_in(said: str) -> Limit | None:
    """Return at which limit Slurm says that it has ended a job or a step."""
    if "DUE TO TIME LIMIT" in said:
        return Limit.TIME
    return Limit.MEMORY if _MEMORY.search(said) else None


def _seen(state: str, nodes: str, reason: str) -> Seen:
    """Return what a state means; ``CANCELLED by 0`` and ``CANCELLED+`` are CANCELLED."""
    word = (state.split() or [""])[0].rstrip("+").upper()
    reason = "" if reason in ("None", "(null)") else reason
    if word in _WAITS:
        return Seen(Standing.WAITS, word, reason)
    if word not in OVER:
        return Seen(Standing.RUNS, word, reason, nodes)
    limit, loss = OVER[word]
    return Seen(Standing.OVER, word, reason, nodes, limit, loss)


def _places(text: str) -> Iterator[int]:
    """Yield the places that ``N/A`` (no array), ``3`` or ``[3-7,9%2]`` stand for."""
    if not any(map(str.isdigit, text)):
        yield 0
        return
    for part in text.strip("[]").partition("%")[0].split(","):
        low, _, high = part.partition("-")
        if low.isdigit():
            yield from range(int(low), int(high if high.isdigit() else low) + 1)


def _escaped(path: Path) -> str:
    """Return a path in which Slurm sees no pattern."""
    return str(path).replace("%", "%%")
