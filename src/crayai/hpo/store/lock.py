"""One driver at a time on a study; a dead driver's place is taken only on proof.

Where all machines see a lock, the lock is the proof: the system takes it back when the driver dies. It is one of the
open file on a range of bytes, which, other than `flock`, also meets the lock of an NFS client on the server itself.

Elsewhere drivers form a chain of files: study.lock.1, study.lock.2, and so on. The owner of the last one holds the
study. A file bears the name of its owner before it gets its place, by a link, which can be made once and on one
machine only. Its owner empties it at the end. Who finds file n empty, or its owner ended for certain, may link file
n + 1. This cannot go wrong, however late anybody is: that n is over stays true, and n + 1 is made once, for files of
the chain are never removed. So an old list of the files only means some more steps.

Machines may differ in what they see. So each driver first puts up its name in its own way, then looks for a name put
up in the other way: of two who come together at least one sees the other, and gives way.
"""

import errno
import fcntl
import os
import socket
import struct
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from crayai.hpo.errors import StoreError, StudyLocked
from crayai.hpo.processes import Process
from crayai.hpo.store.filesystem import LOCKED_RANGE, NO_LOCKS, file_system_of, has_shared_locks, is_network, try_lock

_NO_LINKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_NAME_SECONDS = 1.0
_LOOK_SECONDS = 0.002


class StudyLock:
    """Held from construction until `release`, or the death of the process.

    Args:
        path: The lock file; it names the process that holds the lock.

    Attributes:
        has_locks: Whether the file system has locks that all machines see.

    Raises:
        StudyLocked: With the host and the process that hold it.
        StoreError: The file system has no means to keep drivers apart.
    """

    def __init__(self, path: Path) -> None:
        locked = _lock(path)
        self.has_locks = locked is not None
        self._file = _link(path) if locked is None else locked
        try:
            _demand_over(_last_link(path) if self.has_locks else path)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let another driver take over."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def holder(path: Path) -> str:
    """Return who holds the lock, without touching it; empty: nobody."""
    is_locked = _is_locked(path)
    for named in [_last_link(path)] if is_locked is False else [path, _last_link(path)]:
        owner = Process.parse(_text_of(named))
        has_ended = True if owner is None else owner.has_ended()
        if not has_ended:
            return str(owner) if is_locked or has_ended is False else f"{owner}, unless that has died"
    return "another process" if is_locked else ""


def _lock(path: Path) -> int | None:
    """Return the open and locked file; None: there are no locks that all machines see."""
    if not has_shared_locks(path.parent):
        return None
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _wait_for_lock(file, path):
            os.ftruncate(file, 0)
            _write_own_name(file, path)
            return file
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _wait_for_lock(file: int, path: Path) -> bool:
    """Take the lock, or say who has it, who may be about to write a name; False: there are no locks."""
    give_up = time.monotonic() + _NAME_SECONDS
    while not (is_ours := try_lock(file)):
        if is_ours is None:
            return False
        owner = Process.parse(_text_of(path))
        if owner is not None and owner.has_ended() is not True:
            raise _in_use(path, str(owner))
        if time.monotonic() > give_up:
            raise _in_use(path, "another process")
        time.sleep(_LOOK_SECONDS)
    return True


def _is_locked(path: Path) -> bool | None:
    """Return whether anybody has the lock, by a question that disturbs nobody; None: there are no locks."""
    if not has_shared_locks(path.parent):
        return None
    try:
        with path.open("rb") as file:
            answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, LOCKED_RANGE)
    except OSError as error:
        return None if error.errno in NO_LOCKS else False
    return struct.unpack_from("h", answer) != (fcntl.F_UNLCK,)


def _link(path: Path) -> int:
    """Return the open last file of the chain, which is ours."""
    file, temporary = tempfile.mkstemp(prefix=f"{path.name}~", dir=path.parent)
    try:
        _write_own_name(file, path)
        number = _number(_last_link(path))
        _demand_over(_chained(path, number))
        while not _is_linked(file, temporary, _chained(path, number + 1)):
            number += 1
            _demand_over(_chained(path, number))
        with suppress(OSError):
            os.truncate(_chained(path, number), 0)  # what was proof to us may be none to the next machine
    except BaseException:
        os.close(file)
        raise
    finally:
        Path(temporary).unlink()
    return file


def _is_linked(file: int, temporary: str, place: Path) -> bool:
    """Return whether the file got this place; False: somebody has been faster."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        return os.fstat(file).st_nlink > 1  # an NFS server that was asked again, for its answer was lost
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StoreError(
            f"{place.parent} is on a file system ({file_system_of(place.parent)}) with neither locks nor links, "
            "where nothing keeps two drivers apart; choose a directory on another one"
        ) from error
    return True


def _chained(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _last_link(path: Path) -> Path:
    """Return the last file of the chain, or the place before its first, where no file ever is."""
    return _chained(path, max(map(_number, path.parent.glob(f"{path.name}.*")), default=0))


def _number(link: Path) -> int:
    suffix = link.suffix.removeprefix(".")
    return int(suffix) if suffix.isdecimal() else 0


def _write_own_name(file: int, path: Path) -> None:
    os.pwrite(file, f"{Process.own().record}\n".encode(), 0)
    if is_network(path.parent):
        os.fsync(file)  # for other machines to see it


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _demand_over(named: Path) -> None:
    """Raise unless whoever this file names has left it empty, or ended for certain."""
    text = _text_of(named)
    owner = Process.parse(text)
    has_ended = None if owner is None else owner.has_ended()
    if not text or has_ended:
        return
    if has_ended is False:
        raise _in_use(named, str(owner))
    raise StudyLocked(
        f"{named.parent} was in use by {owner.with_job if owner else 'somebody'}, and nobody on "
        f"{socket.gethostname()} can know whether that still works: look there, and if it has ended, remove {named}"
    )


def _in_use(path: Path, owner: str) -> StudyLocked:
    return StudyLocked(
        f"{path.parent} is in use by {owner}; wait until it has ended, end it, or choose another directory"
    )
