"""What container engines keep by name: whether an image is there, and which one it is.

Each function is given the program of the engine and the name of an image.
"""

import os
import re
from functools import cache
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.containers.digest import digest_of

_OUTAGE = re.compile(r"cannot connect|connection refused|daemon running", re.IGNORECASE)


def unknown(program: str, name: str) -> str:  # noqa: ARG001 - as the others
    """Return nothing: only the nodes that run it could tell."""
    return ""


def podman(program: str, name: str) -> str:
    """Return the digest that Podman, or what speaks like it, knows an image by, and those to pull it by."""
    digests = "{{.Id}}{{range .RepoDigests}} {{.}}{{end}}"
    return _asked([program, "image", "inspect", "--format", digests, name], name, f"{program} pull {name}")


def shifter(program: str, name: str) -> str:  # noqa: ARG001 - another program knows
    """Return the number of an image that was pulled, or what tells a file of the user."""
    if name.startswith("local:"):
        path = Path(name.removeprefix("local:"))
        if not path.exists():
            raise LaunchError(f"container: there is no image {name!r}: give the path of a file or a directory")
        return digest_of(path)
    return _asked(["shifterimg", "lookup", name], name, f"shifterimg pull {name}")


def charliecloud(program: str, name: str) -> str:  # noqa: ARG001 - another program made it
    """Return the directory of an image that ``ch-image`` has built or pulled, and its time."""
    path = charliecloud_directory(name)
    if not path.is_dir():
        raise LaunchError(
            f"container: charliecloud has no image {name!r} in {_charliecloud_images()}: ch-image pull {name}, or give "
            "the path of a directory or a .squashfs file"
        )
    return f"{path}, {digest_of(path)}"


def charliecloud_directory(name: str) -> Path:
    """Return where ``ch-image`` would keep an image."""
    return _charliecloud_images() / name.replace("/", "%").replace(":", "+")


def charliecloud_name(path: Path) -> str:
    """Return the name of an image that ``ch-image`` keeps in a directory, which cannot be run by its path."""
    is_kept = path.resolve().parent == _charliecloud_images().resolve()
    return path.name.replace("%", "/").replace("+", ":") if is_kept else ""


@cache
def charliecloud_has_environment(image: str) -> bool:
    """Return whether an image, by name or path, says which variables to set; what cannot be looked into has it."""
    path = Path(image) if image.startswith("/") else charliecloud_directory(image)
    if path.is_file():
        answer = ask(["unsquashfs", "-l", str(path), "ch/environment"])
        return answer.code != 0 or "ch/environment" in answer.out
    return not path.is_dir() or (path / "ch" / "environment").is_file()


def enroot(program: str, name: str) -> str:
    """Return nothing, but look whether there is such a container."""
    answer = ask([program, "list"])
    if answer.code != 0 or name not in answer.out.split():
        raise LaunchError(
            f"container: enroot has no container {name!r} here: enroot create --name {name} FILE.sqsh, or give the "
            "path of the file"
        )
    return ""


def _charliecloud_images() -> Path:
    default = f"/var/tmp/{os.environ.get('USER', 'root')}.ch"  # noqa: S108 - Charliecloud's
    return Path(os.environ.get("CH_IMAGE_STORAGE") or default) / "img"


def _asked(argv: list[str], name: str, remedy: str) -> str:
    answer = ask(argv)
    if answer.code != 0 and _OUTAGE.search(answer.err):
        raise LaunchError(f"container: {argv[0]} has nobody to ask about the image {name!r}: start it\n{answer.err}")
    if answer.code != 0:
        raise LaunchError(f"container: {argv[0]} has no image {name!r} here: {remedy}\n{answer.err}")
    return answer.out.strip()
