"""What a container is to a study: an image, the engine that runs it, and what it sees of this machine."""

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.containers.binds import bind_of
from crayai.hpo.launch.containers.engines import ENGINES, Gpu, Kind

_ALIASES = {engine.program: name for name, engine in ENGINES.items() if name != "pyxis"}
_VARIABLE = re.compile(r"[A-Za-z_*][A-Za-z0-9_*]*")
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
        gpu: Whether it is given the GPUs, by the engine's option for that: NVIDIA's, or AMD's if ``"amd"``.
        environment: Variables to set inside.
        pass_environment: Names of more variables that it is to have as they are outside, such as ``WANDB_*``; only some
            engines pass on all.
        writable: Whether what the program writes elsewhere than in binds may change the image.
        engine_args: More options of the engine's command that runs a container.

    Raises:
        SettingsError: A setting that cannot be.
    """

    image: str
    engine: str = ""
    binds: Sequence[str] = ()
    gpu: bool | Literal["amd"] = False
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_environment: Sequence[str] = ()
    writable: bool = False
    engine_args: str = ""

    def __post_init__(self) -> None:
        self._check_fields()
        self._check_lists()
        for bind in self.binds:
            bind_of(bind)
        try:
            shlex.split(self.engine_args)
        except ValueError as error:
            raise SettingsError(f"engine_args of container is no list of words: {error}") from error
        if self.engine:
            self._check_engine()

    def _check_lists(self) -> None:
        for key in ("binds", "pass_environment"):
            value = getattr(self, key)
            if isinstance(value, str) or not all(isinstance(text, str) for text in value):
                raise SettingsError(f"{key} of container must be a list of texts, got {value!r}")
        for pattern in self.pass_environment:
            if not _VARIABLE.fullmatch(pattern):
                raise SettingsError(
                    "pass_environment of container must have names of variables, with * for any letters, got "
                    f"{pattern!r}"
                )
        for name, text in dict(self.environment).items():
            if not isinstance(text, str) or not name or "=" in name:
                raise SettingsError(f"environment of container must be names with texts, got {name!r}: {text!r}")

    def _check_fields(self) -> None:
        if not isinstance(self.writable, bool):
            raise SettingsError(f"writable of container must be true or false, got {self.writable!r}")
        if not (isinstance(self.gpu, bool) or self.gpu == "amd"):
            raise SettingsError(f"gpu of container must be true, false or 'amd', got {self.gpu!r}")
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
        if self.gpu_kind and self.gpu_kind not in engine.gpus:
            raise SettingsError(
                f"gpu of container cannot be {self.gpu!r} with engine {self.engine!r}, which gives no driver of such "
                f"GPUs: {engine.gpu_advice}"
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
    def gpu_kind(self) -> Gpu | None:
        """Which GPUs it is given; None: none."""
        return "amd" if self.gpu == "amd" else "nvidia" if self.gpu else None

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
        return _container_of_text(wanted)
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


def _container_of_text(wanted: str) -> Container:
    """Return the container of ``engine:image``, or of an image alone."""
    if not wanted.strip():
        raise SettingsError("container must name an image, as 'podman:python:3.11' does, got ''")
    engine, colon, image = wanted.partition(":")
    engine = _ALIASES.get(engine, engine)
    if not colon or image.startswith("//"):  # docker://… is the address of an image
        return Container(image=wanted)
    if engine in ENGINES:
        return Container(image=image, engine=engine)
    if near := get_close_matches(engine, ENGINES, 1, 0.8):
        raise SettingsError(
            f"container {wanted!r} names no engine that is known; did you mean '{near[0]}:{image}'? An image of that "
            f"name is given as {{ image = {wanted!r}, engine = '…' }}"
        )
    return Container(image=wanted)


def with_engine(container: Container) -> Container:
    """Return `container` with the engine that runs it, if none is named one that is here, and the path of its image.

    Raises:
        LaunchError: There is no engine, or more than one, or none that runs such an image.
        SettingsError: The engine cannot do what is asked for.
    """
    if "://" in container.image:
        _refuse_address(container, container.image)
    name = container.engine or _engine_here(container.image)
    found = replace(container, engine=name, image=_located(container.image, name))
    if ENGINES[name].keeping not in container.engine_args and not found.is_path:
        _refuse_address(found, f"docker://{found.image}")
    return found


def _refuse_address(container: Container, address: str) -> None:
    """Refuse an image that each evaluation would get from a registry, and convert."""
    engine = ENGINES[container.engine or "apptainer"]
    name = address.partition("://")[2]
    file = re.sub(r"[^A-Za-z0-9._-]", "_", Path(name).name)
    remedy = (
        f"{engine.getting.format(file=file, address=address)}, and give the file"
        if engine.getting
        else f"get it once, and give its name, as in container = {container.engine}:{name}"
    )
    keeping = f"; or let each node keep it, with engine_args = '{engine.keeping}=NAME'" if engine.keeping else ""
    raise LaunchError(f"container {container.image!r} would be downloaded by each evaluation: {remedy}{keeping}")


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
    path = Path(os.path.normpath(Path(image).expanduser().absolute()))
    if kind != "name" and kind in engine.takes:
        return engine.named(path) or str(path)
    if "name" in engine.takes and not is_explicit:
        return image
    problem = (
        f"there is no image {image!r}" if kind == "name" else f"{name} runs no image that is a {kind}, got {image!r}"
    )
    raise LaunchError(f"container: {problem}: {engine.advice}")
