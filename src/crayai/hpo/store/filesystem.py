"""Which file system a path is on; network file systems have no shared memory for a write-ahead log."""

import os
from pathlib import Path

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
)


def file_system_of(path: Path) -> str:
    """Return the type of the file system that holds `path`, such as ``ext4``; empty where it cannot be told."""
    try:
        device = path.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    types = [line.split(" - ", 1)[1].split()[0] for line in lines if line.split()[2] == wanted]
    return types[-1] if types else ""


def is_network(path: Path) -> bool:
    """Return whether `path` is on a file system that other machines may write to at the same time."""
    return file_system_of(path).startswith(_NETWORK)
