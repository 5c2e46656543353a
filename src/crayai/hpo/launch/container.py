"""What a container is to a study: an image, the engine that runs it, and what it sees of this machine."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from crayai.hpo.errors import LaunchError, SettingsError

PROGRAMS: Mapping[str, str] = {
    "apptainer": "apptainer",
    "singularity": "singularity",
    "podman-hpc": "podman-hpc",
    "podman": "podman",
    "docker": "docker",
    "charliecloud": "ch-run",
    "bubblewrap": "bwrap",
    "shifter": "shifter",
    "enroot": "enroot",
    "pyxis": "srun",
}
"""The engines, each with its program; Pyxis is a part of Slurm's."""

_ALIASES = {program: engine for engine, program in PROGRAMS.items() if engine != "pyxis"}
_FOR_DIRECTORIES = ("apptainer", "singularity", "podman", "charliecloud", "bubblewrap")
_FOR_FILES: Mapping[str, Sequence[str]] = {
    ".sif": ("apptainer", "singularity"),
    ".img": ("apptainer", "singularity"),
    ".sqsh": ("enroot",),
    ".squashfs": ("charliecloud",),
    ".sqfs": ("charliecloud",),
}
_FOR_NAMES = ("podman-hpc", "podman", "docker", "shifter")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of this machine that a container sees; `options` such as ``ro``."""

    source: str
    destination: str
    options: str = ""

    def __str__(self) -> str:
        """Return it as most engines write it."""
        return ":".join([self.source, self.destination, *([self.options] if self.options else [])])


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image in which evaluations run, and how.

    The directories of the study, of the caller or ``src_path``, and of checkpoints are there under their own paths.

    Args:
        image: The name of an image, or the path of one: a file, or a directory with a root file system.
        engine: apptainer, singularity, podman, podman-hpc, docker, charliecloud, bubblewrap, shifter, enroot or pyxis;
            empty: the one that is here and can run the image.
        binds: What else it sees, such as ``/data``, ``/scratch/me:/data`` or ``/data:/data:ro``.
        gpu: Whether it is given the GPUs, by the engine's option for that.
        environment: Variables to set inside.
        writable: Whether what the program writes elsewhere than in binds may change the image.
        engine_args: More options of the engine's command that runs a container.

    Raises:
        SettingsError: A setting that cannot be.
    """

    image: str
    engine: str = ""
    binds: Sequence[str] = ()
    gpu: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    writable: bool = False
    engine_args: str = ""

    def __post_init__(self) -> None:
        self._check_names()
        if isinstance(self.binds, str) or not all(isinstance(bind, str) for bind in self.binds):
            raise SettingsError(f"binds of container must be a list of texts, got {self.binds!r}")
        for bind in self.binds:
            bind_of(bind)
        for name, text in dict(self.environment).items():
            if not isinstance(text, str) or not name or "=" in name:
                raise SettingsError(f"environment of container must be names with texts, got {name!r}: {text!r}")
        for name in ("gpu", "writable"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} of container must be true or false, got {getattr(self, name)!r}")
        try:
            shlex.split(self.engine_args)
        except ValueError as error:
            raise SettingsError(f"engine_args of container is no list of words: {error}") from error

    def _check_names(self) -> None:
        if not isinstance(self.image, str) or not self.image or self.image.startswith("-"):
            raise SettingsError(f"image of container must be the name or the path of an image, got {self.image!r}")
        if self.engine not in ("", *PROGRAMS):
            near = get_close_matches(str(self.engine), PROGRAMS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"engine of container must be one of {', '.join(PROGRAMS)}, got {self.engine!r}{hint}")
        if self.engine == "shifter" and self.writable:
            raise SettingsError("writable of container must be false with engine 'shifter', which never changes images")

    @property
    def is_directory(self) -> bool:
        """Whether the image is a directory of this machine."""
        return "/" in self.image and Path(self.image).is_dir()

    @property
    def line(self) -> str:
        """What it is in one line, as people write it."""
        return f"{self.engine}:{self.image}"


def container_of(wanted: Container | str | Mapping[str, Any] | None) -> Container | None:
    """Return the container that somebody has written as text, as a table, or as one.

    ``podman:python:3.11`` names the engine before the image, ``python:3.11`` leaves it to what is here.

    Raises:
        SettingsError: It cannot be.
    """
    if wanted is None or isinstance(wanted, Container):
        return wanted
    if isinstance(wanted, str):
        if not wanted.strip():
            raise SettingsError("container must name an image, as 'podman:python:3.11' does, got ''")
        engine, colon, image = wanted.partition(":")
        engine = _ALIASES.get(engine, engine)
        return Container(image=image, engine=engine) if colon and engine in PROGRAMS else Container(image=wanted)
    if not isinstance(wanted, Mapping):
        raise SettingsError(f"container must be text, such as 'podman:python:3.11', or a table, got {wanted!r}")
    known = [one.name for one in fields(Container)]
    for key in wanted:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise SettingsError(f"unknown key {key!r} of container; {hint}")
    if "image" not in wanted:
        raise SettingsError(f"container must have an image, got {dict(wanted)!r}")
    short = container_of(wanted["image"]) if "engine" not in wanted else None
    given = dict(wanted) if short is None else {**wanted, "image": short.image, "engine": short.engine}
    return Container(**{**given, "engine": _ALIASES.get(given.get("engine", ""), given.get("engine", ""))})


def with_engine(container: Container) -> Container:
    """Return `container` with the engine that runs it here, and the absolute path of an image that is one.

    Raises:
        LaunchError: There is none, or more than one.
    """
    engine = container.engine or _engine_here(container)
    if shutil.which(PROGRAMS[engine]) is None:
        raise LaunchError(
            f"container {container.image!r} needs the engine {engine!r}, and its program {PROGRAMS[engine]!r} is not "
            "on PATH here: install it, load its module, or name another engine"
        )
    is_path = "/" in container.image and Path(container.image).expanduser().exists()
    image = str(Path(container.image).expanduser().absolute()) if is_path else container.image
    return replace(container, engine=engine, image=image)


def _engine_here(container: Container) -> str:
    """Return the only engine here that takes such an image."""
    suffix = Path(container.image).suffix
    fit = _FOR_DIRECTORIES if container.is_directory else _FOR_FILES.get(suffix, _FOR_NAMES)
    here = [engine for engine in fit if shutil.which(PROGRAMS[engine])]
    if "apptainer" in here and "singularity" in here:
        here.remove("singularity")  # another name of the same
    if len(here) == 1:
        return here[0]
    found = f"{' and '.join(here)} are here: name one" if here else f"none of {', '.join(fit)} is here: install one"
    example = here[0] if here else fit[0]
    raise LaunchError(
        f"container {container.image!r} names no engine, and {found}, as in container = {example}:{container.image}"
    )


def bind_of(text: str) -> Bind:
    """Return what ``SOURCE``, ``SOURCE:DESTINATION`` or ``SOURCE:DESTINATION:OPTIONS`` says.

    Raises:
        SettingsError: It says nothing of the kind.
    """
    source, _, rest = text.partition(":")
    destination, _, options = rest.partition(":")
    bind = Bind(str(Path(source).expanduser()), destination or source, options)
    if not source or not Path(bind.source).is_absolute() or not Path(bind.destination).is_absolute() or ":" in options:
        raise SettingsError(
            f"binds of container must be absolute paths, SOURCE, SOURCE:DESTINATION or SOURCE:DESTINATION:ro, "
            f"got {text!r}"
        )
    if not Path(bind.source).exists():
        raise SettingsError(f"binds of container: there is no {bind.source}, got {text!r}")
    return bind


def binds_of(container: Container, paths: Sequence[Path]) -> tuple[Bind, ...]:
    """Return all that a container sees: `paths` under their own names, also where links lead, and its own binds.

    Raises:
        LaunchError: A path that engines cannot be told, or the root directory.
    """
    wanted = list(dict.fromkeys(str(one) for path in paths for one in (path, path.resolve())))
    for path in wanted:
        if path == "/" or any(letter in path for letter in ":,"):
            raise LaunchError(
                f"the directory {path!r} cannot be bound into a container: it must not be / nor have : or , in its name"
            )
    needed = [path for path in wanted if not any(Path(other) in Path(path).parents for other in wanted)]
    return (*(Bind(path, path) for path in sorted(needed)), *map(bind_of, container.binds))
