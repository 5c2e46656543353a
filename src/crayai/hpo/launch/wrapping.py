"""What stands around a program: a container, and inside it a Conda or virtual environment."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.containers.binds import Bind, binds_of
from crayai.hpo.launch.containers.container import Container, container_of, with_engine
from crayai.hpo.launch.containers.engines import ENGINES
from crayai.hpo.launch.containers.words import Place, srun_arguments
from crayai.hpo.launch.environment import entering, pasting, prefix_of
from crayai.hpo.launch.urika import Urika

PASSED = (
    "CRAYAI_*", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "OMP_*", "NCCL_*",
    "MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE",
    "SLURM_*", "PBS_*", "SGE_*", "PE_HOSTFILE", "NSLOTS", "PALS_*", "PMI*", "OMPI_*",
)  # fmt: skip
"""The variables that evaluations find in any container: what launchers add, and how parts of a program find another."""


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """What stands around every evaluation of a study.

    Attributes:
        container: With its engine; None: there is none.
        prefix: Of the Conda or virtual environment; empty: there is none.
        binds: What a container sees of the machine.
        urika: What runs it, in a container of its own; None: nothing of the kind.
    """

    container: Container | None = None
    prefix: str = ""
    binds: Sequence[Bind] = ()
    urika: Urika | None = None

    @property
    def engine(self) -> str:
        """Of the container; empty: there is none."""
        return self.container.engine if self.container else ""

    def around(self, argv: Sequence[str], directory: Path, environment: Mapping[str, str], tag: str) -> tuple[str, ...]:
        """Return the command that runs `argv` inside, in `directory`, where it has the variables of `environment`."""
        if self.urika is not None:
            return tuple(self.urika.around(argv, directory, environment, self.prefix))
        words = self._inside([*entering(self.prefix), *argv], directory)
        if self.container is None or not (guard := ENGINES[self.container.engine].guard):
            return tuple(words)
        patterns = [*environment, *PASSED, *self.container.pass_environment]
        variables = "|".join(patterns).replace("*", ".*")
        return ("/bin/sh", "-c", guard, "crayai-" + re.sub(r"[^A-Za-z0-9_.-]", "-", tag), variables, *words)

    def pasted(self, argv: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return the same command for people to paste, without what only we need; it sets `environment` inside."""
        setting = _setting(environment or {})
        if self.urika is not None:
            return self.urika.around(argv, directory, environment or {}, self.prefix)
        words = self._inside([*setting, *pasting(self.prefix), *argv], directory)
        words = ["srun", *self.srun_arguments(directory), *words] if self._is_pyxis else words
        return [*_setting(self.variables()), *words]

    def srun_arguments(self, directory: Path) -> list[str]:
        """Return the arguments for srun, where it is Slurm that makes the container."""
        return srun_arguments(self._place(self.container, directory)) if self.container and self._is_pyxis else []

    def variables(self) -> dict[str, str]:
        """Return what the engine itself needs in its environment, and may not have."""
        if self.urika is not None:
            return self.urika.variables()
        if self.container is None:
            return {}
        return ENGINES[self.container.engine].variables(self._place(self.container, Path()))

    @property
    def _is_pyxis(self) -> bool:
        return self.engine == "pyxis"

    def _inside(self, argv: Sequence[str], directory: Path) -> list[str]:
        """Return the command that runs `argv` in the container."""
        if self.container is None:
            return list(argv)
        engine = ENGINES[self.container.engine]
        place = self._place(self.container, directory)
        return [*engine.words(place), *_setting(self.container.environment), *argv]

    def _place(self, container: Container, directory: Path) -> Place:
        """Return where a task runs, in terms of the engine."""
        engine, root = ENGINES[container.engine], Path(container.image)
        return Place(
            program=engine.program,
            image=container.image,
            is_directory=container.is_path and root.is_dir(),
            is_writable=container.writable,
            binds=self.binds,
            directory=str(directory),
            gpu=engine.gpus[container.gpu_kind] if container.gpu_kind else (),
            words=shlex.split(container.engine_args),
        )


def _setting(variables: Mapping[str, str]) -> list[str]:
    """Return the words that set variables for the command behind them."""
    return ["env", *(f"{name}={text}" for name, text in variables.items())] if variables else []


def surroundings(
    container: Container | str | Mapping[str, Any] | None, environment: str
) -> tuple[Container | None, str]:
    """Return the container and the directory of the environment that a user has asked for, which are there.

    Raises:
        LaunchError: There is no engine for the container.
        SettingsError: What was asked for cannot be.
    """
    if not isinstance(environment, str):
        raise SettingsError(f"conda_env must be a name or a path, got {environment!r}")
    wanted = container_of(container)
    found = None if wanted is None else with_engine(wanted)
    return found, prefix_of(environment, image=None if found is None else found.image)


def wrapping_of(
    container: Container | None, prefix: str, paths: Sequence[Path], urika: Urika | None = None
) -> Wrapping:
    """Return what stands around evaluations that see `paths`, inside a container under the same names.

    Raises:
        LaunchError: A path that no engine can be told.
        SettingsError: The environment is neither in the image nor in what is bound into it.
    """
    binds = binds_of(container.binds, paths, ENGINES[container.engine].letters) if container else ()
    if container and prefix and not _has(container, prefix, binds):
        raise SettingsError(
            f"conda_env: there is no {prefix} in the image {container.image}, nor does the container see it of this "
            f"machine: bind it, as in binds = [{prefix!r}]"
        )
    return Wrapping(container=container, prefix=prefix, binds=binds, urika=urika)


def _has(container: Container, prefix: str, binds: Sequence[Bind]) -> bool:
    """Return whether a container has the environment at `prefix`; what cannot be looked into has it."""
    root = Path(container.image)
    is_bound = any(Path(prefix).is_relative_to(bind.destination) for bind in binds)
    return is_bound or not (container.is_path and root.is_dir()) or (root / prefix.lstrip("/")).is_dir()
