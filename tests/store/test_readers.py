"""Readers beside a busy writer: nobody waits, and nobody is told that the log is locked."""

import multiprocessing
import time
from contextlib import closing

import pytest

from crayai.hpo.records import Asked, Completed, Launched, Suggestion, Told
from crayai.hpo.store import sqlite
from crayai.hpo.store.query import Reader
from crayai.hpo.store.sqlite import SqliteLog

READERS = 3
TURNS = 600


def read(path, is_over, answers):
    """Ask all that `status`, `best` and `export` ask, until it is over; tell how often, or what went wrong."""
    rounds, last = 0, 0
    try:
        while not is_over.is_set():
            with Reader(path) as reader:
                counts = reader.counts()
                reader.failures()
                reader.best()
                rows = sum(1 for _ in reader.evaluations())
            assert last <= counts.asked <= rows
            rounds, last = rounds + 1, counts.asked
        answers.put(rounds)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test must know
        answers.put(repr(error))


@pytest.mark.fault(
    "status, best and export in a loop beside a busy driver, with either journal",
    "no reader fails, and the driver never finds the log locked",
)
@pytest.mark.parametrize("is_network", [False, True], ids=["write-ahead log", "rollback journal"])
def test_readers_beside_a_busy_writer(tmp_path, monkeypatch, is_network):
    """The writer commits though it would not wait a millisecond for a lock, and every reader sees whole turns."""
    monkeypatch.setattr(sqlite, "is_network", lambda _: is_network)
    path = tmp_path / "study.db"
    context = multiprocessing.get_context("fork")
    is_over, answers = context.Event(), context.Queue()
    with closing(SqliteLog(path)) as log:
        log._connection.execute("PRAGMA busy_timeout = 0")
        log._connection.execute("PRAGMA synchronous = OFF")  # for speed: what is tested are locks
        readers = [context.Process(target=read, args=(path, is_over, answers)) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        started, number = time.monotonic(), 0
        while number < TURNS or time.monotonic() - started < 2:
            for event in (Asked(number, Suggestion({"-x": 0.5})), Launched(number, 1), Told(number, Completed(1.0))):
                log.append(event)
            log.commit()
            number += 1
        is_over.set()
        found = [answers.get(timeout=60) for _ in readers]
        for reader in readers:
            reader.join()
    assert all(isinstance(rounds, int) and rounds > 0 for rounds in found), found
