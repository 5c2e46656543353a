"""The dialect of OpenPBS and PBS Pro 19 and later.

Sources: the PBS Professional Reference Guide (qsub, qstat, qselect, qdel, job states, job exit codes), and the answers
of OpenPBS 23.06.
"""

import json
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch import qsub
from crayai.hpo.launch.batch.arguments import refusal
from crayai.hpo.launch.batch.dialect import Answer, Dialect, Queue, Seen, Standing, Trouble

_WAITS = set("QHWT")
_OVER = set("FX")
_LIMITS = {-26: Limit.MEMORY, -27: Limit.MEMORY, -28: Limit.TIME, -29: Limit.TIME}
_NODE_FAILURES = {-1, -2, -3, -4, -5, -6, -13, -14, -20}
"""What a job ends with that could not be started on its nodes, or of which a node was lost, or its daemon."""
_TERMINATED = 256 + 15
_KILLED_CODES = {_TERMINATED, 256 + 9, 128 + 15, 128 + 9}
"""What a job ends with that a signal has ended, or whose script has heard of one."""
_UNKNOWN_CODES = {153, 35}
_UNKNOWN = re.compile(r"qstat: (Unknown Job Id|.*Job has finished|PBS is not configured to maintain job history)")
"""The complaints after which qstat has said all that there is; after any other one something may be missing."""
_TELL = """\
said=$(qstat -x -t -E -f -F json $jobs); code=$?
case $code:$said in
  0:*'"Jobs"'*) ;;
  0:*) said=$(qstat -t -E -f -F json $jobs); code=$? ;;
esac
printf '%s\\n' "$said"
exit "$code"
"""
_ATTRIBUTE = re.compile(r'^\s*"(\w+)":\s*(?:"(.*?)"|(-?\d+))\s*,?\s*$')
_JOB = re.compile(r'^\s*"(\d+(?:\[\d*\])?\.[^"]+)":\s*\{')
_OUTAGE = re.compile(
    r"(cannot|could ?n[o']t|can ?not) (connect|establish)|connection (refused|timed out|reset|table full)|"
    r"no route to host|time(d)? ?out|communication failure|error communicating|unable to communicate|end of file|"
    r"shutting down|errno=(111|15010|15034)|\(15031\)|premature end of message|protocol|socket|background qsub|"
    r"retry to submit a job exhausted|free connections|open connections|internal error|system (call|error)|"
    r"failed to save job|temporarily unavailable|server busy|unknown host|no permission|invalid credential",
    re.IGNORECASE,
)
_NODE_OUTAGE = re.compile(r".*connect to MOM.*")
_FULL = re.compile(r"would exceed .*(limit|jobs)|maximum number of jobs|queue is not enabled", re.IGNORECASE)
_LARGE = re.compile(
    r"exceeds? server or queue size limit|array size too large|arrays are not allowed|non-rerunn?able array",
    re.IGNORECASE,
)
_KILLED = re.compile(r"job killed: (\w+)[^\n]* exceeded", re.IGNORECASE)
_NEVER = re.compile(r"Can Never Run|too many failed attempts|possible security breach")
_BLAMED = {
    "queue": ["-q"],
    "account|project": ["-A", "-P"],
    "resource|select|place|chunk|-l": ["-l"],
    "group|gid|attribute|-W": ["-W"],
}
"""What a refusal speaks of, and the options that say it."""


class Pbs(Dialect):
    """The words of PBS; a submission of several is a job array, ``4[].server``, with jobs ``4[3].server``."""

    retrying = ""
    passes_environment = False
    most_together = 1000
    index = "PBS_ARRAY_INDEX"
    alone: Sequence[str] = ("-f",)
    """The options with which qsub leaves no process behind that may submit later than it says."""

    def script(self, directory: Path, count: int) -> str:
        """Return the script of a submission."""
        where = shlex.quote(str(directory))
        return (
            "#!/bin/sh\n"
            f"# {count} evaluations of a crayai study\n"
            f'_place="${{{self.index}:-0}}"\n'
            f"[ ! -r {where}/environment ] || . {where}/environment\n"
            'export CRAYAI_JOB="$PBS_JOBID"\n'
            f'exec /bin/sh {where}/"$_place"\n'
        )

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits; PBS allows no array of one."""
        array = ["-J", f"0-{count - 1}", *([] if "-r" in arguments else ["-r", "y"])] if count > 1 else []
        log = script.parent / ("log.^array_index^" if count > 1 else "log.0")
        return ["qsub", *self.alone, "-m", "n", *arguments, *self._ours(name, log), *array, str(script)]

    def submit_driver(self, script: Path, name: str, log: Path, minutes: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits one job."""
        limit = ["-l", f"walltime={_clock(60 * minutes)}"]
        return ["qsub", *self.alone, *arguments, "-r", "y", *limit, *self._ours(name, log), str(script)]

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
        return qsub.launch(nodes, arguments)

    def limit(self, seconds: float | None, arguments: Sequence[str]) -> list[str]:
        """Return a limit of time with something more for the start and the end."""
        if seconds is None or "walltime=" in " ".join(arguments):
            return []
        return ["-l", f"walltime={_clock(math.ceil(seconds) + 120)}"]

    def submission(self, answer: Answer) -> str:
        """Return the name of a job or an array, with its server; something else may stand before it."""
        found: list[str] = re.findall(r"\d+(?:\[\])?\.\S+(?=\s*$)|^\d+(?:\[\])?(?=\s*$)", answer.out, re.MULTILINE)
        return found[-1] if answer.code == 0 and found else ""

    def job(self, submission: str, place: int) -> str:
        """Return the name of a job."""
        return submission.replace("[]", f"[{place}]")

    def submission_of(self, job: str) -> str:
        """Return the name of the array of a job, or its own."""
        return _array_of(job)

    def ask(self, name: str, known: Sequence[str]) -> list[str]:
        """Return the command that asks for all jobs of a study; those that ended count where the server keeps them.

        With ``-E`` all are asked for in one request, which has either an answer or none. A server that keeps no ended
        jobs answers ``-x`` without any, and with success.
        """
        return asking(name, known, 'found=$(qselect -N "$name") || exit', '{"Jobs":{}}', _TELL)

    def queue(self, answer: Answer) -> Queue | None:
        """Return what qstat answered, if nothing but unknown jobs can be missing."""
        complaints = answer.err.splitlines()
        is_whole = answer.code == 0 and '"Jobs"' in answer.out
        is_whole |= answer.code in _UNKNOWN_CODES and all(map(_UNKNOWN.match, complaints))
        jobs = _jobs_in(answer.out) if is_whole else None
        return None if jobs is None else queue_of(jobs, _seen)

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that ends jobs."""
        return ["qdel", *jobs]

    def is_hopeless(self, reason: str) -> bool:
        """Return whether a job that waits for this reason would wait for ever."""
        return bool(_NEVER.search(reason))

    def cause_in(self, said: str) -> Limit | Loss | None:
        """Return by what a job was ended, if PBS has said so in its log."""
        return limit_in(said)

    def refusal(self, answer: Answer, argv: Sequence[str]) -> str:
        """Return what was refused, the arguments that it may speak of, and the whole command."""
        return refusal(answer, argv, _BLAMED)

    def trouble(self, answer: Answer) -> Trouble:
        """Return why a command that failed did, by its words; a node that its server does not reach is no outage."""
        return qsub.trouble(replace(answer, err=_NODE_OUTAGE.sub("", answer.err)), _OUTAGE, _FULL, _LARGE)


def limit_in(said: str) -> Limit | None:
    """Return at which limit a job was ended, if PBS has said so."""
    found = _KILLED.search(said)
    if found is None:
        return None
    return Limit.MEMORY if "mem" in found[1] else Limit.TIME


def has_size(arguments: Sequence[str]) -> bool:
    """Return whether arguments ask for nodes or cores."""
    return bool(re.search(r"\b(select|nodes|ncpus|procs)=", " ".join(arguments)))


def asking(name: str, known: Sequence[str], find: str, nothing: str, tell: str) -> list[str]:
    """Return a program of the shell that asks for known jobs, and for others of this name.

    Args:
        name: Of the jobs.
        known: Submissions and jobs.
        find: Sets ``found`` to the jobs of ``$name``, or leaves.
        nothing: Is said where there are no jobs: without any, those of all users would be meant.
        tell: Asks for ``$jobs``, and leaves.
    """
    program = f"""\
set -f
name=$1; shift
{find}
jobs=$(printf '%s\\n' "$@" $found | sort -u)
[ "$jobs" ] || {{ echo {shlex.quote(nothing)}; exit; }}
{tell}"""
    return ["/bin/sh", "-c", program, "sh", name, *known]


def queue_of(jobs: Mapping[str, Mapping[str, Any]], seen: Callable[[Mapping[str, Any]], Seen]) -> Queue:
    """Return what is known of jobs by their attributes; the path of the output tells which script a job runs."""
    submitted = {}
    for name, facts in jobs.items():
        output = str(facts.get("Output_Path", "")).partition(":")[2]
        if output:
            submitted[str(Path(output).parent / "submit")] = _array_of(name)
    return Queue({name: seen(facts) for name, facts in jobs.items()}, submitted)


def _array_of(job: str) -> str:
    """Return the name of the array of a job, or its own."""
    return re.sub(r"\[\d+\]", "[]", job)


def _seen(facts: Mapping[str, Any]) -> Seen:
    """Return what PBS says of a job; a job that waits again shows the end of its last run, too.

    Of a job of an array that ended or was deleted it may have kept nothing: then it shows the facts of the array, an
    exit status among them, under the job's name (``status_subjob`` of its server).
    """
    word, comment = str(facts.get("job_state", "")), str(facts.get("comment", ""))
    location = str(facts.get("exec_host", "")).partition("/")[0]
    if word in _WAITS:
        return Seen(Standing.WAITS, word, "" if comment.startswith("Job Array Began") else comment)
    if word not in _OVER:
        loss = Loss.CANCELLED if "terminated by" in comment else None  # which is about to be forgotten, maybe
        return Seen(Standing.RUNS, word, comment, location, None, loss)
    if comment.startswith("Subjob ") and not location:
        return Seen(Standing.OVER, word, comment, loss=Loss.CANCELLED if "terminated" in comment else None)
    code = facts.get("Exit_status")
    if code is None:
        return Seen(Standing.OVER, word, comment or "it never ran", location, None, Loss.CANCELLED)
    limit, loss = end_of(int(code), comment, facts, _LIMITS)
    return Seen(Standing.OVER, f"{word} with exit status {code}", comment, location, limit, loss)


def end_of(
    code: int, comment: str, facts: Mapping[str, Any], limits: Mapping[int, Limit]
) -> tuple[Limit | None, Loss | None]:
    """Return at which limit a job was ended, or by what it was lost."""
    is_late = _seconds(facts, "resources_used") >= _seconds(facts, "Resource_List") > 0
    if code in limits:
        return Limit.TIME if is_late else limits[code], None
    if code < 0:
        return None, Loss.NODE_FAILURE if code in _NODE_FAILURES else Loss.UNKNOWN
    if code not in _KILLED_CODES:
        return None, None
    if is_late:
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
        is_whole = '"timestamp"' in text and text.rstrip().endswith("}")
        return dict(_lines_in(text)) if is_whole else None
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
