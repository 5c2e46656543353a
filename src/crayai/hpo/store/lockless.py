"""A log that is read, or even written, without locks: readers look at a copy of one moment.

The lock of the study keeps the writer alone. It writes with a rollback journal, which is there, complete, before the
first page of the log is changed, and goes away after the last one is, and after a counter at the head of the log has
changed too. So a copy is of one moment if the counter was the same before and after, and the journal too: none, or one
with which the copy goes back to the turn before. This holds where a machine that opens a file sees it as it is by then.
"""

import errno
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from crayai.hpo.errors import StoreError

_WRITE_AHEAD = b"\2\2"
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.01


def open_lockless(path: Path) -> sqlite3.Connection:
    """Open a log that nobody else opens; a write-ahead log that was left there is folded into it."""
    address = f"file:{quote(str(path))}?vfs=unix-none"
    if _head_of(path)[18:20] == _WRITE_AHEAD or Path(f"{path}-journal").exists():  # which may lead back to one
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # it needs no shared memory then
            connection.execute("PRAGMA journal_mode = DELETE")
    return sqlite3.connect(address, uri=True, isolation_level=None)


def copy_of(path: Path) -> sqlite3.Connection:
    """Return the log as it stood at one moment, in memory.

    Raises:
        StoreError: It is written to without a pause, or cannot be read.
    """
    give_up = time.monotonic() + _PATIENCE_SECONDS
    try:
        while (files := _files_of_one_moment(path)) is None:
            if time.monotonic() > give_up:
                raise StoreError(
                    f"{path} has been written to for {_PATIENCE_SECONDS:.0f} seconds without a pause, and its file "
                    "system has no locks to wait for; try again"
                )
            time.sleep(_LOOK_SECONDS)
        return _opened(files)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _files_of_one_moment(path: Path) -> dict[str, bytes] | None:
    """Return the log and what stands beside it, by suffix; None: it was written to meanwhile."""
    try:
        counter, sides = _counter_of(path), _sides_of(path)
        log = path.read_bytes()
        is_same = sides == _sides_of(path) and counter == _counter_of(path)
    except OSError as error:
        if error.errno == errno.ESTALE:
            return None
        raise
    return {"": log, **sides} if is_same else None


def _opened(files: dict[str, bytes]) -> sqlite3.Connection:
    """Return a log of these files, in memory; what a journal takes back is taken back."""
    with TemporaryDirectory(prefix="crayai-") as directory:
        copy = Path(directory, "copy")
        for suffix, data in files.items():
            copy.with_name(copy.name + suffix).write_bytes(data)
        memory = sqlite3.connect(":memory:")
        with closing(open_lockless(copy)) as connection:
            connection.backup(memory)
    return memory


def _counter_of(path: Path) -> bytes:
    return _head_of(path)[24:28]


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(100)
    except FileNotFoundError:
        return b""


def _sides_of(path: Path) -> dict[str, bytes]:
    os.close(os.open(path.parent, os.O_RDONLY))  # an NFS client may believe for a minute that there is no file
    sides = {}
    for suffix in ("-journal", "-wal"):
        with suppress(FileNotFoundError):
            sides[suffix] = path.with_name(path.name + suffix).read_bytes()
    return sides
