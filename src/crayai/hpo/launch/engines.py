"""What container engines are: which images they run, and by which command; a table.

Sources: the manual pages and ``--help`` of podman-run, docker run, ch-run and bwrap, and the documentation of
Apptainer, Shifter, Podman-HPC, Enroot and Pyxis.

An engine runs a program in the foreground, with its standard output, its exit code and the signals that it is sent.
Where that, or the environment, needs more than the engine's command, a guard (see `guards`) stands around it.
"""

import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from crayai.hpo.launch import guards, storage
from crayai.hpo.launch.binds import Bind

Kind = Literal["name", "file", "directory"]
BindOptions = Literal["none", "ro", "any"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a task runs inside a container.

    Attributes:
        program: Of the engine.
        image: Its name or absolute path.
        is_directory: Whether it is a directory.
        is_writable: Whether it may be changed.
        binds: What is seen of the machine.
        directory: Where the task starts.
        gpu: The engine's words for the GPUs that are asked for.
        words: What the user adds.
    """

    program: str
    image: str
    directory: str
    binds: Sequence[Bind] = ()
    is_directory: bool = False
    is_writable: bool = False
    gpu: Sequence[str] = ()
    words: Sequence[str] = ()


def _unnamed(_: Path) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A container engine.

    Attributes:
        program: Its command; of Pyxis, which is a part of Slurm's, ``srun``.
        words: Makes the command that runs what follows it inside, as people would write it.
        guard: The lines of the shell that this command needs around it; empty: none.
        takes: The kinds of images that it runs.
        found_by: The kinds, and the endings of files, for which it is chosen where no engine is named.
        stored: Returns what tells an image, by its name, from others of this name; raises LaunchError: it is not there.
        advice: What to do where it does not run such an image.
        bind_options: Which options of a bind it knows.
        makes_mount_points: Whether it needs no directory in the image for what is bound.
        changes_images: Whether an image can be writable.
        letters: Those that it cannot read in the paths of binds.
        named: Returns the name under which it keeps a directory of images, which it does not run by the path; or "".
        gpus: What it is to be told for GPUs of a kind.
        variables: What it needs in its own environment, where that may be missing.
    """

    program: str
    words: Callable[[Place], list[str]]
    guard: str = ""
    takes: Sequence[Kind] = ("name",)
    found_by: Sequence[str] = ()
    stored: Callable[[str, str], str] = storage.unknown
    advice: str = ""
    bind_options: BindOptions = "any"
    makes_mount_points: bool = True
    changes_images: bool = True
    letters: str = ":,"
    named: Callable[[Path], str] = _unnamed
    gpus: Mapping[str, Sequence[str]] = field(default_factory=dict)
    variables: Callable[[], Mapping[str, str]] = dict


def srun_arguments(place: Place) -> list[str]:
    """Return the arguments by which srun, with Pyxis, starts its tasks inside a container."""
    binds = [str(Bind(bind.source, bind.destination, bind.options.replace(",", "+"))) for bind in place.binds]
    return [
        f"--container-image={place.image}",
        f"--container-mounts={','.join(binds)}",
        f"--container-workdir={place.directory}",
        "--container-writable" if place.is_writable else "--container-readonly",
        *place.words,
    ]


def _run(place: Place, own: Sequence[str]) -> list[str]:
    """Return the words for Podman and its kin, with some of their own."""
    root = ["--rootfs"] if place.is_directory else []
    return [
        place.program, "run", "--rm", "--init", "--entrypoint=", "--network=host", "--security-opt=label=disable",
        *own,
        *(f"--volume={bind}" for bind in place.binds),
        f"--workdir={place.directory}",
        *place.gpu,
        *(["--read-only"] if root and not place.is_writable else []),
        *place.words, *root, place.image,
    ]  # fmt: skip


def _podman(place: Place) -> list[str]:
    return _run(place, ["--ipc=host"])


def _docker(place: Place) -> list[str]:
    """Files belong to the user, whose name the daemon does not know."""
    return _run(place, ["--ipc=host", f"--user={os.getuid()}:{os.getgid()}"])


def _apptainer(place: Place) -> list[str]:
    return [
        place.program, "exec",
        *(f"--bind={bind}" for bind in place.binds),
        f"--pwd={place.directory}",
        *place.gpu,
        *(["--writable"] if place.is_writable else []),
        *place.words, place.image,
    ]  # fmt: skip


def _charliecloud(place: Place) -> list[str]:
    """GPUs are there with the devices of the machine."""
    return [
        place.program,
        *(["--write"] if place.is_writable else []),
        *(f"--bind={bind.source}:{bind.destination}" for bind in place.binds),
        f"--cd={place.directory}",
        *(["--set-env"] if storage.charliecloud_has_environment(place.image) else []),
        *place.words, place.image, "--",
    ]  # fmt: skip


def _bubblewrap(place: Place) -> list[str]:
    binds = [
        word
        for bind in place.binds
        for word in ("--ro-bind" if bind.is_read_only else "--bind", bind.source, bind.destination)
    ]
    return [
        place.program, "--bind" if place.is_writable else "--ro-bind", place.image, "/",
        "--dev", "/dev", *place.gpu, "--proc", "/proc", "--ro-bind", "/sys", "/sys",
        "--tmpfs", "/tmp", *binds,  # noqa: S108 - the container's
        "--chdir", place.directory, "--unshare-pid", "--die-with-parent", *place.words,
    ]  # fmt: skip


def _shifter(place: Place) -> list[str]:
    return [
        place.program, f"--image={place.image}",
        *(f"--volume={bind}" for bind in place.binds),
        f"--workdir={place.directory}",
        *place.gpu,
        *place.words, "--",
    ]  # fmt: skip


def _enroot(place: Place) -> list[str]:
    """There is no option for the directory: a shell inside goes there."""
    return [
        place.program, "start",
        *(["--rw"] if place.is_writable else []),
        *(f"--mount={bind.source}:{bind.destination}" for bind in place.binds),
        *place.gpu,
        *place.words, place.image,
        "sh", "-c", 'cd "$0" && exec "$@"', place.directory,
    ]  # fmt: skip


def _pyxis(_: Place) -> list[str]:
    """The engine is started by srun, see `srun_arguments`."""
    return []


def _user() -> dict[str, str]:
    return {} if os.environ.get("USER") else {"USER": pwd.getpwuid(os.getuid()).pw_name}


_APPTAINER = Engine(
    program="apptainer",
    words=_apptainer,
    takes=("file", "directory"),
    found_by=(".sif", ".img", "directory"),
    advice="give the path of a .sif file or of a directory",
    bind_options="ro",
    gpus={"nvidia": ["--nv"]},
)
_PODMAN = Engine(
    program="podman",
    words=_podman,
    guard=guards.RUN,
    takes=("name", "directory"),
    found_by=("name", "directory"),
    stored=storage.podman,
    advice="load it, and give its name, or unpack it, and give the directory",
    gpus={"nvidia": ["--device=nvidia.com/gpu=all"]},
)
_LIKE_DOCKER = replace(_PODMAN, takes=("name",), found_by=("name",), advice="load it, and give its name")
ENGINES: Mapping[str, Engine] = {
    "apptainer": _APPTAINER,
    "singularity": replace(_APPTAINER, program="singularity"),
    "podman-hpc": replace(_LIKE_DOCKER, program="podman-hpc", gpus={"nvidia": ["--gpu"]}),
    "podman": _PODMAN,
    "docker": replace(_LIKE_DOCKER, program="docker", words=_docker, gpus={"nvidia": ["--gpus=all"]}),
    "charliecloud": Engine(
        program="ch-run",
        words=_charliecloud,
        takes=("name", "file", "directory"),
        found_by=(".squashfs", ".sqfs", "directory"),
        stored=storage.charliecloud,
        named=storage.charliecloud_name,
        advice="give a name of ch-image's, or the path of a directory or a .squashfs file",
        bind_options="none",
        makes_mount_points=False,
        gpus={"nvidia": []},
        variables=_user,
    ),
    "bubblewrap": Engine(
        program="bwrap",
        words=_bubblewrap,
        takes=("directory",),
        found_by=("directory",),
        advice="unpack it, and give the directory",
        bind_options="ro",
        makes_mount_points=False,
        gpus={"nvidia": ["--dev-bind", "/dev", "/dev"]},
    ),
    "shifter": Engine(
        program="shifter",
        words=_shifter,
        found_by=("name",),
        stored=storage.shifter,
        advice="pull it with shifterimg, and give its name",
        bind_options="ro",
        changes_images=False,
        gpus={"nvidia": ["--module=gpu"]},
    ),
    "enroot": Engine(
        program="enroot",
        words=_enroot,
        takes=("name", "file"),
        found_by=(".sqsh",),
        stored=storage.enroot,
        advice="give the name of a container, or the path of a .sqsh file",
        letters=":, ",
        gpus={"nvidia": ["--env=NVIDIA_VISIBLE_DEVICES=all"]},
    ),
    "pyxis": Engine(
        program="srun",
        words=_pyxis,
        takes=("name", "file"),
        advice="give the path of a .sqsh file",
        letters=":, ",
        gpus={"nvidia": []},
    ),
}
"""The engines by their names, in the order in which they are tried where none is named."""
