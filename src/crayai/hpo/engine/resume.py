"""Opening the directory of a study: a new one, or one to go on with."""

import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crayai.hpo.engine.provenance import SETTING, Fact, table
from crayai.hpo.engine.recover import check_whole
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import Study, differences, raises_budget, study_from_settings, with_seed
from crayai.hpo.engine.workdir import StudyDirectory, writing
from crayai.hpo.errors import StudyChanged
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.launch.wrapping import Wrapping
from crayai.hpo.store.lock import StudyLock
from crayai.hpo.store.sqlite import SqliteLog

AT_REST = "at_rest"
"""The setting that says whether the last driver has ended all that it had started."""


@dataclass(frozen=True)
class OpenStudy:
    """A study whose log this process writes.

    Attributes:
        directory: Where it is.
        study_id: Names it for ever.
        search: The search as far as it went.
        was_resumed: Whether evaluations were found in the log.
        was_at_rest: Whether the driver before has ended all that it had started.
        worked_seconds: How long earlier drivers worked on it.
        log: What is recorded of it.
    """

    directory: StudyDirectory
    study_id: str
    search: Search
    was_resumed: bool
    was_at_rest: bool
    worked_seconds: float
    log: SqliteLog

    def agreed_checkpoint(self, wanted: str) -> str:
        """Return the directory below which the checkpoints of this study are, and record it; empty: in its own.

        Raises:
            StudyChanged: They are in another one.
        """
        absolute = str(Path(wanted).absolute()) if wanted else ""
        recorded = self.log.settings().get("checkpoint", absolute)
        if recorded != absolute and self.was_resumed:
            raise StudyChanged(
                f"the checkpoints of the study in {self.directory.root} are in {recorded or 'its own directory'}, and "
                f"not in {absolute or 'there'}: give checkpoint = {recorded!r}, or choose another directory"
            )
        self.log.record_settings({"checkpoint": absolute})
        return absolute

    def agree_on_surroundings(self, wrapping: Wrapping, start: Path) -> None:
        """Record what stands around evaluations from now on, and where programs start.

        As long as none has completed, and nothing runs, it may have to be mended.

        Raises:
            StudyChanged: Earlier ones ran in another container or environment; each setting is named.
        """
        recorded, urika = self.log.settings(), wrapping.urika
        changed = _changed(recorded.get("container"), wrapping.container)
        if (before := recorded.get("conda_env", "")) != wrapping.prefix:
            changed.append(f"conda_env = {before!r}, and not in {wrapping.prefix!r}")
        if changed and self.was_resumed and (self.search.completed or not self.was_at_rest):
            raise StudyChanged(
                f"the evaluations of the study in {self.directory.root} ran in {'; '.join(changed)}: give what was, or "
                "choose another directory"
            )
        settings: dict[str, Any] = {"urika": None if urika is None else asdict(urika), "start": str(start)}
        if changed or not self.was_resumed:
            settings |= {"container": table(wrapping.container), "conda_env": wrapping.prefix}
        self.log.record_settings(settings)

    def record_provenance(self, facts: Mapping[str, Fact]) -> None:
        """Record what the driver knows of what evaluations from the next one on are made with.

        Nothing is, if it is as before, unless what an earlier driver's evaluations saw is not known.
        """
        recorded, number = self.log.settings().get(SETTING, []), len(self.search.record)
        if not recorded or recorded[-1]["facts"] != facts or "seen" not in recorded[-1]:
            before = [entry for entry in recorded if entry["from_evaluation"] < number]
            self.log.record_settings({SETTING: [*before, {"from_evaluation": number, "facts": dict(facts)}]})

    def record_seen(self, number: int, seen: Mapping[str, Fact]) -> None:
        """Record what was seen in the place of evaluation `number`, if it is not as before."""
        *before, last = self.log.settings().get(SETTING) or [{}]
        if not last:
            return  # it was seen for a study that is no longer there
        if "seen" not in last:
            self.log.record_settings({SETTING: [*before, {**last, "seen": dict(seen)}]})
        elif last["seen"] != seen:
            entry = {**last, "from_evaluation": number, "seen": dict(seen)}
            self.log.record_settings({SETTING: [*before, last, entry]})


def _changed(recorded: Any, container: Container | None) -> list[str]:
    """Return the settings of a container that are not as recorded, in words; earlier versions recorded the image."""
    none = {**(table(Container(image="none")) or {}), "image": ""}
    before = {"image": recorded} if isinstance(recorded, str) else {**none, **(recorded or {})}
    now = {**none, **(table(container) or {})}
    return [
        f"container {name} = {old!r}, and not in {now.get(name)!r}"
        for name, old in before.items()
        if old != now.get(name)
    ]


@contextmanager
def open_study(root: Path, study: Study, *, extend: bool = False) -> Iterator[OpenStudy]:
    """Start `study` in the directory `root`, or go on with the one that is there, while the block runs.

    Raises:
        StudyChanged: The study there has other settings, each named; a greater budget is taken with `extend`.
        StudyLocked: Another driver works on it.
        SettingsError: The directory cannot be written to.
        StoreError: The log cannot be used.
    """
    directory = StudyDirectory(root)
    with writing(directory.root):
        directory.make()
        lock = StudyLock(directory.lock)
    try:
        directory.replace_log()
        check_whole(directory)
        with SqliteLog(directory.log) as log:
            recorded = log.settings()
            study = _agreed(directory, recorded, study, extend=extend)
            search = Search(study, log, log.held())
            log.check()  # before anything is written
            study_id: str = recorded.get("study_id") or secrets.token_hex(6)
            log.record_settings({**study.settings(), "study_id": study_id, "stopped": "", AT_REST: False})
            worked_seconds = log.record_driver(f"process {os.getpid()} on {socket.gethostname()}")
            was_at_rest: bool = recorded.get(AT_REST, False)
            yield OpenStudy(directory, study_id, search, bool(len(search.record)), was_at_rest, worked_seconds, log)
    finally:
        lock.release()


def recorded_study(root: Path) -> tuple[Study, bool] | None:
    """Return the study in the directory `root`, and whether it is finished; None: there is none.

    Raises:
        StudyLocked: A driver works on it.
        StoreError: The log cannot be read.
    """
    directory = StudyDirectory(root)
    if not directory.readable_log.exists():
        return None
    lock = StudyLock(directory.lock)
    try:
        directory.replace_log()
        with SqliteLog(directory.log) as log:
            settings = log.settings()
            if not settings:
                return None
            study = study_from_settings(settings)
            return study, Search(study, log).is_done
    finally:
        lock.release()


def choose_directory(root: Path, study: Study, *, resume: bool) -> tuple[Path, Path | None]:
    """Return the directory for `study`, and where a study that was in its way has been moved.

    With `resume`, an unfinished study of the same settings is gone on with: the one in `root`, or one that was moved
    aside from there. Any other study in `root` is moved aside, to ``NAME.1``, ``NAME.2``, …

    Raises:
        StudyLocked: A driver works on a study there.
    """
    root = root.absolute()
    if Path.cwd().is_relative_to(root):
        root /= "run"  # the caller's own directory cannot be moved aside
    asides = sorted(root.parent.glob(f"{root.name}.[0-9]*"), key=lambda path: path.name, reverse=True) if resume else []
    for candidate in [root, *asides] if resume else []:
        found = recorded_study(candidate)
        if found and not found[1] and not differences(found[0].settings(), study.settings()):
            if candidate == root:
                return root, None
            moved_to = StudyDirectory(root).set_aside() if root.exists() else None
            candidate.rename(root)
            return root, moved_to
    if recorded_study(root) is None:
        return root, None
    return root, StudyDirectory(root).set_aside()


def _agreed(directory: StudyDirectory, recorded: dict[str, Any], study: Study, *, extend: bool) -> Study:
    """Return the study to go on with: the wanted one, with the recorded seed."""
    if not recorded:
        return with_seed(study, secrets.randbits(31))
    changed = differences(recorded, study.settings())
    refused = {
        name: values for name, values in changed.items() if not (extend and raises_budget(name, values[0], values[1]))
    }
    if refused:
        lines = [f"  {name}: {old!r} there, {new!r} now" for name, (old, new) in refused.items()]
        hint = (
            "choose another directory, or use the settings of the study there"
            if not all(raises_budget(name, *values) for name, values in refused.items())
            else "raise the budget with --extend"
        )
        raise StudyChanged("\n".join([f"the study in {directory.root} has other settings:", *lines, hint]))
    return with_seed(study, recorded["seed"])
