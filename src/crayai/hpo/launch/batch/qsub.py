"""What the dialects of all those have in common whose jobs are submitted by ``qsub``."""

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise

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


def refusal(answer: Answer, argv: Sequence[str], blamed: Mapping[str, Sequence[str]]) -> str:
    """Return what was refused, the arguments that it may speak of, and the whole command.

    Args:
        answer: Of the command.
        argv: The command.
        blamed: What a refusal may speak of, and the options that say it.
    """
    said = answer.err or answer.out
    for pattern, options in blamed.items():
        given = [f"{word} {value}" for word, value in pairwise(argv) if word in options]
        if given and re.search(pattern, said, re.IGNORECASE):
            said += f"\nThe argument that it speaks of: {', '.join(given)}"
            break
    return f"{said}\nThe command was: {shlex.join(argv)}"
