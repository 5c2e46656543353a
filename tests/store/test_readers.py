"""Readers beside a busy writer: nobody waits, and nobody is told that the log is locked."""

import multiprocessing
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.records import Asked, Completed, Launched, Suggestion, Told
from crayai.hpo.space.hyperparameters import Float
from crayai.hpo.space.space import Space
from crayai.hpo.store import sqlite
from crayai.hpo.store.query import Reader
from crayai.hpo.store.sqlite import SqliteLog

READERS = 3
TURNS = 600


def read(path, is_over, answers):
    """Ask all that `status`, `best` and `export` ask, until it is over; tell how often, or what went wrong."""
    rounds, last = 0, 0
    try:
        while not is_over.is_set() or not rounds:
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


def ask(words, path, is_over, answers):
    """Run a command of the command line until it is over; tell what went wrong, and how often it was run."""
    command = [sys.executable, "-m", "crayai", words, str(path.parent)]
    rounds = 0
    while not is_over.is_set() or not rounds:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode or (done.stderr and words != "best"):  # which says there how good it is
            answers.append(f"{words}: {done.stderr}")
        rounds += 1
    answers.append(rounds)


def evaluate(search):
    """Do one evaluation, in three transactions."""
    asked = search.ask()
    search.commit()
    search.append(Launched(asked.number, 1))
    search.commit()
    search.tell(asked.number, Completed(asked.suggestion.values["-x"]))
    search.commit()


@pytest.mark.parametrize("is_network", [False, True], ids=["write-ahead log", "rollback journal"])
def test_commands_beside_a_busy_writer(tmp_path, monkeypatch, is_network):
    """The commands themselves work beside a writer that commits without a pause, and do not make it wait."""
    monkeypatch.setattr(sqlite, "is_network", lambda _: is_network)
    path = tmp_path / "study.db"
    strategy = StrategySettings(name="random", arguments={"num_iters": 100_000})
    study = Study(space=Space([Float("-x", 0.0, 1.0)]), strategy=strategy, seed=1, command="train")
    is_over, answers = threading.Event(), []
    with closing(SqliteLog(path)) as log:
        log.record_settings({**study.settings(), "study_id": "1"})
        log._connection.execute("PRAGMA busy_timeout = 0")
        search = Search(study, log)
        evaluate(search)
        commands = [
            threading.Thread(target=ask, args=(words, path, is_over, answers))
            for words in ("status", "best", "export", "verify")
        ]
        for command in commands:
            command.start()
        started = time.monotonic()
        while time.monotonic() - started < 3:
            evaluate(search)
        is_over.set()
        for command in commands:
            command.join()
    assert all(isinstance(answer, int) and answer for answer in answers), answers
