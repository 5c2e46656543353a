"""With what evaluations were made: recorded with the study, so that it can be made again."""

import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crayai import __version__
from crayai.hpo.launch.container import Container
from crayai.hpo.launch.environment import packages_in
from crayai.hpo.launch.images import identity

SETTING = "environments"
"""The recorded setting: a list of what evaluations were made with, each from one evaluation on."""

_PATIENCE_SECONDS = 5.0
_PYTHON = re.compile(r"python[\d.]*")


def provenance(
    container: Container | None, environment: str, source: Path | None, argv: Sequence[str]
) -> dict[str, str]:
    """Return what is to be known of what `argv` runs with, by name, in words.

    Raises:
        LaunchError: The image of the container is not there any more.
    """
    prefix = _prefix(container, environment, argv)
    facts = {
        "driver": f"crayai {__version__}, Python {platform.python_version()}, {platform.platform()}",
        "container": "" if container is None else container.line,
        "image": "" if container is None else identity(container),
        "conda_env": environment,
        "source": _commit(source or Path.cwd()),
        "packages": ", ".join(packages_in(prefix)) if prefix else "",
    }
    return {name: text for name, text in facts.items() if text}


def at_evaluation(number: int, entries: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return with what an evaluation was made, of what is recorded with its study."""
    known = [entry["facts"] for entry in entries if entry["from_evaluation"] <= number]
    return known[-1] if known else {}


def python_of(argv: Sequence[str]) -> str:
    """Return the Python that a command names, also in a line of the shell; empty: it names none."""
    words = (word for text in argv for word in _words(text))
    return next((word for word in words if _PYTHON.fullmatch(Path(word).name)), "")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _prefix(container: Container | None, environment: str, argv: Sequence[str]) -> Path | None:
    """Return the directory of the environment in which a command finds its packages, as seen from here."""
    if container is not None:
        inside = Path(container.image) / environment.lstrip("/")
        return inside if environment and inside.is_dir() else None
    if environment:
        return Path(environment)
    found = shutil.which(python_of(argv) or "python3")
    return Path(found).parent.parent if found else None


def _commit(source: Path) -> str:
    """Return the commit of a directory, and whether its files differ from it; empty: nobody keeps track of it."""
    commit = _git(source, "rev-parse", "HEAD")
    if not commit:
        return ""
    changed = _git(source, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    files = len(changed.splitlines())
    return f"git {commit}" + (f", {files} files changed" if files else "")


def _git(source: Path, *words: str) -> str:
    """Return what git says; empty: nothing, for it is not there or knows nothing of this directory."""
    try:
        answer = subprocess.run(  # noqa: S603 - our own words
            ["git", "-C", str(source), *words],  # noqa: S607 - the user's git
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
