"""How a script wants its evaluations run: ``hpo.Evaluator("python train.py", …)``."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from crayai.hpo.engine.checkpoints import Keep
from crayai.hpo.engine.clusters import MANAGERS, Cluster, Mode, manager_here
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.interrupts import GRACE_SECONDS
from crayai.hpo.engine.study import Goal
from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.launch.dask.settings import Dask
from crayai.hpo.launch.urika import Urika
from crayai.hpo.launch.wrapping import surroundings
from crayai.hpo.strategy.base import check_at_least

_LAUNCHERS = ("local", "wlm", "urika", "dask")


@dataclass(eq=False, repr=False)
class Evaluator:
    """The command, and where and how it runs.

    Args:
        cmd: The shell command; hyperparameters are appended, or stand where ``@{flag}`` does.
        run_path: The directory of the study, relative to the caller's; evaluations have theirs below it.
        src_path: A directory whose entries each evaluation finds in a directory of its own, where it then starts.
        fom: What stands before the figure of merit on standard output.
        nodes: Nodes for all evaluations together.
        nodes_per_eval: Nodes for one evaluation.
        num_parallel_evals: Evaluations at once on this machine; None: one a core.
        launcher: ``local``, ``wlm``, ``urika``, ``dask``; None: ``wlm`` under a workload manager if `nodes` > 1, else
            ``local``.
        workload_manager: ``slurm``, ``pbs``, ``moab``, ``torque``, ``sge``, ``local``; None: found out.
        alloc_args: Extra arguments of the allocation command.
        alloc_jobid: An allocation to use; 0 or None: the one that the script runs in, or one that is made.
        launch_args: Extra arguments of the launch command.
        mode: Under a workload manager: ``steps`` in an allocation that is held, or ``jobs``, one for each evaluation.
        evals_per_node: How many evaluations share a node.
        max_allocations: How many allocations may be made one after another, when one ends before the search.
        poll_seconds: How often a workload manager is asked about jobs, at most.
        urika_args: Extra arguments of ``run_training``.
        dask_address: Of a scheduler of Dask; without it and a file, workers on this machine are started.
        dask_scheduler_file: The file that a scheduler of Dask has written.
        dask_resources: What an evaluation takes of a worker's resources, such as ``GPU=1``.
        checkpoint: The directory of checkpoints; not empty: a genetic search trains on from them. The command needs
            ``@checkpoint``, or ``@load`` and ``@save``.
        verbose: Print the settings, a line for each evaluation, and the program's output.
        goal: ``minimize`` or ``maximize`` the figure of merit.
        time_limit_minutes: After that an evaluation is ended, and has failed.
        gpus: The GPUs for the evaluations to share; None: all that are visible; empty: left alone.
        cores_per_eval: Bind each evaluation to so many cores; None: left alone.
        keep_output: Keep the output of every evaluation, not only of failed ones and the best.
        failures: What follows a failure, such as ``{"exit_code": "retry 1", "time_limit": "stop"}``.
        keep: Which checkpoints are left at the end: ``best``, ``frontier`` (what could be trained on from), ``all``.
        checkpoint_gib: What checkpoints may take of the file system at any time; None: what there is.
        checkpoint_files: How many files and directories they may be.
        grace_seconds: How long after SIGTERM or SIGUSR1 the search must have ended.
        container: The image in which evaluations run, such as ``"podman:python:3.11"``, or a `Container`.
        conda_env: The Conda environment in which they run, by name or path, or the path of a virtual environment.
    """

    cmd: str
    _: KW_ONLY
    run_path: str | Path = "run"
    src_path: str | Path | None = None
    fom: str = "FoM: "
    nodes: int = 1
    nodes_per_eval: int = 1
    num_parallel_evals: int | None = None
    launcher: str | None = None
    workload_manager: str | None = None
    alloc_args: str = ""
    alloc_jobid: int | None = None
    launch_args: str = ""
    mode: Mode = "steps"
    evals_per_node: int = 1
    max_allocations: int = 1
    poll_seconds: float = 5.0
    urika_args: str = ""
    checkpoint: str = ""
    verbose: bool = False
    goal: Goal = "minimize"
    time_limit_minutes: float | None = None
    gpus: Sequence[str | int] | None = None
    cores_per_eval: int | None = None
    keep_output: bool = False
    failures: Mapping[str, str] | None = None
    keep: Keep = "best"
    checkpoint_gib: float | None = None
    checkpoint_files: int | None = None
    grace_seconds: float = GRACE_SECONDS
    container: Container | str | Mapping[str, Any] | None = None
    conda_env: str | Path = ""
    dask_address: str = ""
    dask_scheduler_file: str | Path = ""
    dask_resources: str = ""

    def settings(self) -> EvaluationSettings:
        """Return how evaluations are run, after a check that they can be.

        Raises:
            LaunchError: What was asked for is not to be had here.
            SettingsError: An argument that cannot be.
        """
        self._check()
        cluster = self._cluster() if self._wants_workload_manager() else None
        container, environment = surroundings(self.container, str(self.conda_env))
        return EvaluationSettings(
            container=container,
            environment=environment,
            urika=self._urika() if self.launcher == "urika" else None,
            dask=self._dask() if self.launcher == "dask" else None,
            slots=self.num_parallel_evals if cluster is None or not cluster.has_steps else None,
            cluster=cluster,
            source=Path(self.src_path).absolute() if self.src_path else None,
            time_limit_minutes=self.time_limit_minutes,
            gpus=None if self.gpus is None else [str(gpu) for gpu in self.gpus],
            cores_per_eval=self.cores_per_eval,
            keep_output=self.keep_output,
            checkpoint=str(self.checkpoint),
            keep=self.keep,
            checkpoint_gib=self.checkpoint_gib,
            checkpoint_files=self.checkpoint_files,
            failures=self.failures or {},
            grace_seconds=self.grace_seconds,
        )

    def _check(self) -> None:
        check_at_least(1, nodes=self.nodes, nodes_per_eval=self.nodes_per_eval)
        check_at_least(1, num_parallel_evals=self.num_parallel_evals)
        if self.launcher not in (None, *_LAUNCHERS):
            raise SettingsError(f"launcher must be one of {', '.join(_LAUNCHERS)}, got {self.launcher!r}")
        if self.workload_manager not in (None, "local", *MANAGERS):
            known = ", ".join(["local", *MANAGERS])
            raise SettingsError(f"workload_manager must be one of {known}, got {self.workload_manager!r}")
        if self.nodes < self.nodes_per_eval:
            got = f"nodes={self.nodes} nodes_per_eval={self.nodes_per_eval}"
            raise SettingsError(f"nodes_per_eval must be between 1 and nodes, got {got}")

    def _wants_workload_manager(self) -> bool:
        if self.launcher is not None:
            return self.launcher == "wlm"
        return self.nodes > 1 and self.workload_manager != "local"

    def _urika(self) -> Urika:
        return Urika(
            nodes=self.nodes,
            nodes_per_eval=self.nodes_per_eval,
            arguments=self.urika_args,
            alloc_jobid=self.alloc_jobid,
        )

    def _dask(self) -> Dask:
        return Dask(
            address=self.dask_address,
            scheduler_file=str(self.dask_scheduler_file),
            resources=self.dask_resources,
        )

    def _cluster(self) -> Cluster:
        """Return how evaluations run under the workload manager, which is there.

        Raises:
            LaunchError: There is none.
        """
        wanted = f"launcher={self.launcher!r}" if self.launcher else f"nodes={self.nodes}"
        return Cluster(
            manager=manager_here(self.workload_manager, wanted),
            mode=self.mode,
            nodes=self.nodes,
            nodes_per_eval=self.nodes_per_eval,
            evals_per_node=self.evals_per_node,
            alloc_args=self.alloc_args,
            alloc_jobid=self.alloc_jobid,
            launch_args=self.launch_args,
            max_allocations=self.max_allocations,
            poll_seconds=self.poll_seconds,
        )
