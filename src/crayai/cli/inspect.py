"""``crayai status``, ``best``, ``show`` and ``export``: questions to the log of a study."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.text import Text

from crayai.cli.schedule import KINDS, write_schedule
from crayai.hpo.engine.checkpoints import NOWHERE, Handover, checkpoint_path
from crayai.hpo.engine.fom import tail
from crayai.hpo.engine.provenance import SETTING, Fact, at_evaluation, items, wrapping_in
from crayai.hpo.engine.recover import check_whole
from crayai.hpo.engine.study import Study, study_from_settings
from crayai.hpo.engine.tasks import line_of, render
from crayai.hpo.engine.verify import first_difference
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.errors import CrayaiError, SettingsError, StoreError
from crayai.hpo.launch.wrapping import Wrapping
from crayai.hpo.records import Asked, Completed, Failed, Suggestion, Values
from crayai.hpo.report.export import export_csv, export_json
from crayai.hpo.report.words import duration, improvement
from crayai.hpo.store.lock import holder
from crayai.hpo.store.query import Reader, StoredEvaluation

_OUTPUT_LINES = 40
_ANCESTORS = 12
_SHOWN = 8


def _directory(function: Callable[..., None]) -> Callable[..., None]:
    return click.argument("directory", type=click.Path(path_type=Path), default=Path("run"), metavar="[DIR]")(function)


@click.command()
@_directory
def status(directory: Path) -> None:
    """Say how far a study is."""
    paths = StudyDirectory(directory)
    with study_in(paths) as (reader, study):
        settings, counts = reader.settings(), reader.counts()
        best, first = reader.best(study.strategy.repeats), reader.default(study.strategy.repeats)
        times, failures, retried = reader.times(), reader.failures(), reader.failed_attempts()
    driver = holder(paths.lock)
    total = study.algorithm.evaluations
    ended = counts.completed + counts.failed
    if driver:
        state = f"running, {driver}"
    elif total == ended:
        state = "finished"
    else:
        reason = f" ({settings['stopped']})" if settings.get("stopped") else ""
        state = f"stopped{reason}; crayai run goes on with it"
    rows = [
        ("study", str(paths.root)),
        ("state", state),
        ("over", f"{ended} of {'unknown' if total is None else total}"),
        ("under way", str(counts.under_way)),
        ("failed", _counted(failures)),
        ("tried again", _counted(retried)),
        ("best", _standing(study, best, first)),
    ]
    if times:
        rows.append(("time", duration(times[1] - times[0])))
    _print_rows(rows)


@click.command()
@_directory
@click.option("--checkpoint", is_flag=True, help="Print the path of its checkpoint instead.")
def best(directory: Path, checkpoint: bool) -> None:
    """Print the command line of the best evaluation, ready to paste."""
    paths = StudyDirectory(directory)
    with study_in(paths) as (reader, study):
        found, first = reader.best(study.strategy.repeats), reader.default(study.strategy.repeats)
        settings = reader.settings()
        lineage = _lineage(reader, found)
    if found is None:
        raise SettingsError(f"no evaluation in {paths.root} has completed; see crayai status")
    click.echo(_standing(study, found, first), err=True)
    saved = checkpoint_path(_checkpoints(paths, settings), found.number)
    if study.uses_checkpoints and Path(saved).parent.is_dir():
        click.echo(f"checkpoint: {saved}", err=True)
    if study.trains_on:
        click.echo("lineage: " + " → ".join(str(number) for number in lineage), err=True)
    source = None if len(lineage) == 1 else lineage[-2]
    click.echo(saved if checkpoint else _line(study, paths, found, settings, source))


@click.command()
@click.argument("number", type=int)
@_directory
@click.option("--packages", is_flag=True, help="Print the packages that were there for it instead, a line each.")
def show(number: int, directory: Path, packages: bool) -> None:
    """Show one evaluation: its values, command, environment, output and ancestors."""
    paths = StudyDirectory(directory)
    with study_in(paths) as (reader, study):
        found = reader.evaluation(number)
        if found is None:
            raise SettingsError(
                f"there is no evaluation {number} in {paths.root}; {reader.counts().asked} were asked for"
            )
        ancestors, source = _ancestors(reader, found), _source(reader, found)
        settings = reader.settings()
    made_with = at_evaluation(number, settings.get(SETTING, []))
    if packages:
        click.echo("\n".join(items(made_with.get("packages", ""))))
        return
    rows = [
        (
            "evaluation",
            f"{number} (generation {found.generation}, deme {found.deme}, attempt {found.attempt or 0})",
        ),
        ("result", _result(study, found)),
        *((flag, str(value)) for flag, value in found.values.items()),
        ("command", _line(study, paths, found, settings, None if source is None else source.number)),
    ]
    if found.launched_at and found.told_at:
        rows.append(("time", duration(found.told_at - found.launched_at)))
    rows += [(name, _short(fact)) for name, fact in made_with.items()]
    rows += [(f"parent {a.number}", f"{_result(study, a)}  {_values(a.values)}") for a in ancestors]
    _print_rows(rows)
    for path in paths.outputs(number):
        click.echo(f"\n{path}:\n{tail(str(path), _OUTPUT_LINES)}")


@click.command()
@_directory
@click.option("--schedule", is_flag=True, help="Write the schedule of the best evaluation instead: which values its "
              "model was trained with, window by window.")  # fmt: skip
@click.option("--evaluation", "number", type=int, help="Write the schedule of another one.")
@click.option("--format", "kind", type=click.Choice(KINDS), default="csv", show_default=True,
              help="For schedules alone: sh, a script that trains along it; svg, a picture.")  # fmt: skip
@click.option(
    "-o",
    "--output",
    type=click.File("w", encoding="utf-8"),
    default="-",
    help="File; left out: standard output.",
)
def export(directory: Path, schedule: bool, number: int | None, kind: str, output: TextIO) -> None:
    """Write all evaluations as CSV or JSON, or the schedule of one."""
    if not schedule and (number is not None or kind in {"sh", "svg"}):
        raise click.UsageError("--evaluation, --format sh and --format svg need --schedule")
    with study_in(StudyDirectory(directory)) as (reader, study):
        sign = int(study.loss(1))
        if schedule:
            write_schedule(reader, study, kind, number, output)
        elif kind == "csv":
            export_csv(reader.evaluations(), study.space.flags, sign, output)
        else:
            export_json(reader.evaluations(), reader.settings(), sign, output)


@click.command()
@_directory
def verify(directory: Path) -> None:
    """Ask everything anew from the seed, and compare with the log."""
    with study_in(StudyDirectory(directory)) as (reader, study):
        difference = first_difference(study, reader.events())
    if difference is None:
        click.echo("the log is what the seed says")
        return
    asked = "nothing" if difference.asked is None else _values(difference.asked.values)
    raise StoreError(
        f"evaluation {difference.number} is not what the seed says:\n"
        f"  log:  {_values(difference.recorded.values)}\n  seed: {asked}"
    )


@contextmanager
def study_in(paths: StudyDirectory) -> Iterator[tuple[Reader, Study]]:
    """Open the log of a study whose records are all as they were written.

    Raises:
        StoreError: There is none, or it is damaged.
    """
    check_whole(paths)
    with Reader(paths.readable_log) as reader:
        reader.check()
        if not (settings := reader.settings()):
            raise StoreError(f"the study in {paths.root} has not begun")
        yield reader, study_from_settings(settings)


def _counted(causes: dict[str, int]) -> str:
    """Return how many failures there are, and of which causes."""
    parts = ", ".join(f"{number} {cause}" for cause, number in causes.items())
    return f"{sum(causes.values())}" + (f" ({parts})" if parts else "")


def _source(reader: Reader, evaluation: StoredEvaluation) -> StoredEvaluation | None:
    """Return the evaluation whose model another trains on, the nearest that has completed; None: from scratch."""
    number = evaluation.resume_from
    source = None if number is None else reader.evaluation(number)
    return source if source is None or isinstance(source.outcome, Completed) else _source(reader, source)


def _lineage(reader: Reader, evaluation: StoredEvaluation | None) -> list[int]:
    """Return the evaluations that trained a model, one after the other."""
    numbers: list[int] = []
    while evaluation is not None:
        numbers.insert(0, evaluation.number)
        evaluation = _source(reader, evaluation)
    return numbers


def _ancestors(reader: Reader, evaluation: StoredEvaluation) -> list[StoredEvaluation]:
    """Return the line of first parents, the nearest first, and the other parents of the evaluation itself."""
    found: list[StoredEvaluation] = []
    queue = list(evaluation.parents)
    while queue and len(found) < _ANCESTORS:
        parent = reader.evaluation(queue.pop(0))
        if parent is not None and all(parent.number != other.number for other in found):
            found.append(parent)
            queue += parent.parents[:1]
    return found


def _line(
    study: Study, paths: StudyDirectory, evaluation: StoredEvaluation, settings: Mapping[str, Any], source: int | None
) -> str:
    """Return the command of an evaluation, in its container and environment as far as these are to be had here."""
    if not study.command:
        return "(evaluated by the caller)"
    checkpoints = _checkpoints(paths, settings)
    names = (NOWHERE if source is None else source, evaluation.number)
    load, save = (checkpoint_path(checkpoints, name) for name in names)
    asked = Asked(evaluation.number, Suggestion(evaluation.values, evaluation.generation))
    rendered = render(study, paths, asked, Handover(load, save, source is None))
    start = Path(settings.get("start") or Path.cwd())
    wrapping = Wrapping()
    with suppress(CrayaiError):
        wrapping = wrapping_in(settings, [paths.root, start, *([checkpoints] if study.uses_checkpoints else [])])
    return line_of(rendered, wrapping, start)


def _checkpoints(paths: StudyDirectory, settings: Mapping[str, Any]) -> Path:
    """Return the directory of the checkpoints of a study."""
    return paths.checkpoints(settings.get("checkpoint", ""), settings.get("study_id", ""))


def _standing(study: Study, best: StoredEvaluation | None, first: StoredEvaluation | None) -> str:
    if best is None or not isinstance(best.outcome, Completed):
        return "none yet"
    text = f"{study.loss(best.outcome.loss):.8g} (evaluation {best.number})"
    if first is None or first.number == best.number or not isinstance(first.outcome, Completed):
        return text
    less_is_better = study.goal == "minimize"
    losses = study.loss(best.outcome.loss), study.loss(first.outcome.loss)
    return f"{text}, {improvement(*losses, less_is_better=less_is_better)}"


def _result(study: Study, evaluation: StoredEvaluation) -> str:
    match evaluation.outcome:
        case Completed(loss):
            return f"FoM {study.loss(loss):.8g}"
        case Failed(cause, detail):
            return f"failed: {cause}: {detail}"
    return "under way" if evaluation.launched_at else "waiting"


def _values(values: Values) -> str:
    return " ".join(f"{flag}={value}" for flag, value in values.items())


def _short(fact: Fact) -> str:
    """Return the first of a list, and how long it is."""
    listed = items(fact)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _print_rows(rows: list[tuple[str, str]]) -> None:
    """Print names and texts in two columns; lines are not broken, so that programs can read them."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        Console().print(Text.assemble((f"{name:<{width}}", "bold"), "  ", text), soft_wrap=True)
