"""The loop: collects what is over, tells the strategy, asks for more, has it launched, and waits.

Each turn writes down before it acts: what is about to be launched, before it is; what is over, before the launcher
forgets it. So the loop may be killed at any instant, and a later one goes on: it asks the launcher by tag for every
attempt that is on record without an end. A free slot is filled first, with what was asked ahead; judging what has
ended comes after, while the slots work.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from crayai.hpo.engine.attempts import Failure, Running, verdict_on
from crayai.hpo.engine.budget import Account
from crayai.hpo.engine.checkpoints import CONTROL
from crayai.hpo.engine.failures import error_of, is_shortage
from crayai.hpo.engine.interrupts import Interrupts
from crayai.hpo.engine.observer import Observer, Observers
from crayai.hpo.engine.outputs import Outputs, remove
from crayai.hpo.engine.policies import POLICIES, Policy
from crayai.hpo.engine.queue import Queue
from crayai.hpo.engine.room import Room
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.suspicion import Suspicion, Verdict
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.engine.throttle import Throttle
from crayai.hpo.errors import StudyFailed
from crayai.hpo.launch.base import Exited, Gone, Launcher, NotStarted, Withdrawn
from crayai.hpo.records import Asked, AttemptFailed, Cause, Completed, Failed, Launched

_WAIT_SECONDS = 60.0
_GROUP_SECONDS = 0.005

Ended = Exited | NotStarted | Gone


@dataclass(kw_only=True)
class Loop:
    """One driver's work on a search, from now until it is over or stopped.

    Args:
        search: The search.
        launcher: Runs the tasks.
        tasks: Makes them.
        outputs: Which output is kept.
        account: What may be used.
        policies: What follows the failure of an attempt.
        observer: Watches.
        interrupts: The requests to stop.
        is_brief: Whether to leave as soon as there is nothing to do but to wait.
        sleep: Waits for seconds.
        clock: Seconds from any time on.

    Attributes:
        end_reason: Why the search was left before its end; empty: it is over, or a signal asked for it.
        has_left: Whether what runs was left to the next driver.
        is_out_of_time: Whether the end reason is that where tasks run nothing more could end in time.
    """

    search: Search
    launcher: Launcher
    tasks: TaskMaker
    outputs: Outputs
    account: Account
    policies: Mapping[Cause, Policy] = field(default_factory=lambda: POLICIES)
    observer: Observer = field(default_factory=lambda: Observers(()))
    interrupts: Interrupts = field(default_factory=Interrupts)
    is_brief: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    running: dict[str, Running] = field(default_factory=dict, init=False)
    end_reason: str = field(default="", init=False)
    has_left: bool = field(default=False, init=False)
    is_out_of_time: bool = field(default=False, init=False)
    _queue: Queue = field(init=False)
    _suspicion: Suspicion[Failure] = field(default_factory=Suspicion, init=False)
    _throttle: Throttle = field(default_factory=Throttle, init=False)
    _told: list[Running] = field(default_factory=list, init=False)
    _over: list[str] = field(default_factory=list, init=False)
    _room: Room = field(init=False)
    _stops_obeyed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._queue = Queue(self.search.is_over)
        self._room = Room(self.tasks.has_room, self.interrupts, self.sleep, self.observer.notice)

    def run(self) -> bool:
        """Work until the search is over, the budget used up, or a stop asked for; return whether it is over.

        Raises:
            StudyFailed: Nothing but failures: the study can be resumed when the program is mended.
        """
        try:
            self._work()
        finally:
            self.tasks.checkpoints.settle()
        if self._suspicion.held and not self.interrupts.count and not self.end_reason:
            self._give_up(f"all of the first {len(self._suspicion.held)} evaluations failed")
        if self.search.is_done:
            self.end_reason = ""
        elif not self.interrupts.count:
            self.end_reason = self.end_reason or self.account.reason_not_to_ask()
        return self.search.is_done

    def _work(self) -> None:
        """Take turns as long as there is something to do."""
        self._begin()
        self._ask()
        while (self.running or self._has_work) and not self.has_left:
            ended = self._collect()
            self._launch()
            for attempt, status in ended:
                self._take(attempt, status)
            if not self.running and not self._has_work:
                self._tell_all(self._suspicion.release() if self.search.completed else [])
            self._ask()
            self._obey_stops()
            if not self._can_launch and (self.running or self._has_work):
                self._rest()
        self._commit()
        self.tasks.checkpoints.tidy()

    def _begin(self) -> None:
        """Take up what an earlier driver has left."""
        for asked in self.search.unfinished():
            self._queue.add(asked)
        self.outputs.sweep()
        self.tasks.checkpoints.begin()
        self._adopt()

    def _adopt(self) -> None:
        """Take over what an earlier driver launched and nobody knows the end of."""
        for asked in self._queue:
            attempt = self.search.next_attempt(asked.number) - 1
            if attempt == 0 or self.search.has_failed(asked.number, attempt):
                continue
            task = self.tasks.make(asked, attempt)
            if self.launcher.find(task):
                self.running[task.tag] = Running(asked, attempt, task)
                self.account.launched(task.tag)
                self._queue.remove(asked)

    @property
    def _has_work(self) -> bool:
        """Whether something is to be launched, now or after a pause."""
        return self._may_go_on and (len(self._queue) > 0 or self._queue.next_wake is not None)

    @property
    def _may_go_on(self) -> bool:
        return not self.interrupts.count and not self.end_reason

    def _rest(self) -> None:
        """Wait until something ends; commit, unless that is at once, when the next launch commits as well.

        Raises:
            StudyFailed: Nothing runs, and the budget of checkpoints has no room for more.
        """
        if not self.running and len(self._queue):
            self._commit()
            if reason := self.tasks.checkpoints.lacks_room_for(0):
                self._stop_for(reason)
            return
        self.interrupts.wait(self._stops_obeyed, lambda: self.launcher.wait(_GROUP_SECONDS))
        if not self.launcher.poll(self.running.keys()):
            self._commit()
            self.has_left |= self.is_brief and self.launcher.is_idle() and self.launcher.leave()
            if not self.has_left:
                self.interrupts.wait(self._stops_obeyed, lambda: self.launcher.wait(self._rest_seconds()))

    def _rest_seconds(self) -> float:
        """Return how long there is nothing to do but to wait for an end."""
        wake = self._queue.next_wake
        pause = _WAIT_SECONDS if wake is None else max(0.0, wake - self.clock())
        return min(_WAIT_SECONDS, pause, self.interrupts.seconds_left, self.account.seconds_left())

    def _collect(self) -> list[tuple[Running, Ended]]:
        """Return what is over; what was taken back has no outcome, and is to run again."""
        ended: list[tuple[Running, Ended]] = []
        for tag, status in self.launcher.poll(self.running.keys()).items():
            attempt = self.running.pop(tag)
            self.account.ended(tag)
            if not isinstance(status, Withdrawn):
                ended.append((attempt, status))
                continue
            if status.seconds is not None and not attempt.is_control:
                failed = Failed(Cause.CANCELLED, "ended by the driver, which was asked to stop")
                self._record(Failure(attempt, failed, status.seconds, location="").event)
            self._again(attempt)
        for text in self.launcher.notices():
            self.observer.notice(text)
        self._queue.wake(self.clock())
        self.account.still_wait(self.launcher.waiting)
        return ended

    def _take(self, attempt: Running, status: Ended) -> None:
        """Act on an end."""
        outcome = self.tasks.outcome(attempt, status)
        seconds = status.seconds if isinstance(status, Exited) else None
        location = "" if isinstance(status, NotStarted) else status.location
        if isinstance(outcome, Completed):
            self._throttle.success()
        if attempt.is_control:
            self._take_control(attempt, has_failed=isinstance(outcome, Failed))
        elif isinstance(outcome, Completed):
            self._tell_all(self._suspicion.succeeded())
            self._tell(attempt, outcome, seconds)
        else:
            self._take_failure(Failure(attempt, outcome, seconds, location))

    def _take_failure(self, failure: Failure) -> None:
        """Try again what failed for want of room, or by a policy; suspect the rest."""
        attempt = failure.attempt
        if self._stops_obeyed > 1:
            self._again(attempt)
        elif not self.tasks.has_room():
            self._room.wait("no room for files, so an evaluation failed; it will run again")
            self._again(attempt)
        elif attempt.pauses < self._room.pauses:
            self._again(attempt)  # there was no room while it ran
        elif is_shortage(failure.failed, attempt.task) and not attempt.is_alone:
            self._throttle.shortage(len(self.running) + 1)
            self.observer.notice(
                f"no room for more processes or files: at most {self._throttle.most} evaluations at once"
            )
            self._record(failure.event)
            self._again(attempt)
        elif not self._retry(failure):
            self._suspect(failure)

    def _again(self, attempt: Running) -> None:
        """Have an evaluation launched anew, before others."""
        self._over.append(attempt.task.tag)
        if attempt.is_control:
            self._suspicion.control_lost()
        else:
            self._queue.add(attempt.asked)

    def _retry(self, failure: Failure) -> bool:
        """Try again after a pause, if the policy says so; return whether it does.

        Raises:
            StudyFailed: The policy says that the study stops.
        """
        attempt, cause = failure.attempt, failure.failed.cause
        policy, number = self.policies[cause], attempt.asked.number
        tried = sum(before.failed.cause == cause for before in self.search.failed_attempts.get(number, ()))
        if tried < policy.retries:
            self._record((failure if policy.elsewhere else replace(failure, location="")).event)
            self._over.append(attempt.task.tag)
            pause = policy.pause_after(tried)
            self._queue.pause(attempt.asked, self.clock() + pause)
            self.observer.notice(
                f"evaluation {number} failed ({cause}: {failure.failed.detail}); next attempt in {pause:g} s"
            )
            return True
        if policy.stops or (cause is Cause.NO_CHECKPOINT and not self.search.completed):
            self._suspicion.held.insert(0, failure)
            tries = f"evaluation {number} failed {tried + 1} times" if tried else f"evaluation {number} failed"
            self._give_up(f"{tries} by the cause '{cause}', for which the policy is to stop")
        return False

    def _record(self, event: Launched | AttemptFailed) -> None:
        self.search.append(event)
        self.observer.event(event, self.search)

    def _suspect(self, failure: Failure) -> None:
        """Tell a failure, or hold it back while the set-up may be at fault.

        Raises:
            StudyFailed: It is.
        """
        error = error_of(failure.failed, failure.attempt.task)
        released, verdict = self._suspicion.failed(failure, error, has_completed=self.search.completed > 0)
        self._tell_all(released)
        if verdict is Verdict.STOP:
            self._give_up(f"all of the first {len(self._suspicion.held)} evaluations failed")
        elif verdict is Verdict.CONTROL and self._may_go_on and self.search.best is not None:
            self._launch_control(self.search.best)

    def _launch_control(self, number: int) -> None:
        """Try an evaluation once more that has completed before."""
        self.observer.notice(
            f"the last {self._suspicion.streak} evaluations failed with the same error; evaluation {number}, which "
            "completed before, is tried once more to see whether the program still runs"
        )
        asked = Asked(number, self.search.record.suggestion(number))
        self._start([self._prepare(asked, is_control=True)])

    def _take_control(self, control: Running, *, has_failed: bool) -> None:
        self._over.append(control.task.tag)
        remove([control.task.stdout, control.task.stderr])
        self.tasks.checkpoints.drop(CONTROL)
        streak, number = self._suspicion.streak, control.asked.number
        released, verdict = self._suspicion.controlled(has_failed=has_failed)
        self._tell_all(released)
        if verdict is Verdict.STOP:
            self._give_up(
                f"the last {streak} evaluations failed with the same error, and evaluation {number}, which completed "
                "before, fails now too"
            )

    def _tell_all(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._tell(failure.attempt, failure.failed, failure.seconds)

    def _tell(self, attempt: Running, outcome: Completed | Failed, seconds: float | None) -> None:
        number = attempt.asked.number
        self.observer.event(self.search.tell(number, outcome, seconds), self.search)
        self._told.append(attempt)
        self._queue.over(number)
        if isinstance(outcome, Failed):
            self.tasks.checkpoints.drop(number)

    def _give_up(self, reason: str) -> None:
        """End the study, and leave without an outcome what was held back: it is to run again.

        Raises:
            StudyFailed: With `reason` and the first failure that is held back.
        """
        self.launcher.cancel(self.running.keys())
        self._commit()
        held = self._suspicion.held
        self.launcher.forget([failure.attempt.task.tag for failure in held])
        raise StudyFailed(verdict_on(reason, held[0], self.tasks.line(held[0].attempt.asked)))

    def _stop_for(self, reason: str) -> NoReturn:
        """End the study for a reason that is no failure of the program.

        Raises:
            StudyFailed: With `reason`.
        """
        self.launcher.cancel(self.running.keys())
        self._commit()
        raise StudyFailed(f"{reason}; nothing is lost, and the same command goes on")

    def _ask(self) -> None:
        """Ask so far ahead that a slot that becomes free has work at once; this changes no point."""
        while self._may_go_on and len(self._queue) < self.launcher.capacity and not self.account.reason_not_to_ask():
            asked = self.search.ask()
            if asked is None:
                return
            self._queue.add(asked)
            self.observer.event(asked, self.search)

    def _commit(self) -> None:
        """Make the turn durable; a full disk is waited for."""
        self._room.commit(self.search)
        self._tidy()

    def _tidy(self) -> None:
        """Let go of what is on record: the launcher's memory, and output that is not kept."""
        if self._told or self._over:
            self.launcher.forget([*(attempt.task.tag for attempt in self._told), *self._over])
        for attempt in self._told:
            self.outputs.tidy(attempt.asked.number, attempt.attempt, attempt.task)
        if self._told:
            self.tasks.checkpoints.tidy()
        self._told, self._over = [], []

    @property
    def _can_launch(self) -> bool:
        running = len(self.running)
        has_room = running < min(self.launcher.capacity, self._throttle.most)
        return has_room and self._may_go_on and bool(self._queue) and not self.tasks.checkpoints.lacks_room_for(running)

    def _launch(self) -> None:
        """Launch waiting evaluations, as far as there are slots, and the budget allows."""
        prepared = []
        while self._can_launch:
            of_launcher = self.launcher.reason_not_to_launch(self.search.usual_seconds)
            self.end_reason = self.account.reason_not_to_launch() or of_launcher
            self.is_out_of_time = bool(of_launcher) and self.end_reason == of_launcher
            if not self.end_reason:
                prepared.append(self._prepare(self._queue.pop()))
        if prepared:
            self._start(prepared)

    def _prepare(self, asked: Asked, *, is_control: bool = False) -> Running:
        """Record the next attempt at an evaluation."""
        attempt = self.search.next_attempt(asked.number)
        avoid = {failed.location for failed in self.search.failed_attempts.get(asked.number, ()) if failed.location}
        task = self.tasks.make(asked, attempt, avoid=tuple(sorted(avoid)), is_control=is_control)
        if missing := self.tasks.make_way(asked, is_control=is_control):
            self._stop_for(missing)
        is_alone = self._throttle.most == 1
        self.running[task.tag] = running = Running(asked, attempt, task, is_alone, self._room.pauses, is_control)
        self.account.launched(task.tag)
        self._record(Launched(asked.number, attempt))
        return running

    def _start(self, prepared: Sequence[Running]) -> None:
        """Launch what is on record."""
        self._commit()
        for running in prepared:
            self.launcher.submit(running.task)

    def _obey_stops(self) -> None:
        """Act on the requests to stop, and on the end of the budget: what runs may finish, or is ended."""
        self.interrupts.look()
        if reason := self.account.reason_to_end():
            self.end_reason = reason
            self.interrupts.count = max(2, self.interrupts.count)
        asked = self.interrupts.count  # one more may come at any point below
        if asked == self._stops_obeyed:
            return
        if self.interrupts.is_machine and self.launcher.leave():
            self.has_left = True
            self.observer.notice(
                f"stopping: {len(self.running)} evaluations go on, and the next driver takes them over"
            )
            return
        if asked > 1:
            self.observer.notice(
                f"{self.end_reason and self.end_reason + '; '}ending {len(self.running)} running evaluations"
            )
            self.launcher.cancel(self.running.keys())
        else:
            self.launcher.withdraw()
            self.observer.notice(f"stopping: running evaluations may finish{self.interrupts.remark}")
        self._stops_obeyed = asked
