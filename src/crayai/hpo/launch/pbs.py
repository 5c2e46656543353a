"""The dialect of OpenPBS and PBS Pro 19 and later.

Sources: the PBS Professional Reference Guide (qsub, qstat, qselect, qdel, job states, job exit codes), and the answers
of OpenPBS 23.06.
"""

import json
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.dialect import Answer, Queue, Seen, Standing, Trouble

_WAITS = set("QHWT")
_OVER = set("FX")
_LIMITS = {-26: Limit.MEMORY, -27: Limit.MEMORY, -28: Limit.TIME, -29: Limit.TIME}
_NODE_FAILURES = {-1, -2, -3, -20}
"""What a job ends with that could not be started on its nodes, or whose first node was lost."""
_TERMINATED = 256 + 15
_KILLED_CODES = {_TERMINATED, 256 + 9, 128 + 15, 128 + 9}
"""What a job ends with that a signal has ended, or whose script has heard of one."""
_ATTRIBUTE = re.compile(r'^\s*"(\w+)":\s*(?:"(.*?)"|(-?\d+))\s*,?\s*$')
_JOB = re.compile(r'^\s*"(\d+(?:\[\d*\])?\.[^"]+)":\s*\{')
_OUTAGE = re.compile(
    r"cannot connect to server|connection (refused|timed out|reset)|no route to host|timed out|communication failure|"
    r"error communicating|unable to communicate|end of file|server (is )?shutting down|errno=(111|15010|15034)|"
    r"premature end of message|protocol \(ASN\.1\) error|socket",
    re.IGNORECASE,
)
_FULL = re.compile(
    r"would exceed .*(limit|jobs)|maximum number of jobs|exceeds? server or queue size limit|array .*size.*exceed|"
    r"job violates queue and/or server resource limits.*jobs",
    re.IGNORECASE,
)
_KILLED = re.compile(r"job killed: (\w+)[^\n]* exceeded", re.IGNORECASE)
_BLAMED: Sequence[tuple[str, str]] = (
    ("queue", "-q"),
    ("account|project", "-A -P"),
    ("resource|select|place|chunk|-l", "-l"),
    ("group|gid|attribute|-W", "-W"),
)


class Pbs:
    """The words of PBS; a submission of several is a job array, ``4[].server``, with jobs ``4[3].server``."""

    retrying = ""
    passes_environment = False
    most_together = 1000
    index = "PBS_ARRAY_INDEX"

    def script(self, directory: Path, count: int) -> str:
        """Return the script of a submission."""
        where = shlex.quote(str(directory))
        return (
            "#!/bin/sh\n"
            f"# {count} evaluations of a crayai study\n"
            f'place="${{{self.index}:-0}}"\n'
            f"[ ! -r {where}/environment ] || . {where}/environment\n"
            'export CRAYAI_JOB="$PBS_JOBID"\n'
            f'exec /bin/sh {where}/"$place"\n'
        )

    def sign(self, name: str, script: Path) -> str:  # noqa: ARG002 - the script is enough
        """Return the path of the script."""
        return str(script)

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits; PBS allows no array of one."""
        array = ["-J", f"0-{count - 1}"] if count > 1 else []
        log = script.parent / ("log.^array_index^" if count > 1 else "log.0")
        return ["qsub", *arguments, *self._ours(name, log), *array, str(script)]

    def submit_driver(self, script: Path, name: str, log: Path, minutes: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits one job."""
        limit = ["-l", f"walltime={_clock(60 * minutes)}"]
        return ["qsub", *arguments, "-r", "y", *limit, *self._ours(name, log), str(script)]

    @staticmethod
    def _ours(name: str, log: Path) -> list[str]:
        return ["-N", name, "-S", "/bin/sh", "-j", "oe", "-o", str(log)]

    def nodes(self, count: int, arguments: Sequence[str]) -> list[str]:
        """Return what asks for nodes, unless `arguments` do."""
        if has_size(arguments):
            return []
        return ["-l", f"select={count}", *(["-l", "place=scatter"] if count > 1 else [])]

    def launch(self, nodes: int, arguments: Sequence[str]) -> list[str]:
        """Return the words before a command that runs on all nodes of a job."""
        if arguments:
            return ["mpiexec", *arguments]
        return ["mpiexec", "-n", str(nodes)] if nodes > 1 else []

    def limit(self, seconds: float | None, arguments: Sequence[str]) -> list[str]:
        """Return a limit of time with something more for the start and the end."""
        if seconds is None or "walltime=" in " ".join(arguments):
            return []
        return ["-l", f"walltime={_clock(math.ceil(seconds) + 120)}"]

    def submission(self, answer: Answer) -> str:
        """Return the name of a job or an array, with its server."""
        found = re.search(r"^(\d+(?:\[\])?(?:\.\S+)?)\s*$", answer.out, re.MULTILINE)
        return found[1] if answer.code == 0 and found else ""

    def job(self, submission: str, place: int) -> str:
        """Return the name of a job."""
        return submission.replace("[]", f"[{place}]")

    def ask(self, name: str, submissions: Sequence[str]) -> list[str]:
        """Return the command that asks for all jobs of a study; those that ended count where the server keeps them."""
        return ["/bin/sh", "-c", asking(name, submissions, "qstat -x -t -f -F json", "qstat -t -f -F json", "{}")]

    def queue(self, answer: Answer) -> Queue | None:
        """Return what qstat answered: a code that is not 0 says that it does not know some of the jobs."""
        jobs = _jobs_in(answer.out) if answer.code is not None else None
        return None if jobs is None else queue_of(jobs, _seen)

    def ask_past(self, submissions: Sequence[str]) -> list[str]:  # noqa: ARG002 - there is none for users
        """Return nothing: the question for the queue includes what the server remembers."""
        return []

    def past(self, answer: Answer) -> Mapping[str, Seen]:  # noqa: ARG002 - never asked
        """Return nothing."""
        return {}

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that ends jobs."""
        return ["qdel", *jobs]

    def is_hopeless(self, reason: str) -> bool:
        """Return whether a job that waits for this reason would wait for ever."""
        return "Can Never Run" in reason

    def limit_in(self, said: str) -> Limit | None:
        """Return at which limit a job was ended that has said this."""
        found = _KILLED.search(said)
        if found is None:
            return None
        return Limit.MEMORY if "mem" in found[1] else Limit.TIME

    def refusal(self, answer: Answer, argv: Sequence[str]) -> str:
        """Return what was refused, the arguments that it may speak of, and the whole command."""
        said = answer.err or answer.out
        for pattern, options in _BLAMED:
            if not re.search(pattern, said, re.IGNORECASE):
                continue
            if blamed := [f"{word} {value}" for word, value in pairwise(argv) if word in options.split()]:
                said += f"\nThe argument that it speaks of: {', '.join(blamed)}"
                break
        return f"{said}\nThe command was: {shlex.join(argv)}"

    def trouble(self, answer: Answer) -> Trouble:
        """Return why a command that failed did, by its words."""
        if answer.code is None or _OUTAGE.search(answer.err):
            return Trouble.OUTAGE
        return Trouble.FULL if _FULL.search(answer.err) else Trouble.REFUSED


def has_size(arguments: Sequence[str]) -> bool:
    """Return whether arguments ask for nodes or cores."""
    return bool(re.search(r"\b(select|nodes|ncpus|procs)=", " ".join(arguments)))


def asking(name: str, submissions: Sequence[str], first: str, second: str, nothing: str) -> str:
    """Return a program of the shell that asks for known jobs, and for others of this name.

    It asks `second` where `first` has no answer, and says `nothing` where there are no jobs: without any name, the
    jobs of all users would be meant.
    """
    known = " ".join(map(shlex.quote, submissions))
    return (
        f"set -f; found=$(qselect -N {shlex.quote(name)}) || exit; "
        f"jobs=$(printf '%s\\n' {known} $found | sort -u); "
        f'[ "$jobs" ] || {{ echo {shlex.quote(nothing)}; exit 0; }}; '
        f'said=$({first} $jobs); code=$?; [ "$said" ] || {{ said=$({second} $jobs); code=$?; }}; '
        "printf '%s\\n' \"$said\"; exit $code"
    )


def queue_of(jobs: Mapping[str, Mapping[str, Any]], seen: Callable[[Mapping[str, Any]], Seen]) -> Queue:
    """Return what is known of jobs by their attributes; the path of the output tells which script a job runs."""
    submitted = {}
    for name, facts in jobs.items():
        output = str(facts.get("Output_Path", "")).partition(":")[2]
        if output:
            submitted[str(Path(output).parent / "submit")] = re.sub(r"\[\d+\]", "[]", name)
    return Queue({name: seen(facts) for name, facts in jobs.items()}, submitted)


def _seen(facts: Mapping[str, Any]) -> Seen:
    """Return what PBS says of a job; a job that waits again shows the end of its last run, too."""
    word, comment = str(facts.get("job_state", "")), str(facts.get("comment", ""))
    location = str(facts.get("exec_host", "")).partition("/")[0]
    if word in _WAITS:
        return Seen(Standing.WAITS, word, comment)
    if word not in _OVER:
        return Seen(Standing.RUNS, word, comment, location)
    code = facts.get("Exit_status")
    if code is None:
        return Seen(Standing.OVER, word, comment or "it never ran", location, None, Loss.CANCELLED)
    return Seen(
        Standing.OVER, f"{word} with exit status {code}", comment, location, *end_of(int(code), comment, facts, _LIMITS)
    )


def end_of(
    code: int, comment: str, facts: Mapping[str, Any], limits: Mapping[int, Limit]
) -> tuple[Limit | None, Loss | None]:
    """Return at which limit a job was ended, or by what it was lost."""
    if code in limits:
        return limits[code], None
    if code < 0:
        return None, Loss.NODE_FAILURE if code in _NODE_FAILURES else Loss.UNKNOWN
    if code not in _KILLED_CODES:
        return None, None
    if _seconds(facts, "resources_used") >= _seconds(facts, "Resource_List") > 0:
        return Limit.TIME, None
    if "preempt" in comment.lower():
        return None, Loss.PREEMPTED
    return None, Loss.CANCELLED if code == _TERMINATED or "terminated" in comment else None


def _seconds(facts: Mapping[str, Any], group: str) -> float:
    """Return a wall clock time of a job; 0: not told."""
    told = facts.get(group)
    text = str(told.get("walltime", "")) if isinstance(told, Mapping) else ""
    parts = text.split(":")
    if not all(part.isdigit() for part in parts):
        return 0.0
    return float(sum(int(part) * 60**place for place, part in enumerate(reversed(parts))))


def _jobs_in(text: str) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the attributes of jobs; None: this is no answer. An odd value may make it no JSON any more."""
    try:
        told = json.loads(text, strict=False)
    except ValueError:
        return dict(_lines_in(text)) if '"timestamp"' in text else None
    jobs = told.get("Jobs", {}) if isinstance(told, dict) else None
    return None if jobs is None else {name: facts for name, facts in jobs.items() if isinstance(facts, dict)}


def _lines_in(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the attributes of jobs that stand on a line of their own each."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        if job := _JOB.match(line):
            facts = {}
            yield job[1], facts
        elif found := _ATTRIBUTE.match(line):
            facts.setdefault(found[1], found[2] if found[3] is None else found[3])


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
