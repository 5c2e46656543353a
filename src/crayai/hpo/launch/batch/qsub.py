"""What the dialects of all those have in common whose jobs are submitted by ``qsub``."""

import re
from collections.abc import Sequence

from crayai.hpo.launch.batch.dialect import Answer, Trouble


def launch(nodes: int, arguments: Sequence[str]) -> list[str]:
    """Return the words before a command that runs on all nodes of a job."""
    if arguments:
        return ["mpiexec", *arguments]
    return ["mpiexec", "-n", str(nodes)] if nodes > 1 else []


def trouble(answer: Answer, outage: re.Pattern[str], full: re.Pattern[str], large: re.Pattern[str]) -> Trouble:
    """Return why a command failed, by its words; one that succeeds, and names nothing, may have done what it should."""
    if not answer.code or outage.search(answer.err):
        return Trouble.OUTAGE
    if large.search(answer.err):
        return Trouble.TOO_LARGE
    return Trouble.FULL if full.search(answer.err) else Trouble.REFUSED
