"""What every launcher must do; the tests of a new one subclass `LauncherConformance`.

    class TestMyLauncher(LauncherConformance):
        def launcher(self, directory, slots):
            return MyLauncher(directory, slots)

        def kill_driver(self, launcher):
            launcher.hang_up()  # what its death does: nobody speaks to the jobs any more, and they go on

pytest collects the inherited tests. A launcher that runs no real commands also overrides the methods that return
them. A broken rule raises AssertionError with what was expected.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path

from crayai.hpo.launch.base import Exited, Gone, JobStatus, Launcher, Limit, NotStarted, Task, Withdrawn

_PATIENCE_SECONDS = 150.0
_LOOK_SECONDS = 1.0
_MISSING = "crayai-no-such-program"


def make_task(
    directory: Path, number: int, argv: Sequence[str], seconds: float | None = None, attempt: int = 1
) -> Task:
    """Return a task that has its files in `directory`; `seconds` is its time limit."""
    tag = f"{directory}:{number}:{attempt}"
    return Task(
        tag=tag,
        argv=tuple(argv),
        environment={"CRAYAI_TAG": tag},
        directory=directory,
        output=str(directory / f"{number}.{attempt}"),
        time_limit_seconds=seconds,
    )


def wait_until(launcher: Launcher, is_reached: Callable[[], bool], what: str) -> None:
    """Let `launcher` wait until `is_reached`.

    Raises:
        AssertionError: It is not within some minutes.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {_PATIENCE_SECONDS:g} s: {what}")
        launcher.wait(_LOOK_SECONDS)


def ends_of(launcher: Launcher, tasks: Collection[Task]) -> list[JobStatus]:
    """Return how `tasks` ended, in their order, as soon as all have."""
    known: dict[str, JobStatus] = {}
    tags = [task.tag for task in tasks]

    def all_over() -> bool:
        known.update(launcher.poll(tags))
        return len(known) == len(tags)

    wait_until(launcher, all_over, f"the ends of {tags}, of which are known {known}")
    return [known[tag] for tag in tags]


def expect(actual: object, wanted: object, rule: str) -> None:
    """Compare.

    Raises:
        AssertionError: They differ.
    """
    if actual != wanted:
        raise AssertionError(f"{rule}: wanted {wanted!r}, got {actual!r}")


class LauncherConformance:
    """The rules of `crayai.hpo.launch.base.Launcher`, each as a test."""

    def launcher(self, directory: Path, slots: int) -> Launcher:
        """Return a new launcher for the study in `directory`; one that is made later is that of a later driver."""
        raise NotImplementedError

    def kill_driver(self, launcher: Launcher) -> None:
        """Do to `launcher` what the death of its driver does; it is not used any more, not even closed."""
        raise NotImplementedError

    def has_started(self, task: Task) -> bool:
        """Return whether `task` runs, or has run."""
        return Path(task.stdout).exists()

    def start(self, launcher: Launcher, task: Task) -> None:
        """Submit `task`, and wait until it runs."""
        launcher.submit(task)
        wait_until(launcher, lambda: self.has_started(task), f"{task.tag} runs")

    def prints(self, text: str) -> Sequence[str]:
        """Return a command that prints the line `text`."""
        return ("/bin/sh", "-c", 'echo "$1"', "sh", text)

    def exits(self, code: int) -> Sequence[str]:
        """Return a command that ends with the exit code `code`."""
        return ("/bin/sh", "-c", f"exit {code}")

    def runs_on(self) -> Sequence[str]:
        """Return a command that does not end by itself within any test."""
        return ("sleep", "1000")

    def is_missing(self) -> Sequence[str]:
        """Return a command whose program does not exist."""
        return (_MISSING, "--lr=1")

    def test_capacity_covers_the_slots(self, tmp_path: Path) -> None:
        """A launcher takes at least as many tasks as it has slots."""
        with closing(self.launcher(tmp_path, 3)) as launcher:
            expect(launcher.capacity >= 3, True, "capacity >= slots")  # noqa: PLR2004

    def test_output_and_exit_code_of_a_good_task(self, tmp_path: Path) -> None:
        """A program that ends well has exited with 0, and what it printed is in its file of standard output."""
        task = make_task(tmp_path, 0, self.prints("FoM: 0.5"))
        with closing(self.launcher(tmp_path, 1)) as launcher:
            launcher.submit(task)
            expect(ends_of(launcher, [task]), [Exited(0)], "a good end")
            expect(Path(task.stdout).read_text(encoding="utf-8"), "FoM: 0.5\n", "standard output")

    def test_exit_code_of_a_failing_task(self, tmp_path: Path) -> None:
        """The exit code of a program is told as it is."""
        task = make_task(tmp_path, 0, self.exits(3))
        with closing(self.launcher(tmp_path, 1)) as launcher:
            launcher.submit(task)
            expect(ends_of(launcher, [task]), [Exited(3)], "exit code")

    def test_a_missing_program_is_named(self, tmp_path: Path) -> None:
        """A program that does not exist could not be started, and the reason names it; the slot is free again."""
        missing = make_task(tmp_path, 0, self.is_missing())
        good = make_task(tmp_path, 1, self.exits(0))
        with closing(self.launcher(tmp_path, 1)) as launcher:
            launcher.submit(missing)
            launcher.submit(good)
            first, second = ends_of(launcher, [missing, good])
            expect(isinstance(first, NotStarted) and _MISSING in first.reason, True, f"a reason with the name: {first}")
            expect(second, Exited(0), "the task after one that could not start")

    def test_more_tasks_than_slots(self, tmp_path: Path) -> None:
        """Tasks beyond the slots wait for one, and all of them end."""
        with closing(self.launcher(tmp_path, 2)) as launcher:
            tasks = [make_task(tmp_path, number, self.exits(number)) for number in range(launcher.capacity)]
            for task in tasks:
                launcher.submit(task)
            expect(ends_of(launcher, tasks), [Exited(number) for number in range(len(tasks))], "exit codes")

    def test_only_what_is_asked_for_is_told(self, tmp_path: Path) -> None:
        """A poll tells nothing of other tags, and nothing of tags that it does not know."""
        asked, other = (make_task(tmp_path, number, self.exits(number)) for number in (0, 1))
        with closing(self.launcher(tmp_path, 2)) as launcher:
            launcher.submit(asked)
            launcher.submit(other)
            ends_of(launcher, [asked, other])
            expect(dict(launcher.poll([asked.tag])), {asked.tag: Exited(0)}, "the poll of one")
            expect(dict(launcher.poll(["nobody:0:1"])), {}, "the poll of an unknown tag")

    def test_an_end_is_told_until_it_is_forgotten(self, tmp_path: Path) -> None:
        """Every poll tells an end again, for the driver may not have written it down yet; `forget` stops that."""
        task = make_task(tmp_path, 0, self.exits(4))
        with closing(self.launcher(tmp_path, 1)) as launcher:
            launcher.submit(task)
            ends_of(launcher, [task])
            expect(dict(launcher.poll([task.tag])), {task.tag: Exited(4)}, "the second poll")
            launcher.forget([task.tag])
            expect(dict(launcher.poll([task.tag])), {}, "the poll after forget")

    def test_a_running_task_has_no_end(self, tmp_path: Path) -> None:
        """A job that runs is left out."""
        task = make_task(tmp_path, 0, self.runs_on())
        with closing(self.launcher(tmp_path, 1)) as launcher:
            launcher.submit(task)
            launcher.wait(0)
            expect(launcher.poll([task.tag]).get(task.tag), None, "the state of a running job")

    def test_time_limit(self, tmp_path: Path) -> None:
        """A task that is longer than its time limit is ended, and this is told; others are left alone."""
        limited = make_task(tmp_path, 0, self.runs_on(), seconds=0.05)
        within = make_task(tmp_path, 1, self.exits(5), seconds=3600)
        with closing(self.launcher(tmp_path, 2)) as launcher:
            launcher.submit(limited)
            launcher.submit(within)
            first, second = ends_of(launcher, [limited, within])
            expect(isinstance(first, Exited) and first.limit, Limit.TIME, f"the limit of {first}")
            expect(second, Exited(5), "a task within its limit")

    def test_cancel(self, tmp_path: Path) -> None:
        """What is cancelled ends without an outcome, running or waiting, and what is not goes on."""
        with closing(self.launcher(tmp_path, 2)) as launcher:
            going_on, running, waiting = (make_task(tmp_path, number, self.runs_on()) for number in range(3))
            for task in (going_on, running, waiting):
                launcher.submit(task)
            launcher.cancel([running.tag, waiting.tag])
            expect(ends_of(launcher, [running, waiting]), [Withdrawn(), Withdrawn()], "the ends of cancelled tasks")
            expect(launcher.poll([going_on.tag]).get(going_on.tag), None, "a task that was not cancelled")

    def test_a_cancelled_task_has_no_outcome_for_a_later_driver(self, tmp_path: Path) -> None:
        """If the driver dies right after a cancel, the next one finds nothing, or that it was taken back."""
        task = make_task(tmp_path, 0, self.runs_on())
        first = self.launcher(tmp_path, 1)
        first.submit(task)
        first.cancel([task.tag])
        self.kill_driver(first)
        with closing(self.launcher(tmp_path, 1)) as second:
            ends = ends_of(second, [task]) if second.find(task) else []
            expect(ends in ([], [Withdrawn()]), True, f"the end of a cancelled task, {ends}, is none")

    def test_withdraw(self, tmp_path: Path) -> None:
        """What has not started is taken back; what runs goes on."""
        with closing(self.launcher(tmp_path, 1)) as launcher:
            running, waiting = (make_task(tmp_path, number, self.runs_on()) for number in range(2))
            self.start(launcher, running)
            launcher.submit(waiting)
            launcher.withdraw()
            expect(ends_of(launcher, [waiting]), [Withdrawn()], "the end of a waiting task")
            expect(launcher.poll([running.tag]).get(running.tag), None, "the running task")

    def test_close(self, tmp_path: Path) -> None:
        """Closing ends what runs, can be done twice and without any task, and no later driver finds anything."""
        running = make_task(tmp_path, 0, self.runs_on())
        launcher = self.launcher(tmp_path, 1)
        launcher.submit(running)
        launcher.close()
        launcher.close()
        self.launcher(tmp_path, 1).close()
        with closing(self.launcher(tmp_path, 1)) as later:
            expect(later.find(running), False, "whether a later driver finds what was closed")

    def test_nothing_to_find(self, tmp_path: Path) -> None:
        """A task that was never submitted is not found."""
        with closing(self.launcher(tmp_path, 1)) as launcher:
            expect(launcher.find(make_task(tmp_path, 0, self.exits(0))), False, "find")

    def test_a_later_driver_finds_what_ended(self, tmp_path: Path) -> None:
        """An end that the driver never confirmed is told to the next one, and once forgotten to none."""
        task = make_task(tmp_path, 0, self.exits(6))
        first = self.launcher(tmp_path, 1)
        first.submit(task)
        ends_of(first, [task])
        self.kill_driver(first)
        with closing(self.launcher(tmp_path, 1)) as second:
            expect(second.find(task), True, "whether the second driver finds the task")
            expect(ends_of(second, [task]), [Exited(6)], "the end of an adopted job")
            second.forget([task.tag])
        with closing(self.launcher(tmp_path, 1)) as third:
            expect(third.find(task), False, "whether the third driver finds what was forgotten")

    def test_a_later_driver_takes_over_what_runs(self, tmp_path: Path) -> None:
        """A job goes on when its driver dies; the next one finds it running, and can cancel it."""
        task = make_task(tmp_path, 0, self.runs_on())
        first = self.launcher(tmp_path, 1)
        self.start(first, task)
        self.kill_driver(first)
        with closing(self.launcher(tmp_path, 1)) as second:
            expect(second.find(task), True, "whether the second driver finds the running task")
            expect(second.poll([task.tag]).get(task.tag), None, "the adopted job")
            second.cancel([task.tag])
            (end,) = ends_of(second, [task])
            expect(
                isinstance(end, Exited | Gone | Withdrawn), True, f"the end of an adopted job that was cancelled: {end}"
            )
