"""Building the log of a study anew from what can be read of a damaged one.

Everything is asked for again from the seed, so that a lost suggestion comes back as it was; what became of it is told
as far as it is known. Suggestions that follow on outcomes that were lost cannot be asked for yet: they are held, with
their outcomes, in the new log, and `Search` takes them up when the lost ones have run again.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import Study, differences, study_from_settings
from crayai.hpo.engine.verify import are_equal
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.errors import SettingsError, StoreError
from crayai.hpo.records import Asked, AttemptFailed, Event, Launched, Told
from crayai.hpo.store.base import MemoryLog
from crayai.hpo.store.lock import StudyLock
from crayai.hpo.store.query import Reader
from crayai.hpo.store.salvage import Salvaged, salvage
from crayai.hpo.store.sqlite import SqliteLog

History = Mapping[int, list[Event]]
"""What happened to each evaluation, in order."""


@dataclass(frozen=True)
class Recovery:
    """What came of it.

    Attributes:
        evaluations: How many the new log has.
        restored: Which of them were asked for anew, because their records were lost.
        outcomes: How many of them are over.
        held: How many outcomes are held for evaluations that come after lost ones.
        again: Evaluations without an outcome, which run, or run again.
        damaged: Where the damaged log is now.
    """

    evaluations: int
    restored: Sequence[int]
    outcomes: int
    held: int
    again: Sequence[int]
    damaged: Path


def check_whole(directory: StudyDirectory) -> None:
    """Refuse a log of which a file was taken away.

    An attempt is recorded before it leaves any files. It may be missing beside a write-ahead log, of which a machine
    that lost power may have lost the last moments; but that itself is never without the file that it belongs to.

    Raises:
        StoreError: With what is missing.
    """
    log, attempts = directory.readable_log, directory.last_attempts()
    wal = Path(f"{log}-wal")
    if wal.exists():
        if wal.stat().st_size and not (log.exists() and log.stat().st_size):
            hint = f"crayai recover {directory.root} saves what can be read"
            raise StoreError(f"{log} is damaged: it is empty, and {wal} is not; {hint}")
        return
    if not attempts or not log.exists():
        return
    with Reader(log) as reader:
        lost = _first_lost(attempts, reader)
    if lost is not None:
        raise StoreError(
            f"{log} is damaged: attempt {attempts[lost]} at evaluation {lost} is not in it, and has left files, "
            f"{directory.output(lost, attempts[lost])}.*; crayai recover {directory.root} saves what can be read"
        )


def recover(root: Path, study: Study | None = None) -> Recovery | None:
    """Build the damaged log of the study in `root` anew; return what came of it. None: the log is not damaged.

    Args:
        root: The directory of the study.
        study: The settings, in case they were lost.

    Raises:
        SettingsError: The settings, or the seed, were lost and are not given; or they are those of another study.
        StoreError: There is no study, or nothing of it can be read.
        StudyLocked: A driver works on it.
    """
    directory = StudyDirectory(root)
    if not any(directory.root.glob(f"{directory.log.name}*")):
        raise StoreError(f"there is no study in {directory.root}: {directory.log.name} is missing")
    lock = StudyLock(directory.lock)
    try:
        directory.replace_log()
        found = salvage(directory.log)
        if _is_sound(directory, found):
            return None
        if not found.settings and not found.events:
            raise StoreError(f"nothing in {directory.log} can be read; choose another directory for a new study")
        return _rebuild(directory, found, study)
    finally:
        lock.release()


def _is_sound(directory: StudyDirectory, found: Salvaged) -> bool:
    """Return whether SQLite reads at least as much as was found without it, and nothing is missing."""
    try:
        with Reader(directory.log, copied=True) as reader:
            is_all_read = reader.check() >= found.in_order and len(reader.settings()) >= len(found.settings)
            return is_all_read and _first_lost(directory.last_attempts(), reader) is None
    except StoreError:
        return False


def _first_lost(attempts: Mapping[int, int], reader: Reader) -> int | None:
    """Return the first evaluation with a later attempt than the log knows; None: there is none."""
    known = reader.attempts()
    return min((number for number, attempt in attempts.items() if attempt > known.get(number, 0)), default=None)


def _rebuild(directory: StudyDirectory, found: Salvaged, given: Study | None) -> Recovery:
    """Write a new log, and put it in the place of the damaged one."""
    settings, is_given = _settings(directory, found, given)
    study = study_from_settings(settings)
    known: History = {number: [event for _, event in dated] for number, dated in found.events.items()}
    if is_given:
        _check_given(study, known)
    if study.command:
        known = _with_attempts(known, directory.last_attempts())
    log = MemoryLog()
    asked = len(_replay(study, log, known).record)
    held = [event for number, events in known.items() if number >= asked for event in events]
    _write(directory, settings, _dated(log.events(), found), _dated(held, found))
    over = {event.number for event in (*log.events(), *held) if isinstance(event, Told)}
    return Recovery(
        evaluations=asked,
        restored=[number for number in range(asked) if not _has_suggestion(found.events.get(number, ()))],
        outcomes=sum(number < asked for number in over),
        held=sum(number >= asked for number in over),
        again=[number for number in range(max([*known, asked - 1], default=-1) + 1) if number not in over],
        damaged=directory.replace_log() or directory.log,
    )


def _settings(directory: StudyDirectory, found: Salvaged, given: Study | None) -> tuple[dict[str, Any], bool]:
    """Return the settings to be recorded, and whether there are given ones among them, in the place of lost ones.

    Raises:
        SettingsError: Lost ones are not given; or what is given is another study.
    """
    identity = {"study_id": secrets.token_hex(6)}  # where it was lost
    try:
        study_from_settings(found.settings)
    except KeyError as error:
        if given is None:
            raise SettingsError(
                f"the settings of {directory.root} were lost ({error.args[0]}): give the study file, crayai recover "
                f"{directory.root} --study STUDY.toml"
            ) from None
    else:
        return identity | found.settings, False
    settings = given.settings() | found.settings
    if settings["seed"] is None:
        raise SettingsError("the seed was lost, and the study file has none: write seed = N into its [study]")
    if changed := differences(settings, given.settings()):
        lines = [f"  {name}: {old!r} in the log, {new!r} in the file" for name, (old, new) in changed.items()]
        raise SettingsError("\n".join(["this is the file of another study:", *lines]))
    return identity | settings, True


def _check_given(study: Study, known: History) -> None:
    """Refuse settings with which other suggestions would have been made than those that are known.

    Raises:
        SettingsError: With the first such suggestion.
    """
    rest: History = {number: [e for e in events if not isinstance(e, Asked)] for number, events in known.items()}
    record = _replay(study, MemoryLog(), rest).record
    for asked in (event for events in known.values() for event in events if isinstance(event, Asked)):
        if asked.number < len(record) and not are_equal(asked.suggestion, record.suggestion(asked.number)):
            raise SettingsError(
                f"evaluation {asked.number} in the log is not what the study file and the seed {study.seed} say: give "
                "the file with which this study was started"
            )


def _replay(study: Study, log: MemoryLog, history: History) -> Search:
    """Ask for everything in `history`, as far as it can be asked for, and tell what became of it."""
    search = Search(study, log, history)
    known = max(history, default=-1) + 1
    while len(search.record) < known and search.ask_next() is not None:
        pass
    return search


def _with_attempts(known: History, files: Mapping[int, int]) -> History:
    """Return `known` with as many attempts as there may have been, for a number is never used again.

    At least one counts, and as many as have left files.
    """
    counted = {}
    for number in range(max([*known, *files], default=-1) + 1):
        events = known.get(number, [])
        attempts = [event.attempt for event in events if isinstance(event, Launched | AttemptFailed)]
        last = Launched(number, max([1, files.get(number, 0), *attempts]))
        counted[number] = events if last in events else [*events, last]
    return counted


def _has_suggestion(dated: Sequence[tuple[float, Event]]) -> bool:
    return any(isinstance(event, Asked) for _, event in dated)


def _dated(events: Iterable[Event], found: Salvaged) -> Iterator[tuple[float, Event]]:
    """Return events with their times; a restored one has the first time that is known of its evaluation.

    Where none is, it has that of the event before it.
    """
    times = {_key(event): at for dated in found.events.values() for at, event in dated}
    at = min(times.values(), default=time.time())
    for event in events:
        known = found.events.get(event.number)
        at = times.get(_key(event), known[0][0] if known else at)
        yield at, event


def _key(event: Event) -> tuple[type[Event], int, int]:
    """Return what tells an event from all others."""
    return type(event), event.number, event.attempt if isinstance(event, Launched | AttemptFailed) else 0


def _write(
    directory: StudyDirectory,
    settings: Mapping[str, Any],
    events: Iterable[tuple[float, Event]],
    held: Iterable[tuple[float, Event]],
) -> None:
    """Write a new log beside the damaged one; it is made elsewhere, where SQLite has the locks that it wants.

    Raises:
        StoreError: There is no room.
    """
    at = 0.0
    with TemporaryDirectory(prefix="crayai-") as elsewhere:
        new = Path(elsewhere, directory.log.name)
        with SqliteLog(new, clock=lambda: at) as log:
            log.record_settings(settings)
            for at, event in events:  # noqa: B007 - for the clock
                log.append(event)
            log.commit()
            log.hold(held)
        with Reader(new) as reader:
            reader.check()
        directory.write_recovered(new.read_bytes())
