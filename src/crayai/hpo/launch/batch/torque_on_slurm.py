"""The dialect of the commands of TORQUE's names that stand in front of Slurm (Debian's ``slurm-wlm-torque``).

They have no qselect and no XML, say of an end only that it is one, and do not tell which jobs an array has. So each job
is submitted by itself, is known by its name, and its own record says how it ended.

Source: the commands themselves, of Slurm 22.05 (``contribs/torque``).
"""

import re
import shutil
from collections.abc import Sequence

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch.dialect import Answer, Queue, Seen, Standing
from crayai.hpo.launch.batch.slurm import Slurm
from crayai.hpo.launch.batch.torque import OneByOne

_ROW = re.compile(r"^(\d+) +\S+ +\S+ +(\S+) .* ([A-Z]) +\S+ *$")
_STANDING = {"Q": Standing.WAITS, "C": Standing.OVER}


def is_here() -> bool:
    """Return whether it is Slurm that is behind a qsub that looks like TORQUE's."""
    return shutil.which("qselect") is None and shutil.which("sbatch") is not None


class TorqueOnSlurm(OneByOne):
    """The words for Slurm behind TORQUE's."""

    lists_all = True

    def ask(self, name: str, known: Sequence[str]) -> list[str]:  # noqa: ARG002 - all of the user's are listed
        """Return the command that lists the user's jobs, those that ended some minutes ago among them."""
        return ["/bin/sh", "-c", 'qstat -u "$(id -un)"']

    def queue(self, answer: Answer) -> Queue | None:
        """Return what qstat answered, which says nothing where there are no jobs."""
        if answer.code != 0:
            return None
        rows = [found.groups() for line in answer.out.splitlines() if (found := _ROW.match(line))]
        jobs = {job: Seen(_STANDING.get(state, Standing.RUNS), state) for job, _, state in rows}
        return Queue(jobs, {name: job for job, name, _ in rows})

    def ask_past(self, jobs: Sequence[str]) -> list[str]:  # noqa: ARG002 - it is all the same list
        """Return nothing: there is no second question."""
        return []

    def cause_in(self, said: str) -> Limit | Loss | None:
        """Return by what a job was ended, if Slurm has said so in its log."""
        return Slurm().cause_in(said)
