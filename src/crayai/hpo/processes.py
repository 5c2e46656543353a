"""Which process is meant, for ever and on every machine, and whether it has ended for certain."""

import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_RECORD = re.compile(r"process (\d+) on (\S+) boot=(\S+) start=(\d+) namespace=(\d+) job=(.*)")
_ASK_SECONDS = 30
_NAMELESS = ("localhost", "(none)")
_SLURM_ENDS = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("TIMEOUT", "PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"),  # it waits to run again: that run is over
}
_PBS_ENDS = set("FCXQHW")  # likewise with Q, H and W


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from every other that ever was.

    Attributes:
        host: The name of its machine.
        boot: What the kernel calls the time from one start of the machine to the next, or how that begins.
        pid: Its number.
        start: When it was started, in ticks since the machine was.
        namespace: Where `pid` means it: a container may count for itself; empty: not recorded.
        job: The batch job that it ends with, as `own_job` says; empty: none.
    """

    host: str
    boot: str
    pid: int
    start: str
    namespace: str = ""
    job: str = ""

    @classmethod
    def own(cls) -> Self:
        """Return this process."""
        pid, start, _ = _facts_of("self")
        return cls(socket.gethostname(), _boot(), int(pid), start, _namespace(), own_job())

    @classmethod
    def parse(cls, record: str) -> Self | None:
        """Return the process of a `record`; None: it is none."""
        found = _RECORD.fullmatch(record.strip())
        if found is None:
            return None
        pid, host, boot, start, namespace, job = found.groups()
        return cls(host, boot, int(pid), start, namespace, job)

    @property
    def record(self) -> str:
        """One line from which `parse` makes it again."""
        return f"{self} boot={self.boot} start={self.start} namespace={self.namespace} job={self.job}"

    @property
    def with_job(self) -> str:
        """Where to look for it, for people."""
        match self.job.split():
            case ["slurm", cluster, job, _]:
                return f"{self}, in Slurm job {job} of {cluster}"
            case ["pbs", job]:
                return f"{self}, in PBS job {job}"
            case ["sge", _, job]:
                return f"{self}, in Grid Engine job {job}"
        return str(self)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def has_ended(self) -> bool | None:
        """Return whether it has ended; None: nobody here can know."""
        if _boot().startswith(self.boot):
            if self.namespace in ("", _namespace()):
                return _has_ended_here(self.pid, self.start)
        elif self.host == socket.gethostname() and not self.host.startswith(_NAMELESS):
            return True  # the machine has been started again
        return _job_has_ended(self.job) or None


def own_job() -> str:
    """Return the batch job with which this process ends: ``slurm CLUSTER JOB RUN``, ``pbs JOB``, ``sge CELL JOB``."""
    found = os.environ.get
    # The command of salloc has no SLURMD_NODENAME: it runs beside its job, and outlives it.
    if found("SLURM_JOB_ID") and found("SLURM_CLUSTER_NAME") and found("SLURMD_NODENAME"):
        return f"slurm {found('SLURM_CLUSTER_NAME')} {found('SLURM_JOB_ID')} {found('SLURM_RESTART_COUNT', '0')}"
    if found("SGE_TASK_ID") and found("JOB_ID"):
        return f"sge {_cell()} {found('JOB_ID')}"
    return f"pbs {found('PBS_JOBID')}" if found("PBS_JOBID") else ""


def _cell() -> str:
    """Return which Grid Engine is meant here: a job's number is one of its own."""
    return f"{os.environ.get('SGE_ROOT', '')}:{os.environ.get('SGE_CELL', 'default')}".replace(" ", "%20")


def _has_ended_here(pid: int, start: str) -> bool | None:
    try:
        _, started, is_dead = _facts_of(pid)
    except OSError:
        return _is_no_number(pid)
    return started != start or is_dead


def _is_no_number(pid: int) -> bool | None:
    """Return whether no process has this number; None: one has, and it is hidden."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return None
    return None


def _facts_of(pid: int | str) -> tuple[str, str, bool]:
    """Return number and start of a process, and whether it is dead and only waits for its parent."""
    number, _, rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").partition(" ")
    facts = rest.rsplit(")", 1)[1].split()  # its name may hold blanks and brackets
    state, threads, start = facts[0], int(facts[17]), facts[19]
    return number, start, state in "ZX" and threads <= 1  # the first thread may be dead while another works on


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _job_has_ended(job: str) -> bool:
    """Return whether the batch system says so; it does not if it cannot be asked."""
    match job.split():
        case ["slurm", cluster, number, run]:
            return _slurm_job_has_ended(cluster, number, run)
        case ["pbs", number]:
            return _pbs_job_has_ended(number)
        case ["sge", cell, number]:
            if job == own_job() and os.environ.get("RESTARTED") == "1":
                return True  # in an earlier run, on another node
            return cell == _cell() and "do not exist" in "".join(_answer("qstat", "-j", number))
    return False


def _slurm_job_has_ended(cluster: str, job: str, run: str) -> bool:
    """Return whether a run of a job is over; the number of a job means something on its own cluster only."""
    match own_job().split():
        case ["slurm", own_cluster, own, own_run] if (own_cluster, own) == (cluster, job) and int(own_run) > int(run):
            return True
    named = re.search(r"^ClusterName\s*=\s*(\S+)", _answer("scontrol", "show", "config")[0], re.MULTILINE)
    if named is None or named[1].casefold() != cluster.casefold():
        return False
    said, wrong = _answer("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T")
    states = set(said.split())
    return "Invalid job id specified" in wrong or (bool(states) and states <= _SLURM_ENDS)


def _pbs_job_has_ended(job: str) -> bool:
    said, wrong = _answer("qstat", "-f", job)
    states = set(re.findall(r"^\s*job_state = (\w)", said, re.MULTILINE))
    return "Unknown Job Id" in wrong or "Job has finished" in wrong or (bool(states) and states <= _PBS_ENDS)


def _answer(*command: str) -> tuple[str, str]:
    """Return what a batch system's command says, and what is wrong; nothing if it does not answer."""
    environment = {name: text for name, text in os.environ.items() if name != "SLURM_CLUSTERS"}  # ask the own one
    try:
        done = subprocess.run(  # noqa: S603 - the batch system's own commands
            command, capture_output=True, text=True, check=False, timeout=_ASK_SECONDS, env=environment,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "", ""
    return done.stdout, done.stderr
