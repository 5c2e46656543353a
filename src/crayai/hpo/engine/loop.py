"""The loop: collects what is over, tells the strategy, asks for more, has it launched, and waits.

Each turn writes down before it acts: what is about to be launched, before it is; what is over, before the launcher
forgets it. So the loop may be killed at any instant, and a later one goes on: it asks the launcher by tag for every
attempt that is on record without an end. A free slot is filled first, with what was asked ahead; judging what has
ended comes after, while the slots work.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from crayai.hpo.engine.failures import FIRST_FAILURES, LOST_ATTEMPTS, explain, outcome_of
from crayai.hpo.engine.interrupts import Interrupts
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.tasks import TaskMaker, render
from crayai.hpo.errors import StoreFull, StudyFailed
from crayai.hpo.launch.base import Alive, Exited, Gone, Launcher, NotStarted, Task, Withdrawn
from crayai.hpo.records import Asked, Completed, Event, Failed, Launched

_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 5.0
_GROUP_SECONDS = 0.005

Ended = Exited | NotStarted | Gone


class Observer(Protocol):
    """Watches a search; what it does changes nothing."""

    def begin(self, search: Search, *, was_resumed: bool) -> None:
        """Take note that work on `search` begins, or goes on."""

    def event(self, event: Event, search: Search) -> None:
        """Take note of `event`, which `search` has taken in."""

    def notice(self, text: str) -> None:
        """Take note of something that the user should know."""

    def end(self, search: Search) -> None:
        """Take note that work on `search` has ended, for now or for ever."""


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that a launcher has."""

    asked: Asked
    attempt: int
    task: Task


@dataclass(kw_only=True)
class Loop:
    """One driver's work on a search, from now until it is over or stopped.

    Args:
        search: The search.
        launcher: Runs the tasks.
        tasks: Makes them.
        observers: Watch.
        interrupts: The requests to stop.
        keep_output: Whether the output of every evaluation is kept; else only of failed ones and of the best.
        sleep: Waits for seconds.
    """

    search: Search
    launcher: Launcher
    tasks: TaskMaker
    observers: Sequence[Observer] = ()
    interrupts: Interrupts = field(default_factory=Interrupts)
    keep_output: bool = False
    sleep: Callable[[float], None] = time.sleep
    running: dict[str, Running] = field(default_factory=dict, init=False)
    _waiting: list[Asked] = field(default_factory=list, init=False)
    _held: list[tuple[Running, Failed]] = field(default_factory=list, init=False)
    _best_kept: int | None = field(default=None, init=False)
    _told: list[Running] = field(default_factory=list, init=False)
    _stops_obeyed: int = field(default=0, init=False)

    def run(self) -> bool:
        """Work until the search is over, or a request to stop is obeyed; return whether it is over.

        Raises:
            StudyFailed: Nothing but failures: the study can be resumed when the program is mended.
        """
        self._waiting = self.search.unfinished()
        self._best_kept = self.search.best
        self._sweep()
        self._adopt()
        self._ask()
        while self.running or self._can_launch:
            ended = self._collect()
            self._launch()
            for attempt, status in ended:
                self._take(attempt, outcome_of(status, attempt.task, self.search.study))
            self._ask()
            self._obey_stops()
            if self.running and not self._can_launch:
                self._rest()
        self._commit()
        if self._held and not self.interrupts.count:
            self._give_up()
        return self.search.is_done

    def _sweep(self) -> None:
        """Remove what an earlier driver had no time to remove."""
        for number, path in self.tasks.directory.all_outputs():
            outcome = self.search.record.outcome(number) if number < len(self.search.record) else None
            is_spare = isinstance(outcome, Completed) and number != self.search.best and not self.keep_output
            if is_spare or (outcome is not None and path.suffix == ".exit"):
                path.unlink(missing_ok=True)

    def _adopt(self) -> None:
        """Take over what an earlier driver launched and nobody knows the end of."""
        for asked in tuple(self._waiting):
            attempt = self.search.attempts.get(asked.number, 0)
            if attempt == 0:
                continue
            task = self.tasks.make(asked, attempt)
            if self.launcher.find(task):
                self.running[task.tag] = Running(asked, attempt, task)
                self._waiting.remove(asked)

    def _rest(self) -> None:
        """Wait until something ends; commit, unless that is at once, when the next launch commits as well."""
        self.interrupts.wait(self._stops_obeyed, lambda: self.launcher.wait(_GROUP_SECONDS))
        if not self.launcher.poll(self.running.keys()):
            self._commit()
            self.interrupts.wait(self._stops_obeyed, lambda: self.launcher.wait(_WAIT_SECONDS))

    def _collect(self) -> list[tuple[Running, Ended]]:
        """Return what is over; what was taken back, or is dead without an end, has no outcome and is to run again."""
        ended: list[tuple[Running, Ended]] = []
        for tag, status in self.launcher.poll(self.running.keys()).items():
            if isinstance(status, Alive):
                continue
            attempt = self.running.pop(tag)
            was_lost = isinstance(status, Gone) and attempt.attempt < LOST_ATTEMPTS
            if isinstance(status, Withdrawn) or was_lost:
                self._again(attempt)
            else:
                ended.append((attempt, status))
        return ended

    def _take(self, attempt: Running, outcome: Completed | Failed) -> None:
        """Judge an outcome; what failed because we ended it, or because there was no room, is to run again."""
        if isinstance(outcome, Failed) and self._stops_obeyed > 1:
            self._again(attempt)
        elif isinstance(outcome, Failed) and not self.tasks.directory.has_room():
            self._await_room("no room for files, so an evaluation failed; it will run again")
            self._again(attempt)
        else:
            self._judge(attempt, outcome)

    def _again(self, attempt: Running) -> None:
        """Have an evaluation launched anew, before others."""
        self.launcher.forget([attempt.task.tag])
        self._waiting.insert(0, attempt.asked)

    def _judge(self, attempt: Running, outcome: Completed | Failed) -> None:
        """Tell an outcome; failures before the first success are held back, for the program may be at fault."""
        if isinstance(outcome, Failed) and not self.search.completed:
            self._held.append((attempt, outcome))
            if len(self._held) >= FIRST_FAILURES:
                self._give_up()
            return
        for held, failed in self._held:
            self._tell(held, failed)
        self._held = []
        self._tell(attempt, outcome)

    def _tell(self, attempt: Running, outcome: Completed | Failed) -> None:
        self._announce(self.search.tell(attempt.asked.number, outcome))
        self._told.append(attempt)

    def _give_up(self) -> None:
        """End the study where nothing but failures came.

        Raises:
            StudyFailed: With the first failure.
        """
        self.launcher.cancel(self.running.keys())
        self.launcher.forget([attempt.task.tag for attempt, _ in self._held])  # they are to run again
        attempt, failed = self._held[0]
        asked = attempt.asked
        line = render(self.search.study, self.tasks.directory, asked.number, asked.suggestion.values).line
        raise StudyFailed(
            f"all of the first {len(self._held)} evaluations failed, so the study was stopped; nothing is lost, and "
            f"the same command goes on when the program is mended. Evaluation {asked.number}: "
            + explain(failed, attempt.task, line)
        )

    def _ask(self) -> None:
        """Ask so far ahead that a slot that becomes free has work at once; this changes no point."""
        while not self.interrupts.count and len(self._waiting) < self.launcher.capacity:
            asked = self.search.ask()
            if asked is None:
                return
            self._waiting.append(asked)
            self._announce(asked)

    def _commit(self) -> None:
        """Make the turn durable; a full disk is waited for."""
        while True:
            try:
                self.search.commit()
            except StoreFull as error:
                if self.interrupts.count > 1:
                    raise
                self._await_room(str(error))
            else:
                break
        self._tidy()

    def _await_room(self, reason: str) -> None:
        """Pause until there is room for files, or a stop is asked for."""
        self._notice(f"paused: {reason}; going on by itself when there is room")
        self.sleep(_PAUSE_SECONDS)
        while not self.tasks.directory.has_room() and not self.interrupts.count:
            self.sleep(_PAUSE_SECONDS)
        self._notice("going on: there is room again" if not self.interrupts.count else "stopping, without room")

    def _tidy(self) -> None:
        """Let go of what is on record: the launcher's memory, and output but that of failed ones and of the best."""
        if self._told:
            self.launcher.forget([attempt.task.tag for attempt in self._told])
        for attempt in self._told:
            number = attempt.asked.number
            if self.keep_output or not isinstance(self.search.record.outcome(number), Completed):
                continue
            paths: Iterable[str | Path] = [attempt.task.stdout, attempt.task.stderr]
            if self.search.point_of(number) == self.search.best:
                paths = [] if self._best_kept is None else self.tasks.directory.outputs(self._best_kept)
                self._best_kept = number
            for path in paths:
                with suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 - twice for each evaluation, and three times as fast
        self._told = []

    @property
    def _can_launch(self) -> bool:
        return bool(self._waiting) and not self.interrupts.count and len(self.running) < self.launcher.capacity

    def _launch(self) -> None:
        """Launch waiting evaluations, as far as there are slots."""
        tasks: list[Task] = []
        while self._can_launch:
            asked = self._waiting.pop(0)
            attempt = self.search.attempts.get(asked.number, 0) + 1
            task = self.tasks.make(asked, attempt)
            self.running[task.tag] = Running(asked, attempt, task)
            launched = Launched(asked.number, attempt)
            self.search.append(launched)
            self._announce(launched)
            tasks.append(task)
        if tasks:
            self._commit()
        for task in tasks:
            self.launcher.submit(task)

    def _obey_stops(self) -> None:
        """Act on the requests to stop: the first asks for patience, the second ends what runs."""
        asked = self.interrupts.count  # one more may come at any point below
        if asked == self._stops_obeyed:
            return
        if asked > 1:
            self._notice(f"ending {len(self.running)} running evaluations")
            self.launcher.cancel(self.running.keys())
        else:
            self.launcher.withdraw()
            self._notice("stopping: running evaluations may finish; Ctrl-C again ends them")
        self._stops_obeyed = asked

    def _announce(self, event: Event) -> None:
        for observer in self.observers:
            observer.event(event, self.search)

    def _notice(self, text: str) -> None:
        for observer in self.observers:
            observer.notice(text)
