"""What a container is to a study: an image, the engine that runs it, and what it sees of this machine."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.binds import bind_of
from crayai.hpo.launch.engines import ENGINES, Kind

_ALIASES = {engine.program: name for name, engine in ENGINES.items() if name != "pyxis"}
_EXPLICIT = ("/", "./", "../", "~")


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
        self._check_kinds()
        for bind in self.binds:
            bind_of(bind)
        try:
            shlex.split(self.engine_args)
        except ValueError as error:
            raise SettingsError(f"engine_args of container is no list of words: {error}") from error
        if self.engine:
            self._check_engine()

    def _check_kinds(self) -> None:
        if isinstance(self.binds, str) or not all(isinstance(bind, str) for bind in self.binds):
            raise SettingsError(f"binds of container must be a list of texts, got {self.binds!r}")
        for name, text in dict(self.environment).items():
            if not isinstance(text, str) or not name or "=" in name:
                raise SettingsError(f"environment of container must be names with texts, got {name!r}: {text!r}")
        for name in ("gpu", "writable"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} of container must be true or false, got {getattr(self, name)!r}")

    def _check_names(self) -> None:
        if not isinstance(self.image, str) or not self.image or self.image.startswith("-"):
            raise SettingsError(f"image of container must be the name or the path of an image, got {self.image!r}")
        if self.engine not in ("", *ENGINES):
            near = get_close_matches(str(self.engine), ENGINES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"engine of container must be one of {', '.join(ENGINES)}, got {self.engine!r}{hint}")

    def _check_engine(self) -> None:
        """Refuse what the engine cannot do."""
        engine = ENGINES[self.engine]
        if self.writable and not engine.changes_images:
            raise SettingsError(
                f"writable of container must be false with engine {self.engine!r}, which never changes images"
            )
        for options in (bind_of(bind).options for bind in self.binds):
            if engine.bind_options == "none" and options:
                raise SettingsError(
                    f"binds of container must be writable with engine {self.engine!r}, which knows no options of them, "
                    f"got {options!r}"
                )
            if engine.bind_options == "ro" and options not in ("", "ro"):
                raise SettingsError(
                    f"binds of container can have no option but ro with engine {self.engine!r}, got {options!r}"
                )

    @property
    def is_path(self) -> bool:
        """Whether the image is a file or a directory of this machine, once its engine is known."""
        return self.image.startswith("/")

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
        is_named = colon and engine in ENGINES and not image.startswith("//")  # docker://… is the address of an image
        return Container(image=image, engine=engine) if is_named else Container(image=wanted)
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
    """Return `container` with the engine that runs it here, and the absolute path of an image that has one.

    Raises:
        LaunchError: There is no engine, or more than one, or none that runs such an image.
        SettingsError: The engine cannot do what is asked for.
    """
    if "://" in container.image:
        _refuse_address(container)
    name = container.engine or _engine_here(container.image)
    if shutil.which(ENGINES[name].program) is None:
        raise LaunchError(
            f"container {container.image!r} needs the engine {name!r}, and its program {ENGINES[name].program!r} is "
            "not on PATH here: install it, load its module, or name another engine"
        )
    return replace(container, engine=name, image=_located(container.image, name))


def _refuse_address(container: Container) -> None:
    """Refuse the address of an image in a registry, which each evaluation would get and convert anew."""
    _, _, address = container.image.partition("://")
    file = f"{Path(address).name.replace(':', '_').replace('@', '_')}.sif"
    if container.engine in ("", "apptainer", "singularity"):
        remedy = f"{container.engine or 'apptainer'} pull {file} {container.image}, and give the file"
    else:
        remedy = f"get it once, and give its name or its file, as in container = {container.engine}:{address}"
    raise LaunchError(f"container {container.image!r} would be downloaded by each evaluation: {remedy}")


def _engine_here(image: str) -> str:
    """Return the only engine here that takes such an image."""
    suffix = Path(image).suffix
    found_by = "directory" if _kind(image) == "directory" else suffix
    fit = [name for name, engine in ENGINES.items() if found_by in engine.found_by]
    fit = fit or [name for name, engine in ENGINES.items() if "name" in engine.found_by]
    here = [name for name in fit if shutil.which(ENGINES[name].program)]
    if "apptainer" in here and "singularity" in here:
        here.remove("singularity")  # another name of the same
    if len(here) == 1:
        return here[0]
    found = f"{' and '.join(here)} are here: name one" if here else f"none of {', '.join(fit)} is here: install one"
    example = here[0] if here else fit[0]
    raise LaunchError(f"container {image!r} names no engine, and {found}, as in container = {example}:{image}")


def _kind(image: str) -> Kind:
    """Return what an image is by what is here: of directories, those with a root file system or written as a path."""
    path = Path(image).expanduser()
    if path.is_dir() and (image.startswith(_EXPLICIT) or any((path / name).exists() for name in ("bin", "usr"))):
        return "directory"
    return "file" if path.is_file() else "name"


def _located(image: str, name: str) -> str:
    """Return the absolute path of an image that is one to the engine, or its name.

    Raises:
        LaunchError: It runs no such image.
    """
    engine, kind, is_explicit = ENGINES[name], _kind(image), image.startswith(_EXPLICIT)
    path = Path(image).expanduser().absolute()
    if kind != "name" and kind in engine.takes:
        return engine.named(path) or str(path)
    if "name" in engine.takes and not is_explicit:
        return image
    problem = (
        f"there is no image {image!r}" if kind == "name" else f"{name} runs no image that is a {kind}, got {image!r}"
    )
    raise LaunchError(f"container: {problem}: {engine.advice}")
