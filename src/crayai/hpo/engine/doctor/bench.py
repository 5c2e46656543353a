"""Where probes are run: in a directory of their own, as evaluations of the study would be."""

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crayai.hpo.engine.checkpoints import NOWHERE, Checkpoints
from crayai.hpo.engine.doctor.probes import Probe, Role
from crayai.hpo.engine.doctor.saved import Saved, saved_at
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.failures import outcome_of
from crayai.hpo.engine.fom import tail
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import Study
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.base import Exited, Gone, Launcher, NotStarted, Task, Withdrawn
from crayai.hpo.launch.wrapping import Wrapping
from crayai.hpo.records import Asked, Cause, Completed, Failed, Outcome, Suggestion
from crayai.hpo.store.base import MemoryLog

_WAIT_SECONDS = 60.0
QUOTED_LINES = 6
"""So many of a program's last words are worth reading."""

_LOOKED_AT = 200
_LOOK_SECONDS = 60.0
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Watcher(Protocol):
    """Is told how far the runs are."""

    def begin(self, runs: int, at_once: int, seconds_each: float | None) -> None:
        """Take note that so many `runs` begin; how long one took before, if that is known."""

    def ended(self) -> None:
        """Take note that one of them is over."""

    def notice(self, text: str) -> None:
        """Take note of something that the user should know."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the program, over.

    Attributes:
        probe: What was to be run.
        task: With its files.
        line: The command, to paste.
        outcome: What a study would have recorded.
        fom: The figure of merit as printed; None: it failed.
        seconds: How long it ran; None: it did not.
        printed_bytes: What it printed.
        directory_bytes: What it left in the directory of its own.
        saved: What it left at the place of its checkpoint.
    """

    probe: Probe
    task: Task
    line: str
    outcome: Outcome
    fom: float | None
    seconds: float | None
    printed_bytes: int
    directory_bytes: int
    saved: Saved

    @property
    def cause(self) -> Cause | None:
        """Why it failed; None: it did not."""
        return self.outcome.cause if isinstance(self.outcome, Failed) else None

    @property
    def detail(self) -> str:
        """What is known of the cause."""
        return self.outcome.detail if isinstance(self.outcome, Failed) else ""

    @property
    def why(self) -> str:
        """The cause in words."""
        if self.cause is Cause.NO_FOM:
            return str(self.cause)
        return f"exit code {self.detail}" if self.cause is Cause.EXIT_CODE else f"{self.cause}: {self.detail}"

    @property
    def last_words(self) -> tuple[str, ...]:
        """The end of what it said, on standard error if it said anything there."""
        return tuple((lines_of(self.task.stderr) or lines_of(self.task.stdout))[-QUOTED_LINES:])


class Bench:
    """Where probes are run: a directory of their own, and slots as the study will have them.

    Args:
        study: Its seed must be set.
        settings: How evaluations are run.
        root: The directory.
        launcher: Runs them.
        wrapping: What stands around them.
        watcher: Is told.
    """

    def __init__(
        self,
        study: Study,
        settings: EvaluationSettings,
        root: Path,
        launcher: Launcher,
        wrapping: Wrapping,
        watcher: Watcher,
    ) -> None:
        self._study = study
        self._settings = settings
        self._directory = StudyDirectory(root)
        self._directory.make()
        search = Search(study, MemoryLog())
        self._checkpoints = Checkpoints(root=self._directory.checkpoints(), search=search)
        self._tasks = TaskMaker(
            search=search,
            directory=self._directory,
            checkpoints=self._checkpoints,
            study_id=root.name,
            caller=Path.cwd(),
            source=settings.source,
            time_limit_seconds=settings.time_limit_seconds,
            wrapping=wrapping,
        )
        self._launcher = launcher
        self._watcher = watcher

    def run(self, probes: Sequence[Probe], seconds_each: float | None = None) -> list[Run]:
        """Run `probes`, as many at once as there are slots; return them when all are over."""
        if not probes:
            return []
        self._watcher.begin(len(probes), min(len(probes), self._settings.capacity), seconds_each)
        tasks = {}
        for probe in probes:
            task, line = self._task(probe)
            tasks[task.tag] = (probe, task, line)
            self._launcher.submit(task)
        runs: list[Run] = []
        while tasks:
            for tag, status in self._heard(tasks.keys()).items():
                runs.append(self._ended(*tasks.pop(tag), status))
                self._watcher.ended()
        return sorted(runs, key=lambda run: run.probe.number)

    def look(self, argv: Sequence[str]) -> str:
        """Return what `argv` prints in the place of the program."""
        tag, start = f"{self._directory.root.name}:look:1", self._settings.start
        environment = {"CRAYAI_TAG": tag}
        task = Task(
            tag=tag,
            argv=self._tasks.wrapping.around(argv, start, environment, tag),
            environment={**environment, **self._tasks.wrapping.variables()},
            directory=start,
            output=str(self._directory.root / "output" / "look.1"),
            time_limit_seconds=_LOOK_SECONDS,
        )
        self._launcher.submit(task)
        while not self._heard([tag]):
            pass
        self._launcher.forget([tag])
        printed = Path(task.stdout)
        return printed.read_text(encoding="utf-8", errors="replace") if printed.exists() else ""

    def _heard(self, tags: Collection[str]) -> dict[str, Exited | NotStarted | Gone]:
        """Wait, and return what has ended meanwhile; tell what there is to tell."""
        self._launcher.wait(_WAIT_SECONDS)
        for notice in self._launcher.notices():
            self._watcher.notice(notice)
        nowhere = Gone("where it was to run there is nothing any more")
        ended = self._launcher.poll(tags)
        return {tag: nowhere if isinstance(status, Withdrawn) else status for tag, status in ended.items()}

    def _task(self, probe: Probe) -> tuple[Task, str]:
        """Return what is run for `probe`, as a study would, but with its own seed and handover; and its line."""
        asked = Asked(probe.number, Suggestion(probe.values, probe.window))
        handover = self._checkpoints.between(probe.load, probe.number) if self._study.uses_checkpoints else None
        if handover:
            self._checkpoints.make_way(handover.save)
        task = self._tasks.task(asked, 1, handover, seed=probe.seed)
        return task, self._tasks.line_with(asked, handover, probe.seed)

    def _ended(self, probe: Probe, task: Task, line: str, status: Exited | NotStarted | Gone) -> Run:
        outcome = outcome_of(status, task, self._study, self._tasks.wrapping.engine)
        files = [path for path in (Path(task.stdout), Path(task.stderr)) if path.exists()]
        own = self._own_files(probe)
        return Run(
            probe=probe,
            task=task,
            line=line,
            outcome=outcome,
            fom=self._study.loss(outcome.loss) if isinstance(outcome, Completed) else None,
            seconds=status.seconds if isinstance(status, Exited) else None,
            printed_bytes=sum(path.stat().st_size for path in files),
            directory_bytes=sum(path.lstat().st_size for path in own),
            saved=self._saved(probe, is_kept=isinstance(outcome, Failed) and probe.role is not Role.BAD),
        )

    def _own_files(self, probe: Probe) -> list[Path]:
        """Return what is in the directory of its own but links."""
        own = Path(self._directory.evaluation(probe.number))
        return [path for path in own.rglob("*") if not path.is_symlink()]

    def _saved(self, probe: Probe, *, is_kept: bool) -> Saved:
        """Look at a checkpoint, and remove it unless others go on from it, or its command may be tried again."""
        saved = self.saved_by(probe, with_digest=probe.role in (Role.DEFAULT, Role.WINDOW))
        if probe.role is Role.DEFAULT:
            self._checkpoints.check(probe.number)
        elif not is_kept:
            shutil.rmtree(self._place(probe.number), ignore_errors=True)
        return saved

    def saved_by(self, probe: Probe, *, with_digest: bool = True) -> Saved:
        """Return what is at the place of a probe's checkpoint now."""
        return saved_at(self._place(probe.number), with_digest=with_digest)

    def _place(self, name: int | str) -> Path:
        return Path(self._checkpoints.path(name)).parent

    def strays(self, probe: Probe) -> tuple[str, ...]:
        """Return the names of the files that a probe has left in a directory of its own."""
        own = Path(self._directory.evaluation(probe.number))
        return tuple(str(path.relative_to(own)) for path in self._own_files(probe) if path.is_file())

    def clear_load(self) -> tuple[str, ...]:
        """Remove what is where nothing is to load; return the names."""
        place = self._place(NOWHERE)
        found = saved_at(place, with_digest=False).names
        shutil.rmtree(place, ignore_errors=True)
        return found


def lines_of(file: str) -> list[str]:
    """Return the last lines of a file that are not blank, without colours."""
    return [line for line in _ESCAPE.sub("", tail(file, _LOOKED_AT)).splitlines() if line.strip()]
