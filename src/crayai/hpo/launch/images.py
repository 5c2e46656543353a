"""Whether the image of a container is there, and which one it is."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.container import Bind, Container

_HASHED_BYTES = 1 << 20
_IN_MEMORY = ("/tmp", "/dev", "/proc", "/sys")  # noqa: S108 - the container's, which engines make


def identity(container: Container) -> str:
    """Return what tells an image from another of the same name; empty: only the nodes that run it could tell.

    Raises:
        LaunchError: There is no such image, or the engine does not run images of this kind.
    """
    path = Path(container.image)
    if path.is_absolute() or container.image.startswith("."):
        return _file(container, path)
    look = _BY_NAME.get(container.engine)
    return look(container) if look else ""


def check_mount_points(container: Container, binds: Sequence[Bind]) -> None:
    """Refuse a directory in which there is nothing to mount on, where the engine cannot make it.

    Raises:
        LaunchError: With the command that makes what is missing.
    """
    if not container.is_directory or container.writable or container.engine not in {"charliecloud", "bubblewrap"}:
        return
    root = Path(container.image)
    missing = [
        place
        for bind in binds
        if not bind.destination.startswith(tuple(f"{known}/" for known in _IN_MEMORY))
        and not (place := root / bind.destination.lstrip("/")).exists()
    ]
    if missing:
        raise LaunchError(
            f"{container.engine} needs a directory in the image for each one that it is to see: "
            f"mkdir -p {' '.join(map(str, missing))}"
        )


def _file(container: Container, path: Path) -> str:
    """Return the size, time and digest of the ends of a file, or the time of a directory."""
    if not path.exists():
        raise LaunchError(f"container: there is no image {container.image!r}: give the path of a file or a directory")
    takes_directories = {"apptainer", "singularity", "podman", "podman-hpc", "charliecloud", "bubblewrap", "shifter"}
    if path.is_dir() and container.engine not in takes_directories:
        raise LaunchError(
            f"container: {container.engine} runs no image that is a directory, got {container.image!r}: take podman, "
            "charliecloud, bubblewrap or apptainer"
        )
    if path.is_file() and container.engine in {"podman", "podman-hpc", "docker", "bubblewrap"}:
        raise LaunchError(
            f"container: {container.engine} runs no image that is a file, got {container.image!r}: load it, and give "
            "its name, or unpack it into a directory"
        )
    status = path.stat()
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.st_mtime))
    if path.is_dir():
        return f"directory of {changed}"
    return f"{status.st_size} bytes of {changed}, ends blake2b:{_ends(path, status.st_size)}"


def _ends(path: Path, size: int) -> str:
    """Return a digest of the first and the last megabyte, for images have gigabytes."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        digest.update(file.read(_HASHED_BYTES))
        file.seek(max(0, size - _HASHED_BYTES))
        digest.update(file.read())
    return digest.hexdigest()


def _podman(container: Container) -> str:
    engine = container.engine
    answer = ask([engine, "image", "inspect", "--format", "{{.Id}}", container.image])
    if answer.code != 0:
        raise LaunchError(
            f"container: {engine} has no image {container.image!r} here: {engine} pull {container.image}\n{answer.err}"
        )
    return answer.out.strip()


def _shifter(container: Container) -> str:
    if container.image.startswith("local:"):
        path = container.image.removeprefix("local:")
        return _file(container, Path(path))
    answer = ask(["shifterimg", "lookup", container.image])
    if answer.code != 0:
        raise LaunchError(
            f"container: shifter has no image {container.image!r} here: shifterimg pull {container.image}\n{answer.err}"
        )
    return answer.out.strip()


def _charliecloud(container: Container) -> str:
    """Look where ``ch-image`` keeps what it has built or pulled."""
    storage = Path(os.environ.get("CH_IMAGE_STORAGE") or f"/var/tmp/{os.environ.get('USER', 'root')}.ch")  # noqa: S108
    path = storage / "img" / container.image.replace("/", "%").replace(":", "+")
    if not path.is_dir():
        raise LaunchError(
            f"container: charliecloud has no image {container.image!r} in {storage}: ch-image pull {container.image}, "
            "or give the path of a directory"
        )
    return f"{path}, {_file(container, path)}"


def _enroot(container: Container) -> str:
    answer = ask(["enroot", "list"])
    if answer.code != 0 or container.image not in answer.out.split():
        raise LaunchError(
            f"container: enroot has no container {container.image!r} here: enroot create --name {container.image} "
            "FILE.sqsh, or give the path of the file"
        )
    return ""


def _apptainer(container: Container) -> str:
    if "://" in container.image:
        return ""  # every node gets it from there
    return _file(container, Path(container.image))


def _directory_only(container: Container) -> str:
    raise LaunchError(
        f"container: {container.engine} runs no image but a directory, got {container.image!r}, which is none here"
    )


_BY_NAME: Mapping[str, Callable[[Container], str]] = {
    "podman": _podman,
    "podman-hpc": _podman,
    "docker": _podman,
    "shifter": _shifter,
    "charliecloud": _charliecloud,
    "enroot": _enroot,
    "apptainer": _apptainer,
    "singularity": _apptainer,
    "bubblewrap": _directory_only,
}
