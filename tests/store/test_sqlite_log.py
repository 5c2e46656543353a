"""The log in a file: durable, private, and honest about what it cannot do."""

import shutil
import sqlite3
import stat
import subprocess
import sys
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crayai.hpo.errors import StoreError, StoreFull
from crayai.hpo.records import Asked, Completed, Launched, Suggestion, Told
from crayai.hpo.store.sqlite import SqliteLog
from crayai.hpo.testing.logs import all_events


def ask(number, **values):
    """Return an event with values."""
    return Asked(number, Suggestion(values))


@pytest.fixture
def path(tmp_path):
    """Return where the log is."""
    return tmp_path / "study.db"


def test_a_log_is_for_its_user_alone(path):
    """Nobody else can read the file, for commands may hold secrets; nor the files beside it while it is open."""
    with SqliteLog(path) as log:
        log.append(ask(0))
        log.commit()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert set(modes.values()) == {0o600}, modes


def test_a_closed_log_is_one_file(path):
    """After closing nothing stands beside the file, so that it can be copied, and read where nobody may write."""
    with SqliteLog(path) as log:
        log.append(ask(0))
        log.commit()
    assert [file.name for file in path.parent.iterdir()] == ["study.db"]


def test_times_are_the_clocks(path):
    """Each event has the time of its appending."""
    ticks = count(1000.5)
    with SqliteLog(path, clock=lambda: next(ticks)) as log:
        for event in (ask(0), Launched(0, 1), Told(0, Completed(1.0))):
            log.append(event)
        log.commit()
    connection = sqlite3.connect(path)
    query = "SELECT asked_at, launched_at, told_at FROM evaluation"
    assert connection.execute(query).fetchall() == [(1000.5, 1001.5, 1002.5)]
    connection.close()


@pytest.mark.parametrize("what", ["a value", ",        -- how many"])
def test_text_that_is_no_text_is_damage(path, what):
    """Bytes that are no UTF-8, in a value or in the schema, are damage like any other."""
    with SqliteLog(path) as log:
        log.record_settings({"name": "a value"})
    content = path.read_bytes()
    place = content.index(what.encode(), content.index(b"CREATE TABLE setting"))
    path.write_bytes(content[:place] + b"\xa0" + content[place + 1 :])
    with pytest.raises(StoreError, match="crayai recover"), SqliteLog(path) as log:
        log.settings()


def test_settings_come_back_and_are_replaced(path):
    """Settings are kept beside the events, at once, and later ones of the same name replace them."""
    with SqliteLog(path) as log:
        assert log.settings() == {}
        log.record_settings({"command": "café --x='ü'", "seed": None, "strategy": {"name": "genetic", "rate": 0.05}})
        log.record_settings({"seed": 7, "params": ["--lr=1e-5..0.1 log"]})
    with SqliteLog(path) as log:
        assert log.settings() == {
            "command": "café --x='ü'",
            "seed": 7,
            "strategy": {"name": "genetic", "rate": 0.05},
            "params": ["--lr=1e-5..0.1 log"],
        }


def test_a_commit_is_all_or_nothing(path):
    """If one event of a turn cannot be written, none of the turn is."""
    with SqliteLog(path) as log:
        log.append(ask(0))
        log.commit()
        for event in (ask(1), Told(0, Completed(1.0)), ask(1)):  # the last one contradicts the first
            log.append(event)
        with pytest.raises(StoreError, match=r"study\.db cannot be used as the log of a study"):
            log.commit()
        assert list(log.events()) == [ask(0)]
    with SqliteLog(path) as log:
        assert list(log.events()) == [ask(0)]


def test_a_killed_driver_leaves_what_it_committed(path):
    """After kill -9 between two commits the log holds the first turn and nothing of the second."""
    text = """
import os, signal, sys
from pathlib import Path
from crayai.hpo.records import Asked, Suggestion
from crayai.hpo.store.sqlite import SqliteLog
log = SqliteLog(Path(sys.argv[1]))
for number in range(3):
    log.append(Asked(number, Suggestion({"--x": number})))
log.commit()
log.append(Asked(3, Suggestion({})))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", text, path], check=False).returncode == -9
    with SqliteLog(path) as log:
        assert list(log.events()) == [ask(number, **{"--x": number}) for number in range(3)]
        log.append(ask(3))
        log.commit()
        assert len(list(log.events())) == 4


@pytest.mark.parametrize("bytes_too_few", [0, 1])
def test_a_full_disk_loses_nothing(path, bytes_too_few):
    """Without room a commit says so and keeps the turn; with room the same commit goes through, and order holds."""
    with SqliteLog(path) as log:
        log.append(ask(0))
        log.commit()
        pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
        log._connection.execute(f"PRAGMA max_page_count = {pages}")
        turn = [ask(number, text="x" * 3000) for number in range(1, 20)]
        for event in turn[: len(turn) - bytes_too_few]:
            log.append(event)
        for _ in range(2):
            with pytest.raises(StoreFull, match=r"no room to write .*study\.db"):
                log.commit()
            assert list(log.events()) == [ask(0)]
        for event in turn[len(turn) - bytes_too_few :]:
            log.append(event)  # life goes on while the disk is full
        log._connection.execute("PRAGMA max_page_count = 1000000")
        log.commit()
        assert list(log.events()) == [ask(0), *turn]
    with SqliteLog(path) as log:
        assert list(log.events()) == [ask(0), *turn]


def test_a_log_of_a_later_version_is_refused(path):
    """A log that a later version wrote is refused with both formats and what to do, and is left as it is."""
    SqliteLog(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"format 99, this version knows formats up to 1: install a later crayai"):
        SqliteLog(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be one" * 100, b"SQLite format 3\0" + b"\xff" * 4080]
)
def test_a_file_that_is_no_log_is_refused(path, content):
    """A file of anything else is refused by name, and is left as it is."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"study\.db is damaged, or no log of a study: file is not a database"):
        SqliteLog(path)
    assert path.read_bytes() == content


def test_a_log_can_be_copied_while_it_is_open(path, tmp_path):
    """What is beside an open log belongs to it: a copy of both is a log."""
    with SqliteLog(path) as log:
        for event in all_events():
            log.append(event)
        log.commit()
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in path.parent.glob("study.db*"):
            shutil.copy(file, copy)
    with SqliteLog(copy / "study.db") as log:
        assert list(log.events()) == all_events()


values = st.dictionaries(
    st.text(min_size=1),
    st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, print_blob=True)
@given(st.lists(values, max_size=8), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8))
def test_any_values_and_losses_come_back(tmp_path, suggestions, losses):
    """Whatever the flags, the values and the losses are, they come back the same, to the last bit and in order."""
    path = tmp_path / "any.db"
    path.unlink(missing_ok=True)
    events = [Asked(number, Suggestion(found)) for number, found in enumerate(suggestions)]
    events += [Told(number, Completed(loss)) for number, loss in enumerate(losses)]
    with SqliteLog(path) as log:
        for event in events:
            log.append(event)
        log.commit()
        found = list(log.events())
        assert found == events
        assert [list(event.suggestion.values.items()) for event in found if isinstance(event, Asked)] == [
            list(one.items()) for one in suggestions
        ]


def test_drivers_and_how_long_they_worked(path):
    """The time that drivers worked is that from each start to its last event, without the time between them."""
    now = [100.0]
    for start, events in ((100.0, 3), (1000.0, 0), (2000.0, 2)):
        now[0] = start
        with SqliteLog(path, clock=lambda: now[0]) as log:
            log.record_driver(f"driver of {start}")
            for _ in range(events):
                now[0] += 10
                log.append(ask(len(list(log.events()))))
                log.commit()
    with SqliteLog(path, clock=lambda: 5000.0) as log:
        assert log.record_driver("the last one") == 30 + 20


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE told SET loss = 0.25 WHERE number = 1", "the record of evaluation 1 in the table told is damaged"),
        ("""UPDATE asked SET "values" = '{}' WHERE number = 0""", "the record of evaluation 0 in the table asked"),
        ("DELETE FROM launched WHERE number = 1", "event 5 is missing"),
    ],
)
def test_a_changed_record_is_recognised(path, damage, words):
    """What somebody or a bad disk changed in a record, or took away, is named when the log is read."""
    with SqliteLog(path) as log:
        for number in range(3):
            for event in (ask(number, x=1.5), Launched(number, 1), Told(number, Completed(number / 2), 0.1)):
                log.append(event)
        log.commit()
        log._connection.execute(damage)
    with (
        SqliteLog(path) as log,
        pytest.raises(StoreError, match=rf"is damaged, .*{words}.*crayai recover {path.parent}"),
    ):
        list(log.events())
