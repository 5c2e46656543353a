"""Running the user's program before a study does: at a dozen points that tell whether it is fit to be searched."""

import os
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from crayai.hpo.engine.checkpoints import NOWHERE, Handover, checkpoint_path
from crayai.hpo.engine.conduct import EvaluationSettings
from crayai.hpo.engine.failures import outcome_of
from crayai.hpo.engine.fom import tail
from crayai.hpo.engine.probes import Probe, Prober, Role
from crayai.hpo.engine.study import Study
from crayai.hpo.engine.tasks import render
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.base import Exited, Gone, Launcher, NotStarted, Task
from crayai.hpo.launch.gpus import visible_gpus
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.records import Asked, Cause, Completed, Failed, Outcome, Suggestion

_WAIT_SECONDS = 60.0
TICK_SECONDS = 1.0
"""So much later than the first run the second one begins, for many programs take their seed from a clock of seconds."""

QUOTED_LINES = 6
"""So many of a program's last words are worth reading."""

_LOOKED_AT = 200
_FILES = 20_000
_DEPTH = 3
_HEAD = 4096
_IQR_OF_NORMAL = 1.349
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
    """

    probe: Probe
    task: Task
    line: str
    outcome: Outcome
    fom: float | None
    seconds: float | None
    printed_bytes: int
    directory_bytes: int

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


@dataclass(frozen=True, slots=True)
class Litter:
    """What the program leaves where it starts.

    Attributes:
        files: That the first run wrote.
        overwritten: Those of them that later runs wrote anew, while these made no files of other names.
    """

    files: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What the runs have shown.

    Attributes:
        study: Its seed is set.
        settings: How evaluations are run.
        runs: By number.
        litter: What they left behind.
        never_active: Flags that were active at no point.
        room: The free bytes where the directory of the study will be; None: not known.
    """

    study: Study
    settings: EvaluationSettings
    runs: tuple[Run, ...]
    litter: Litter = field(default_factory=Litter)
    never_active: tuple[str, ...] = ()
    room: int | None = None

    @property
    def default(self) -> Run:
        """The first run, at the default point."""
        return self.runs[0]

    def of(self, *roles: Role) -> list[Run]:
        """Return the runs for a purpose."""
        return [run for run in self.runs if run.probe.role in roles]

    @property
    def points(self) -> list[Run]:
        """The runs with one seed at different points."""
        return self.of(Role.DEFAULT, Role.POINT, Role.BASE, Role.FLAG)

    @property
    def sound(self) -> list[Run]:
        """The runs as a study's evaluations are, where they do not fail."""
        return [run for run in self.runs if run.fom is not None and run.probe.role is not Role.BAD]

    @cached_property
    def flags(self) -> dict[str, list[tuple[Run, Run]]]:
        """For each flag that was changed alone, the runs with the one value and the other."""
        pairs: dict[str, list[tuple[Run, Run]]] = {}
        for run in self.of(Role.FLAG, Role.BOUND):
            pairs.setdefault(run.probe.flag, []).append((self.runs[run.probe.base], run))
        return pairs

    @property
    def without_effect(self) -> list[str]:
        """Flags that leave the figure of merit as it is wherever they were changed."""
        return [flag for flag, pairs in self.flags.items() if all(a.fom == b.fom is not None for a, b in pairs)]

    @property
    def is_repeatable(self) -> bool:
        """Whether the same seed gave the same figure of merit."""
        return all(run.fom == self.default.fom for run in self.of(Role.AGAIN))

    @property
    def at_default(self) -> list[float]:
        """The figures of merit at the default point, that of the repetition with the same seed second."""
        runs = [self.default, *self.of(Role.AGAIN, Role.SEED)]
        return [run.fom for run in runs if run.fom is not None]

    @property
    def noise(self) -> float:
        """The standard deviation at the default point; a repetition that agrees with the first is no other run."""
        first, *others = self.at_default
        values = [first, *(others[1:] if self.is_repeatable else others)]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def spread(self) -> float:
        """The standard deviation among different points, from the quartiles, for one very bad point says little."""
        values = [run.fom for run in self.points if run.fom is not None]
        if len(values) < 2:  # noqa: PLR2004 - there is nothing to compare
            return 0.0
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / _IQR_OF_NORMAL


class Bench:
    """Where probes are run: a directory of their own, and slots as the study will have them.

    Args:
        study: Its seed must be set.
        settings: How evaluations are run.
        root: The directory.
        launcher: Runs them.
        watcher: Is told.
    """

    def __init__(
        self, study: Study, settings: EvaluationSettings, root: Path, launcher: Launcher, watcher: Watcher
    ) -> None:
        self._study = study
        self._settings = settings
        self._directory = StudyDirectory(root)
        self._directory.make()
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
            self._launcher.wait(_WAIT_SECONDS)
            for tag, status in self._launcher.poll(tasks.keys()).items():
                if isinstance(status, Exited | NotStarted | Gone):
                    runs.append(self._ended(*tasks.pop(tag), status))
                    self._watcher.ended()
            for notice in self._launcher.notices():
                self._watcher.notice(notice)
        return sorted(runs, key=lambda run: run.probe.number)

    def _task(self, probe: Probe) -> tuple[Task, str]:
        """Return what is run for `probe`, as a study would (see `TaskMaker`), but with the seed of the probe."""
        directory, source = self._directory, self._settings.source
        number, seed = str(probe.number), str(probe.seed)
        save = checkpoint_path(directory.checkpoints(), probe.number)
        handover = Handover(checkpoint_path(directory.checkpoints(), NOWHERE), save, is_first=True)
        Path(save).mkdir(parents=True, exist_ok=True)
        rendered = render(self._study, directory, Asked(probe.number, Suggestion(probe.values)), handover, probe.seed)
        needs_own = source is not None or "directory" in self._study.filled_command.facts
        own = directory.make_evaluation(probe.number, source) if needs_own else None
        tag = f"{directory.root.name}:{number}:1"
        minutes = self._settings.time_limit_minutes
        task = Task(
            tag=tag,
            argv=rendered.argv,
            environment={
                **rendered.environment,
                "CRAYAI_TAG": tag,
                "CRAYAI_EVALUATION": number,
                "CRAYAI_ATTEMPT": "1",
                "CRAYAI_SEED": seed,
                "CRAYAI_GENERATION": "0",
            },
            directory=Path.cwd() if own is None or source is None else own,
            output=directory.output(probe.number, 1),
            time_limit_seconds=None if minutes is None else 60 * minutes,
        )
        return task, rendered.line

    def _ended(self, probe: Probe, task: Task, line: str, status: Exited | NotStarted | Gone) -> Run:
        outcome = outcome_of(status, task, self._study)
        files = [path for path in (Path(task.stdout), Path(task.stderr)) if path.exists()]
        own = Path(self._directory.evaluation(probe.number))
        return Run(
            probe=probe,
            task=task,
            line=line,
            outcome=outcome,
            fom=self._study.loss(outcome.loss) if isinstance(outcome, Completed) else None,
            seconds=status.seconds if isinstance(status, Exited) else None,
            printed_bytes=sum(path.stat().st_size for path in files),
            directory_bytes=sum(path.lstat().st_size for path in own.rglob("*") if not path.is_symlink()),
        )


def examine(
    study: Study,
    settings: EvaluationSettings,
    root: Path,
    watcher: Watcher,
    *,
    quick: bool = False,
    room: int | None = None,
) -> Examination:
    """Run the program of `study` at the points that tell something; at the default one alone if it fails there.

    Args:
        study: Its seed must be set.
        settings: How evaluations are run.
        root: A directory to run in, which is left with what the runs printed.
        watcher: Is told how far the runs are.
        quick: Whether to leave out the runs that change one flag alone, and second looks.
        room: See `Examination`.
    """
    start = settings.source or Path.cwd()
    prober = Prober(study)
    with closing(_launcher(settings, root)) as launcher:
        bench = Bench(study, settings, root, launcher, watcher)
        before = snapshot(start, root)
        runs = bench.run([prober.default()])
        if runs[0].fom is None:
            return Examination(study=study, settings=settings, runs=tuple(runs), room=room)
        litter = _Litter(start, root, before)
        time.sleep(max(0.0, TICK_SECONDS - (runs[0].seconds or 0.0)))
        runs += bench.run(prober.others(quick=quick), runs[0].seconds)
        seen = Examination(study=study, settings=settings, runs=tuple(runs))
        if not quick:
            bases = [run.probe for run in seen.points if run.fom is not None]
            is_noisy = len(set(seen.at_default)) > 1
            runs += bench.run(prober.closer(seen.without_effect, bases, is_noisy=is_noisy), runs[0].seconds)
        return Examination(
            study=study,
            settings=settings,
            runs=tuple(runs),
            litter=litter.now(),
            never_active=tuple(prober.never_active),
            room=room,
        )


def run_default_point(study: Study, settings: EvaluationSettings, root: Path, watcher: Watcher) -> Run:
    """Run the program once, at the point that the study will begin with."""
    with closing(_launcher(settings, root)) as launcher:
        return Bench(study, settings, root, launcher, watcher).run([Prober(study).default()])[0]


def lines_of(file: str) -> list[str]:
    """Return the last lines of a file that are not blank, without colours."""
    return [line for line in _ESCAPE.sub("", tail(file, _LOOKED_AT)).splitlines() if line.strip()]


def _launcher(settings: EvaluationSettings, root: Path) -> LocalLauncher:
    gpus = visible_gpus() if settings.gpus is None else settings.gpus
    return LocalLauncher(root, settings.capacity, gpus, settings.cores_per_eval)


Stamp = tuple[int, int, int]
"""What changes with a file: its inode, its size, the time of its last change."""


def snapshot(start: Path, but: Path) -> dict[Path, Stamp]:
    """Return the files below `start`, some levels deep, without hidden ones, studies, and the directory `but`."""
    found: dict[Path, Stamp] = {}
    for path in _files(start, but):
        if len(found) >= _FILES:
            break
        try:
            status = path.stat()
        except OSError:
            continue  # it has just been removed, or is a link to nothing
        found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _files(start: Path, but: Path) -> Iterator[Path]:
    for name, directories, files in os.walk(start):
        here = Path(name)
        if here == but or "study.db" in files:
            directories.clear()
            continue
        is_deep = len(here.relative_to(start).parts) >= _DEPTH
        directories[:] = [] if is_deep else sorted(filter(_is_plain, directories))
        yield from (here / file for file in filter(_is_plain, files))


def _is_plain(name: str) -> bool:
    return not name.startswith((".", "__pycache__"))


class _Litter:
    """The files below `start` that the first run wrote, to see what becomes of them."""

    def __init__(self, start: Path, but: Path, before: dict[Path, Stamp]) -> None:
        self._start = start
        self._but = but
        self._after_first = snapshot(start, but)
        self._written = [path for path, stamp in self._after_first.items() if before.get(path) != stamp]
        self._heads = {path: _head(path) for path in self._written}

    def now(self) -> Litter:
        """Return what was written, and what was overwritten since; what only grew was not."""
        after = snapshot(self._start, self._but)
        has_others = bool(after.keys() - self._after_first.keys())
        changed = [p for p in self._written if p in after and after[p] != self._after_first[p] and not self._grew(p)]
        return Litter(self._names(self._written), () if has_others else self._names(changed))

    def _grew(self, path: Path) -> bool:
        head = self._heads[path]
        return path.stat().st_size > self._after_first[path][1] and _head(path)[: len(head)] == head

    def _names(self, paths: Iterable[Path]) -> tuple[str, ...]:
        return tuple(str(path.relative_to(self._start)) for path in paths)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
