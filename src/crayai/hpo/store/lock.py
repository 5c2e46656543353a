"""One driver at a time on a study: a lock that the operating system takes back when the driver dies."""

import fcntl
import os
import socket
from pathlib import Path

from crayai.hpo.errors import StudyLocked


class StudyLock:
    """Held from construction until `release`, or the death of the process.

    Args:
        path: The lock file; it names the host and the process that hold the lock.

    Raises:
        StudyLocked: With the host and the process that hold it.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            raise StudyLocked(
                f"{path.parent} is in use by {holder}; wait until it has ended, end it, or choose another directory"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Let another driver take over."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def holder(path: Path) -> str:
    """Return who holds the lock, without touching it; empty: nobody on this machine."""
    try:
        facts = path.stat()
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return ""
    device = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    is_held = any(device in line.split() for line in locks.splitlines())
    return path.read_text(encoding="utf-8").strip() if is_held else ""
