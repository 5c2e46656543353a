"""Questions to a log, also while a driver writes it."""

from contextlib import suppress

import pytest

from crayai.hpo.errors import StoreError
from crayai.hpo.records import Asked, Cause, Completed, Failed, Launched, Suggestion, Told
from crayai.hpo.store.query import Counts, Reader
from crayai.hpo.store.sqlite import SqliteLog


@pytest.fixture
def path(tmp_path):
    """Return where the log is; the directory has characters that mean something in an address."""
    directory = tmp_path / "50% of ü?#"
    directory.mkdir()
    return directory / "study.db"


def write(log, *events):
    """Commit `events`."""
    for event in events:
        log.append(event)
    log.commit()


def evaluation(number, outcome=None, attempts=1):
    """Return the events of an evaluation that was launched, and is over if it has an outcome."""
    events = [Asked(number, Suggestion({"--x": number / 8, "--name": "ü"}, 2, 1, (0, 1)))]
    events += [Launched(number, attempt) for attempt in range(1, attempts + 1)]
    return events if outcome is None else [*events, Told(number, outcome)]


def test_nothing_yet(path):
    """Of a study that has just begun everything is zero or nothing."""
    with SqliteLog(path), Reader(path) as reader:
        assert reader.settings() == {}
        assert reader.counts() == Counts(asked=0, completed=0, failed=0, under_way=0)
        assert reader.best() is None
        assert reader.times() is None
        assert reader.failures() == {}
        assert list(reader.evaluations()) == []


def test_a_reader_sees_what_the_writer_committed(path):
    """While a driver has the log open, a reader sees each turn as soon as it is committed, and not before."""
    with SqliteLog(path) as log, Reader(path) as reader:
        write(log, *evaluation(0))
        assert reader.counts() == Counts(1, 0, 0, 1)
        log.append(Told(0, Completed(1.5)))
        assert reader.counts() == Counts(1, 0, 0, 1)
        log.commit()
        assert reader.counts() == Counts(1, 1, 0, 0)
        write(
            log, *evaluation(1, Failed(Cause.SIGNAL, "SIGKILL")), *evaluation(2, attempts=3), Asked(3, Suggestion({}))
        )
        assert reader.counts() == Counts(asked=4, completed=1, failed=1, under_way=1)


def test_a_reader_never_makes_the_writer_wait(path):
    """The driver commits while a reader is in the midst of reading, and closes the log while one has it open."""
    with Reader(prepared(path)) as reader:
        log = SqliteLog(path)
        rows = reader.evaluations()
        first = next(rows)
        write(log, *evaluation(100, Completed(0.0)))
        assert (first.number, len(list(rows))) == (0, 99)
        log.close()
        assert reader.counts().completed == 101


def prepared(path):
    """Return `path` with a log of a hundred evaluations in it."""
    with SqliteLog(path) as log:
        write(log, *(event for number in range(100) for event in evaluation(number, Completed(1.0))))
    return path


def test_an_evaluation_comes_with_all_that_is_known(path):
    """One evaluation has its values, ancestry, times, the latest attempt and its outcome; unknown numbers have none."""
    ticks = iter(range(10, 100))
    with SqliteLog(path, clock=lambda: float(next(ticks))) as log:
        write(log, *evaluation(0, Failed(Cause.EXIT_CODE, "3"), attempts=2), *evaluation(1))
    with Reader(path) as reader:
        found = reader.evaluation(0)
        assert found is not None
        assert (found.values, found.generation, found.deme, found.parents) == (
            {"--x": 0.0, "--name": "ü"},
            2,
            1,
            (0, 1),
        )
        assert (found.asked_at, found.launched_at, found.told_at, found.attempt) == (10, 12, 13, 2)
        assert found.outcome == Failed(Cause.EXIT_CODE, "3")
        open_one = reader.evaluation(1)
        assert open_one is not None
        assert (open_one.outcome, open_one.told_at, open_one.attempt) == (None, None, 1)
        assert reader.evaluation(2) is None
        assert reader.times() == (10, 13)


def test_an_evaluation_knows_what_it_trained_on_from(path):
    """An evaluation has the number of the one whose checkpoint it trained on from, or none."""
    with SqliteLog(path) as log:
        write(log, Asked(0, Suggestion({})), Asked(1, Suggestion({}, resume_from=0)))
    with Reader(path) as reader:
        assert [found.resume_from for found in reader.evaluations()] == [None, 0]


def test_evaluations_come_by_number(path):
    """All evaluations come by number, in whatever order they were written and ended."""
    with SqliteLog(path) as log:
        write(log, *evaluation(2, Completed(1.0)), *evaluation(0), *evaluation(1, Completed(3.0)))
    with Reader(path) as reader:
        assert [found.number for found in reader.evaluations()] == [0, 1, 2]


def test_the_best_of_equals_is_the_earlier(path):
    """The best has the least loss, the lower number of equals whoever ended first, and never failed."""
    with SqliteLog(path) as log:
        write(log, *evaluation(0, Failed(Cause.NO_FOM)))
        write(log, *evaluation(3, Completed(-2.0)), *evaluation(1, Completed(-2.0)), *evaluation(2, Completed(5.0)))
    with Reader(path) as reader:
        best = reader.best()
        assert best is not None
        assert (best.number, best.outcome) == (1, Completed(-2.0))


def test_failures_are_counted_by_cause(path):
    """Each cause that occurred has its count."""
    outcomes = [Failed(Cause.SIGNAL, "SIGKILL"), Failed(Cause.SIGNAL, "SIGSEGV"), Failed(Cause.NO_FOM), Completed(1.0)]
    with SqliteLog(path) as log:
        write(log, *(event for number, outcome in enumerate(outcomes) for event in evaluation(number, outcome)))
    with Reader(path) as reader:
        assert reader.failures() == {"signal": 2, "no figure of merit": 1}


def test_a_missing_study_is_named(tmp_path):
    """Where there is no study the message names the directory, and no file is made."""
    with pytest.raises(StoreError, match=rf"there is no study in {tmp_path}: study\.db is missing"):
        Reader(tmp_path / "study.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_log_cannot_be_read(tmp_path):
    """A file of anything else is refused by name."""
    (tmp_path / "study.db").write_bytes(b"no database at all, but long enough to be one" * 100)
    with (
        Reader(tmp_path / "study.db") as reader,
        pytest.raises(StoreError, match=r"study\.db is damaged, or no log .*crayai recover"),
    ):
        reader.counts()


def test_a_finished_study_can_be_read_where_nobody_may_write(path):
    """A closed log is read from a directory without the right to write, and nothing is made there."""
    with SqliteLog(path) as log:
        write(log, *evaluation(0, Completed(1.0)))
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with Reader(path) as reader:
            assert reader.counts().completed == 1
        assert [file.name for file in path.parent.iterdir()] == ["study.db"]
    finally:
        with suppress(OSError):
            path.parent.chmod(0o700)


def test_a_log_that_has_just_been_made(tmp_path):
    """A log without anything in it is not said to be damaged."""
    (tmp_path / "study.db").touch()
    with Reader(tmp_path / "study.db") as reader, pytest.raises(StoreError, match=r"nothing in .* yet"):
        reader.settings()
