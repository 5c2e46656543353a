"""The dialect of TORQUE 4 and later.

Sources: the TORQUE Administrator Guide (qsub, qstat, job exit statuses), and the answers of TORQUE 6.
"""

import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch.dialect import Answer, Queue, Seen, Standing
from crayai.hpo.launch.batch.pbs import Pbs, asking, end_of, has_size, queue_of

_WAITS = set("QHWT")
_UNKNOWN = re.compile(r"qstat: (Unknown (Job Id|Array ID)|Job not found)")
"""The complaints after which qstat has said all that there is; after any other one something may be missing."""
_FIND = """\
one=$(qselect -N "$name") && array=$(qselect -N "$name-0") || exit
found="$one $(printf '%s\\n' "$array" | sed 's/\\[.*]/[]/')\""""
LIMITS = {-10: Limit.MEMORY, -11: Limit.TIME, -12: Limit.TIME}


class Torque(Pbs):
    """The words of TORQUE, where they differ from those of PBS."""

    index = "PBS_ARRAYID"
    alone = ()

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits; TORQUE appends its place to the log of each job of an array."""
        array = ["-t", f"0-{count - 1}"] if count > 1 else []
        log = script.parent / ("log" if count > 1 else "log-0")
        return ["qsub", "-m", "n", *arguments, *self._ours(name, log), *array, str(script)]

    def nodes(self, count: int, arguments: Sequence[str]) -> list[str]:
        """Return what asks for nodes, unless `arguments` do."""
        return [] if has_size(arguments) else ["-l", f"nodes={count}"]

    def ask(self, name: str, known: Sequence[str]) -> list[str]:
        """Return the command that asks for all jobs of a study; those that ended count while they are kept.

        qselect does not find an array, whose name its jobs have with their places appended. A question for an array
        without ``-t`` would be one for all jobs of all users.
        """
        return asking(name, known, _FIND, "<Data/>", "qstat -x -t $jobs")

    def queue(self, answer: Answer) -> Queue | None:
        """Return what qstat answered, if nothing but unknown jobs can be missing."""
        if answer.code != 0 and (answer.code is None or not all(map(_UNKNOWN.match, answer.err.splitlines()))):
            return None
        jobs: dict[str, dict[str, Any]] = {}
        for text in answer.out.split('<?xml version="1.0"?>'):  # a document for each name that was asked for
            if not text.strip():
                continue
            try:
                root = ET.fromstring(text.strip())  # noqa: S314 - of the batch system that runs our jobs
            except ET.ParseError:
                return None
            jobs.update((str(job.findtext("Job_Id")), _facts(job)) for job in root.iter("Job"))
        return queue_of(jobs, _seen)

    def ask_past(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that asks for jobs by their own names, for those of an array may be left out."""
        return ["qstat", "-x", *jobs]

    def past(self, answer: Answer) -> Mapping[str, Seen] | None:
        """Return what it answered."""
        queue = self.queue(answer)
        return None if queue is None else queue.jobs


class OneByOne(Torque):
    """The words for those without arrays that can be relied on: each job has a name of its own, which is its sign."""

    most_together = 1
    submits = "qsub"

    def script(self, directory: Path, count: int) -> str:
        """Return the script of a submission; which variable names the job is up to what stands behind."""
        where = shlex.quote(str(directory))
        return (
            "#!/bin/sh\n"
            f"# {'an evaluation' if count == 1 else f'{count} evaluations'} of a crayai study\n"
            f"[ ! -r {where}/environment ] || . {where}/environment\n"
            'export CRAYAI_JOB="${PBS_JOBID:-${SLURM_JOB_ID:-$MOAB_JOBID}}"\n'
            f"exec /bin/sh {where}/0\n"
        )

    def sign(self, name: str, script: Path) -> str:
        """Return the name of its job, in 15 characters: the last of the study's name, and that of the directory."""
        return f"c{name[-8:].lstrip('-')}.{script.parent.name}"

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:  # noqa: ARG002 - it is 1
        """Return the command that submits."""
        ours = self._ours(self.sign(name, script), script.parent / "log-0")
        return [self.submits, "-m", "n", *arguments, *ours, str(script)]

    def submit_driver(self, script: Path, name: str, log: Path, minutes: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits one job."""
        return [self.submits, *super().submit_driver(script, self.sign(name, script), log, minutes, arguments)[1:]]


def _facts(job: ET.Element) -> dict[str, Any]:
    """Return the attributes of a job; those of a group as a mapping of their own."""
    return {one.tag: _facts(one) if len(one) else (one.text or "") for one in job}


def _seen(facts: Mapping[str, Any]) -> Seen:
    """Return what TORQUE says of a job."""
    word, comment = str(facts.get("job_state", "")), str(facts.get("comment", ""))
    location = str(facts.get("exec_host", "")).partition("/")[0]
    if word in _WAITS:
        return Seen(Standing.WAITS, word, comment)
    if word != "C":
        return Seen(Standing.RUNS, word, comment, location)
    code = facts.get("exit_status")
    if code is None:
        return Seen(Standing.OVER, word, "it never ran", location, None, Loss.CANCELLED)
    limit, loss = end_of(int(code), comment, facts, LIMITS)
    return Seen(Standing.OVER, f"{word} with exit status {code}", comment, location, limit, loss)
