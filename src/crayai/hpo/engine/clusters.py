"""From settings to the launcher of a workload manager."""

import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.batch import torque_on_slurm
from crayai.hpo.launch.batch.dialect import Dialect
from crayai.hpo.launch.batch.driver_job import DriverJob
from crayai.hpo.launch.batch.grid_engine import GridEngine
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.launch.batch.moab import Moab
from crayai.hpo.launch.batch.pbs import Pbs
from crayai.hpo.launch.batch.slurm import Slurm
from crayai.hpo.launch.batch.torque import Torque
from crayai.hpo.launch.batch.torque_on_slurm import TorqueOnSlurm
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.sites import slurm as slurm_site
from crayai.hpo.launch.steps import node_file
from crayai.hpo.launch.steps import slurm as slurm_steps
from crayai.hpo.launch.steps.allocation import Allocation
from crayai.hpo.launch.steps.launcher import StepLauncher
from crayai.hpo.launch.steps.node_file import NodeFile
from crayai.hpo.launch.steps.nodes import Shape
from crayai.hpo.strategy.base import check_above, check_at_least

Mode = Literal["steps", "jobs"]
MANAGERS = {"slurm": "srun", "pbs": "qsub", "moab": "msub", "torque": "qsub", "sge": "qsub"}
"""Workload managers, each with the command by which it is found."""
_DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "slurm": Slurm,
    "pbs": Pbs,
    "moab": Moab,
    "torque": lambda: TorqueOnSlurm() if torque_on_slurm.is_here() else Torque(),
    "sge": GridEngine,
}
_OF_A_NODE_FILE = {"pbs", "moab", "torque"}
"""Those whose jobs find their nodes in a file."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """How evaluations run under a workload manager.

    Attributes:
        manager: Which one.
        mode: ``steps`` in an allocation that is held, or a ``jobs`` of its own for each.
        nodes: For all evaluations together.
        nodes_per_eval: For one.
        evals_per_node: How many share a node.
        alloc_args: Arguments of the command that allocates, or submits a job.
        alloc_jobid: An allocation to use; None: the one that the driver runs in, else one is made.
        launch_args: Arguments of the command that launches an evaluation on its nodes.
        max_allocations: How many may be made one after another, when one ends before the study.
        poll_seconds: How often the workload manager is asked about jobs, at most.

    Raises:
        SettingsError: A setting that cannot be.
    """

    manager: str = "slurm"
    mode: Mode = "steps"
    nodes: int = 1
    nodes_per_eval: int = 1
    evals_per_node: int = 1
    alloc_args: str = ""
    alloc_jobid: int | None = None
    launch_args: str = ""
    max_allocations: int = 1
    poll_seconds: float = 5.0

    def __post_init__(self) -> None:
        check_at_least(1, nodes=self.nodes, nodes_per_eval=self.nodes_per_eval, evals_per_node=self.evals_per_node)
        check_at_least(1, max_allocations=self.max_allocations)
        check_above(0, poll_seconds=self.poll_seconds)
        if self.mode not in get_args(Mode):
            raise SettingsError(f"mode must be 'steps' or 'jobs', got {self.mode!r}")
        if self.nodes < self.nodes_per_eval:
            raise SettingsError(
                f"nodes_per_eval must be between 1 and nodes, got nodes={self.nodes} "
                f"nodes_per_eval={self.nodes_per_eval}"
            )
        if self.evals_per_node > 1 and self.nodes_per_eval > 1:
            raise SettingsError(
                f"evaluations either share a node or have several: got evals_per_node={self.evals_per_node} "
                f"nodes_per_eval={self.nodes_per_eval}"
            )
        if self.evals_per_node > 1 and not self.has_steps:
            raise SettingsError(
                f"evals_per_node is for evaluations that are steps on nodes which are held, got {self.evals_per_node} "
                f"where each is a job of {self.manager}: leave it out, and ask for a part of a node in alloc_args"
            )
        for name in ("alloc_args", "launch_args"):
            try:
                shlex.split(getattr(self, name))
            except ValueError as error:
                raise SettingsError(f"{name} is no list of words: {error}, got {getattr(self, name)!r}") from error

    @property
    def slots(self) -> int:
        """How many evaluations run at once."""
        return self.nodes // self.nodes_per_eval * self.evals_per_node

    @property
    def has_steps(self) -> bool:
        """Whether evaluations are steps in an allocation; one that we do not run in ourselves only Slurm has."""
        is_inside = self.manager in _OF_A_NODE_FILE and node_file.is_inside()
        return self.mode == "steps" and (self.manager == "slurm" or is_inside)

    @property
    def nodes_per_evaluation(self) -> float:
        """How many nodes an evaluation has, or which part of one."""
        return self.nodes_per_eval / self.evals_per_node


def manager_here(wished: str | None, wanted: str) -> str:
    """Return the workload manager that was wished for, or else the one that is here.

    Raises:
        LaunchError: There is none.
    """
    commands = {name: command for name, command in MANAGERS.items() if wished in (None, name)}
    found = next((name for name, command in commands.items() if shutil.which(command)), None)
    if found is None:
        raise LaunchError(
            f"{wanted} needs a workload manager (Slurm, PBS Pro, Moab/TORQUE, Grid Engine), and there is none here: "
            f"{', '.join(sorted(set(commands.values())))} not found on PATH. To run on this machine, use "
            "launcher='local' and nodes=1"
        )
    if found == "pbs" and wished is None:
        found = _whose_qsub()
    return found


def _whose_qsub() -> str:
    """Return which of those that submit by ``qsub`` is here, by what it says of its version.

    TORQUE's must not be asked for ``-help``: for it that is ``-h -e lp``, which submits a job. Grid Engine's, which
    knows of no version, may be: its help begins with ``SGE 8.1.9``.
    """
    answer = ask(["qsub", "--version"])
    said = answer.out + answer.err
    if "pbs_version" in said:
        return "pbs"
    if re.search(r"^version:", said, re.IGNORECASE | re.MULTILINE):
        return "torque"
    return "sge" if re.match(r"\S*GE\b", ask(["qsub", "-help"]).out) else "torque"


def driver_job(
    cluster: Cluster | None, directory: Path, command: Sequence[str], minutes: int, arguments: str
) -> tuple[DriverJob, Dialect]:
    """Return the job that drives a study by `command`; with steps it is the allocation, too.

    Raises:
        LaunchError: There is no workload manager.
    """
    manager = manager_here(cluster.manager if cluster else None, "--as-job")
    directory = directory.absolute()
    has_steps = cluster is not None and cluster.has_steps and manager == "slurm" and not cluster.alloc_jobid
    words = slurm_steps.nodes_words(cluster.nodes, cluster.alloc_args) if cluster and has_steps else []
    job = DriverJob(
        directory=directory,
        caller=Path.cwd(),
        command=command,
        name=f"crayai-driver-{hashlib.sha256(str(directory).encode()).hexdigest()[:7]}",
        minutes=minutes,
        arguments=[*words, *shlex.split(arguments)],
    )
    return job, _DIALECTS[manager]()


def cluster_launcher(cluster: Cluster, directory: Path, study_id: str, slots: int) -> StepLauncher | BatchLauncher:
    """Return the launcher for a study.

    Raises:
        LaunchError: The allocation that was named is not there any more.
    """
    name = f"crayai-{study_id[:8]}"
    if not cluster.has_steps:
        return _jobs(cluster, directory, name, slots)
    shape = Shape(
        nodes=cluster.nodes,
        nodes_per_eval=cluster.nodes_per_eval,
        evals_per_node=cluster.evals_per_node,
        arguments=cluster.launch_args,
    )
    if cluster.manager != "slurm":
        return StepLauncher(directory, shape, lambda: NodeFile(directory, shape))
    return StepLauncher(directory, shape, lambda: _allocation(cluster, name), cluster.max_allocations)


def _jobs(cluster: Cluster, directory: Path, name: str, slots: int) -> BatchLauncher:
    dialect = _DIALECTS[cluster.manager]()
    own = shlex.split(cluster.alloc_args)
    return BatchLauncher(
        directory,
        name,
        dialect,
        jobs=slots,
        arguments=[*dialect.nodes(cluster.nodes_per_eval, own), *own],
        prefix=dialect.launch(cluster.nodes_per_eval, shlex.split(cluster.launch_args)),
        most_together=_most_together() if cluster.manager == "slurm" else None,
        poll_seconds=cluster.poll_seconds,
    )


def _most_together() -> int:
    """Return how many tasks Slurm takes in an array."""
    most = slurm_site.setting(ask(slurm_site.ask_settings()), "MaxArraySize")
    return min(Slurm.most_together, max(1, int(most) - 1)) if most.isdigit() else Slurm.most_together


def _allocation(cluster: Cluster, name: str) -> Allocation:
    """Return the allocation that was named, the one that we run in, or one that is to be made."""
    own = os.environ.get("SLURM_JOB_ID", "") if os.environ.get("SLURM_JOB_NUM_NODES") else ""
    job = str(cluster.alloc_jobid or "") or own
    allocation = Allocation(name, cluster.nodes, cluster.alloc_args, job)
    if job:
        allocation.ask_how_it_is()
        held = allocation.held
        if allocation.reason:
            raise LaunchError(f"{allocation.reason}: give another alloc_jobid, or 0 to have one made")
        if held is not None and held.nodes < cluster.nodes:
            raise LaunchError(f"the allocation {job} has {held.nodes} nodes, and nodes={cluster.nodes} were asked for")
    return allocation
