"""What is read of a damaged log without SQLite: all that is left, and nothing that was not written."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from crayai.hpo.records import Asked, Completed, Launched, Suggestion, Told
from crayai.hpo.store.salvage import salvage
from crayai.hpo.store.sqlite import SqliteLog
from crayai.hpo.testing.logs import all_events

SETTINGS = {"command": "train --x='ü'", "seed": 7, "strategy": {"name": "random", "num_iters": 300}}
PAGE = 4096

HALF_A_TRANSACTION = """
import os, signal, sys
from pathlib import Path
from crayai.hpo.records import Asked, Completed, Launched, Suggestion, Told
from crayai.hpo.store import sqlite
sqlite.is_network = lambda path: True
log = sqlite.SqliteLog(Path(sys.argv[1]))
log._connection.execute("PRAGMA cache_size = 10")  # what does not fit goes into the file before the commit
log._connection.execute("BEGIN IMMEDIATE")
for number in range(200, 400):
    for event in (Asked(number, Suggestion({"--x": number / 7})), Launched(number, 1), Told(number, Completed(0.5))):
        log.append(event)
        statement, row = log._turn.pop()
        log._connection.execute(statement, row)
os.kill(os.getpid(), signal.SIGKILL)
"""


def evaluations(first, last, long=False):
    """Return the events of evaluations, with values that need overflow pages if they are to be long."""
    for number in range(first, last):
        values = {"--x": number / 7, "--text": "ü" * (number % 50 * 300 if long else 3)}
        yield Asked(number, Suggestion(values, number // 10, number % 3, (0,) if number else ()))
        yield Launched(number, 1)
        yield Told(number, Completed(number * 1.0 if number % 2 else number / 3), number / 8 or None)


def write(path, *parts):
    """Write a log, a commit a part; return its path."""
    with SqliteLog(path, clock=lambda: 1000.0) as log:
        log.record_settings(SETTINGS)
        for part in parts:
            for event in part:
                log.append(event)
            log.commit()
    return path


@pytest.fixture
def path(tmp_path):
    """Return a log of two hundred evaluations."""
    return write(tmp_path / "study.db", evaluations(0, 100), evaluations(100, 200))


def truth_of(path):
    """Return all events of a log as SQLite reads them."""
    with SqliteLog(path) as log:
        return list(log.events())


def found_in(path):
    """Return all events that are salvaged, each as text."""
    return {repr(event) for events in salvage(path).events.values() for _, event in events}


def texts(events):
    """Return events as texts."""
    return set(map(repr, events))


def damaged(path, content):
    """Write `content` where nothing else stands beside it; return the path."""
    other = path.with_name("damaged.db")
    other.write_bytes(content)
    return other


def test_a_sound_log_is_read_in_full(path):
    """Of a log without damage everything is found: every setting, every event with its time and in its order."""
    found = salvage(path)
    assert found.settings == SETTINGS
    assert found.in_order == 600
    assert sorted(found.events) == list(range(200))
    for number, events in found.events.items():
        assert [event for _, event in events] == list(evaluations(number, number + 1))
        assert {at for at, _ in events} == {1000.0}


def test_events_of_every_kind_are_read(tmp_path):
    """Every kind of event, of value and of failure comes back as it was, attempts before the outcome."""
    path = write(tmp_path / "study.db", all_events())
    assert found_in(path) == texts(all_events())
    second = [type(event).__name__ for _, event in salvage(path).events[2]]
    assert second == ["Asked", "Launched", "AttemptFailed", "Launched", "AttemptFailed", "Launched", "Told"]


def test_long_values_are_read(tmp_path, seeded):
    """Values and settings that fill several pages come back, and are lost alone if one of these pages is."""
    path = write(tmp_path / "study.db", evaluations(0, 60, long=True))
    with SqliteLog(path) as log:
        log.record_settings({"command": "train " + "x" * 20_000})
    assert found_in(path) == texts(evaluations(0, 60, long=True))
    assert len(salvage(path).settings["command"]) == 20_006
    content = path.read_bytes()
    for start in seeded.sample(range(0, len(content), PAGE), 30):
        if content[start] == 0:  # an overflow page, which begins with the number of the next one
            lost = texts(truth_of(path)) - found_in(
                damaged(path, content[:start] + bytes(PAGE) + content[start + PAGE :])
            )
            assert len(lost) <= 1


@pytest.mark.parametrize("size", [512, 1024, 2048, 8192, 16384, 32768, 65536])
@pytest.mark.parametrize("is_header_lost", [False, True])
def test_pages_of_any_size_are_read(path, size, is_header_lost):
    """Pages of every size that SQLite has are read, whether or not the header says it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {size}")
        connection.execute("VACUUM")
    content = path.read_bytes()
    assert int.from_bytes(content[16:18]) == (size if size < 65536 else 1)
    found = salvage(damaged(path, bytes(100) + content[100:] if is_header_lost else content))
    assert (found.in_order, found.settings) == (600, SETTINGS)


@pytest.mark.parametrize("left", [0, 16, 100, 4096])
def test_a_destroyed_beginning_costs_nothing_else(path, left):
    """Without its header, or its first page, all records of a log are found."""
    content = path.read_bytes()
    found = salvage(damaged(path, content[:left] + b"\xff" * (PAGE - left) + content[PAGE:]))
    assert (found.in_order, found.settings) == (600, SETTINGS)


@pytest.mark.parametrize("filling", ["zeros", "noise"])
def test_a_lost_page_costs_what_stood_on_it(path, seeded, filling):
    """Whichever page is overwritten, what stood on others is found: over all pages, each record is lost once."""
    content, truth = path.read_bytes(), texts(truth_of(path))
    lost = []
    for start in range(0, len(content), PAGE):
        other = bytes(PAGE) if filling == "zeros" else seeded.randbytes(PAGE)
        found = salvage(damaged(path, content[:start] + other + content[start + PAGE :]))
        events = {repr(event) for events in found.events.values() for _, event in events}
        assert events <= truth
        lost += [*(truth - events), *(SETTINGS.keys() - found.settings.keys())]
    assert sorted(lost) == sorted([*truth, *SETTINGS])


def test_a_flipped_bit_costs_at_most_a_page(path, seeded):
    """Whichever bit is flipped, nothing false is found, and no more is lost than stands on a page."""
    content, truth = path.read_bytes(), texts(truth_of(path))
    for _ in range(300):
        flipped = bytearray(content)
        flipped[seeded.randrange(len(content))] ^= 1 << seeded.randrange(8)
        found = found_in(damaged(path, flipped))
        assert found <= truth
        assert len(truth - found) <= 200  # the attempts, which are short, all stand on one page


def test_what_a_truncated_file_has_is_found(path, seeded):
    """The longer the rest of a truncated file, the more is found, and never anything false."""
    content, truth = path.read_bytes(), texts(truth_of(path))
    found = set()
    for length in sorted([0, 1, 99, len(content) - 1, *seeded.sample(range(len(content)), 40)]):
        more = found_in(damaged(path, content[:length]))
        assert found <= more <= truth
        found = more


def test_a_file_of_noise_has_nothing(tmp_path, seeded):
    """In noise, in text and in other databases nothing is found."""
    path = tmp_path / "study.db"
    with closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE told (a, b, c, d, e, f, g, h)")
        connection.execute("INSERT INTO told VALUES (1, 2, 3.0, 4.0, NULL, NULL, 0.5, 17)")
    for content in (seeded.randbytes(500_000), b"no database\n" * 9999, (tmp_path / "other.db").read_bytes()):
        path.write_bytes(content)
        found = salvage(path)
        assert (found.settings, found.events) == ({}, {})


@pytest.fixture
def killed(path):
    """Return a log whose driver was killed: the last forty evaluations are in the write-ahead log alone."""
    log = SqliteLog(path, clock=lambda: 1000.0)
    for event in evaluations(200, 240):
        log.append(event)
        log.commit()
    files = {file.name: file.read_bytes() for file in path.parent.glob("study.db*")}
    log.close()
    other = path.parent / "killed"
    other.mkdir()
    for name, content in files.items():
        (other / name).write_bytes(content)
    return other / "study.db"


def test_a_write_ahead_log_is_read(killed, seeded):
    """What is in the write-ahead log is found: where it is truncated what stands before, and what is behind damage."""
    wal = killed.with_name("study.db-wal")
    content = wal.read_bytes()
    truth = texts(evaluations(0, 240))
    assert found_in(killed) == truth
    for _ in range(30):
        flipped = bytearray(content)
        flipped[seeded.randrange(len(content))] ^= 1 << seeded.randrange(8)
        wal.write_bytes(flipped)
        assert len(truth - found_in(killed)) <= 1  # the page comes again, but for the last one
    found = texts(evaluations(0, 200))
    for length in sorted([0, 31, *seeded.sample(range(len(content)), 30)]):
        wal.write_bytes(content[:length])
        more = found_in(killed)
        assert found <= more <= truth
        found = more
    wal.unlink()
    assert found_in(killed) == texts(evaluations(0, 200))


def test_a_write_ahead_log_is_enough(killed):
    """Of a log whose file is gone, what is in the write-ahead log is found."""
    killed.unlink()
    assert texts(evaluations(200, 240)) <= found_in(killed)


@pytest.mark.fault(
    "kill -9 in the middle of a transaction, and its journal is removed",
    "the half that was written is not taken for truth",
)
@pytest.mark.parametrize("has_journal", [True, False])
def test_half_a_transaction(path, has_journal):
    """After kill -9 in a transaction without a write-ahead log what was committed is found: the journal has it."""
    command = [sys.executable, "-c", HALF_A_TRANSACTION, path]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    journal = path.with_name("study.db-journal")
    assert journal.stat().st_size > PAGE
    if not has_journal:
        journal.unlink()
    found = salvage(path)
    assert found.settings == SETTINGS
    committed = texts(evaluations(0, 200))
    events = {repr(event) for events in found.events.values() for _, event in events}
    assert committed <= events if has_journal else len(committed - events) < 100


def test_what_was_held_is_read(path):
    """What an earlier recovery held is found as what it is, and does not count as part of the log's order."""
    held = [(5.0, event) for event in evaluations(300, 320)]
    with SqliteLog(path) as log:
        log.hold(held)
    found = salvage(path)
    assert found.in_order == 600
    assert [dated for number in range(300, 320) for dated in found.events[number]] == held


def test_a_later_setting_counts(path):
    """Of a setting that was recorded twice the later value is found, in the write-ahead log too."""
    for seed in range(8, 20):
        with SqliteLog(path) as log:
            log.record_settings({"seed": seed})
            assert salvage(path).settings["seed"] == seed
        assert salvage(path).settings["seed"] == seed
