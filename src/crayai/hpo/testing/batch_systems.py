"""What every dialect of a batch system must do; the tests of a new one subclass `BatchConformance`.

    class TestMyDialect(BatchConformance):
        dialect = MyDialect

        @pytest.fixture(autouse=True)
        def _system(self, tmp_path_factory, monkeypatch):
            with MyStandIn(tmp_path_factory.mktemp("batch")) as self.system:
                monkeypatch.setenv("PATH", f"{self.system.bin}:{os.environ['PATH']}")
                yield self.system

Its commands must be on PATH, and harm must be done to it: `System` says which. These rules are about what the system
answers when something is wrong; `LauncherConformance`, whose rules are run with them, does not ask for that.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, Limit, Loss, Task, Withdrawn
from crayai.hpo.launch.batch import verdicts
from crayai.hpo.launch.batch.dialect import Answer, Dialect
from crayai.hpo.launch.batch.driver_job import DriverJob
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.launch.batch.scheduler import Scheduler
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.proof import Proofs, name_of
from crayai.hpo.testing.launchers import LauncherConformance, ends_of, expect, make_task, wait_until

if TYPE_CHECKING:
    import pytest

_GATED = "while [ ! -e go ]; do sleep 0.05; done"
_COUNTED = f"echo once >> times; {_GATED}"
_SOON_SECONDS = 0.5
"""After that a job is held for lost of which nothing is heard, where a rule is about that."""


class System(Protocol):
    """A batch system on PATH that really runs jobs, four at once, and to which harm can be done.

    Attributes:
        jobs: What it knows of its jobs, in the order of their submission: ``id``, the dialect's name for each, and
            ``state``: ``Q``, ``R`` or ``F``.
    """

    @property
    def jobs(self) -> Sequence[Mapping[str, Any]]:
        """What it knows."""

    def delete(self, name: str) -> None:
        """Delete a job, as somebody else would."""

    def refuse(self, *, connections: bool) -> None:
        """Let commands find nobody at the other end, or somebody again."""

    def forget_ends(self) -> None:
        """Keep nothing of jobs that end from now on."""

    def lose_answer(self) -> None:
        """Take the next submission without saying so."""

    def limit(self, jobs: int) -> None:
        """Take no more than so many jobs that are not over."""

    def fail_node(self) -> None:
        """Lose all that runs, and queue it again, as if its node had crashed."""


class BatchConformance(LauncherConformance):
    """The rules of `crayai.hpo.launch.batch.dialect.Dialect`, each as a test.

    Attributes:
        dialect: The class under test.
        system: What it speaks to.
        one_second: The arguments that give a job a limit of time of a second, or as few as there can be.
    """

    dialect: type[Dialect]
    system: System
    one_second: Sequence[str] = ()

    def launcher(self, directory: Path, slots: int) -> BatchLauncher:
        """Return the one under test, which takes one more than there are slots."""
        return self.batch_launcher(directory, slots + 1)

    def kill_driver(self, launcher: Any) -> None:
        """Hear what it has asked and will not hear."""
        launcher.leave()

    def batch_launcher(self, directory: Path, jobs: int = 4, arguments: Sequence[str] = ()) -> BatchLauncher:
        """Return a launcher of so many jobs at once."""
        dialect = self.dialect()
        return BatchLauncher(directory, "crayai-test", dialect, jobs=jobs, arguments=arguments, poll_seconds=0.1)

    def started(self, launcher: BatchLauncher, task: Task) -> str:
        """Submit a task, and wait until it runs; return its job."""
        self.start(launcher, task)
        return self.running(launcher, task)

    def running(self, launcher: BatchLauncher, task: Task) -> str:
        """Wait until a task runs; return its job, by its own name."""
        wait_until(launcher, lambda: self.has_started(task), f"{task.tag} runs")
        return Proofs(task.directory / "jobs" / "proofs").owner(name_of(task))

    def wait_for_states(self, launcher: BatchLauncher, *states: str) -> None:
        """Wait until the jobs are in these states, in any order."""
        wait_until(launcher, lambda: sorted(job["state"] for job in self.system.jobs) == sorted(states), f"{states}")

    def test_the_names_of_jobs(self, tmp_path: Path) -> None:
        """A job calls itself as the queue does, and its submission is known by it."""
        with closing(self.batch_launcher(tmp_path)) as launcher:
            tasks = [make_task(tmp_path, number, self.runs_on()) for number in range(3)]
            for task in tasks:
                launcher.submit(task)
            owners = {self.running(launcher, task) for task in tasks}
            expect(owners, {job["id"] for job in self.system.jobs}, "what jobs call themselves")
            wait_until(launcher, lambda: not launcher.waiting(), "none waits any more")
        dialect = self.dialect()
        for name in owners:
            jobs = [dialect.job(dialect.submission_of(name), place) for place in range(3)]
            expect(name in jobs, True, f"{name} is one of {jobs}")

    def test_a_submission_that_fails(self, tmp_path: Path) -> None:
        """Its answer is not believed, whatever it says."""
        dialect, script = self.dialect(), tmp_path / "script"
        script.write_text("#!/bin/sh\n")
        answer = ask(dialect.submit(script, "crayai-test", 1, []))
        expect(dialect.submission(answer) != "", True, f"a name in {answer}")
        expect(dialect.submission(Answer(1, answer.out, answer.err)), "", "a name of what has failed")

    def test_the_environment_of_the_driver(self, tmp_path: Path, monkeypatch: "pytest.MonkeyPatch") -> None:
        """A job finds what the driver has, with whatever values, and no name that its script uses."""
        values = {
            "ODD": "a 'b' \"c\"\n$(d)",
            **dict.fromkeys(("name", "place", "node", "code", "first"), "of the user"),
        }
        for name, text in values.items():
            monkeypatch.setenv(name, text)
        shown = "".join(f"${name}" for name in values)
        tasks = [make_task(tmp_path, number, ["/bin/sh", "-c", f'printf %s "{shown}"']) for number in (0, 1)]
        with closing(self.batch_launcher(tmp_path)) as launcher:
            for task in tasks:
                launcher.submit(task)
            expect(ends_of(launcher, tasks), [Exited(0)] * 2, "their ends")
        printed = [Path(task.stdout).read_text(encoding="utf-8") for task in tasks]
        expect(printed, ["".join(values.values())] * 2, "what they find")

    def test_a_job_that_somebody_deletes(self, tmp_path: Path, monkeypatch: "pytest.MonkeyPatch") -> None:
        """It counts as cancelled."""
        monkeypatch.setattr(verdicts, "_SETTLE_SECONDS", _SOON_SECONDS)
        loss, _ = self._deleted(tmp_path)
        expect(loss, Loss.CANCELLED, "by what it is lost")

    def test_a_job_that_somebody_deletes_and_nobody_knows(
        self, tmp_path: Path, monkeypatch: "pytest.MonkeyPatch"
    ) -> None:
        """It counts as cancelled, though the batch system keeps nothing of it, if its script had time to say so."""
        monkeypatch.setattr(verdicts, "_SETTLE_SECONDS", _SOON_SECONDS)
        self.system.forget_ends()
        loss, has_said = self._deleted(tmp_path)
        if loss is not Loss.UNKNOWN or has_said:
            expect(loss, Loss.CANCELLED, "by what it is lost")

    def _deleted(self, directory: Path) -> tuple[Loss | None, bool]:
        """Return by what a job is lost that was deleted while it ran, and whether its script could leave its mark."""
        task = make_task(directory, 0, self.runs_on())
        with closing(self.batch_launcher(directory)) as launcher:
            self.system.delete(self.started(launcher, task))
            (end,) = ends_of(launcher, [task])
            has_said = Proofs(directory / "jobs" / "proofs").was_asked(name_of(task))
        return end.loss if isinstance(end, Gone) else None, has_said

    def test_a_waiting_job_that_somebody_deletes(self, tmp_path: Path, monkeypatch: "pytest.MonkeyPatch") -> None:
        """It waits as long as it does, and was cancelled, whatever its array shows for it."""
        monkeypatch.setattr(verdicts, "_SETTLE_SECONDS", _SOON_SECONDS)
        tasks = [make_task(tmp_path, number, self.runs_on()) for number in range(5)]
        with closing(self.batch_launcher(tmp_path, jobs=8)) as launcher:
            for task in tasks:
                launcher.submit(task)
            self.wait_for_states(launcher, "Q", "R", "R", "R", "R")
            (number,) = [number for number, job in enumerate(self.system.jobs) if job["state"] == "Q"]
            wait_until(launcher, lambda: set(launcher.waiting()) == {tasks[number].tag}, "the waiting one is known")
            self.system.delete(self.system.jobs[number]["id"])
            (end,) = ends_of(launcher, [tasks[number]])
            expect(isinstance(end, Gone) and end.loss, Loss.CANCELLED, f"by what {end} is lost")

    def test_a_node_that_crashes(self, tmp_path: Path) -> None:
        """A job that is queued again is alive, though it may show how its first run ended; its second end counts."""
        count = 'echo again >> times; [ "$(wc -l < times)" = 2 ] || exec sleep 1000; exit 3'
        task = make_task(tmp_path, 0, ["/bin/sh", "-c", count])
        with closing(self.batch_launcher(tmp_path)) as launcher:
            self.started(launcher, task)
            wait_until(launcher, (tmp_path / "times").exists, "the first run")
            self.system.fail_node()
            expect(ends_of(launcher, [task]), [Exited(3)], "its end")
        expect((tmp_path / "times").read_text(encoding="utf-8"), "again\nagain\n", "how often it ran")

    def test_a_limit_of_time_of_the_job(self, tmp_path: Path) -> None:
        """The batch system's own limit is a limit of time; the one that we ask for leaves more than is needed."""
        task = make_task(tmp_path, 0, self.runs_on())
        with closing(self.batch_launcher(tmp_path, arguments=self.one_second)) as launcher:
            launcher.submit(task)
            (end,) = ends_of(launcher, [task])
            expect(isinstance(end, Exited) and end.limit, Limit.TIME, f"the limit of {end}")

    def test_ends_that_are_forgotten(self, tmp_path: Path) -> None:
        """The record of the task decides."""
        self.system.forget_ends()
        tasks = [make_task(tmp_path, number, self.exits(number)) for number in range(3)]
        with closing(self.batch_launcher(tmp_path)) as launcher:
            for task in tasks:
                launcher.submit(task)
            expect(ends_of(launcher, tasks), [Exited(number) for number in range(3)], "their ends")

    def test_an_answer_that_is_lost(self, tmp_path: Path) -> None:
        """What was submitted without anybody being told is found, also while it waits, and not submitted twice."""
        tasks = [make_task(tmp_path, number, ["/bin/sh", "-c", _COUNTED]) for number in range(6)]
        with closing(self.batch_launcher(tmp_path, jobs=8)) as launcher:
            for several, states in ((tasks[:4], "RRRR"), (tasks[4:], "QQRRRR")):
                self.system.lose_answer()
                for task in several:
                    launcher.submit(task)
                self.wait_for_states(launcher, *states)
            self.wait_for_a_while(launcher)
            (tmp_path / "go").touch()
            expect(ends_of(launcher, tasks), [Exited(0)] * 6, "their ends")
        expect((tmp_path / "times").read_text(encoding="utf-8"), "once\n" * 6, "how often they ran")
        expect(len(self.system.jobs), 6, "how many jobs there were")

    def test_a_script_that_is_submitted_twice(self, tmp_path: Path, monkeypatch: "pytest.MonkeyPatch") -> None:
        """Where only the job is known that came too late, the one that runs is asked for instead."""
        monkeypatch.setattr(verdicts, "_SETTLE_SECONDS", _SOON_SECONDS)
        task = make_task(tmp_path, 0, ["/bin/sh", "-c", f"{_GATED}; exit 3"])
        dialect, script = self.dialect(), tmp_path / "jobs" / "1" / "submit"
        first = self.batch_launcher(tmp_path)
        self.started(first, task)
        first.leave()
        name = dialect.submission(ask(dialect.submit(script, "crayai-test", 1, [])))
        (script.parent / "id").write_text(name, encoding="utf-8")
        with closing(self.batch_launcher(tmp_path)) as second:
            expect(second.find(task), True, "whether it is found")
            self.wait_for_states(second, "F", "R")
            self.wait_for_a_while(second)
            expect(second.poll([task.tag]), {}, "what is known of it while it runs")
            (tmp_path / "go").touch()
            expect(ends_of(second, [task]), [Exited(3)], "its end")

    def test_a_server_that_nobody_reaches(self, tmp_path: Path, monkeypatch: "pytest.MonkeyPatch") -> None:
        """What runs is not lost, what ends is known, what is submitted waits, and the user is told so."""
        monkeypatch.setattr(verdicts, "_SETTLE_SECONDS", _SOON_SECONDS)
        first, second = (make_task(tmp_path, number, ["/bin/sh", "-c", _GATED]) for number in (0, 1))
        told: list[str] = []
        with closing(self.batch_launcher(tmp_path)) as launcher:
            self.started(launcher, first)
            self.system.refuse(connections=True)
            launcher.submit(second)

            def is_told() -> bool:
                told.extend(launcher.notices())
                return bool(told)

            wait_until(launcher, is_told, "the user is told")
            expect("does not answer" in told[0], True, f"whether the user is told of it: {told}")
            self.wait_for_a_while(launcher)
            expect(launcher.poll([first.tag, second.tag]), {}, "what is known of jobs of which nobody speaks")
            (tmp_path / "go").touch()
            expect(ends_of(launcher, [first]), [Exited(0)], "the end of what runs")
            self.system.refuse(connections=False)
            expect(ends_of(launcher, [second]), [Exited(0)], "the end of what was submitted")

    def test_a_queue_that_is_full(self, tmp_path: Path) -> None:
        """No more than the queue takes is submitted, and all of it is run, once."""
        self.system.limit(2)
        tasks = [make_task(tmp_path, number, ["/bin/sh", "-c", "echo once >> times"]) for number in range(4)]
        with closing(self.batch_launcher(tmp_path)) as launcher:
            for task in tasks:
                launcher.submit(task)
            expect(ends_of(launcher, tasks), [Exited(0)] * 4, "their ends")
        expect((tmp_path / "times").read_text(encoding="utf-8"), "once\n" * 4, "how often they ran")

    def test_jobs_that_a_dead_driver_has_left(self, tmp_path: Path) -> None:
        """A later driver adopts them, and submits none twice."""
        tasks = [make_task(tmp_path, number, ["/bin/sh", "-c", _GATED]) for number in (0, 1)]
        first = self.batch_launcher(tmp_path)
        for task in tasks:
            first.submit(task)
        self.wait_for_states(first, "R", "R")
        first.leave()
        with closing(self.batch_launcher(tmp_path)) as second:
            expect([second.find(task) for task in tasks], [True] * 2, "whether they are found")
            (tmp_path / "go").touch()
            expect(ends_of(second, tasks), [Exited(0)] * 2, "their ends")
        expect(len(self.system.jobs), 2, "how many jobs there were")

    def test_jobs_that_a_dead_driver_has_taken_back(self, tmp_path: Path, monkeypatch: "pytest.MonkeyPatch") -> None:
        """They have no outcome, and are deleted, though the batch system had not heard of it."""
        tasks = [make_task(tmp_path, number, self.runs_on()) for number in range(5)]
        first = self.batch_launcher(tmp_path, jobs=8)
        for task in tasks:
            first.submit(task)
        wait_until(first, lambda: sum(map(self.has_started, tasks)) == 4, "four run")  # noqa: PLR2004
        wait_until(first, lambda: len(first.waiting()) == 1, "the waiting one is known")
        with monkeypatch.context() as patch:
            patch.setattr(Scheduler, "cancel", lambda *_: None)
            first.withdraw()
        first.leave()
        with closing(self.batch_launcher(tmp_path, jobs=8)) as second:
            expect([second.find(task) for task in tasks], [True] * 5, "whether they are found")
            (number,) = [number for number, job in enumerate(self.system.jobs) if job["state"] != "R"]
            expect(ends_of(second, [tasks[number]]), [Withdrawn()], "the end of what was taken back")
            self.wait_for_states(second, "F", "R", "R", "R", "R")
            expect(second.poll([task.tag for task in tasks]).keys(), {tasks[number].tag}, "what is known of the others")

    def test_a_driver_that_is_a_job(self, tmp_path: Path) -> None:
        """It is submitted once, whatever other jobs there are."""
        driver = DriverJob(
            directory=tmp_path, caller=tmp_path, command=self.runs_on(), name="crayai-driver-1234567", minutes=9
        )
        with closing(self.batch_launcher(tmp_path)) as launcher:
            self.started(launcher, make_task(tmp_path, 0, self.runs_on()))
            name = driver.start(self.dialect())
            try:
                driver.start(self.dialect())
            except LaunchError as error:
                expect(
                    "has a driver that is a job already" in str(error), True, f"the refusal of a second one: {error}"
                )
            else:
                raise AssertionError("a second driver was submitted beside the first")
            self.system.delete(name)

    def wait_for_a_while(self, launcher: BatchLauncher) -> None:
        """Let the batch system be asked often enough for a job to be held for lost of which it says nothing."""
        deadline = time.monotonic() + 4 * _SOON_SECONDS
        while time.monotonic() < deadline:
            launcher.wait(_SOON_SECONDS / 2)
