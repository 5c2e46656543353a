"""From an evaluation to the task that a launcher runs."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from crayai.hpo.engine.attempts import Running
from crayai.hpo.engine.checkpoints import Checkpoints, Handover
from crayai.hpo.engine.failures import outcome_of
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.sight import looking, looking_first
from crayai.hpo.engine.streams import program_seed
from crayai.hpo.engine.study import Study
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.base import Exited, Gone, NotStarted, Task
from crayai.hpo.launch.wrapping import Wrapping
from crayai.hpo.records import Asked, Failed, Outcome
from crayai.hpo.space.render import Rendered


@dataclass(frozen=True, kw_only=True)
class TaskMaker:
    """How the evaluations of a study become tasks.

    Attributes:
        search: The search.
        directory: Of the study.
        study_id: Names the study for ever.
        caller: Where commands start, unless there is a `source`.
        source: The directory whose entries each evaluation finds in a directory of its own.
        time_limit_seconds: Of one evaluation.
        checkpoints: Where models are saved.
        wrapping: What stands around the program.
        seen: The file to which the first task writes what is seen in its place; None: no task does.
    """

    search: Search
    directory: StudyDirectory
    checkpoints: Checkpoints
    study_id: str
    caller: Path
    source: Path | None = None
    time_limit_seconds: float | None = None
    is_dry: bool = False
    wrapping: Wrapping = field(default_factory=Wrapping)
    seen: Path | None = None

    def make(self, asked: Asked, attempt: int, avoid: tuple[str, ...] = (), *, is_control: bool = False) -> Task:
        """Return the task for one attempt, best not at the locations to `avoid`; make its directory if it needs one."""
        return self.task(asked, attempt, self._handover(asked, is_control=is_control), avoid=avoid)

    def task(
        self,
        asked: Asked,
        attempt: int,
        handover: Handover | None,
        *,
        avoid: tuple[str, ...] = (),
        seed: int | None = None,
    ) -> Task:
        """Return the same for an attempt that loads and saves what `handover` says; None for `seed`: its own."""
        study = self.search.study
        rendered = render(study, self.directory, asked, handover, seed)
        needs_own = self.source is not None or "directory" in study.filled_command.facts
        if needs_own and not self.is_dry:
            self.directory.make_evaluation(asked.number, self.source)
        tag = f"{self.study_id}:{asked.number}:{attempt}"
        environment = {
            **rendered.environment,
            "CRAYAI_TAG": tag,
            "CRAYAI_EVALUATION": str(asked.number),
            "CRAYAI_ATTEMPT": str(attempt),
            "CRAYAI_SEED": seed_of(study, asked, seed),
            "CRAYAI_GENERATION": str(asked.suggestion.generation),
            **(environment_of(study, asked, handover) if handover else {}),
        }
        directory = self._start(asked)
        wrapped = self.wrapping.around(rendered.argv, directory, environment, tag)
        if self.seen is not None:
            look = self.wrapping.around(looking(rendered.argv), directory, environment, tag)
            wrapped = (*looking_first(look, self.seen), *wrapped)
        return Task(
            tag=tag,
            argv=(*(handover.bring if handover else ()), *wrapped),
            environment={**environment, **self.wrapping.variables()},
            directory=directory,
            output=self.directory.output(asked.number, attempt),
            time_limit_seconds=self.time_limit_seconds,
            avoid=avoid,
        )

    def make_way(self, asked: Asked, *, is_control: bool) -> str:
        """Let an attempt find an empty place to save to; return why it cannot be made; empty: it can."""
        if not self.search.study.uses_checkpoints:
            return ""
        if missing := self.checkpoints.missing(asked):
            return (
                f"evaluation {asked.number} is to train on from the checkpoint of evaluation "
                f"{self.checkpoints.source(asked)}, which is not at {missing} any more: put it back, or start anew in "
                "another directory; keep = 'frontier' keeps what a longer study goes on from"
            )
        self.checkpoints.make_way(self.checkpoints.handover(asked, is_control=is_control).save)
        return ""

    def outcome(self, attempt: Running, status: Exited | NotStarted | Gone) -> Outcome:
        """Return what the end of an attempt means; to complete, it must have left what can be trained on from."""
        outcome = outcome_of(status, attempt.task, self.search.study, self.wrapping.engine)
        if isinstance(outcome, Failed) or attempt.is_control or not self.search.study.uses_checkpoints:
            return outcome
        return self.checkpoints.check(attempt.asked.number) or outcome

    def has_room(self) -> bool:
        """Return whether files can grow where output and checkpoints are."""
        return self.directory.has_room() and self.checkpoints.has_room()

    def line(self, asked: Asked) -> str:
        """Return the command of an evaluation, to be pasted."""
        return self.line_with(asked, self._handover(asked))

    def line_with(self, asked: Asked, handover: Handover | None, seed: int | None = None) -> str:
        """Return the same for a task with a handover and a seed of its own."""
        return line_of(
            render(self.search.study, self.directory, asked, handover, seed), self.wrapping, self._start(asked)
        )

    def _start(self, asked: Asked) -> Path:
        """Return where the program starts."""
        return self.caller if self.source is None else Path(self.directory.evaluation(asked.number))

    def _handover(self, asked: Asked, *, is_control: bool = False) -> Handover | None:
        uses_checkpoints = self.search.study.uses_checkpoints
        return self.checkpoints.handover(asked, is_control=is_control) if uses_checkpoints else None


def render(
    study: Study, directory: StudyDirectory, asked: Asked, handover: Handover | None, seed: int | None = None
) -> Rendered:
    """Return what an evaluation runs; `handover` says what it loads and saves; None for `seed`: its own."""
    save = handover.save if handover else f"{directory.evaluation(asked.number)}/checkpoint"
    facts = {
        "evaluation": str(asked.number),
        "directory": directory.evaluation(asked.number),
        "seed": seed_of(study, asked, seed),
        "checkpoint": save,
        "save": save,
        "load": handover.load if handover else "",
        "window": str(asked.suggestion.generation),
        "windows": str(study.windows),
    }
    return study.filled_command.render(asked.suggestion.values, facts)


def line_of(rendered: Rendered, wrapping: Wrapping, directory: Path) -> str:
    """Return a line to paste into a shell; the container's engine goes to the directory where the program starts."""
    if wrapping == Wrapping():
        return rendered.line
    return shlex.join(wrapping.pasted(rendered.argv, directory, rendered.environment))


def seed_of(study: Study, asked: Asked, seed: int | None) -> str:
    """Return the seed of the program's own random numbers, as text."""
    return str(program_seed(study.seed or 0, asked.number) if seed is None else seed)


def environment_of(study: Study, asked: Asked, handover: Handover) -> dict[str, str]:
    """Return what the program finds in its environment of its checkpoints."""
    facts = {
        "CRAYAI_WINDOW": str(asked.suggestion.generation),
        "CRAYAI_WINDOWS": str(study.windows),
        "CRAYAI_CHECKPOINT": handover.save,
    }
    return facts if handover.is_first else {**facts, "CRAYAI_LOAD": handover.load}
