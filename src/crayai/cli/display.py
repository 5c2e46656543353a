"""What `crayai run` shows while it runs: a live bar on a terminal, plain lines elsewhere."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from crayai.hpo.engine.observer import Observer
from crayai.hpo.engine.search import Search
from crayai.hpo.records import Event, Launched, Told
from crayai.hpo.report.words import duration, evaluation_line, improvement

_LINE_SECONDS = 10.0


class Quiet:
    """Shows nothing but notices."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:
        """Show nothing."""

    def event(self, event: Event, search: Search) -> None:
        """Show nothing."""

    def notice(self, text: str) -> None:
        """Print `text`."""
        self._console.print(Text(f"crayai: {text}"), soft_wrap=True)

    def end(self, search: Search) -> None:
        """Show nothing."""


class Lines(Quiet):
    """Prints a line for each new best and each failure, and how far the search is now and then."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._started = time.monotonic()
        self._last_line = self._started
        self._done_before = 0

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:  # noqa: ARG002 - not shown
        """Print how far the search is."""
        self._done_before = search.completed + search.failed
        total = search.study.algorithm.evaluations
        word = "going on" if was_resumed else "starting"
        self._print(f"{word}: {self._done_before} of {'unknown' if total is None else total} evaluations are over")

    def event(self, event: Event, search: Search) -> None:
        """Print what is worth a line."""
        if not isinstance(event, Told):
            return
        evaluation = search.evaluation(event.number)
        if search.point_of(evaluation.number) == search.best or evaluation.failure:
            self._print(evaluation_line(evaluation, None) + self._remark(search, evaluation.number))
        if time.monotonic() - self._last_line > _LINE_SECONDS:
            self._print(f"{progress_text(search)}, {time_left(search, self._done_before, self._started)}")

    def end(self, search: Search) -> None:
        """Print how far the search came."""
        self._print(progress_text(search))

    def _remark(self, search: Search, number: int) -> str:
        return f" - {standing(search)}" if search.point_of(number) == search.best else ""

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(Text(line), soft_wrap=True)


class Live(Quiet):
    """A bar that is redrawn: how far, the best and how much better it is, what runs, what failed, time left."""

    def __init__(self, console: Console, slots: int) -> None:
        super().__init__(console)
        self._slots = slots
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._progress.add_task("", facts="", left="")
        self._started = time.monotonic()
        self._done_before = 0
        self._under_way: set[int] = set()

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:  # noqa: ARG002 - not shown
        """Show the bar."""
        self._done_before = search.completed + search.failed
        self._progress.update(self._task, total=search.study.algorithm.evaluations)
        self._progress.start()
        if was_resumed:
            self.notice(f"going on: {self._done_before} evaluations are over")
        self._show(search)

    def event(self, event: Event, search: Search) -> None:
        """Count."""
        if isinstance(event, Launched):
            self._under_way.add(event.number)
        elif isinstance(event, Told):
            self._under_way.discard(event.number)
            self._show(search)

    def end(self, search: Search) -> None:
        """Leave the last bar standing."""
        self._show(search)
        self._progress.stop()

    def _show(self, search: Search) -> None:
        facts = [standing(search), f"{min(len(self._under_way), self._slots)} running"]
        if search.failed:
            facts.append(f"[red]{search.failed} failed[/red]")
        self._progress.update(
            self._task,
            completed=search.completed + search.failed,
            facts=" · ".join(facts),
            left=time_left(search, self._done_before, self._started),
        )


def choose_display(console: Console, *, slots: int, quiet: bool) -> Observer:
    """Return what suits the place where the output goes."""
    if quiet:
        return Quiet(console)
    return Live(console, slots) if console.is_terminal else Lines(console)


def standing(search: Search) -> str:
    """Return the best so far and how much better than the default point it is."""
    if search.best is None or search.best_loss is None:
        return "no result yet"
    best = search.study.loss(search.best_loss)
    text = f"best {best:.6g}"
    if search.default_loss is None or search.best == 0:
        return text
    default = search.study.loss(search.default_loss)
    return f"{text}, {improvement(best, default, less_is_better=search.study.goal == 'minimize')}"


def progress_text(search: Search) -> str:
    """Return how far the search is."""
    total = search.study.algorithm.evaluations
    done = search.completed + search.failed
    failed = f", {search.failed} failed" if search.failed else ""
    return f"{done} of {'unknown' if total is None else total} evaluations{failed}, {standing(search)}"


def time_left(search: Search, done_before: int, started: float) -> str:
    """Return how long the rest will take at the pace so far."""
    total = search.study.algorithm.evaluations
    done = search.completed + search.failed
    if total is None or done <= done_before or done >= total:
        return ""
    seconds = (time.monotonic() - started) / (done - done_before) * (total - done)
    return f"{duration(seconds)} left"
