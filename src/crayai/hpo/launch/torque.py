"""The dialect of TORQUE 4 and later.

Sources: the TORQUE Administrator Guide (qsub, qstat, job exit statuses), and the answers of TORQUE 6.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.dialect import Answer, Queue, Seen, Standing
from crayai.hpo.launch.pbs import Pbs, asking, end_of, has_size, queue_of

_WAITS = set("QHWT")
LIMITS = {-10: Limit.MEMORY, -11: Limit.TIME, -12: Limit.TIME}


class Torque(Pbs):
    """The words of TORQUE, where they differ from those of PBS."""

    index = "PBS_ARRAYID"

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits; TORQUE appends its place to the log of each job of an array."""
        array = ["-t", f"0-{count - 1}"] if count > 1 else []
        log = script.parent / ("log" if count > 1 else "log-0")
        return ["qsub", *arguments, *self._ours(name, log), *array, str(script)]

    def nodes(self, count: int, arguments: Sequence[str]) -> list[str]:
        """Return what asks for nodes, unless `arguments` do."""
        return [] if has_size(arguments) else ["-l", f"nodes={count}"]

    def ask(self, name: str, submissions: Sequence[str]) -> list[str]:
        """Return the command that asks for all jobs of a study; those that ended count while they are kept."""
        return ["/bin/sh", "-c", asking(name, submissions, "qstat -x -t", "qstat -x", "<Data/>")]

    def queue(self, answer: Answer) -> Queue | None:
        """Return what qstat answered."""
        if answer.code is None or (answer.code != 0 and "Unknown Job Id" not in answer.err):
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
