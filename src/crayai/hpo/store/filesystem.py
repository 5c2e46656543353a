"""Which file system a path is on, and what can be relied on there.

Network file systems have no shared memory for a write-ahead log, and some have no locks that other machines see.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path
from tempfile import TemporaryFile

_NETWORK = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "cifs",
    "smb",
    "ceph",
    "panfs",
    "pvfs",
    "orangefs",
    "afs",
    "9p",
    "fuse",
    "dvs",
    "virtiofs",
    "wekafs",
    "gfs2",
    "ocfs2",
)

_SHARED_LOCKS: dict[str, tuple[set[str], set[str]]] = {
    "nfs": (set(), {"nolock", "local_lock=posix", "local_lock=all"}),
    "nfs4": (set(), {"nolock", "local_lock=posix", "local_lock=all"}),
    "lustre": ({"flock"}, {"localflock", "noflock"}),
    "gpfs": (set(), set()),
    "ceph": (set(), set()),
    "cifs": (set(), {"nobrl", "nolock"}),
    "smb3": (set(), {"nobrl", "nolock"}),
    "gfs2": (set(), {"localflocks"}),
}
"""Network file systems whose locks other machines see, with the options that this takes and those that end it.

BeeGFS is not here: whether it has such locks (tuneUseGlobalFileLocks) cannot be seen.
"""

NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""The errors of a file system without locks."""

LOCKED_RANGE = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1 << 30, 1, 0)
"""What is locked (struct flock): a byte far behind the text, which stays readable where locks forbid to read."""


def file_system_of(path: Path) -> str:
    """Return the type of the file system that holds `path`, such as ``ext4``; empty where it cannot be told."""
    return _mount_of(path)[0]


def is_network(path: Path) -> bool:
    """Return whether `path` is on a file system that other machines may write to at the same time."""
    return file_system_of(path).startswith(_NETWORK)


def has_shared_locks(path: Path) -> bool:
    """Return whether a lock on a file at `path` keeps out all who can open it, by what the system says of it."""
    kind, options = _mount_of(path)
    if not kind.startswith(_NETWORK):
        return True
    if kind not in _SHARED_LOCKS:
        return False
    wanted, unwanted = _SHARED_LOCKS[kind]
    return wanted <= options and not unwanted & options


def has_locks(directory: Path) -> bool:
    """Return whether files in `directory` can be locked, so that all who can open them see it; a try."""
    if not has_shared_locks(directory):
        return False
    with TemporaryFile(dir=directory) as file:
        return try_lock(file.fileno()) is not None


def try_lock(file: int) -> bool | None:
    """Return whether an open file could be locked at once; None: there are no locks."""
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, LOCKED_RANGE)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _mount_of(path: Path) -> tuple[str, set[str]]:
    """Return type and options of the file system that holds `path`."""
    try:
        device = path.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", set()
    wanted = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.split(" - ", 1)[1].split(" ") for line in lines if line.split()[2] == wanted]
    return (mounts[-1][0], set(mounts[-1][-1].split(","))) if mounts else ("", set())
