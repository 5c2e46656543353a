"""Where the files of a study are; nothing else knows their names."""

import errno
from pathlib import Path

_ROOM_BYTES = 1 << 16


class StudyDirectory:
    """The paths below the directory of a study.

    Attributes:
        root: The directory, absolute.
        log: The log.
        lock: Held by the driver.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.log = self.root / "study.db"
        self.lock = self.root / "study.lock"
        self._outputs = str(self.root / "output")
        self._evaluations = str(self.root / "evaluations")

    def make(self) -> None:
        """Make what every study needs, for its user alone."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(self._outputs).mkdir(mode=0o700, exist_ok=True)

    def output(self, number: int, attempt: int) -> str:
        """Return the path that, with a suffix, names the files of one attempt."""
        return f"{self._outputs}/{number}.{attempt}"

    def outputs(self, number: int) -> list[Path]:
        """Return the kept files of the attempts at one evaluation, the latest attempt last."""
        return sorted(Path(self._outputs).glob(f"{number}.*"), key=lambda path: int(path.name.split(".")[1]))

    def all_outputs(self) -> list[tuple[int, Path]]:
        """Return every file of every attempt, with the number of the evaluation."""
        return [(int(path.name.split(".")[0]), path) for path in Path(self._outputs).glob("[0-9]*.*")]

    def has_room(self) -> bool:
        """Return whether files can grow here; a try, for no number knows of quotas."""
        probe = Path(self._outputs, "room")
        try:
            probe.write_bytes(bytes(_ROOM_BYTES))
        except OSError as error:
            return error.errno not in (errno.ENOSPC, errno.EDQUOT)
        finally:
            probe.unlink(missing_ok=True)
        return True

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
