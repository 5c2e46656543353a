"""Logs on file systems without locks: one writer, and copies that are of one moment."""

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from crayai.hpo.errors import StoreError
from crayai.hpo.store import lockless
from crayai.hpo.store.lockless import copy_of, open_lockless

ROWS = 200
TURNS = 300


@pytest.fixture
def path(tmp_path):
    """Return where the log is; the directory has characters that mean something in an address."""
    directory = tmp_path / "50% of ü?#"
    directory.mkdir()
    return directory / "study.db"


@pytest.fixture
def filled(path):
    """Return a log of many pages, in which every row has the number of the last turn."""
    with closing(open_lockless(path)) as log:
        log.execute("CREATE TABLE row (turn INTEGER, rest BLOB)")
        log.executemany("INSERT INTO row VALUES (?, zeroblob(1000))", [(0,)] * ROWS)
    return path


def turns_of(log):
    """Return what numbers the rows have."""
    return [turn for (turn,) in log.execute("SELECT DISTINCT turn FROM row")]


class Writer:
    """A forked process that makes one turn for each byte that it gets; it has little memory, and so writes early."""

    def __init__(self, path):
        orders, self._orders = os.pipe()
        self._turns, turns = os.pipe()
        os.write(turns, b"!")  # as if a turn before the first had been made
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(self._orders)
                os.close(self._turns)
                with closing(open_lockless(path)) as log:
                    log.execute("PRAGMA cache_size = 5")
                    log.execute("PRAGMA synchronous = FULL")
                    while os.read(orders, 1):
                        log.execute("UPDATE row SET turn = turn + 1")
                        os.write(turns, b"!")
            finally:
                os._exit(0)
        os.close(orders)
        os.close(turns)

    def order(self):
        """Let it make a turn; wait for the turn before, and not for this one."""
        os.write(self._orders, b"!")
        assert os.read(self._turns, 1)

    def end(self, *, by_kill):
        """End it after its turns, or wherever it is."""
        if by_kill:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._orders)
        os.waitpid(self.pid, 0)
        os.close(self._turns)


def test_a_copy_is_of_one_moment(filled, seeded):
    """Copies that are made while a turn is written hold all of a turn or nothing, and never go back.

    Now and then the writer is killed, and what it leaves is copied, and gone on with.
    """
    writer, last, seen = Writer(filled), 0, set()
    for _ in range(TURNS):
        writer.order()
        for _ in range(seeded.randrange(3)):
            with closing(copy_of(filled)) as copy:
                assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                (turn,) = turns_of(copy)
            assert turn >= last
            last = turn
            seen.add(turn)
        if seeded.random() < 0.1:
            writer.end(by_kill=seeded.random() < 0.7)
            with closing(copy_of(filled)) as copy:
                left = turns_of(copy)
            writer = Writer(filled)
            with closing(copy_of(filled)) as copy:
                assert turns_of(copy) == left
    writer.end(by_kill=False)
    assert len(seen) > TURNS / 4


def test_a_copy_during_a_turn(filled):
    """While the writer is in the middle of a turn, with half of it in the file, a copy shows the turn before."""
    with closing(open_lockless(filled)) as log:
        log.execute("PRAGMA cache_size = 5")
        log.execute("BEGIN IMMEDIATE")
        log.execute("UPDATE row SET turn = 1")
        assert filled.with_name("study.db-journal").stat().st_size > 0
        with closing(copy_of(filled)) as copy:
            assert turns_of(copy) == [0]
        log.execute("COMMIT")
        with closing(copy_of(filled)) as copy:
            assert turns_of(copy) == [1]


def test_a_turn_that_begins_while_the_log_is_copied(filled, monkeypatch):
    """If a turn begins meanwhile, of which half is in the file but not the counter, the copy is made again."""
    real, states = lockless._sides_of, []

    def look_and_begin(path):
        states.append(real(path))
        if len(states) == 1:
            log.execute("BEGIN IMMEDIATE")
            log.execute("UPDATE row SET turn = 1")
        return states[-1]

    with closing(open_lockless(filled)) as log:
        log.execute("PRAGMA cache_size = 5")
        counter = lockless._counter_of(filled)
        monkeypatch.setattr(lockless, "_sides_of", look_and_begin)
        with closing(copy_of(filled)) as copy:
            assert turns_of(copy) == [0]
        assert states[0] == {} != states[1]
        assert lockless._counter_of(filled) == counter


def test_a_log_that_changes_while_it_is_copied(filled, monkeypatch):
    """A copy is made again if a turn began or ended meanwhile; in the end it is given up, and the log named."""
    with closing(open_lockless(filled)) as log:
        monkeypatch.setattr(lockless, "_PATIENCE_SECONDS", 0.05)
        real = lockless._sides_of

        def look_and_write(path):
            log.execute("UPDATE row SET turn = turn + 1")
            return real(path)

        monkeypatch.setattr(lockless, "_sides_of", look_and_write)
        with pytest.raises(StoreError, match=r"study\.db has been written to for .* without a pause, .*; try again"):
            copy_of(filled)


def test_a_write_ahead_log_that_was_left(path):
    """What a killed driver left where there were locks is read and gone on with where there are none."""
    if not (pid := os.fork()):
        log = sqlite3.connect(path, isolation_level=None)
        log.execute("PRAGMA journal_mode = WAL")
        log.execute("CREATE TABLE row (turn INTEGER)")
        log.execute("INSERT INTO row VALUES (7)")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert path.with_name("study.db-wal").stat().st_size > 0
    with closing(copy_of(path)) as copy:
        assert turns_of(copy) == [7]
    with closing(open_lockless(path)) as log:
        assert log.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
        counters = [lockless._counter_of(path)]
        for _ in range(3):
            log.execute("UPDATE row SET turn = turn + 1")
            counters.append(lockless._counter_of(path))
        assert turns_of(log) == [10]
    assert len(set(counters)) == 4  # copies rely on it


def test_a_log_that_has_just_been_made(path):
    """An empty file is an empty log."""
    path.touch()
    with closing(copy_of(path)) as copy:
        assert copy.execute("SELECT * FROM sqlite_master").fetchall() == []


def test_what_cannot_be_copied(path):
    """A log that is none, or not there, is named."""
    with pytest.raises(StoreError, match=r"study\.db cannot be read: .*No such file"):
        copy_of(path)
    path.write_text("This is a letter, and no log of a study at all, as its first words say." * 9)
    with pytest.raises(StoreError, match=r"study\.db cannot be read: file is not a database"):
        copy_of(path)
