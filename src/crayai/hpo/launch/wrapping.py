"""What stands around a program: a container, and inside it a Conda or virtual environment."""

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.container import Bind, Container, binds_of, container_of, with_engine
from crayai.hpo.launch.engines import LAUNCHER_VARIABLES, Place, inside, srun_arguments
from crayai.hpo.launch.environment import entering, prefix_of
from crayai.hpo.launch.urika import Urika


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

    def around(self, argv: Sequence[str], directory: Path, environment: Mapping[str, str], tag: str) -> tuple[str, ...]:
        """Return the command that runs `argv` inside, in `directory`, where it has the variables of `environment`."""
        if self.urika is not None:
            return tuple(self.urika.around(argv, directory, environment, self.prefix))
        entered = [*entering(self.prefix), *argv]
        if self.container is None:
            return tuple(entered)
        variables = self.container.environment
        setting = ["env", *(f"{name}={text}" for name, text in variables.items())] if variables else []
        place = Place(
            container=self.container,
            binds=self.binds,
            directory=str(directory),
            variables=[*environment, *LAUNCHER_VARIABLES],
            name="crayai-" + re.sub(r"[^A-Za-z0-9_.-]", "-", tag),
        )
        return tuple(inside(place, [*setting, *entered]))

    def srun_arguments(self, directory: Path) -> list[str]:
        """Return the arguments for srun, where it is Slurm that makes the container."""
        if self.container is None or self.container.engine != "pyxis":
            return []
        return srun_arguments(self.container, self.binds, str(directory))

    def variables(self) -> dict[str, str]:
        """Return what the engine itself needs in its environment, and may not have."""
        if self.urika is not None:
            return self.urika.variables()
        if self.container is None or self.container.engine != "charliecloud" or os.environ.get("USER"):
            return {}
        return {"USER": pwd.getpwuid(os.getuid()).pw_name}


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
    """
    binds = binds_of(container, paths) if container else ()
    return Wrapping(container=container, prefix=prefix, binds=binds, urika=urika)
