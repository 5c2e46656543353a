"""``crayai doctor`` and ``crayai estimate``: what there is to know before a study costs anything."""

import dataclasses
import json
import shutil
import signal
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from crayai.cli.run import plan_of, study_arguments
from crayai.cli.studyfile import Plan
from crayai.hpo.engine.conduct import check_program
from crayai.hpo.engine.doctor.bench import Watcher
from crayai.hpo.engine.doctor.checkup import check_up, estimate_from
from crayai.hpo.engine.doctor.estimate import (
    Estimate,
    checkpoint_bytes,
    log_bytes,
    nodes_of,
    recorded_seconds,
    rounds_of,
    size,
    span,
)
from crayai.hpo.engine.doctor.examine import examine, run_default_point
from crayai.hpo.engine.doctor.findings import Check, Verdict
from crayai.hpo.engine.doctor.probes import Prober, Role
from crayai.hpo.engine.doctor.site_checks import check_site
from crayai.hpo.engine.failures import explain
from crayai.hpo.engine.study import with_seed
from crayai.hpo.engine.workdir import StudyDirectory, writing
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Failed
from crayai.hpo.store.lock import StudyLock

_SEED = 0
_COLORS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.PROBLEM: "bold red"}
_NAME, _SHORT_NAME, _LEAST_WIDTH, _MOST_WIDTH = 26, 13, 40, 110

_EPILOG = "Study file, options, --param and command are those of crayai run: see crayai run --help."


@click.command(epilog=f"{_EPILOG} Exit codes: 0 no problem, notes at most; 1 a problem; 130 stopped by Ctrl-C.")
@study_arguments
@click.option("--quick", is_flag=True, help="Leave out the runs that change one flag alone.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def doctor(
    words: tuple[str, ...],
    directory: Path,
    params: tuple[str, ...],
    quiet: bool,
    quick: bool,
    as_json: bool,
    **keys: Any,
) -> None:
    """Prove a program before a study: run it at some points, and say what to change in it.

    Is the figure of merit found, finite, repeatable, how noisy is it? Is every flag taken, and of any effect? Does a
    failure show? How long will it all take?
    """
    plan = _prepared(plan_of(words, params, keys))
    check_program(plan.study, plan.evaluation)
    room, cluster = _room(directory), plan.evaluation.cluster
    site = list(check_site(cluster, plan.evaluation.time_limit_seconds)) if cluster else []
    if any(check.verdict is Verdict.PROBLEM for check in site):
        _report(site, None, room, None, as_json=as_json)
    with _workplace(plan, directory) as workplace, _watcher(quiet=quiet) as watcher:
        checkpoint_room = _room(Path(plan.evaluation.checkpoint or directory))
        seen = examine(
            plan.study,
            plan.evaluation,
            workplace.path,
            watcher,
            quick=quick,
            room=room,
            checkpoint_room=checkpoint_room,
        )
        checks = [*site, *check_up(seen)]
        is_known = seen.default.fom is not None and plan.study.algorithm.evaluations is not None
        costs = estimate_from(seen, plan.budget.max_evaluations) if is_known else None
        problems = sum(check.verdict is Verdict.PROBLEM for check in checks)
        workplace.is_kept = bool(problems) or any(r.cause and r.probe.role is not Role.BAD for r in seen.runs)
    _report(checks, costs, room, str(workplace.path) if workplace.is_kept else None, as_json=as_json)


def _report(checks: Sequence[Check], costs: Estimate | None, room: int, kept: str | None, *, as_json: bool) -> NoReturn:
    """Print all that was found, and end."""
    if as_json:
        told = {"checks": [dataclasses.asdict(c) for c in checks], "estimate": costs and _facts(costs), "kept": kept}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print_report(checks, costs, room, kept)
    raise click.exceptions.Exit(1 if any(check.verdict is Verdict.PROBLEM for check in checks) else 0)


@click.command(epilog=_EPILOG)
@study_arguments
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES",
              help="How long an evaluation takes; left out: as the log in --dir says, or one run shows.")  # fmt: skip
def estimate(
    words: tuple[str, ...], directory: Path, params: tuple[str, ...], quiet: bool, minutes: float | None, **keys: Any
) -> None:
    """Say how long a study will take, and how much room."""
    plan = _prepared(plan_of(words, params, keys))
    rounds = rounds_of(plan.study, plan.budget.max_evaluations)
    held, each = nodes_of(plan.evaluation)
    known = Estimate(
        nodes_held=held,
        nodes_each=each,
        rounds=rounds,
        slots=plan.evaluation.capacity,
        seconds=[60 * minutes] if minutes else recorded_seconds(StudyDirectory(directory).log, plan.study) or [0.0],
        log_bytes=log_bytes(Prober(plan.study).default().values, rounds.evaluations),
    )
    source = "as given" if minutes else f"the mean of {len(known.seconds)} in {directory}"
    if not any(known.seconds):
        known, source = _timed(plan, known, directory, quiet=quiet), "the default point, run once"
    for name, text in _rows(known, _room(directory), source):
        _print_entry(Console(highlight=False), Text(name), text, column=_SHORT_NAME)


def _prepared(plan: Plan) -> Plan:
    """Return it with a seed, and with as many slots as there are now."""
    return dataclasses.replace(plan, study=with_seed(plan.study, _SEED), evaluation=plan.evaluation.counted())


def _timed(plan: Plan, known: Estimate, directory: Path, *, quiet: bool) -> Estimate:
    """Run the default point once; return the estimate with what that took.

    Raises:
        SettingsError: It failed.
    """
    check_program(plan.study, plan.evaluation)
    with _workplace(plan, directory) as workplace, _watcher(quiet=quiet) as watcher:
        run = run_default_point(plan.study, plan.evaluation, workplace.path, watcher)
        if isinstance(run.outcome, Failed):
            why = explain(run.outcome, run.task, run.line)
            raise SettingsError(f"the default point fails, so nothing can be estimated; see crayai doctor. {why}")
    return dataclasses.replace(
        known,
        seconds=[run.seconds or 0.0],
        output_bytes=run.printed_bytes if plan.evaluation.keep_output else 0,
        directory_bytes=run.directory_bytes,
        checkpoint_bytes=checkpoint_bytes(plan.study, plan.evaluation, [run.saved.size.bytes]),
    )


# Where it runs


@dataclasses.dataclass
class _Workplace:
    """A private directory, removed when it is no longer needed unless it is to be kept."""

    path: Path
    is_kept: bool = False


@contextmanager
def _workplace(plan: Plan, directory: Path) -> Iterator[_Workplace]:
    """Make a workplace where evaluations see it: on clusters beside the study's directory, else in a temporary one.

    Where a container must be told what to see, or nobody knows what others see, it is in the study's directory, always
    under the same name. A request to end is a Ctrl-C, so that nothing is left running.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    how, directory = plan.evaluation, directory.absolute()
    if how.container or how.urika or how.has_workers:
        with _fixed_workplace(directory) as workplace:
            yield workplace
        return
    beside = directory.parent if how.cluster else None
    with writing(beside or Path(tempfile.gettempdir())):
        path = Path(tempfile.mkdtemp(prefix=".crayai-doctor-" if beside else "crayai-doctor-", dir=beside))
    workplace = _Workplace(path)
    try:
        yield workplace
    finally:
        if not workplace.is_kept:
            shutil.rmtree(workplace.path, ignore_errors=True)


@contextmanager
def _fixed_workplace(directory: Path) -> Iterator[_Workplace]:
    """Make the workplace in a study's directory, where no other doctor is at work; what an earlier one kept goes."""
    workplace = _Workplace(directory / "doctor")
    with writing(directory):
        workplace.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = StudyLock(workplace.path / "study.lock")
    try:
        for entry in workplace.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
        yield workplace
    finally:
        if not workplace.is_kept:
            shutil.rmtree(workplace.path, ignore_errors=True)
            with suppress(OSError):
                directory.rmdir()  # unless there is a study
        lock.release()


def _room(directory: Path) -> int:
    """Return how many bytes are free where `directory` is, or will be."""
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


# Progress


class _Lines:
    """Tells on standard error, a line each, that runs begin."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet

    def begin(self, runs: int, at_once: int, seconds_each: float | None) -> None:
        """Print what begins."""
        if not self._quiet:
            self.notice(_beginning(runs, at_once, seconds_each))

    def ended(self) -> None:
        """Print nothing."""

    def notice(self, text: str) -> None:
        """Print `text`."""
        self._console.print(Text(f"crayai: {text}"), soft_wrap=True)


class _Bar(_Lines):
    """A bar on the terminal, gone when all is over."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console, quiet=False)
        self._progress = progress
        self._task = progress.add_task("", total=0)
        self._runs = 0

    def begin(self, runs: int, at_once: int, seconds_each: float | None) -> None:
        """Show what begins."""
        self._runs += runs
        text = _beginning(runs, at_once, seconds_each)
        self._progress.update(self._task, total=self._runs, description=text)

    def ended(self) -> None:
        """Count."""
        self._progress.advance(self._task)


def _beginning(runs: int, at_once: int, seconds_each: float | None) -> str:
    if seconds_each is None:
        return "running the default point"
    more = "one more run" if runs == 1 else f"{runs} more runs, {at_once} at once"
    return f"{more}, about {span(-(-runs // at_once) * seconds_each)}"


@contextmanager
def _watcher(*, quiet: bool) -> Iterator[Watcher]:
    """Return what suits the place where standard error goes."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        if quiet or not console.is_terminal:
            yield _Lines(console, quiet=quiet)
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        yield _Bar(console, stack.enter_context(progress))


# The report


def _print_report(checks: Sequence[Check], costs: Estimate | None, room: int, kept: str | None) -> None:
    console = Console(highlight=False)
    for check in checks:
        head = Text.assemble((f"{check.verdict:<8}", _COLORS[check.verdict]), check.name)
        _print_entry(console, head, check.seen, check.remedy, check.quote)
    if costs is not None:
        console.print()
        for name, text in _rows(costs, room, ""):
            _print_entry(console, Text(f"{'':8}{name}"), text)
    console.print()
    console.print(_conclusion(checks, kept), soft_wrap=True)


def _conclusion(checks: Sequence[Check], kept: str | None) -> Text:
    """Return what it all comes to."""
    problems, notes = (sum(c.verdict is verdict for c in checks) for verdict in (Verdict.PROBLEM, Verdict.NOTE))
    counted = [
        f"{number} {noun}{'s' if number > 1 else ''}" for number, noun in ((problems, "problem"), (notes, "note"))
        if number
    ]  # fmt: skip
    if problems:
        text = Text(f"Not fit to be searched yet: {', '.join(counted)}.", style="bold red")
    else:
        text = Text(f"Fit to be searched{': ' if notes else ''}{', '.join(counted)}.", style="bold green")
    return text.append(f" What the runs printed is in {kept}/output" if kept else "", style="default not bold")


def _print_entry(
    console: Console, head: Text, text: str, remedy: str = "", quote: Sequence[str] = (), column: int = _NAME
) -> None:
    """Print a name with what there is to say, wrapped on terminals; lines of the program stay as they are."""
    width = max(min(console.width, _MOST_WIDTH) - column, _LEAST_WIDTH) if console.is_terminal else 1 << 20
    lines = [Text(line) for line in textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)]
    lines += [Text(f"| {line}", style="dim") for line in quote]
    advice = textwrap.wrap(
        remedy, width, initial_indent="-> ", subsequent_indent="   ", break_on_hyphens=False, break_long_words=False
    )
    lines += [Text(line, style="cyan") for line in advice]
    head.pad_right(column - len(head))
    console.print(head + lines[0], soft_wrap=True)
    for line in lines[1:]:
        console.print(Text(" " * column) + line, soft_wrap=True)


def _rows(costs: Estimate, room: int, source: str) -> list[tuple[str, str]]:
    """Return an estimate as names and texts."""
    rounds = costs.rounds
    generations = f": {rounds.number} {rounds.name}s of {rounds.size}" if rounds.number > 1 else ""
    if rounds.rest:
        generations += f", {rounds.rest} of another"
    at_once = min(costs.slots, rounds.size)
    each = f"{span(costs.mean_seconds)} an evaluation" + (f" ({source})" if source else "")
    time = f"about {span(costs.total_seconds())} with {at_once} at once, at {each}"
    if (more := min(2 * at_once, rounds.size)) > at_once:
        time += f"; about {span(costs.total_seconds(more))} with {more}"
    parts = [f"log {size(costs.log_bytes)}"]
    for name, number in (("output", costs.output_bytes), ("directories", costs.directory_bytes)):
        if number:
            parts.append(f"{name} {size(number * rounds.evaluations)}")
    unknown = " and what evaluations write" if costs.directory_bytes is None else ""
    room_needed = f"about {size(costs.bytes)}{unknown}" + (f" ({', '.join(parts)})" if len(parts) > 1 else "")
    at_a_time = costs.checkpoint_bytes
    checkpoints = f", and checkpoints of {size(at_a_time)} at a time" if at_a_time else ""
    return [
        ("evaluations", f"{rounds.evaluations}{generations}"),
        ("time", time),
        ("node-hours", f"{costs.node_hours:.2g}"),
        ("room", f"{room_needed}{checkpoints}; {size(room)} are free"),
    ]


def _facts(costs: Estimate) -> dict[str, Any]:
    """Return an estimate for programs to read."""
    return {
        "evaluations": costs.rounds.evaluations,
        f"{costs.rounds.name}s": costs.rounds.number,
        "slots": costs.slots,
        "seconds_each": costs.mean_seconds,
        "seconds": costs.total_seconds(),
        "node_hours": costs.node_hours,
        "bytes": costs.bytes,
        "checkpoint_bytes": costs.checkpoint_bytes,
    }
