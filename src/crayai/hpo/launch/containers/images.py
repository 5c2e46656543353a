"""Which image a container has, and whether it has room for what is bound."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.containers.binds import Bind
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.launch.containers.digest import digest_of
from crayai.hpo.launch.containers.engines import ENGINES

_IN_MEMORY = ("/tmp", "/dev", "/proc", "/sys")  # noqa: S108 - the container's, which engines make


def check_image(container: Container, *, is_elsewhere: bool) -> None:
    """Refuse a container whose engine or image is not there; if it runs elsewhere, only what would be here as well.

    Raises:
        LaunchError: With what is missing, and how to get it.
    """
    engine = ENGINES[container.engine]
    is_here = shutil.which(engine.program) is not None
    if not is_here and not is_elsewhere:
        raise LaunchError(
            f"container {container.image!r} needs the engine {container.engine!r}, and its program {engine.program!r} "
            "is not on PATH here: install it, load its module, or name another engine"
        )
    identity(container, is_elsewhere=is_elsewhere)


def identity(container: Container, *, is_elsewhere: bool) -> str:
    """Return what tells an image from another of the same name; empty: only the nodes that run it could tell.

    Raises:
        LaunchError: There is no such image.
    """
    engine = ENGINES[container.engine]
    if not container.is_path:
        is_known = shutil.which(engine.program) and not (is_elsewhere and engine.keeps_on_node)
        return engine.stored(engine.program, container.image) if is_known else ""
    path = Path(container.image)
    if not path.exists():
        raise LaunchError(f"container: there is no image {container.image!r} any more")
    return digest_of(path)


def check_mount_points(container: Container, binds: Sequence[Bind]) -> None:
    """Refuse a directory in which there is nothing to mount on, where the engine cannot make it.

    Raises:
        LaunchError: With the command that makes what is missing.
    """
    root = Path(container.image)
    if container.writable or ENGINES[container.engine].makes_mount_points or not root.is_dir():
        return
    missing = [bind for bind in binds if not _is_mount_point(bind, root, binds)]
    if missing:
        raise LaunchError(
            f"{container.engine} needs a directory in the image for each one that it is to see: "
            f"{' && '.join(_making(root, missing))}"
        )


def _is_mount_point(bind: Bind, root: Path, binds: Sequence[Bind]) -> bool:
    """Return whether `bind` finds its place in the image, or in what is bound around it."""
    place = Path(bind.destination)
    around = [known for known in (*_IN_MEMORY, *(other.destination for other in binds)) if Path(known) in place.parents]
    return bool(around) or (root / bind.destination.lstrip("/")).exists()


def _making(root: Path, binds: Sequence[Bind]) -> list[str]:
    """Return the commands that make the places of directories and files."""
    directories, files = [], []
    for bind in binds:
        place = root / bind.destination.lstrip("/")
        is_file = Path(bind.source).is_file()
        directories.append(str(place.parent if is_file else place))
        files += [str(place)] if is_file else []
    return [f"mkdir -p {' '.join(directories)}", *([f"touch {' '.join(files)}"] if files else [])]
