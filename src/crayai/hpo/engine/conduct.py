"""From settings to a finished study: opens it, chooses the launcher, runs the loop."""

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from crayai.hpo.engine.budget import Account, Budget
from crayai.hpo.engine.checkpoints import Checkpoints, Keep
from crayai.hpo.engine.clusters import Cluster, cluster_launcher
from crayai.hpo.engine.interrupts import GRACE_SECONDS, Interrupts
from crayai.hpo.engine.loop import Loop
from crayai.hpo.engine.observer import Observer, Observers
from crayai.hpo.engine.outputs import Outputs
from crayai.hpo.engine.policies import policies_of
from crayai.hpo.engine.provenance import provenance
from crayai.hpo.engine.resume import OpenStudy, open_study
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.sight import Sight
from crayai.hpo.engine.study import Study
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.errors import CrayaiError, LaunchError, SettingsError, StoreError
from crayai.hpo.launch.base import Launcher
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.container import Container
from crayai.hpo.launch.dask_launcher import Dask, DaskLauncher
from crayai.hpo.launch.gpus import visible_gpus
from crayai.hpo.launch.images import check_image, check_mount_points
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.launch.urika import Urika
from crayai.hpo.launch.wrapping import Wrapping, wrapping_of
from crayai.hpo.strategy.base import check_above, check_at_least


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How evaluations are run; may differ from one driver of a study to the next.

    Attributes:
        slots: How many at once; None: as many as this process may use cores.
        cluster: The workload manager under which they run; None: this machine.
        source: The directory whose entries each evaluation finds in a directory of its own.
        time_limit_minutes: Of one evaluation; None: none.
        gpus: The GPUs for the slots to share; None: all that are visible; empty: left alone.
        cores_per_eval: Cores to bind each slot to; None: left alone.
        keep_output: Whether the output of every evaluation is kept.
        checkpoint: The directory below which checkpoints are kept; empty: the study's own.
        keep: Which checkpoints are left at the end: ``best``, ``frontier`` (what could be trained on from), ``all``.
        checkpoint_gib: What checkpoints may take of the file system at any time; None: what there is.
        checkpoint_files: How many files and directories they may be.
        failures: What follows a failure, by cause, where it is not the default; see `policies`.
        grace_seconds: How long after SIGTERM or SIGUSR1 the driver must have ended.
        container: In which they run, with its engine; None: in none.
        environment: The directory of the Conda or virtual environment in which they run; empty: in none.
        urika: What runs them on the nodes of an allocation; None: nothing of the kind.
        dask: The cluster of Dask on which they run; None: on none.

    Raises:
        SettingsError: A setting that cannot be.
    """

    slots: int | None = None
    cluster: Cluster | None = None
    source: Path | None = None
    time_limit_minutes: float | None = None
    gpus: Sequence[str] | None = None
    cores_per_eval: int | None = None
    keep_output: bool = False
    checkpoint: str = ""
    keep: Keep = "best"
    checkpoint_gib: float | None = None
    checkpoint_files: int | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    grace_seconds: float = GRACE_SECONDS
    container: Container | None = None
    environment: str = ""
    urika: Urika | None = None
    dask: Dask | None = None

    def __post_init__(self) -> None:
        check_at_least(1, slots=self.slots, cores_per_eval=self.cores_per_eval)
        check_above(0, time_limit_minutes=self.time_limit_minutes, grace_seconds=self.grace_seconds)
        check_above(0, checkpoint_gib=self.checkpoint_gib)
        check_at_least(1, checkpoint_files=self.checkpoint_files)
        if self.keep not in get_args(Keep):
            raise SettingsError(f"keep must be 'best', 'frontier' or 'all', got {self.keep!r}")
        policies_of(self.failures)
        if self.source is not None and not self.source.is_dir():
            raise SettingsError(f"src_path must be a directory, got {str(self.source)!r}")
        if self.urika is not None and self.container is not None:
            raise SettingsError("launcher='urika' has a container of its own: leave container out, or the launcher")
        if self.cluster is not None:
            return
        if self.container is not None and self.container.engine == "pyxis":
            raise SettingsError(
                "the engine 'pyxis' is a part of Slurm: it needs the launcher 'slurm', or launcher='wlm'"
            )
        cores = len(os.sched_getaffinity(0))
        if self.capacity * (self.cores_per_eval or 0) > cores:
            raise SettingsError(
                f"{self.capacity} evaluations at once with {self.cores_per_eval} cores each need more than the {cores} "
                "cores that this machine grants"
            )

    @property
    def capacity(self) -> int:
        """How many evaluations run at once."""
        nodes = self.cluster or self.urika
        return self.slots or (nodes.slots if nodes else len(os.sched_getaffinity(0)))

    @property
    def start(self) -> Path:
        """Where the program starts, or finds what its own directory has."""
        return self.source or Path.cwd()

    @property
    def is_here(self) -> bool:
        """Whether evaluations are processes of this machine."""
        return self.cluster is None and self.urika is None and self.dask is None

    @property
    def is_elsewhere(self) -> bool:
        """Whether evaluations run on other machines."""
        return self.cluster is not None or (self.dask is not None and not self.dask.is_local)

    @property
    def time_limit_seconds(self) -> float | None:
        """Of one evaluation; None: none."""
        return None if self.time_limit_minutes is None else 60 * self.time_limit_minutes

    @property
    def nodes_per_evaluation(self) -> float:
        """How many nodes an evaluation has, or which part of one."""
        if self.urika is not None:
            return self.urika.nodes_per_eval
        return self.cluster.nodes_per_evaluation if self.cluster else 1 / self.capacity

    def check_here(self) -> None:
        """Make sure that what is to run evaluations does so here.

        Raises:
            LaunchError: There is none.
        """
        if self.urika is not None:
            self.urika.check_here()

    def wrapping(self, root: Path, checkpoints: Path | None = None) -> Wrapping:
        """Return what stands around the evaluations of the study in the directory `root`, which may use checkpoints.

        Raises:
            LaunchError: The container cannot see what it must.
        """
        wrapping = wrapping_of(
            self.container,
            self.environment,
            [root.absolute(), self.start, *([checkpoints] if checkpoints else [])],
            self.urika,
        )
        if self.container is not None:
            check_mount_points(self.container, wrapping.binds)
        return wrapping

    def cluster_around(self, wrapping: Wrapping) -> Cluster | None:
        """Return the cluster, which may be what makes the container; None: there is none."""
        words = wrapping.srun_arguments(self.start)
        if self.cluster is None or not words:
            return self.cluster
        return replace(self.cluster, launch_args=shlex.join([*words, *shlex.split(self.cluster.launch_args)]))

    def launcher(self, root: Path, study_id: str, wrapping: Wrapping) -> Launcher:
        """Return the launcher for evaluations."""
        if (cluster := self.cluster_around(wrapping)) is not None:
            return cluster_launcher(cluster, root, study_id, self.capacity)
        if self.dask is not None:
            return DaskLauncher(root, replace(self.dask, slots=self.slots))
        gpus = (visible_gpus() if self.urika is None else []) if self.gpus is None else self.gpus
        return LocalLauncher(root, self.capacity, gpus, self.cores_per_eval)


@dataclass(frozen=True, slots=True)
class Conducted:
    """How far a driver came.

    Attributes:
        search: The search.
        end_reason: Why it was left before its end; empty: it is over, or a signal asked for it.
        signal: The signal that asked to stop; 0: none did.
        checkpoints: The directory of checkpoints.
        is_out_of_time: Whether the same command could go on at once, elsewhere.
        has_left: Whether evaluations go on for the next driver.
    """

    search: Search
    end_reason: str
    signal: int
    checkpoints: Path
    is_out_of_time: bool
    has_left: bool


def conduct(
    study: Study,
    root: Path,
    settings: EvaluationSettings,
    observers: Sequence[Observer] = (),
    *,
    budget: Budget | None = None,
    extend: bool = False,
    is_brief: bool = False,
) -> Conducted:
    """Run `study` in the directory `root` until it is over, the budget used up, or a signal stops it.

    If `is_brief`, only for as long as there is something else to do than to wait.

    Raises:
        SettingsError: The command's program does not exist, or the directory cannot be written to.
        StudyChanged: The study there has other settings.
        StudyFailed: The program fails whatever the hyperparameters.
        StudyLocked: Another driver works on the study there.
    """
    check_program(study, settings)
    settings.check_here()
    with open_study(root, study, extend=extend) as opened:
        checkpoints = _checkpoints(opened, settings)
        sight = _sight(opened, settings, checkpoints)
        observer = Observers([*observers, sight])
        observer.begin(opened.search, was_resumed=opened.was_resumed, checkpoints=checkpoints.root)
        if not opened.log.has_locks:
            observer.notice(
                f"the file system of {opened.directory.root} has no locks that all machines see: the files "
                f"{opened.directory.lock.name}.N keep a second driver away; leave them there"
            )
        launcher = settings.launcher(opened.directory.root, opened.study_id, sight.wrapping)
        if isinstance(launcher, LocalLauncher):
            launcher.start()
        loop = _loop(opened, settings, launcher, observer, budget or Budget(), checkpoints, sight)
        loop.is_brief = is_brief
        stopped = "the driver died"
        try:
            with loop.interrupts.caught():
                loop.run()
            stopped = loop.end_reason
        except CrayaiError as error:
            stopped = str(error).splitlines()[0]
            raise
        finally:
            if not loop.has_left:
                launcher.close()
            observer.end(opened.search)
            with suppress(StoreError):
                opened.log.record_settings({"stopped": stopped})
        return Conducted(
            opened.search,
            loop.end_reason,
            loop.interrupts.signal,
            checkpoints.root,
            loop.is_out_of_time,
            loop.has_left,
        )


def _sight(opened: OpenStudy, settings: EvaluationSettings, checkpoints: Checkpoints) -> Sight:
    """Return who looks at what evaluations are made with, after what is known of it was recorded."""
    root, uses_checkpoints = opened.directory.root, opened.search.study.uses_checkpoints
    wrapping = settings.wrapping(root, checkpoints.root if uses_checkpoints else None)
    opened.agree_on_surroundings(wrapping, settings.start)
    check_environment(settings, wrapping)
    sight = Sight(opened=opened, wrapping=wrapping, start=settings.start, is_here=settings.is_here)
    sight.take_in()
    opened.record_provenance(provenance(wrapping, settings.start, root))
    return sight


def _checkpoints(opened: OpenStudy, settings: EvaluationSettings) -> Checkpoints:
    elsewhere = opened.agreed_checkpoint(settings.checkpoint)
    return Checkpoints(
        root=opened.directory.checkpoints(elsewhere, opened.study_id),
        search=opened.search,
        keep=settings.keep,
        most_gib=settings.checkpoint_gib,
        most_files=settings.checkpoint_files,
    )


def _loop(
    opened: OpenStudy,
    settings: EvaluationSettings,
    launcher: Launcher,
    observer: Observer,
    budget: Budget,
    checkpoints: Checkpoints,
    sight: Sight,
) -> Loop:
    tasks = TaskMaker(
        search=opened.search,
        checkpoints=checkpoints,
        directory=opened.directory,
        study_id=opened.study_id,
        caller=Path.cwd(),
        source=settings.source,
        time_limit_seconds=settings.time_limit_seconds,
        wrapping=sight.wrapping,
        seen=None if sight.is_here else sight.file,
    )
    return Loop(
        search=opened.search,
        launcher=launcher,
        tasks=tasks,
        outputs=Outputs(opened.directory, opened.search, keep_all=settings.keep_output),
        account=Account(
            budget,
            opened.search,
            worked_seconds=opened.worked_seconds,
            slots=settings.capacity,
            nodes_per_evaluation=settings.nodes_per_evaluation,
        ),
        policies=policies_of(settings.failures),
        observer=observer,
        interrupts=Interrupts(settings.grace_seconds),
    )


def check_program(study: Study, settings: EvaluationSettings) -> None:
    """Refuse a command whose program does not exist; where there is a container, one whose image does not.

    Raises:
        LaunchError: There is no such image, or no engine.
        SettingsError: With the program and where it was looked for.
    """
    if settings.container is not None:
        check_image(settings.container, is_elsewhere=settings.is_elsewhere)
        return
    program = study.filled_command.program
    if program is None or settings.urika is not None:
        return
    start = settings.start
    path = f"{settings.environment}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    found = (start / program).is_file() if "/" in program else shutil.which(program, path=path)
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


def check_environment(settings: EvaluationSettings, wrapping: Wrapping) -> None:
    """Refuse an environment that is not inside the container, which is entered once for that.

    Where evaluations run elsewhere, an engine that runs nothing here may run them there.

    Raises:
        LaunchError: There is no such environment, or the engine runs nothing.
    """
    container = settings.container
    if container is None or not settings.environment or container.engine == "pyxis":
        return
    variables = [f"{name}={text}" for name, text in wrapping.variables().items()]
    answer = ask(["env", *variables, *wrapping.around(["/bin/sh", "-c", ":"], settings.start, {}, "crayai:probe")])
    if "has no environment" in answer.err:
        raise LaunchError(
            f"conda_env: there is no environment {settings.environment} inside {container.line}: give its path there, "
            "or bind it (binds)"
        )
    if answer.code != 0 and settings.is_here:
        raise LaunchError(f"the container {container.line} runs nothing here:\n{answer.err}")
