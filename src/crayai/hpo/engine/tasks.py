"""From an evaluation to the task that a launcher runs."""

from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.streams import program_seed
from crayai.hpo.engine.study import Study
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.base import Task
from crayai.hpo.records import Asked, Values
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
    """

    search: Search
    directory: StudyDirectory
    study_id: str
    caller: Path
    source: Path | None = None
    time_limit_seconds: float | None = None

    def make(self, asked: Asked, attempt: int, avoid: tuple[str, ...] = ()) -> Task:
        """Return the task for one attempt, best not at the locations to `avoid`; make its directory if it needs one."""
        study = self.search.study
        rendered = render(study, self.directory, asked.number, asked.suggestion.values)
        needs_own = self.source is not None or study.filled_command.needs_directory
        own = self.directory.make_evaluation(asked.number, self.source) if needs_own else None
        tag = f"{self.study_id}:{asked.number}:{attempt}"
        return Task(
            tag=tag,
            argv=rendered.argv,
            environment={
                **rendered.environment,
                "CRAYAI_TAG": tag,
                "CRAYAI_EVALUATION": str(asked.number),
                "CRAYAI_ATTEMPT": str(attempt),
                "CRAYAI_SEED": str(program_seed(study.seed or 0, asked.number)),
                "CRAYAI_GENERATION": str(asked.suggestion.generation),
            },
            directory=self.caller if own is None or self.source is None else own,
            output=self.directory.output(asked.number, attempt),
            time_limit_seconds=self.time_limit_seconds,
            avoid=avoid,
        )


def render(study: Study, directory: StudyDirectory, number: int, values: Values) -> Rendered:
    """Return what evaluation `number` runs."""
    facts = {
        "evaluation": str(number),
        "directory": directory.evaluation(number),
        "seed": str(program_seed(study.seed or 0, number)),
    }
    return study.filled_command.render(values, facts)
