"""Checkpoints of the user's models: where they are, who trains on from which, and when one is deleted.

``ROOT/<evaluation>/checkpoint`` is what the program is told; it may be a file, a directory, or the beginning of names.
Where loading and saving are apart nothing is copied: a child reads what its parent saved, and the files are made
read-only. Where there is one path for both, the job itself brings a copy before the program starts, a reflink where
the file system has them: on the machine where it runs, while others train. Never a hard link, for programs truncate in
place.

A checkpoint counts when its evaluation has completed. It is kept as long as a running, planned, or later evaluation
may train on from it; what is needed is found out from the log alone, so that nothing can be forgotten or counted twice.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.workdir import has_room
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked, Cause, Completed, Failed

Keep = Literal["best", "frontier", "all"]

BRING = ("/bin/sh", "-c", 'cp -a --reflink=auto -- "$0/." "$1" || exit; shift; exec "$@"')
"""Copies the entries of one directory into another, then becomes the program."""

CONTROL = "control"
"""Takes the place of a number where an evaluation is tried once more that has completed."""

NOWHERE = "none"
"""Takes the place of a number where there is nothing to load."""

_GIB = 1 << 30
_ARGUMENTS = 500
_INSIDE = ("@save/", "@{save}/", "@checkpoint/", "@{checkpoint}/")
_MOST_LEAVING = 4


@dataclass(frozen=True, slots=True)
class Size:
    """What a checkpoint takes of the file system."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.bytes + other.bytes, self.files + other.files)


@dataclass(frozen=True, slots=True)
class Handover:
    """What one attempt loads and saves.

    Attributes:
        load: The path to load from.
        save: The path to save to; to load from as well, where there is one path for both.
        is_first: Whether there is nothing to load.
        bring: What is to be run before the program, with the program as its arguments; empty: nothing.
    """

    load: str
    save: str
    is_first: bool
    bring: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Checkpoints:
    """The checkpoints of one study.

    Args:
        root: Where they are; absolute.
        search: The search.
        keep: What is left at the end: the best, what could be trained on from too, or all.
        most_gib: What they may take of the file system; None: what there is.
        most_files: How many files and directories; None: what there are.
    """

    root: Path
    search: Search
    keep: Keep = "best"
    most_gib: float | None = None
    most_files: int | None = None
    _sizes: dict[int, Size] = field(default_factory=dict, init=False)
    _leaving: list[str] = field(default_factory=list, init=False)
    _count: Iterator[int] = field(default_factory=count, init=False)
    _remover: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def begin(self) -> None:
        """Make the directory, and remove what an earlier driver had no time to remove.

        Raises:
            SettingsError: There is no writing there.
        """
        if not self.search.study.uses_checkpoints:
            return
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            room = has_room(self.root)
        except OSError as error:
            raise SettingsError(
                f"the directory of checkpoints {self.root} cannot be written to: {error.strerror}; "
                "choose another with checkpoint = PATH"
            ) from error
        if not room:
            raise SettingsError(
                f"the directory of checkpoints {self.root} is on a full disk; make room, or choose another with "
                "checkpoint = PATH"
            )
        needed = self._needed()
        for entry in self.root.iterdir():
            if entry.name.isdecimal() and int(entry.name) in needed:
                self._sizes[int(entry.name)] = Size() if self._is_unlimited else sum(_sizes(entry), Size())
            elif not (entry.name.isdecimal() and self._is_open(int(entry.name))):
                self._leave(entry)
        self._remove()

    def source(self, asked: Asked) -> int | None:
        """Return the nearest completed ancestor, whose checkpoint an evaluation trains on from; None: from scratch."""
        number = asked.suggestion.resume_from
        while number is not None and not isinstance(self.search.record.outcome(number), Completed):
            number = self.search.record.suggestion(number).resume_from
        return number

    def path(self, number: int | str) -> str:
        """Return what the program is told of the checkpoint of an evaluation."""
        return checkpoint_path(self.root, number)

    def missing(self, asked: Asked) -> str:
        """Return the path of a checkpoint that is to be trained on from, and is not there; empty: it is."""
        source = self.source(asked)
        return "" if source is None or (self.root / str(source)).is_dir() else self.path(source)

    def handover(self, asked: Asked, *, is_control: bool = False) -> Handover:
        """Return what an attempt loads and saves; a control trains on from its own checkpoint, and is thrown away."""
        return self.between(*((asked.number, CONTROL) if is_control else (self.source(asked), asked.number)))

    def between(self, source: int | None, name: int | str) -> Handover:
        """Return what is loaded of evaluation `source`, None: nothing, and saved under a number or name."""
        load = self.path(NOWHERE if source is None else source)
        if source is None or "checkpoint" not in self.search.study.filled_command.facts:
            return Handover(load, self.path(name), source is None)
        bring = (*BRING, os.path.dirname(load), f"{self.root}/{name}")  # noqa: PTH120 - a pure text operation
        return Handover(load, self.path(name), is_first=False, bring=bring)

    def make_way(self, save: str) -> None:
        """Let an attempt find its place empty, whatever an attempt before has left."""
        place = Path(save).parent
        self._leave(place)
        self._remove()
        Path(save if self._is_directory(save) else place).mkdir(mode=0o700, parents=True)

    def _is_directory(self, save: str) -> bool:
        """Return whether the command speaks of something inside of what is saved."""
        command = self.search.study.filled_command
        return Path(save).name == "checkpoint" and any(word in command.text for word in _INSIDE)

    def check(self, number: int) -> Failed | None:
        """Return why a completed evaluation has no checkpoint to train on from; None: it has one, now read-only."""
        place = self.root / str(number)
        total = sum(_sizes(place), Size())
        self._sizes[number] = total
        if not self.search.study.trains_on:
            return None
        if not total.bytes:
            return Failed(
                Cause.NO_CHECKPOINT,
                f"the program ended well, and saved nothing at {self.path(number)}: let it save its model there, "
                "whatever the figure of merit, before it ends",
            )
        if "checkpoint" not in self.search.study.filled_command.facts:
            _make_read_only(place)
        return None

    def tidy(self) -> None:
        """Remove what nobody will train on from."""
        if not self.search.study.uses_checkpoints:
            return
        needed = self._needed()
        for number in [number for number in self._sizes if number not in needed]:
            del self._sizes[number]
            self._leave(self.root / str(number))
        self._remove()

    def drop(self, number: int | str) -> None:
        """Remove what a failed evaluation, or a control, has left."""
        if self.search.study.uses_checkpoints:
            self._leave(self.root / str(number))

    def settle(self) -> None:
        """Wait until all is removed that is to be."""
        while self._remover is not None:
            self._remover.wait()
            self._remove()

    def has_room(self) -> bool:
        """Return whether checkpoints can grow."""
        try:
            return not self.search.study.uses_checkpoints or has_room(self.root)
        except OSError:
            return True

    def lacks_room_for(self, running: int) -> str:
        """Return why no further evaluation may be launched beside those running; empty: there is no reason."""
        if self._is_unlimited or not self._sizes:
            return ""
        largest = Size(*(max(getattr(s, name) for s in self._sizes.values()) for name in ("bytes", "files")))
        used = sum(self._sizes.values(), Size())
        for name, unit, most in (("bytes", "GiB", self._most_bytes), ("files", "files", self.most_files)):
            need = getattr(used, name) + (running + 1) * getattr(largest, name)
            if most is not None and need > most:
                shown = [f"{number / _GIB:.3g}" if unit == "GiB" else f"{number}" for number in (most, need)]
                return (
                    f"checkpoints may take {shown[0]} {unit}, and the {len(self._sizes)} that are needed with one more "
                    f"take {shown[1]}; raise checkpoint_{unit.lower()}, or take fewer members"
                )
        return ""

    @property
    def _most_bytes(self) -> float | None:
        return None if self.most_gib is None else self.most_gib * _GIB

    @property
    def _is_unlimited(self) -> bool:
        return self.most_gib is None and self.most_files is None

    def _is_open(self, number: int) -> bool:
        return number < len(self.search.record) and self.search.record.outcome(number) is None

    def _needed(self) -> set[int]:
        """Return the evaluations whose checkpoints are kept."""
        search, record = self.search, self.search.record
        needed = set() if search.best is None else {search.best}
        if self.keep == "all":
            return {n for n in range(len(record)) if isinstance(record.outcome(n), Completed)}
        sources = [] if search.is_done and self.keep == "best" else [*search.resumable]
        sources += [r for n in record.unfinished() if (r := record.suggestion(n).resume_from) is not None]
        for number in sources:
            ancestor = number if isinstance(record.outcome(number), Completed) else None
            if ancestor is None and record.outcome(number) is not None:
                ancestor = self.source(Asked(number, record.suggestion(number)))
            needed |= set() if ancestor is None else {ancestor}
        return needed

    def _leave(self, place: Path) -> None:
        """Have a place removed, if it is there, under another name, so that its own may be used again at once."""
        aside = f"{self.root}/{place.name}.{os.getpid()}.{next(self._count)}.old"
        with suppress(FileNotFoundError):
            place.rename(aside)
            self._leaving.append(aside)

    def _remove(self) -> None:
        """Have a process remove what leaves: gigabytes take a while, and nobody waits, unless it is left behind."""
        if self._remover is not None and self._remover.poll() is None:
            if len(self._leaving) < _MOST_LEAVING:
                return
            self._remover.wait()
        self._remover, leaving = None, self._leaving[:_ARGUMENTS]
        del self._leaving[:_ARGUMENTS]
        if leaving:
            self._remover = subprocess.Popen(  # noqa: S603 - our own paths, and no shell
                ["rm", "-rf", "--", *leaving],  # noqa: S607 - POSIX has it
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip


def checkpoint_path(root: Path, number: int | str) -> str:
    """Return what the program is told of the checkpoint of an evaluation, below the directory of checkpoints."""
    return f"{root}/{number}/checkpoint"


def _sizes(place: Path) -> Iterator[Size]:
    """Yield the size of every file and directory below `place`."""
    with suppress(FileNotFoundError):
        for folder, folders, files in os.walk(place):
            for name in files:
                status = os.lstat(f"{folder}/{name}")
                yield Size(status.st_size, 1)
            yield Size(0, len(folders))


def _make_read_only(place: Path) -> None:
    """Take from files the permission to write, so that no child changes what its siblings load."""
    for folder, _, files in os.walk(place):
        for name in files:
            with suppress(OSError):
                path = f"{folder}/{name}"
                mode = os.lstat(path).st_mode
                if not os.path.islink(path):  # noqa: PTH114 - no path object for each file
                    os.chmod(path, mode & 0o555)  # noqa: PTH101 - likewise
