"""With what evaluations were made: recorded with the study, so that it can be made again."""

import os
import platform
import subprocess
from pathlib import Path

from crayai import __version__
from crayai.hpo.launch.container import Container
from crayai.hpo.launch.images import identity

_PATIENCE_SECONDS = 10.0


def provenance(container: Container | None, environment: str, source: Path | None) -> dict[str, str]:
    """Return what is to be known, by name, in words.

    Raises:
        LaunchError: The image of the container is not there any more.
    """
    facts = {
        "driver": f"crayai {__version__}, Python {platform.python_version()}, {platform.platform()}",
        "container": "" if container is None else container.line,
        "image": "" if container is None else identity(container),
        "conda_env": environment,
        "source": "" if source is None else _commit(source),
    }
    return {name: text for name, text in facts.items() if text}


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
