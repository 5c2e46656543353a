"""What the end of a job means: the figure of merit, or why there is none."""

import math
import signal

from crayai.hpo.engine.fom import last_fom, tail
from crayai.hpo.engine.study import Study
from crayai.hpo.launch.base import Exited, Gone, Limit, NotStarted, Task
from crayai.hpo.records import Cause, Completed, Failed, Outcome

FIRST_FAILURES = 5
"""So many failures before any success, and the program itself is at fault."""

LOST_ATTEMPTS = 3
"""So often an evaluation is tried whose process dies without an end that anybody knows."""


def outcome_of(status: Exited | NotStarted | Gone, task: Task, study: Study) -> Outcome:
    """Return the loss if the program ended well and printed a finite figure of merit, else the cause."""
    return _failure(status, task) or _printed(task, study)


def _failure(status: Exited | NotStarted | Gone, task: Task) -> Failed | None:
    """Return how the program failed; None: it ended well."""
    match status:
        case NotStarted(reason):
            return Failed(Cause.NOT_STARTED, reason)
        case Gone(reason):
            return Failed(Cause.LOST, reason)
        case Exited(_, Limit.TIME):
            return Failed(Cause.TIME_LIMIT, f"ended after {task.time_limit_seconds or 0:g} s")
        case Exited(code) if code < 0:
            return Failed(Cause.SIGNAL, _signal_name(-code))
        case Exited(code) if code > 0:
            return Failed(Cause.EXIT_CODE, str(code))
    return None


def _printed(task: Task, study: Study) -> Outcome:
    """Return what a program that ended well printed."""
    fom = last_fom(task.stdout, study.fom)
    if fom is None:
        return Failed(Cause.NO_FOM, f"no line with {study.fom!r} and a number on standard output")
    if not math.isfinite(fom):
        return Failed(Cause.NOT_A_NUMBER, str(fom))
    return Completed(study.loss(fom))


def explain(failed: Failed, task: Task, line: str) -> str:
    """Return, for people, how an evaluation failed: the cause, the command, and the end of what it said."""
    said = tail(task.stderr) or tail(task.stdout)
    ending = f"\nIts last words:\n{said}" if said else "\nIt said nothing."
    return f"{failed.cause}: {failed.detail}\nThe command: {line}\nIts directory: {task.directory}{ending}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
