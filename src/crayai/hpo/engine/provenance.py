"""With what evaluations were made: recorded with the study, so that it can be made again."""

import hashlib
import json
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crayai import __version__
from crayai.hpo.launch.calls import Call, ask
from crayai.hpo.launch.containers.container import Container, container_of
from crayai.hpo.launch.containers.engines import ENGINES
from crayai.hpo.launch.containers.images import identity
from crayai.hpo.launch.urika import Urika
from crayai.hpo.launch.wrapping import Wrapping, wrapping_of

SETTING = "environments"
"""The recorded setting: a list of what evaluations were made with, each from one evaluation on.

Each entry has the ``facts`` that the driver knows, and, as soon as somebody has looked, what is ``seen`` in the
program's place (see `sight`).
"""

Fact = str | list[str]

_PATIENCE_SECONDS = 5.0
_PYTHON = re.compile(r"python[\d.]*")


def provenance(wrapping: Wrapping, start: Path, root: Path, *, is_elsewhere: bool) -> dict[str, Fact]:
    """Return what the driver knows of what evaluations of the study in `root`, maybe elsewhere, are made with, by name.

    Raises:
        LaunchError: The image of the container is not there any more.
    """
    container, urika = wrapping.container, wrapping.urika
    facts: dict[str, Fact] = {
        "driver": f"crayai {__version__}, Python {platform.python_version()}, {platform.platform()}",
        "container": "" if container is None else container.line,
        "engine": "" if container is None else _version(ENGINES[container.engine].program),
        "image": "" if container is None else identity(container, is_elsewhere=is_elsewhere),
        "urika": "" if urika is None else urika.line,
        "conda_env": wrapping.prefix,
        "modules": [module for module in os.environ.get("LOADEDMODULES", "").split(":") if module],
        "source": _commit(start, root),
    }
    return {name: fact for name, fact in facts.items() if fact}


def at_evaluation(number: int, entries: Sequence[Mapping[str, Any]]) -> dict[str, Fact]:
    """Return with what an evaluation was made, of what is recorded with its study."""
    known = [{**entry["facts"], **entry.get("seen", {})} for entry in entries if entry["from_evaluation"] <= number]
    return known[-1] if known else {}


def items(fact: Fact) -> list[str]:
    """Return what a fact lists; earlier versions recorded lists as text."""
    return fact.split(", ") if isinstance(fact, str) else fact


def container_in(settings: Mapping[str, Any]) -> Mapping[str, Any] | str | None:
    """Return the container that is recorded with a study; earlier versions recorded its engine among the facts."""
    recorded: Mapping[str, Any] | str | None = settings.get("container")
    if isinstance(recorded, str) and recorded:
        return str(settings[SETTING][0]["facts"]["container"])
    return recorded or None


def wrapping_in(settings: Mapping[str, Any], paths: Sequence[Path]) -> Wrapping:
    """Return what stands around the evaluations of the study with such records, which see `paths`.

    Raises:
        CrayaiError: It is not to be had here.
    """
    urika = settings.get("urika")
    around = Urika(**urika) if urika else None
    return wrapping_of(container_of(container_in(settings)), settings.get("conda_env", ""), paths, around)


def table(container: Container | None) -> dict[str, Any] | None:
    """Return a container as it is recorded, of which `container_of` makes it again."""
    recorded: dict[str, Any] | None = json.loads(json.dumps(container and asdict(container)))
    return recorded


def python_of(argv: Sequence[str]) -> str:
    """Return the Python that a command names, also in a line of the shell; empty: it names none."""
    words = (word for text in argv for word in _words(text))
    return next((word for word in words if _PYTHON.fullmatch(Path(word).name)), "")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _version(program: str) -> str:
    """Return what a program says of its version, with its name; empty: nothing."""
    answer = ask([program, "--version"])
    first = next(iter(f"{answer.out}\n{answer.err}".strip().splitlines()), "") if answer.code == 0 else ""
    return f"{program} {first}" if first[:1].isdigit() else first


def _commit(source: Path, root: Path) -> str:
    """Return the commit of a directory, and what differs from it but for studies; empty: nobody keeps track of it."""
    commit = _git(source, "rev-parse", "HEAD")
    if not commit:
        return ""
    study = root.parent if (root.parent / "study.db").exists() else root  # a replay is inside of a study
    own = study.relative_to(source) if study.is_relative_to(source) else None
    but = ["--", ".", *([f":(exclude){own}", f":(exclude){own}.[0-9]*"] if own else [])]
    changed = _git(source, "status", "--porcelain", "--untracked-files=normal", *but)
    difference = _git(source, "diff", "HEAD", "--full-index", *but) if changed else ""
    if changed is None or difference is None:
        return f"git {commit}, and nobody knows what differs from it: git took too long, or failed"
    digest = hashlib.blake2b(f"{changed}\n{difference}".encode(), digest_size=4).hexdigest()
    return f"git {commit}" + (f", {len(changed.splitlines())} files changed ({digest})" if changed else "")


def _git(source: Path, *words: str) -> str | None:
    """Return what git says; None: it is not there, knows nothing of this directory, or takes too long."""
    call = Call(["env", "GIT_OPTIONAL_LOCKS=0", "git", "-C", str(source), *words], _PATIENCE_SECONDS)
    answer = call.wait()
    return answer.out.strip() if answer.code == 0 else None
