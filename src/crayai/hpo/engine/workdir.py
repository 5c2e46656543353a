"""Where the files of a study are; nothing else knows their names."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crayai.hpo.errors import SettingsError, StoreError

_ROOM_BYTES = 1 << 16


class StudyDirectory:
    """The paths below the directory of a study.

    Attributes:
        root: The directory, absolute.
        log: The log.
        lock: Held by the driver.
        recovered: Takes the place of a damaged log.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.log = self.root / "study.db"
        self.lock = self.root / "study.lock"
        self.recovered = self.root / "study.db.recovered"
        self._outputs = str(self.root / "output")
        self._evaluations = str(self.root / "evaluations")

    def make(self) -> None:
        """Make what every study needs, for its user alone."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(self._outputs).mkdir(mode=0o700, exist_ok=True)

    @property
    def readable_log(self) -> Path:
        """The log, or what is about to take its place."""
        return self.recovered if self.recovered.exists() else self.log

    def write_recovered(self, content: bytes) -> None:
        """Write what is to take the place of the log; it has its name when it is complete and on the disk.

        Raises:
            StoreError: It cannot be written.
        """
        part = Path(f"{self.recovered}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.recovered)
        except OSError as error:
            raise StoreError(f"{self.recovered} cannot be written, so nothing was changed: {error.strerror}") from error

    def replace_log(self) -> Path | None:
        """Put a recovered log in its place, and the damaged one aside; return where that is. None: there is none.

        The lock must be held. What was begun before the death of a process is ended by the next one.
        """
        if not self.recovered.exists():
            return None
        number, aside = 0, Path(f"{self.log}.damaged")
        while aside.exists():
            number += 1
            aside = Path(f"{self.log}.damaged.{number}")
        for suffix in ("-wal", "-journal", "-shm", ""):  # the file itself last: until then its name is free
            with suppress(FileNotFoundError):
                Path(f"{self.log}{suffix}").rename(f"{aside}{suffix}")
        self.recovered.rename(self.log)
        return aside

    def output(self, number: int, attempt: int) -> str:
        """Return the path that, with a suffix, names the files of one attempt."""
        return f"{self._outputs}/{number}.{attempt}"

    def outputs(self, number: int) -> list[Path]:
        """Return the kept files of the attempts at one evaluation, the latest attempt last."""
        return sorted(Path(self._outputs).glob(f"{number}.*"), key=lambda path: int(path.name.split(".")[1]))

    def all_outputs(self) -> list[tuple[int, Path]]:
        """Return every file of every attempt, with the number of the evaluation."""
        return [(int(path.name.split(".")[0]), path) for path in Path(self._outputs).glob("[0-9]*.*")]

    def last_attempts(self) -> dict[int, int]:
        """Return the last attempt at each evaluation that has left files."""
        attempts: dict[int, int] = {}
        for number, path in self.all_outputs():
            attempts[number] = max(attempts.get(number, 0), int(path.name.split(".")[1]))
        return attempts

    def has_room(self) -> bool:
        """Return whether files can grow here; a try, for no number knows of quotas."""
        try:
            return has_room(Path(self._outputs))
        except OSError:
            return True

    def checkpoints(self, elsewhere: str = "", study_id: str = "") -> Path:
        """Return the directory of checkpoints: here, or that of the study in the directory `elsewhere`."""
        return Path(elsewhere, study_id) if elsewhere else self.root / "checkpoints"

    def evaluation(self, number: int) -> str:
        """Return the directory of one evaluation, which is there only where one is needed."""
        return f"{self._evaluations}/{number}"

    def make_evaluation(self, number: int, source: Path | None) -> Path:
        """Make the directory of one evaluation, with links to everything in `source`; return it."""
        directory = Path(self.evaluation(number))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in [] if source is None else source.iterdir():
            link = directory / entry.name
            if entry.absolute() != self.root and not link.is_symlink() and not link.exists():
                link.symlink_to(entry.absolute())
        return directory

    def set_aside(self) -> Path:
        """Give the directory the first free name of ``NAME.1``, ``NAME.2``, …; return it."""
        number = 1
        while (aside := self.root.with_name(f"{self.root.name}.{number}")).exists():
            number += 1
        self.root.rename(aside)
        return aside


def has_room(directory: Path) -> bool:
    """Return whether files can grow in `directory`; a try, for no number knows of quotas.

    Raises:
        OSError: There is no writing there for another reason.
    """
    probe = directory / "room"
    try:
        probe.write_bytes(bytes(_ROOM_BYTES))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return False
        raise
    finally:
        with suppress(OSError):
            probe.unlink()
    return True


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Refuse a directory that cannot be written to.

    Raises:
        SettingsError: With the reason.
    """
    try:
        yield
    except OSError as error:
        raise SettingsError(f"the directory {directory} cannot be written to: {error.strerror}") from error
