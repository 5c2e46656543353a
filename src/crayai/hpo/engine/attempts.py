"""What the loop knows of an attempt: that it runs, or how it failed."""

from dataclasses import dataclass

from crayai.hpo.engine.failures import explain
from crayai.hpo.launch.base import Task
from crayai.hpo.records import Asked, AttemptFailed, Failed


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that a launcher has.

    Attributes:
        asked: The evaluation.
        attempt: Counts from 1.
        task: What the launcher runs.
        is_alone: Whether nothing else runs beside it.
        pauses: How often there had been no room for files before it was launched.
        is_control: Whether the evaluation is over, and tried to see whether the program still runs.
    """

    asked: Asked
    attempt: int
    task: Task
    is_alone: bool = False
    pauses: int = 0
    is_control: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed: why, how long it ran, and where."""

    attempt: Running
    failed: Failed
    seconds: float | None
    location: str

    @property
    def event(self) -> AttemptFailed:
        """What is recorded of it if the evaluation is tried again."""
        attempt = self.attempt
        return AttemptFailed(attempt.asked.number, attempt.attempt, self.failed, self.seconds, self.location)


def verdict_on(reason: str, failure: Failure, line: str) -> str:
    """Return, for people, why a study was stopped: the reason, and a failure of the command `line`."""
    why = explain(failure.failed, failure.attempt.task, line)
    return (
        f"{reason}, so the study was stopped; nothing is lost, and the same command goes on when the program is "
        f"mended. Evaluation {failure.attempt.asked.number}: {why}"
    )
