"""The dialect of Moab, for where jobs go through it: in front of TORQUE, of Slurm, or of several clusters.

Sources: the Moab Workload Manager Administrator Guide (msub, showq, checkjob, canceljob, job states), and answers of
``showq --xml`` of a Moab 9 in front of TORQUE.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence

from crayai.hpo.launch.batch.dialect import Answer, Queue, Seen, Standing, Trouble
from crayai.hpo.launch.batch.pbs import end_of
from crayai.hpo.launch.batch.torque import LIMITS, OneByOne

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


class Moab(OneByOne):
    """The words of Moab; jobs are submitted one by one, for arrays are off unless a site has switched them on."""

    submits = "msub"
    lists_all = True

    def submission(self, answer: Answer) -> str:
        """Return the name of a job, such as ``12``, ``Moab.12`` or ``12.server``."""
        found = re.search(r"^\s*((?:[A-Za-z][\w-]*\.)?\d+(?:\.\S+)?)\s*$", answer.out, re.MULTILINE)
        return found[1] if answer.code == 0 and found else ""

    def ask(self, name: str, known: Sequence[str]) -> list[str]:  # noqa: ARG002 - all of the user's are listed
        """Return the command that asks for the user's jobs, first for those that ended; one by one without showq."""
        program = (
            'command -v showq >/dev/null || { echo "<Data/>"; for job; do checkjob --xml "$job"; done; exit 0; }; '
            'user=$(id -un); showq -c --xml -w user="$user" && showq --xml -w user="$user"'
        )
        return ["/bin/sh", "-c", program, "sh", *known]

    def queue(self, answer: Answer) -> Queue | None:
        """Return what showq answered; a job goes by Moab's name, and by that of what stands behind it."""
        found = _jobs_in(answer.out) if answer.code == 0 and "<Data" in answer.out else None
        if found is None:
            return None
        jobs = {name: _seen(facts) for facts in found for name in _names(facts)}
        return Queue(jobs, {facts.get("JobName", facts.get("AName", "")): facts.get("JobID", "") for facts in found})

    def ask_past(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that asks for jobs one by one."""
        return ["/bin/sh", "-c", 'for job; do checkjob --xml "$job"; done', "sh", *jobs]

    def past(self, answer: Answer) -> Mapping[str, Seen] | None:
        """Return what checkjob answered."""
        if answer.code is None or _OUTAGE.search(f"{answer.err}\n{answer.out}"):
            return None
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
    was_ended = said.startswith("CNCLD") or word in ("Removed", "Vacated")
    times = {group: {"walltime": facts.get(key, "")} for group, key in _TIMES.items()}
    code = _CANCELLED if was_ended else int(number[0]) if number else 0
    limit, loss = end_of(code, "preempted" if word == "Vacated" else "", times, LIMITS)
    return Seen(Standing.OVER, f"{word} {said}".strip(), "", location, limit, loss)


_TIMES = {"resources_used": "AWDuration", "Resource_List": "ReqAWDuration"}
