"""What container engines are: which images they run, by which command, and what they cannot do; a table.

An engine runs a program in the foreground, with its standard output, its exit code and the signals that it is sent.
Where that, or the environment, needs more than the engine's command, a guard (see `guards`) stands around it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from crayai.hpo.launch.containers import guards, storage, words
from crayai.hpo.launch.containers.words import Place

Kind = Literal["name", "file", "directory"]
Gpu = Literal["nvidia", "amd"]
BindOptions = Literal["none", "ro", "any"]


def _unnamed(_: Path) -> str:
    return ""


def _none(_: Place) -> dict[str, str]:
    return {}


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
        keeps_on_node: Whether what it has by name is on each node for itself, so that nobody else can tell.
        keeping: The option with which it keeps what it gets by a name, which it would get anew for each evaluation.
        getting: The command that gets an image once, of an ``{address}``, as a ``{file}``.
        advice: What to do where it does not run such an image.
        bind_options: Which options of a bind it knows.
        makes_mount_points: Whether it needs no directory in the image for what is bound.
        changes_images: Whether an image can be writable.
        letters: Those that it cannot read in the paths of binds.
        named: Returns the name under which it keeps a directory of images, which it does not run by the path; or "".
        gpus: What it is to be told for GPUs of a kind; of other kinds it knows nothing.
        gpu_advice: What to do for other kinds.
        variables: What it needs in its own environment, where that may be missing.
        own_codes: Exit codes with which it ends when it could not run the program.
        own_words: How the line begins in which it then says why; a pattern.
    """

    program: str
    words: Callable[[Place], list[str]]
    guard: str = ""
    takes: Sequence[Kind] = ("name",)
    found_by: Sequence[str] = ()
    stored: Callable[[str, str], str] = storage.unknown
    keeps_on_node: bool = False
    keeping: str = ""
    getting: str = ""
    advice: str = ""
    bind_options: BindOptions = "any"
    makes_mount_points: bool = True
    changes_images: bool = True
    letters: str = ":,"
    named: Callable[[Path], str] = _unnamed
    gpus: Mapping[Gpu, Sequence[str]] = field(default_factory=dict)
    gpu_advice: str = ""
    variables: Callable[[Place], dict[str, str]] = _none
    own_codes: Sequence[int] = (1,)
    own_words: str = ""


def own_failure(name: str, code: int, said: Sequence[str]) -> str:
    """Return the line, of the last ones on standard error, in which an engine says that it ran nothing; or ""."""
    engine = ENGINES[name]
    is_its_own = engine.own_words and code in engine.own_codes
    found = [line for line in said if is_its_own and re.match(engine.own_words, line)]
    return found[-1] if found else ""


_AMD_DEVICES = ("--device=/dev/kfd", "--device=/dev/dri")
_APPTAINER = Engine(
    program="apptainer",
    words=words.apptainer,
    guard=guards.EXPORT,
    takes=("file", "directory"),
    found_by=(".sif", ".img", "directory"),
    getting="apptainer pull {file}.sif {address}",
    advice="give the path of a .sif file or of a directory",
    bind_options="ro",
    gpus={"nvidia": ["--nv"], "amd": ["--rocm"]},
    own_codes=(255,),
    own_words=r'FATAL:\s+(?!\s|".*": executable file not found|stat |permission denied)',
)
_PODMAN = Engine(
    program="podman",
    words=words.podman,
    guard=guards.RUN,
    takes=("name", "directory"),
    found_by=("name", "directory"),
    stored=storage.podman,
    keeps_on_node=True,
    advice="load it, and give its name, or unpack it, and give the directory",
    gpus={"nvidia": ["--device=nvidia.com/gpu=all"], "amd": [*_AMD_DEVICES, "--group-add=keep-groups"]},
    own_codes=(125, 126),
    own_words="Error: ",
)
_LIKE_DOCKER = replace(_PODMAN, takes=("name",), found_by=("name",), advice="load it, and give its name")
ENGINES: Mapping[str, Engine] = {
    "apptainer": _APPTAINER,
    "singularity": replace(_APPTAINER, program="singularity"),
    "podman-hpc": replace(
        _LIKE_DOCKER, program="podman-hpc", keeps_on_node=False, gpus={**_PODMAN.gpus, "nvidia": ["--gpu"]}
    ),
    "podman": _PODMAN,
    "docker": replace(
        _LIKE_DOCKER,
        program="docker",
        words=words.docker,
        gpus={"nvidia": ["--gpus=all"], "amd": _AMD_DEVICES},
        own_words="docker: ",
    ),
    "charliecloud": Engine(
        program="ch-run",
        words=words.charliecloud,
        takes=("name", "file", "directory"),
        found_by=(".squashfs", ".sqfs", "directory"),
        stored=storage.charliecloud,
        keeps_on_node=True,
        named=storage.charliecloud_name,
        advice="give a name of ch-image's, or the path of a directory or a .squashfs file",
        bind_options="none",
        makes_mount_points=False,
        gpus={"amd": []},
        gpu_advice="devices are there: bring the driver into the image with ch-fromhost --nvidia, and leave gpu out",
        variables=words.charliecloud_variables,
        own_codes=(1, 31, 57),
        own_words=r"ch-run\[\d+\]: error: (?!can't execve)",
    ),
    "bubblewrap": Engine(
        program="bwrap",
        words=words.bubblewrap,
        guard=guards.SANDBOX,
        takes=("directory",),
        found_by=("directory",),
        advice="unpack it, and give the directory",
        bind_options="ro",
        makes_mount_points=False,
        gpus={"amd": ["--dev-bind", "/dev", "/dev"]},
        gpu_advice="give devices with engine_args = '--dev-bind /dev /dev', and bind the libraries of the driver that "
        "ldconfig -p lists as libcuda and libnvidia",
        own_words="bwrap: (?!execvp)",
    ),
    "shifter": Engine(
        program="shifter",
        words=words.shifter,
        found_by=("name",),
        stored=storage.shifter,
        advice="pull it with shifterimg, and give its name",
        bind_options="ro",
        changes_images=False,
        gpus={"nvidia": ["--module=gpu"]},
        gpu_advice="if the site has a module for them, give it with engine_args = '--module=NAME'",
    ),
    "enroot": Engine(
        program="enroot",
        words=words.enroot,
        guard=guards.START,
        takes=("name", "file"),
        found_by=(".sqsh",),
        stored=storage.enroot,
        keeps_on_node=True,
        getting="enroot import --output {file}.sqsh {address}",
        advice="give the name of a container, or the path of a .sqsh file",
        letters=":, ",
        gpus={"nvidia": ["--env=NVIDIA_VISIBLE_DEVICES=all"], "amd": []},
        own_words=r"\[ERROR\] ",
    ),
    "pyxis": Engine(
        program="srun",
        words=words.pyxis,
        takes=("name", "file"),
        keeping="--container-name",
        getting="enroot import --output {file}.sqsh {address}",
        advice="give the path of a .sqsh file",
        letters=":, ",
        gpus={"nvidia": ["NVIDIA_VISIBLE_DEVICES=all"], "amd": []},
        variables=words.pyxis_variables,
        own_words="slurmstepd: error: pyxis: ",
    ),
}
"""The engines by their names, in the order in which they are tried where none is named."""
