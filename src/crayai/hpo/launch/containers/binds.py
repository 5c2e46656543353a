"""What a container sees of the machine."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.errors import LaunchError, SettingsError

_OF_SYSTEMS = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of this machine that a container sees; `options` such as ``ro``."""

    source: str
    destination: str
    options: str = ""

    def __str__(self) -> str:
        """Return it as most engines write it."""
        return ":".join([self.source, self.destination, *([self.options] if self.options else [])])

    @property
    def is_read_only(self) -> bool:
        """Whether nobody inside may write there."""
        return "ro" in self.options.split(",")


def bind_of(text: str) -> Bind:
    """Return what ``SOURCE``, ``SOURCE:DESTINATION`` or ``SOURCE:DESTINATION:OPTIONS`` says.

    Raises:
        SettingsError: It says nothing of the kind.
    """
    source, _, rest = text.partition(":")
    destination, _, options = rest.partition(":")
    bind = Bind(str(Path(source).expanduser()), destination or source, options)
    if not source or not Path(bind.source).is_absolute() or not Path(bind.destination).is_absolute() or ":" in options:
        raise SettingsError(
            f"binds of container must be absolute paths, SOURCE, SOURCE:DESTINATION or SOURCE:DESTINATION:ro, "
            f"got {text!r}"
        )
    if not Path(bind.source).exists():
        raise SettingsError(f"binds of container: there is no {bind.source}, got {text!r}")
    return bind


def binds_of(own: Sequence[str], paths: Sequence[Path], letters: str = ":,") -> tuple[Bind, ...]:
    """Return all that a container sees: `paths` under their own names, where links in them lead, and its `own` binds.

    Outer ones come first, so that inner ones are not hidden; where two have one destination, its own counts.

    Raises:
        LaunchError: A path with one of the `letters`, which the engine cannot be told, or the root directory.
    """
    needed = [str(one) for path in paths for one in (path, path.resolve())]
    led_to = [path for path in map(str, _led_to(paths)) if not set(letters) & set(path)]
    found = {path: Bind(path, path) for path in (*needed, *led_to)}
    found.update((bind.destination, bind) for bind in map(bind_of, own))
    for path in (path for bind in found.values() for path in (bind.source, bind.destination)):
        if path == "/" or set(letters) & set(path):
            raise LaunchError(
                f"the directory {path!r} cannot be bound into a container: it must not be / nor have any of "
                f"{' '.join(map(repr, letters))} in its name"
            )
    binds = sorted(found.values(), key=lambda bind: (len(Path(bind.destination).parents), bind.destination))
    return tuple(bind for bind in binds if not _is_seen(bind, binds))


def _led_to(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the directories to which links in `paths` lead, or in which the files are; not those of any system."""
    for link in (entry for path in paths if path.is_dir() for entry in path.iterdir() if entry.is_symlink()):
        with suppress(PermissionError):  # nobody looks there, in the container neither
            yield from (one for one in _directories(link) if one != Path("/") and f"/{one.parts[1]}" not in _OF_SYSTEMS)


def _directories(link: Path) -> list[Path]:
    target = Path(os.path.normpath(link.parent / link.readlink()))
    if target.is_dir():
        return [target]
    return [target.parent, target.resolve().parent] if target.is_file() else []


def _is_seen(bind: Bind, binds: Sequence[Bind]) -> bool:
    """Return whether the same is there by another bind, the innermost around it."""
    place = Path(bind.destination)
    around = [other for other in binds if Path(other.destination) in place.parents]
    if not around:
        return False
    inner = place.relative_to(around[-1].destination)
    return Path(around[-1].source) / inner == Path(bind.source) and around[-1].options == bind.options
