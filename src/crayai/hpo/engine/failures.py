"""What the end of a job means: the figure of merit, or why there is none."""

import math
import re
import signal

from crayai.hpo.engine.fom import last_fom, tail
from crayai.hpo.engine.study import Study
from crayai.hpo.launch.base import Exited, Gone, Limit, Loss, NotStarted, Task
from crayai.hpo.launch.containers.engines import own_failure
from crayai.hpo.records import Cause, Completed, Failed, Outcome

_MEMORY = re.compile(
    r"out of memory|OutOfMemory|MemoryError|bad_alloc|Cannot allocate memory|oom[-_]kill|RESOURCE_EXHAUSTED",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|ENOSPC|EDQUOT", re.IGNORECASE)
_SHORTAGE = re.compile(
    r"temporarily unavailable|Too many open files|Cannot fork|can't start new thread|unable to create.*thread",
    re.IGNORECASE,
)
_KILLED = 128 + signal.SIGKILL
_CAUSES = {
    Loss.NODE_FAILURE: Cause.NODE_FAILURE,
    Loss.PREEMPTED: Cause.PREEMPTED,
    Loss.CANCELLED: Cause.CANCELLED,
}
_LINES = 15
_LAST_LINES = 4


def outcome_of(status: Exited | NotStarted | Gone, task: Task, study: Study, engine: str = "") -> Outcome:
    """Return the loss if the program ended well and printed a finite figure of merit, else the cause.

    Args:
        status: How its job ended.
        task: What ran.
        study: Says what a figure of merit looks like.
        engine: Of the container in which it ran; empty: in none.
    """
    return _failure(status, task, engine) or _printed(task, study)


def _failure(status: Exited | NotStarted | Gone, task: Task, engine: str) -> Failed | None:
    """Return how the program failed; None: it ended well."""
    match status:
        case NotStarted(reason):
            return Failed(Cause.NOT_STARTED, reason)
        case Gone(reason, _, loss):
            return Failed(_CAUSES.get(loss, Cause.LOST), reason)
        case Exited(_, Limit.TIME):
            return Failed(Cause.TIME_LIMIT, f"ended after {task.time_limit_seconds or 0:g} s")
        case Exited(code, limit) if code or limit:
            return _bad_exit(status, task, engine)
    return None


def _bad_exit(status: Exited, task: Task, engine: str) -> Failed:
    """Return why a program ended badly by itself, or why an engine of containers did not run it."""
    has_run = not engine or bool(tail(task.stdout))
    if not has_run and (said := own_failure(engine, status.code, tail(task.stderr, _LAST_LINES).splitlines())):
        return Failed(Cause.NOT_STARTED, said)
    if memory := _lack_of_memory(status, task):
        return Failed(Cause.OUT_OF_MEMORY, f"{memory} ({_ending(status.code)})")
    if line := _line_with(_NO_ROOM, task):
        return Failed(Cause.NO_ROOM, f"{line} ({_ending(status.code)})")
    if status.code < 0:
        return Failed(Cause.SIGNAL, _signal_name(-status.code))
    return Failed(Cause.EXIT_CODE, str(status.code))


def _lack_of_memory(status: Exited, task: Task) -> str:
    """Return what says that memory was used up, by the kernel's count or the program's words; empty: nothing."""
    if status.limit is Limit.MEMORY:
        return "the kernel ended it, or a part of it"
    if status.code == _KILLED:
        return "a part of it was killed, most likely by the kernel"
    return _line_with(_MEMORY, task)


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
    said = _words(task)
    ending = f"\nIts last words:\n{said}" if said else "\nIt said nothing."
    return f"{failed.cause}: {failed.detail}\nThe command: {line}\nIts directory: {task.directory}{ending}"


def is_shortage(failed: Failed, task: Task) -> bool:
    """Return whether a program says that it could not get another process, thread or file."""
    return failed.cause in (Cause.EXIT_CODE, Cause.SIGNAL) and bool(_line_with(_SHORTAGE, task))


def error_of(failed: Failed, task: Task) -> str:
    """Return what makes two failures the same: cause and last words, whatever numbers are in them."""
    *_, last = ["", *_words(task).splitlines()]
    return re.sub(r"\d+", "#", f"{failed.cause}: {failed.detail}: {last.strip()}")


def _words(task: Task) -> str:
    """Return what the program said last, on standard error if it said anything there."""
    return tail(task.stderr, _LINES) or tail(task.stdout, _LINES)


def _line_with(pattern: re.Pattern[str], task: Task) -> str:
    """Return the last of the last lines of the program in which `pattern` is; empty: none."""
    found = [line for line in _words(task).splitlines() if pattern.search(line)]
    return found[-1].strip() if found else ""


def _ending(code: int) -> str:
    return _signal_name(-code) if code < 0 else f"exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
