"""The dialect of Grid Engine: Sun's, Son of Grid Engine, Open, Univa, Altair.

Sources: the manual pages of qsub, qstat, qacct, qdel, accounting and sge_status, and the answers of SGE 8.1.9.
"""

import math
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch import qsub
from crayai.hpo.launch.batch.arguments import refusal
from crayai.hpo.launch.batch.dialect import Answer, Dialect, Queue, Seen, Standing, Trouble

_XML = re.compile(r"<\?xml[^>]*\?>")
_KILLED, _AT_LIMIT = 100, 37
_IS_BACK = {24, 25, 26, 27, 28, 30}
"""What the accounting says of a run after which the job is in the queue again."""
_TASKS = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
_ROW = re.compile(r"^(\w+) +(.*?) *$", re.MULTILINE)
_OUTAGE = re.compile(
    r"commlib error|unable to (contact|send message to) qmaster|can't (contact|connect)|connection (refused|timed out)|"
    r"unable to read qmaster name|timeout|no answer",
    re.IGNORECASE,
)
_FULL = re.compile(r"only \d+ (jobs|tasks) are allowed", re.IGNORECASE)
_LARGE = re.compile(r"more than \d+ (array )?tasks", re.IGNORECASE)
_BLAMED = {"queue": ["-q"], "parallel environment": ["-pe"], "project": ["-P"], "resource|attribute|hostname": ["-l"]}
"""What a refusal speaks of, and the options that say it."""


class GridEngine(Dialect):
    """The words of Grid Engine; every submission is an array, ``4``, whose jobs are named ``4.1`` and so on."""

    retrying = ""
    passes_environment = False
    most_together = 1000

    def script(self, directory: Path, count: int) -> str:
        """Return the script of a submission, which never ends with 99 or 100: with those a job is queued again."""
        where = shlex.quote(str(directory))
        return (
            "#!/bin/sh\n"
            f"# {count} evaluations of a crayai study\n"
            "_place=$((SGE_TASK_ID - 1))\n"
            f'exec >>{where}/log."$_place" 2>&1\n'
            f"[ ! -r {where}/environment ] || . {where}/environment\n"
            'export CRAYAI_JOB="$JOB_ID.$SGE_TASK_ID"\n'
            f'/bin/sh {where}/"$_place" || exit 1\n'
        )

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits; the jobs write their logs by themselves, at whatever path."""
        return ["qsub", *arguments, "-t", f"1-{count}", *self._ours(name, Path("/dev/null")), str(script)]

    def submit_driver(self, script: Path, name: str, log: Path, minutes: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits one job."""
        limit = ["-l", f"h_rt={60 * minutes}"]
        return ["qsub", *arguments, "-r", "y", *limit, *self._ours(name, log), str(script)]

    @staticmethod
    def _ours(name: str, log: Path) -> list[str]:
        return ["-terse", "-N", name, "-S", "/bin/sh", "-j", "y", "-o", str(log)]

    def nodes(self, count: int, arguments: Sequence[str]) -> list[str]:
        """Return what asks for nodes, unless `arguments` do; the name of a parallel environment is up to the site."""
        return ["-pe", "mpi", str(count)] if count > 1 and "-pe" not in arguments else []

    def launch(self, nodes: int, arguments: Sequence[str]) -> list[str]:
        """Return the words before a command that runs on all nodes of a job."""
        return qsub.launch(nodes, arguments)

    def limit(self, seconds: float | None, arguments: Sequence[str]) -> list[str]:
        """Return a limit of time with something more for the start and the end."""
        if seconds is None or "h_rt=" in " ".join(arguments):
            return []
        return ["-l", f"h_rt={math.ceil(seconds) + 120}"]

    def submission(self, answer: Answer) -> str:
        """Return the number of a job; of an array, its places follow."""
        found = re.search(r"^(\d+)(?:\.\S+)?\s*$", answer.out, re.MULTILINE)
        return found[1] if answer.code == 0 and found else ""

    def job(self, submission: str, place: int) -> str:
        """Return the name of a job, whose number begins at 1."""
        return f"{submission}.{place + 1}"

    def submission_of(self, job: str) -> str:
        """Return the number of the array of a job."""
        return job.partition(".")[0]

    def ask(self, name: str, known: Sequence[str]) -> list[str]:  # noqa: ARG002 - all have the name
        """Return the command that asks where our jobs are, and which scripts those of this name run."""
        return ["/bin/sh", "-c", f'qstat -xml -u "$(id -un)" && qstat -xml -j {shlex.quote(name)}']

    def queue(self, answer: Answer) -> Queue | None:
        """Return what both have answered."""
        texts = _XML.split(answer.out)[1:]
        if answer.code != 0 or len(texts) != 2:  # noqa: PLR2004 - as many as we asked
            return None
        try:
            where, what = (ET.fromstring(text.strip()) for text in texts)  # noqa: S314 - of who runs our jobs
        except ET.ParseError:
            return None
        details = {str(one.findtext("JB_job_number")): one for one in what.iterfind("djob_info/element")}
        jobs = {
            name: _seen(job, details[number])
            for job in where.iter("job_list")
            if (number := str(job.findtext("JB_job_number"))) in details
            for name in _names(number, job.findtext("tasks", ""))
        }
        return Queue(jobs, {one.findtext("JB_script_file", ""): number for number, one in details.items()})

    def ask_past(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that asks the accounting, which takes one number at a time."""
        arrays = sorted(set(map(self.submission_of, jobs)))
        return ["/bin/sh", "-c", 'for job; do qacct -j "$job"; done', "sh", *arrays]

    def past(self, answer: Answer) -> Mapping[str, Seen] | None:
        """Return what qacct answered; of a job that ran several times, the last run counts."""
        if answer.code is None:
            return None
        runs = [dict(_ROW.findall(text)) for text in re.split(r"^==+$", answer.out, flags=re.MULTILINE)[1:]]
        ends = [(facts, _number(facts.get("failed", ""))) for facts in runs]
        return {_name(facts): _ended(facts, failed) for facts, failed in ends if failed not in _IS_BACK}

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that ends jobs."""
        return ["qdel", *jobs]

    def is_hopeless(self, reason: str) -> bool:
        """Return whether a job that waits for this reason would wait for ever: it is in the state of error."""
        return reason.startswith("Eqw")

    def refusal(self, answer: Answer, argv: Sequence[str]) -> str:
        """Return what was refused, the arguments that it may speak of, and the whole command."""
        return refusal(answer, argv, _BLAMED)

    def trouble(self, answer: Answer) -> Trouble:
        """Return why a command that failed did, by its words."""
        return qsub.trouble(answer, _OUTAGE, _FULL, _LARGE)


def _names(number: str, tasks: str) -> Iterator[str]:
    """Yield the names of the jobs that ``3`` or ``2,5-20:1`` stand for; a job that is no array has but its number."""
    if not tasks:
        yield number
    for low, high, step in _TASKS.findall(tasks):
        yield from (f"{number}.{one}" for one in range(int(low), int(high or low) + 1, int(step or 1)))


def _seen(job: ET.Element, details: ET.Element) -> Seen:
    """Return what a state means: all that is queued has a q, and everything else runs."""
    word = job.findtext("state", "")
    if "q" not in word:
        return Seen(Standing.RUNS, word, "", job.findtext("queue_name", "").rpartition("@")[2])
    said = details.findtext("JB_ja_tasks/ulong_sublist/JAT_message_list/ulong_sublist/QIM_message", "")
    return Seen(Standing.WAITS, word, "" if word == "qw" else f"{word} {said}".strip())


def _name(facts: Mapping[str, str]) -> str:
    number, task = facts.get("jobnumber", ""), facts.get("taskid", "")
    return f"{number}.{task}" if task.isdigit() else number


def _ended(facts: Mapping[str, str], failed: int) -> Seen:
    """Return what the accounting means: what a job ends with by itself has not failed."""
    word = f"failed {facts.get('failed', '')}, exit status {facts.get('exit_status', '')}"
    is_late = _number(facts.get("ru_wallclock", "")) >= _requested(facts, "_rt") > 0
    limit, loss = None, None
    if is_late and failed in (_KILLED, _AT_LIMIT):
        limit = Limit.TIME
    elif failed == _AT_LIMIT:  # a limit of the queue, unless the job has asked for one
        limit = Limit.MEMORY if _requested(facts, "h_vmem") else Limit.TIME
    elif failed:
        loss = Loss.CANCELLED if failed == _KILLED else Loss.NODE_FAILURE
    return Seen(Standing.OVER, word, "", facts.get("hostname", ""), limit, loss)


def _number(text: str) -> int:
    """Return the number with which a value begins; 0: it does not."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


def _requested(facts: Mapping[str, str], resource: str) -> int:
    """Return how much a job has asked for of a resource; 0: nothing."""
    found = re.search(rf"{resource}=(\d+)", facts.get("category", ""))
    return int(found[1]) if found else 0
