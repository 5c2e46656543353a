"""The dialect of Moab, for where jobs go through it: in front of TORQUE, of Slurm, or of several clusters.

Sources: the Moab Workload Manager Administrator Guide (msub, showq, checkjob, canceljob, job states), and answers of
``showq --xml`` of a Moab 9 in front of TORQUE.
"""

import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crayai.hpo.launch.base import Loss
from crayai.hpo.launch.dialect import Answer, Queue, Seen, Standing, Trouble
from crayai.hpo.launch.pbs import end_of
from crayai.hpo.launch.torque import LIMITS, Torque

_WAITS = {
    "Idle",
    "Hold",
    "BatchHold",
    "SystemHold",
    "UserHold",
    "Deferred",
    "Blocked",
    "Migrated",
    "NotQueued",
    "Staging",
}
_OVER = {"Completed", "Removed", "Vacated"}
_ORDINARY = {"Idle", "Migrated", "NotQueued", "Staging"}
_OUTAGE = re.compile(
    r"cannot connect|connection (failed|refused|lost)|lost connection|communication error|server is (down|not running)",
    re.IGNORECASE,
)
_CANCELLED = 271


class Moab(Torque):
    """The words of Moab; jobs are submitted one by one, for arrays are off unless a site has switched them on."""

    most_together = 1

    def script(self, directory: Path, count: int) -> str:
        """Return the script of a submission; which variable names the job is up to what stands behind Moab."""
        where = shlex.quote(str(directory))
        return (
            "#!/bin/sh\n"
            f"# {count} evaluation of a crayai study\n"
            f"[ ! -r {where}/environment ] || . {where}/environment\n"
            'export CRAYAI_JOB="${PBS_JOBID:-${SLURM_JOB_ID:-$MOAB_JOBID}}"\n'
            f"exec /bin/sh {where}/0\n"
        )

    def sign(self, name: str, script: Path) -> str:
        """Return the name of its job, in 15 characters: the last of the study's name, and the submission's number."""
        return f"c{name[-8:].lstrip('-')}.{script.parent.name}"

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:  # noqa: ARG002 - it is 1
        """Return the command that submits."""
        return ["msub", *arguments, *self._ours(self.sign(name, script), script.parent / "log-0"), str(script)]

    def submit_driver(self, script: Path, name: str, log: Path, minutes: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits one job."""
        return ["msub", *super().submit_driver(script, name, log, minutes, arguments)[1:]]

    def submission(self, answer: Answer) -> str:
        """Return the name of a job, such as ``12``, ``Moab.12`` or ``12.server``."""
        found = re.search(r"^\s*((?:[A-Za-z][\w-]*\.)?\d+(?:\.\S+)?)\s*$", answer.out, re.MULTILINE)
        return found[1] if answer.code == 0 and found else ""

    def ask(self, name: str, submissions: Sequence[str]) -> list[str]:  # noqa: ARG002 - all of the user's are listed
        """Return the command that asks for the user's jobs, first for those that ended; one by one without showq."""
        program = (
            'command -v showq >/dev/null || { echo "<Data/>"; for job; do checkjob --xml "$job"; done; exit 0; }; '
            'user=$(id -un); showq -c --xml -w user="$user" && showq --xml -w user="$user"'
        )
        return ["/bin/sh", "-c", program, "sh", *submissions]

    def queue(self, answer: Answer) -> Queue | None:
        """Return what showq answered; a job goes by Moab's name, and by that of what stands behind it."""
        found = _jobs_in(answer.out) if answer.code == 0 and "<Data" in answer.out else None
        if found is None:
            return None
        jobs = {name: _seen(facts) for facts in found for name in _names(facts)}
        return Queue(jobs, {facts.get("JobName", facts.get("AName", "")): facts.get("JobID", "") for facts in found})

    def ask_past(self, submissions: Sequence[str]) -> list[str]:
        """Return the command that asks for jobs one by one."""
        return ["/bin/sh", "-c", 'for job; do checkjob --xml "$job"; done', "sh", *submissions]

    def past(self, answer: Answer) -> Mapping[str, Seen]:
        """Return what checkjob answered."""
        return {name: _seen(facts) for facts in _jobs_in(answer.out) or () for name in _names(facts)}

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that ends jobs."""
        return ["canceljob", *jobs]

    def trouble(self, answer: Answer) -> Trouble:
        """Return why a command that failed did; Moab may say it in either of its outputs."""
        said = f"{answer.err}\n{answer.out}"
        if _OUTAGE.search(said):
            return Trouble.OUTAGE
        return super().trouble(Answer(answer.code, answer.out, said))


def _jobs_in(text: str) -> list[Mapping[str, str]] | None:
    """Return the attributes of jobs, of several documents; None: this is no answer."""
    whole = re.sub(r"<\?xml[^>]*\?>", "", text)
    try:
        return list(_attributes(ET.fromstring(f"<all>{whole}</all>")))  # noqa: S314 - of who runs our jobs
    except ET.ParseError:
        return None


def _attributes(root: ET.Element) -> Iterator[Mapping[str, str]]:
    """Yield the attributes of jobs, and which of them have ended, as their list says."""
    for data in root:
        yield from (job.attrib for job in data.iterfind("job"))
        for queue in data.iterfind("queue"):
            is_over = {"over": "yes"} if queue.get("option") == "completed" else {}
            yield from ({**job.attrib, **is_over} for job in queue.iterfind("job"))


def _names(facts: Mapping[str, str]) -> set[str]:
    """Return all names of a job."""
    return {facts[key] for key in ("JobID", "DRMJID", "GJID") if facts.get(key)}


def _seen(facts: Mapping[str, str]) -> Seen:
    """Return what Moab says of a job."""
    word = facts.get("State") or facts.get("EState", "")
    location = facts.get("MasterHost", "")
    if word in _WAITS and "over" not in facts:
        reason = facts.get("BlockReason") or facts.get("Message", "")
        return Seen(Standing.WAITS, word, " ".join(filter(None, ("" if word in _ORDINARY else word, reason))))
    if word not in _OVER and "over" not in facts:
        return Seen(Standing.RUNS, word, "", location)
    said = facts.get("CompletionCode", "")
    number = re.search(r"-?\d+", said)
    was_cancelled = said.startswith("CNCLD") or word == "Removed"
    if number is None or (was_cancelled and not int(number[0])):
        loss = Loss.CANCELLED if was_cancelled else Loss.PREEMPTED if word == "Vacated" else None
        return Seen(Standing.OVER, f"{word} {said}".strip(), "", location, None, loss)
    times = {group: {"walltime": facts.get(key, "")} for group, key in _TIMES.items()}
    limit, loss = end_of(_CANCELLED if was_cancelled else int(number[0]), "", times, LIMITS)
    return Seen(Standing.OVER, f"{word} {said}", "", location, limit, loss)


_TIMES = {"resources_used": "AWDuration", "Resource_List": "ReqAWDuration"}
