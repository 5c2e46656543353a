"""The schedule of an evaluation, for ``crayai export --schedule`` and ``crayai replay``."""

from collections.abc import Mapping
from typing import TextIO

from crayai.hpo.engine.streams import program_seed
from crayai.hpo.engine.study import Study
from crayai.hpo.errors import SettingsError
from crayai.hpo.report.picture import schedule_picture
from crayai.hpo.report.schedule import Window, lineage, schedule_csv, schedule_json, schedule_of, schedule_script
from crayai.hpo.store.query import Reader, StoredEvaluation

KINDS = ("csv", "json", "sh", "svg")
"""What a schedule can be written as."""


def schedule_in(
    reader: Reader, study: Study, number: int | None = None
) -> tuple[Mapping[int, StoredEvaluation], tuple[Window, ...]]:
    """Return all evaluations of a study, and the schedule of evaluation `number`, else of the best one.

    Raises:
        SettingsError: There is no such schedule.
    """
    if not study.trains_on:
        raise SettingsError("the evaluations of this study do not train on from each other, so there is no schedule")
    if number is None:
        best = reader.best(study.strategy.repeats)
        if best is None:
            raise SettingsError("no evaluation has completed, so there is no schedule; see crayai status")
        number = best.number
    evaluations = {evaluation.number: evaluation for evaluation in reader.evaluations()}
    return evaluations, schedule_of(lineage(evaluations, number), int(study.loss(1)))


def write_schedule(reader: Reader, study: Study, kind: str, number: int | None, file: TextIO) -> None:
    """Write the schedule of evaluation `number`, else of the best one, as one of `KINDS`.

    Raises:
        SettingsError: There is no such schedule, or no command for a script.
    """
    evaluations, schedule = schedule_in(reader, study, number)
    last = schedule[-1]
    if kind == "csv":
        schedule_csv(schedule, study.space.flags, file)
    elif kind == "json":
        schedule_json(schedule, reader.settings(), file)
    elif kind == "svg":
        title = f"Figure of merit {last.fom:.6g} of evaluation {last.evaluation}, and how it came about"
        subtitle = study.command or "evaluated by the caller"
        file.write(schedule_picture(evaluations, last.evaluation, study.space, int(study.loss(1)), title, subtitle))
    elif study.command:
        schedule_script(schedule, study.filled_command, study.windows, lambda n: program_seed(study.seed or 0, n), file)
    else:
        raise SettingsError("the study has no command, for its evaluations were made by the caller: take csv or json")
