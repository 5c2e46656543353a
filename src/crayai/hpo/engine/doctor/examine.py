"""Running the user's program before a study does: at a dozen points that tell whether it is fit to be searched."""

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from crayai.hpo.engine.conduct import check_environment
from crayai.hpo.engine.doctor.bench import Bench, Run, Watcher
from crayai.hpo.engine.doctor.examination import Examination, Litter
from crayai.hpo.engine.doctor.probes import Prober
from crayai.hpo.engine.doctor.second_window import train_on
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.sight import looking
from crayai.hpo.engine.study import Study

TICK_SECONDS = 1.0
"""How long after the first run the second one begins: many programs take their seed from a clock of seconds."""

_FILES = 20_000
_DEPTH = 3
_HEAD = 4096


def examine(
    study: Study,
    settings: EvaluationSettings,
    root: Path,
    watcher: Watcher,
    *,
    quick: bool = False,
    room: int | None = None,
    checkpoint_room: int | None = None,
) -> Examination:
    """Run the program of `study` at the points that tell something; at the default one alone if it fails there.

    Args:
        study: Its seed must be set.
        settings: How evaluations are run.
        root: A directory to run in, which is left with what the runs printed.
        watcher: Is told how far the runs are.
        quick: Whether to leave out the runs that change one flag alone, and second looks.
        room: See `Examination`.
        checkpoint_room: Likewise.
    """
    start = settings.start
    prober = Prober(study)
    with _bench(study, settings, root, watcher) as bench:
        before = snapshot(start, root)
        runs = bench.run([prober.default()])
        seen = Examination(
            study=study,
            settings=settings,
            runs=tuple(runs),
            room=room,
            checkpoint_room=checkpoint_room,
            surroundings=bench.look(looking(study.filled_command.words or (study.command,))),
        )
        if runs[0].fom is None:
            return seen
        litter = _Litter(start, root, before)
        saved_at_load, strays = bench.clear_load(), bench.strays(runs[0].probe)
        time.sleep(TICK_SECONDS)
        runs += bench.run(prober.others(quick=quick), runs[0].seconds)
        seen = replace(seen, runs=tuple(runs))
        if not quick:
            bases = [run.probe for run in seen.points if run.fom is not None]
            is_noisy = len(set(seen.at_default)) > 1
            runs += bench.run(prober.closer(seen.without_effect, bases, is_noisy=is_noisy), runs[0].seconds)
        seen = replace(
            seen,
            runs=tuple(runs),
            litter=litter.now(),
            strays=strays,
            saved_at_load=saved_at_load,
            never_active=tuple(prober.never_active),
        )
        return replace(seen, training=train_on(bench, prober, seen, quick=quick))


def run_default_point(study: Study, settings: EvaluationSettings, root: Path, watcher: Watcher) -> Run:
    """Run the program once, at the point that the study will begin with."""
    with _bench(study, settings, root, watcher) as bench:
        return bench.run([Prober(study).default()])[0]


@contextmanager
def _bench(study: Study, settings: EvaluationSettings, root: Path, watcher: Watcher) -> Iterator[Bench]:
    """Make a bench, and end whatever runs on it when it is left."""
    settings.check_here()
    wrapping = settings.wrapping(root)
    check_environment(settings, wrapping)
    with closing(settings.launcher(root, secrets.token_hex(4), wrapping)) as launcher:
        yield Bench(study, settings, root, launcher, wrapping, watcher)


Stamp = tuple[int, int, int]
"""What changes with a file: its inode, its size, the time of its last change."""


def snapshot(start: Path, but: Path) -> dict[Path, Stamp]:
    """Return the files below `start`, some levels deep, without hidden ones, studies, and the directory `but`."""
    found: dict[Path, Stamp] = {}
    for path in _files(start, but):
        if len(found) >= _FILES:
            break
        try:
            status = path.stat()
        except OSError:
            continue  # it has just been removed, or is a link to nothing
        found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _files(start: Path, but: Path) -> Iterator[Path]:
    for name, directories, files in os.walk(start):
        here = Path(name)
        if here == but or "study.db" in files:
            directories.clear()
            continue
        is_deep = len(here.relative_to(start).parts) >= _DEPTH
        directories[:] = [] if is_deep else sorted(filter(_is_plain, directories))
        yield from (here / file for file in filter(_is_plain, files))


def _is_plain(name: str) -> bool:
    return not name.startswith((".", "__pycache__"))


class _Litter:
    """The files below `start` that the first run wrote, to see what becomes of them."""

    def __init__(self, start: Path, but: Path, before: dict[Path, Stamp]) -> None:
        self._start = start
        self._but = but
        self._after_first = snapshot(start, but)
        self._written = [path for path, stamp in self._after_first.items() if before.get(path) != stamp]
        self._heads = {path: _head(path) for path in self._written}

    def now(self) -> Litter:
        """Return what was written, and what was overwritten since; what only grew was not."""
        after = snapshot(self._start, self._but)
        has_others = bool(after.keys() - self._after_first.keys())
        changed = [p for p in self._written if p in after and after[p] != self._after_first[p] and not self._grew(p)]
        return Litter(self._names(self._written), () if has_others else self._names(changed))

    def _grew(self, path: Path) -> bool:
        head = self._heads[path]
        return path.stat().st_size > self._after_first[path][1] and _head(path)[: len(head)] == head

    def _names(self, paths: Iterable[Path]) -> tuple[str, ...]:
        return tuple(str(path.relative_to(self._start)) for path in paths)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
