"""The command lines of container engines; settings in, words out.

Sources: the manual pages and ``--help`` of podman-run, docker run, ch-run and bwrap, and the documentation of
Apptainer, Shifter, Podman-HPC, Enroot and Pyxis.
"""

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.launch.containers import storage
from crayai.hpo.launch.containers.binds import Bind


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
    pull = [] if root else ["--pull=never"]
    return [
        place.program, "run", "--rm", "--init", "--entrypoint=", "--network=host", "--security-opt=label=disable",
        *own,
        *(f"--volume={bind}" for bind in place.binds),
        f"--workdir={place.directory}",
        *place.gpu,
        *(["--read-only"] if root and not place.is_writable else []),
        *pull, *place.words, *root, place.image,
    ]  # fmt: skip


def podman(place: Place) -> list[str]:
    """Its root is who has called it, unless the words of the user say who is who; only shared memory is shared."""
    names_users = any(word.startswith(("--user", "-u")) for word in place.words)
    return _run(place, [*([] if names_users else ["--user=0:0"]), "--volume=/dev/shm:/dev/shm"])


def docker(place: Place) -> list[str]:
    """Files belong to the user, whom the image does not know, and whose groups may read them and use GPUs."""
    user = [f"--user={os.getuid()}:{os.getgid()}", *(f"--group-add={group}" for group in os.getgroups())]
    return _run(place, ["--ipc=host", *user, "--env=USER", "--env=LOGNAME", "--env=HOME=/tmp"])


def apptainer(place: Place) -> list[str]:
    """Return the words for Apptainer and Singularity."""
    return [
        place.program, "exec",
        *(f"--bind={bind}" for bind in place.binds),
        f"--pwd={place.directory}",
        *place.gpu,
        *(["--writable"] if place.is_writable else []),
        *place.words, place.image,
    ]  # fmt: skip


def charliecloud(place: Place) -> list[str]:
    """Return the words for Charliecloud, which mounts devices as they are and anything else for writing."""
    return [
        place.program,
        *(["--write"] if place.is_writable else []),
        *(f"--bind={bind.source}:{bind.destination}" for bind in place.binds),
        f"--cd={place.directory}",
        *(["--set-env"] if storage.charliecloud_has_environment(place.image) else []),
        *place.words, place.image, "--",
    ]  # fmt: skip


def bubblewrap(place: Place) -> list[str]:
    """Return the words for bubblewrap; a home that is not bound is in memory, for the image's cannot be written."""
    binds = [
        word
        for bind in place.binds
        for word in ("--ro-bind" if bind.is_read_only else "--bind", bind.source, bind.destination)
    ]
    home = Path(os.environ.get("HOME", "/"))
    has_home = any(home.is_relative_to(bind.destination) for bind in place.binds) or place.is_writable
    return [
        place.program, "--bind" if place.is_writable else "--ro-bind", place.image, "/",
        "--dev", "/dev", *place.gpu, "--proc", "/proc", "--ro-bind", "/sys", "/sys",
        "--tmpfs", "/tmp", *binds,  # noqa: S108 - the container's
        *([] if has_home else ["--setenv", "HOME", "/tmp"]),  # noqa: S108 - likewise
        "--chdir", place.directory, "--unshare-pid", "--new-session", "--die-with-parent", *place.words,
    ]  # fmt: skip


def shifter(place: Place) -> list[str]:
    """Return the words for Shifter."""
    return [
        place.program, f"--image={place.image}",
        *(f"--volume={bind}" for bind in place.binds),
        f"--workdir={place.directory}",
        *place.gpu,
        *place.words, "--",
    ]  # fmt: skip


def _fstab(bind: Bind) -> str:
    return ",".join(["rbind", "x-create=auto", *([bind.options] if bind.options else [])])


def enroot(place: Place) -> list[str]:
    """There is no option for the directory: a shell inside goes there."""
    return [
        place.program, "start",
        *(["--rw"] if place.is_writable else []),
        *(f"--mount={Bind(bind.source, bind.destination, _fstab(bind))}" for bind in place.binds),
        *place.gpu,
        *place.words, place.image,
        "sh", "-c", 'cd "$0" && exec "$@"', place.directory,
    ]  # fmt: skip


def pyxis(_: Place) -> list[str]:
    """The engine is started by srun, see `srun_arguments`."""
    return []


def charliecloud_variables(place: Place) -> dict[str, str]:
    """It needs a user's name, and has what TMPDIR names as its /tmp, where all that is bound below must be."""
    user = {} if os.environ.get("USER") else {"USER": pwd.getpwuid(os.getuid()).pw_name}
    is_below = any(bind.destination.startswith("/tmp/") for bind in place.binds)  # noqa: S108 - as people write it
    return {**user, "TMPDIR": "/tmp"} if is_below else user  # noqa: S108 - likewise


def pyxis_variables(place: Place) -> dict[str, str]:
    """A hook of Enroot's brings the driver where an image, or this, says that it wants GPUs."""
    return {} if "NVIDIA_VISIBLE_DEVICES" in os.environ else dict(word.split("=", 1) for word in place.gpu)
