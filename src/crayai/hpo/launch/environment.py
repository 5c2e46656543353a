"""A Conda or virtual environment in which a program runs: found here, entered where the program starts.

It is entered by a few lines of the shell, without ``conda``, which would take a second each time and need not be there
on a node or in a container: PATH and the variables that tell the environment, and for Conda its own activation scripts,
which are written for bash.
"""

import os
import shutil
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from crayai.hpo.errors import SettingsError

_IN_BASH = 'enter=$1; shift; exec "$(command -v bash || command -v sh)" -c "$enter" "$0" "$@"'
ENTER = """\
[ -d "$0/bin" ] || { echo "crayai: $(hostname) has no environment $0" >&2; exit 127; }
PATH=$0/bin:$PATH
export PATH
unset PYTHONHOME
if [ -d "$0/conda-meta" ]; then
  export CONDA_PREFIX="$0" CONDA_DEFAULT_ENV="${0##*/}" CONDA_SHLVL=1
  for script in "$0"/etc/conda/activate.d/*.sh; do
    if [ ! -r "$script" ]; then
      continue
    elif [ "$BASH_VERSION" ] || (. "$script") >/dev/null 2>&1; then
      . "$script"
    else
      echo "crayai: $script is left out: it needs bash, which $(hostname) does not have" >&2
    fi
  done
else
  export VIRTUAL_ENV="$0"
fi
exec "$@"
"""
"""The words behind it are the prefix of the environment, and the program with its arguments."""

_PASTED = (
    'export PATH="$0/bin:$PATH" CONDA_PREFIX="$0"; '
    'for s in "$0"/etc/conda/activate.d/*.sh; do [ ! -r "$s" ] || . "$s"; done; exec "$@"'
)
_INSTALLATIONS = ("miniforge3", "mambaforge", "miniconda3", "anaconda3", "micromamba")


def entering(prefix: str) -> list[str]:
    """Return the words before a command that let it run in the environment at `prefix`; none if that is empty."""
    return ["/bin/sh", "-c", _IN_BASH, prefix, ENTER] if prefix else []


def pasting(prefix: str) -> list[str]:
    """Return the same for people to paste: one line, which leaves out what hardly any program asks for."""
    return ["sh", "-c", _IN_BASH, prefix, _PASTED] if prefix else []


def prefix_of(wanted: str, *, image: str | None = None) -> str:
    """Return the directory of the environment that was asked for by its name or path; empty: none was.

    Args:
        wanted: The name of a Conda environment, or the path of one or of a virtual environment.
        image: Of the container that it is inside: a directory is looked into, in others only the program finds it;
            None: it is on this machine.

    Raises:
        SettingsError: There is none, with those that are there.
    """
    if not wanted:
        return ""
    if "/" not in wanted and image is None:
        return _named(wanted)
    path = Path(wanted).expanduser()
    if image is not None and not path.is_absolute():
        raise SettingsError(f"conda_env must be a path where there is a container, got {wanted!r}")
    place = path = Path(os.path.normpath(path.absolute()))
    if image is not None:
        if not Path(image).is_dir():
            return str(path)
        inside = Path(image) / str(path).lstrip("/")
        place = inside if inside.exists() else path  # which may be bound into the container
    if not (place / "bin").is_dir() or not is_environment(place):
        known = _listed()
        raise SettingsError(
            f"conda_env: there is no Conda or virtual environment in {place}, got {wanted!r}; known here: {known}"
        )
    return str(path)


def is_environment(path: Path) -> bool:
    """Return whether there is a Conda or a virtual environment in a directory."""
    return (path / "conda-meta").is_dir() or (path / "pyvenv.cfg").is_file()


def environments() -> dict[str, Path]:
    """Return the Conda environments of this user by name, the first of each."""
    found: dict[str, Path] = {}
    for root in _roots():
        if is_environment(root):
            found.setdefault("base", root)
    for directory in _directories():
        for path in sorted(directory.iterdir()) if directory.is_dir() else []:
            if is_environment(path):
                found.setdefault(path.name, path)
    for path in _noted():
        if is_environment(path):
            found.setdefault(path.name, path)
    return found


def _named(name: str) -> str:
    found = environments()
    if name not in found:
        near = [f"./{name}"] if is_environment(Path(name)) else get_close_matches(name, found, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"conda_env: there is no environment {name!r}{hint}; known here: {_listed()}")
    return str(found[name])


def _listed() -> str:
    """Return the names of those that are known, for people."""
    return ", ".join(f"{name} ({path})" for name, path in environments().items()) or "none"


def _roots() -> Iterator[Path]:
    """Yield where Conda, Mamba or Micromamba may be installed."""
    for variable in ("MAMBA_ROOT_PREFIX", "CONDA_ROOT"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    program = os.environ.get("CONDA_EXE") or shutil.which("conda") or shutil.which("mamba")
    if program:
        yield Path(program).resolve().parent.parent
    yield from (Path.home() / name for name in _INSTALLATIONS)


def _directories() -> Iterator[Path]:
    """Yield the directories in which Conda keeps environments by name."""
    for variable in ("CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"):
        yield from (Path(path) for path in os.environ.get(variable, "").split(os.pathsep) if path)
    yield from (root / "envs" for root in _roots())
    yield Path.home() / ".conda" / "envs"


def _noted() -> Iterator[Path]:
    """Yield the environments that Conda has written down, wherever they are."""
    try:
        lines = (Path.home() / ".conda" / "environments.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    yield from (Path(line) for line in lines if line)
