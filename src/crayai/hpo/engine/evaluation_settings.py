"""How evaluations are run: settings that may differ from one driver to the next, and what follows from them."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from crayai.hpo.engine.checkpoints import Keep
from crayai.hpo.engine.clusters import Cluster, cluster_launcher
from crayai.hpo.engine.interrupts import GRACE_SECONDS
from crayai.hpo.engine.policies import policies_of
from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.base import Launcher
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.launch.containers.images import check_mount_points
from crayai.hpo.launch.dask.connection import places_of
from crayai.hpo.launch.dask.launcher import DaskLauncher
from crayai.hpo.launch.dask.settings import Dask
from crayai.hpo.launch.gpus import visible_gpus
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
        is_on_slurm = self.cluster is not None and self.cluster.manager == "slurm"
        if self.container is not None and self.container.engine == "pyxis" and not is_on_slurm:
            raise SettingsError(
                "the engine 'pyxis' is a part of Slurm: it needs the launcher 'slurm', or launcher='wlm'"
            )
        if self.dask is not None and (self.gpus or self.cores_per_eval is not None):
            raise SettingsError(
                "gpus and cores_per_eval do not belong to the launcher 'dask', whose workers have what they were "
                f"started with; use dask_resources: got {self.gpus!r} and {self.cores_per_eval!r}"
            )
        if self.cluster is not None or self.dask is not None:
            return
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
    def most_at_once(self) -> int:
        """How many evaluations run as soon as they are launched, as far as is known before."""
        return sys.maxsize if self.slots is None and self.has_workers else self.capacity

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
        return self.cluster is not None or self.has_workers

    @property
    def has_workers(self) -> bool:
        """Whether evaluations run on workers of Dask that somebody else has started."""
        return self.dask is not None and not self.dask.is_local

    @property
    def time_limit_seconds(self) -> float | None:
        """Of one evaluation; None: none."""
        return None if self.time_limit_minutes is None else 60 * self.time_limit_minutes

    @property
    def nodes_per_evaluation(self) -> float:
        """How many nodes an evaluation has, or which part of one."""
        if self.urika is not None:
            return self.urika.nodes_per_eval
        if self.has_workers:
            return 1.0  # a worker's place
        return self.cluster.nodes_per_evaluation if self.cluster else 1 / self.capacity

    def counted(self) -> "EvaluationSettings":
        """Return these with as many slots as workers of Dask have now, where there are as many as they have.

        Raises:
            LaunchError: There is no such cluster, or no Dask.
        """
        if self.dask is None or self.slots is not None or not self.has_workers:
            return self
        return replace(self, slots=places_of(self.dask) or None)

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
            return DaskLauncher(root, replace(self.dask, slots=self.slots), [self.start])
        gpus = (visible_gpus() if self.urika is None else []) if self.gpus is None else self.gpus
        return LocalLauncher(root, self.capacity, gpus, self.cores_per_eval)
