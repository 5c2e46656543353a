"""Cray Urika's ``run_training``, which runs a command on nodes of the allocation that is active, in its own container.

Source: ``run_training [-N nodes] [--ppn n] [-e CONDA_ENV_PATH] [--no-node-list] "command"``, in the Urika-XC guide.
"""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.errors import LaunchError, SettingsError

PROGRAM = "run_training"


@dataclass(frozen=True, kw_only=True)
class Urika:
    """How evaluations share the nodes of an allocation.

    Attributes:
        nodes: For all evaluations together.
        nodes_per_eval: For one.
        arguments: More arguments of ``run_training``, such as ``--no-node-list --ppn 2``.
        alloc_jobid: The allocation of Slurm to use; None, 0: the one in which we run.

    Raises:
        SettingsError: A setting that cannot be.
    """

    nodes: int = 1
    nodes_per_eval: int = 1
    arguments: str = ""
    alloc_jobid: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.nodes_per_eval <= self.nodes:
            raise SettingsError(
                f"nodes_per_eval must be between 1 and nodes, got nodes={self.nodes} "
                f"nodes_per_eval={self.nodes_per_eval}"
            )
        try:
            shlex.split(self.arguments)
        except ValueError as error:
            raise SettingsError(f"urika_args is no list of words: {error}, got {self.arguments!r}") from error

    @property
    def line(self) -> str:
        """The beginning of its command line, for people."""
        return shlex.join([PROGRAM, "-N", str(self.nodes_per_eval), *shlex.split(self.arguments)])

    @property
    def slots(self) -> int:
        """How many evaluations run at once."""
        return self.nodes // self.nodes_per_eval

    def check_here(self) -> None:
        """Make sure that there is ``run_training``; that an allocation is active, it sees to itself.

        Raises:
            LaunchError: There is none.
        """
        if shutil.which(PROGRAM) is None:
            raise LaunchError(
                f"launcher='urika' needs the command {PROGRAM}, which is not on PATH here. Where there is no Urika, "
                "container= runs evaluations in a container with any launcher, and conda_env= in a Conda environment"
            )

    def variables(self) -> dict[str, str]:
        """Return what tells ``run_training`` the allocation that was named."""
        return {"SLURM_JOB_ID": str(self.alloc_jobid)} if self.alloc_jobid else {}

    def around(self, argv: Sequence[str], directory: Path, environment: Mapping[str, str], prefix: str) -> list[str]:
        """Return the command that runs `argv` on its nodes, in the Conda environment at `prefix` unless that is empty.

        What is in the allocation's containers has neither the directory nor the environment of who has started it.
        """
        variables = [f"{name}={text}" for name, text in environment.items()]
        conda = ["-e", prefix] if prefix else []
        line = f"cd {shlex.quote(str(directory))} && exec {shlex.join(['env', *variables, *argv])}"
        return [PROGRAM, "-N", str(self.nodes_per_eval), *conda, *shlex.split(self.arguments), line]
