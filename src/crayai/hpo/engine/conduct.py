"""From settings to a finished study: opens it, chooses the launcher, runs the loop."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.engine.loop import Loop, Observer
from crayai.hpo.engine.resume import open_study
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import Study
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.gpus import visible_gpus
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.strategy.base import check_at_least


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How evaluations are run; may differ from one driver of a study to the next.

    Attributes:
        slots: How many at once; None: as many as this process may use cores.
        source: The directory whose entries each evaluation finds in a directory of its own.
        time_limit_minutes: Of one evaluation; None: none.
        gpus: The GPUs for the slots to share; None: all that are visible; empty: left alone.
        cores_per_eval: Cores to bind each slot to; None: left alone.
        keep_output: Whether the output of every evaluation is kept.

    Raises:
        SettingsError: A setting that cannot be.
    """

    slots: int | None = None
    source: Path | None = None
    time_limit_minutes: float | None = None
    gpus: Sequence[str] | None = None
    cores_per_eval: int | None = None
    keep_output: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, slots=self.slots, cores_per_eval=self.cores_per_eval)
        minutes = 1 if self.time_limit_minutes is None else self.time_limit_minutes
        if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not minutes > 0:
            raise SettingsError(f"time_limit_minutes must be above 0, got {minutes!r}")
        if self.source is not None and not self.source.is_dir():
            raise SettingsError(f"src_path must be a directory, got {str(self.source)!r}")
        cores = len(os.sched_getaffinity(0))
        if self.capacity * (self.cores_per_eval or 0) > cores:
            raise SettingsError(
                f"{self.capacity} evaluations at once with {self.cores_per_eval} cores each need more than the {cores} "
                "cores that this machine grants"
            )

    @property
    def capacity(self) -> int:
        """How many evaluations run at once."""
        return self.slots or len(os.sched_getaffinity(0))


def conduct(
    study: Study,
    root: Path,
    settings: EvaluationSettings,
    observers: Sequence[Observer] = (),
    *,
    extend: bool = False,
) -> Search:
    """Run `study` in the directory `root` until it is over, or stopped by Ctrl-C; return how far it came.

    Raises:
        SettingsError: The command's program does not exist, or the directory cannot be written to.
        StudyChanged: The study there has other settings.
        StudyFailed: The program fails whatever the hyperparameters.
        StudyLocked: Another driver works on the study there.
    """
    check_program(study, settings.source)
    with open_study(root, study, extend=extend) as opened:
        search = opened.search
        for observer in observers:
            observer.begin(search, was_resumed=opened.was_resumed)
        gpus = visible_gpus() if settings.gpus is None else settings.gpus
        launcher = LocalLauncher(opened.directory.root, settings.capacity, gpus, settings.cores_per_eval)
        launcher.start()
        limit = settings.time_limit_minutes
        tasks = TaskMaker(
            search=search,
            directory=opened.directory,
            study_id=opened.study_id,
            caller=Path.cwd(),
            source=settings.source,
            time_limit_seconds=None if limit is None else 60 * limit,
        )
        loop = Loop(
            search=search,
            launcher=launcher,
            tasks=tasks,
            observers=observers,
            keep_output=settings.keep_output,
        )
        try:
            with loop.interrupts.caught():
                loop.run()
        finally:
            launcher.close()
            for observer in observers:
                observer.end(search)
        return search


def check_program(study: Study, source: Path | None) -> None:
    """Refuse a command whose program does not exist.

    Raises:
        SettingsError: With the program and where it was looked for.
    """
    program = study.filled_command.program
    if program is None:
        return
    start = source or Path.cwd()
    found = (start / program).is_file() if "/" in program else shutil.which(program)
    if not found:
        where = str(start) if "/" in program else "PATH"
        hint = f"; did you mean './{program}'?" if "/" not in program and (start / program).is_file() else ""
        raise SettingsError(
            f"the command {study.command!r} cannot run: there is no program {program!r} in {where}{hint}"
        )
    if "/" in program and not os.access(start / program, os.X_OK):
        raise SettingsError(
            f"the command {study.command!r} cannot run: {program!r} is not executable; chmod +x {program}"
        )
