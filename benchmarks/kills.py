"""Kills drivers with SIGKILL at every step and at random times, and compares what comes of it with a study left alone.

    python benchmarks/kills.py [--rounds 30] [--seed N] [--strategies random grid genetic repeats pbt training]

A step is the instant before or after an effect: a commit, a submission, the start of a keeper and so on. There are

    each step      for every n: a driver that kills itself at its n-th step, and one that finishes the study
    each call      likewise at the n-th call of each kind that changes a file or sends something, where there is strace
    chains         every driver kills itself some random steps after its start, until the study is over
    any time       `crayai run` as a process of its own, killed from outside after random times until it is over
    with keepers   likewise, and now and then the process that keeps the evaluations, alone or with the driver

The program notes the start and the end of every run. An end after the start of another attempt at the same evaluation
proves that the two ran side by side. A run whose keeper was killed may be made again, for nobody else knew of its end.
The exit code is 1 if anything was lost, differs, or ran again without such an excuse.
"""

import argparse
import os
import platform
import secrets
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial, wraps
from itertools import chain, count
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from crayai.cli.main import main as crayai
from crayai.hpo.engine.study import study_from_settings
from crayai.hpo.engine.verify import first_difference
from crayai.hpo.errors import StoreError
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.records import Cause, Failed, Launched, Outcome, Told
from crayai.hpo.store.query import Reader
from crayai.hpo.store.sqlite import SqliteLog

STRATEGIES = {
    "random": "--strategy random --num-iters 8",
    "grid": "--strategy grid --grid-size 3",
    "genetic": "--strategy genetic --generations 3 --pop-size 3 --num-demes 1",
    "repeats": "--strategy genetic --generations 3 --pop-size 2 --num-demes 1 --repeats 2",
    "pbt": "--strategy pbt --pop-size 4 --windows 4",
    "training": "--strategy genetic --generations 3 --pop-size 3 --num-demes 1 --checkpoint saved",
}
CHECKPOINTS = {"pbt": ["@load", "@save"], "training": ["@checkpoint", "@checkpoint"]}
"""What the program is told of checkpoints: to load and to save apart, or one path for both, which is copied to."""
EFFECTS: dict[type, list[str]] = {
    SqliteLog: ["record_settings", "record_driver", "commit", "close"],
    LocalLauncher: ["start", "submit", "forget", "withdraw", "cancel", "close"],
}
COLUMNS = [
    *("studies", "kills", "keepers killed", "evaluations"),
    *("lost", "run again", "finished twice", "side by side", "differing points"),
]
CALLS = ["write", "pwrite64", "ftruncate", "fdatasync", "rename", "unlink", "mkdir", "sendto"]
MOST_KEEPERS = 2
"""How often keepers are killed in one study: an evaluation whose keepers were killed thrice counts as lost."""
MOST_DRIVERS = 200
WORKERS = 2 * len(os.sched_getaffinity(0))
"""Studies at once: half of the time they wait."""
PATIENCE_SECONDS = 60.0

PROGRAM = """# A training of 10 to 40 ms that notes its start and its end; on from a checkpoint, if it is told of one.
echo "start $CRAYAI_EVALUATION $CRAYAI_ATTEMPT" >> notes
sleep 0.0$((10 + $$ * 37 % 30))
before=0
if [ -n "$CRAYAI_CHECKPOINT" ]; then
    [ -f "$1" ] && before=$(cat "$1")
    shift 2
fi
line=$(awk -v before="$before" -f loss.awk -- "$@")
code=$?
echo "$line"
[ -n "$CRAYAI_CHECKPOINT" ] && echo "${line#FoM: }" > "$CRAYAI_CHECKPOINT"
echo "end $CRAYAI_EVALUATION $CRAYAI_ATTEMPT" >> notes
exit $code
"""
LOSS = r"""BEGIN {
    split(ARGV[1], x, "="); split(ARGV[2], n, "=")
    if (n[2] == 6) exit 3
    printf "FoM: %.12g\n", before / 2 + (x[2] - 0.3) ^ 2 + n[2] / 10 + ENVIRON["CRAYAI_SEED"] % 97 / 1000
}
"""


# Drivers that die


class Fuse:
    """Kills this process at the step of number `steps`; 0: never."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        for owner, names in EFFECTS.items():
            for name in names:
                setattr(owner, name, self._along(getattr(owner, name)))

    def _along(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(effect)
        def wrapped(*arguments: Any) -> Any:
            self._burn()
            result = effect(*arguments)
            self._burn()
            return result

        return wrapped

    def _burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def drive(directory: Path, words: list[str], steps: int) -> None:
    """Be the command ``crayai`` in `directory`, until the step of number `steps`."""
    os.chdir(directory)
    errors = os.open("driver.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    Fuse(steps)
    sys.argv = ["crayai", *words]
    crayai()


class Place:
    """A directory with the program and one study of it.

    Attributes:
        log: The log of the study.
        kills: How many drivers were killed.
        keepers: How many keepers were killed.
        faults: What drivers did that must not be, in words.
    """

    def __init__(self, directory: Path, strategy: str) -> None:
        directory.mkdir(parents=True)
        (directory / "train.sh").write_text(PROGRAM)
        (directory / "loss.awk").write_text(LOSS)
        options = ["--quiet", "--dir", "run", "--seed", "16", "--slots", "2", *STRATEGIES[strategy].split()]
        params = ["--param", "-x=0.0..1.0 default=0.5", "--param", "-n=1..6 default=3"]
        self.words = ["run", *options, *params, "--", "sh", "train.sh", *CHECKPOINTS.get(strategy, [])]
        self.directory = directory.resolve()
        self.log = self.directory / "run" / "study.db"
        self.kills = 0
        self.keepers = 0
        self.faults: list[str] = []

    def drive(self, steps: int = 0) -> bool:
        """Let a driver work until the step of number `steps`; return whether it came to its end."""
        driver = get_context("fork").Process(target=drive, args=(self.directory, self.words, steps))
        driver.start()
        driver.join(PATIENCE_SECONDS)
        if driver.exitcode is None:
            self.faults.append("a driver did not end")
            driver.kill()
            driver.join()
        return self._has_ended(driver.exitcode)

    def drive_to_call(self, kind: str, number: int) -> bool:
        """Let the command line work until a system call of this kind; return whether it came to its end."""
        options = ["-e", f"trace={kind}", "-e", f"inject={kind}:signal=SIGKILL:when={number}"]
        return self._has_ended(self._start("strace", "-qq", "-o", "trace", *options).wait())

    def drive_for(self, seconds: float, victims: Sequence[str]) -> bool:
        """Let the command line work for a time, then kill the victims in turn; return whether it came to its end."""
        driver = self._start()
        with suppress(subprocess.TimeoutExpired):
            return self._has_ended(driver.wait(seconds))
        for victim in victims:
            if victim == "keeper":
                self._kill_keepers()
            else:
                driver.kill()
        try:
            code = driver.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.faults.append("a driver did not end")
            driver.kill()
            code = driver.wait()
        is_bereft = code == 1 and victims[0] == "keeper"  # it says so, and is to be started again
        return not is_bereft and self._has_ended(code)

    def _start(self, *under: str) -> subprocess.Popen[bytes]:
        command = [*under, sys.executable, "-m", "crayai", *self.words]
        with (self.directory / "driver.err").open("ab") as errors:
            return subprocess.Popen(command, cwd=self.directory, stdout=errors, stderr=errors)

    def _has_ended(self, code: int | None) -> bool:
        """Take note of how a driver ended; a killed one did not come to its end."""
        self.kills += code == -signal.SIGKILL
        if code not in {0, -signal.SIGKILL}:
            errors = (self.directory / "driver.err").read_text().strip().splitlines()
            self.faults.append(f"a driver ended with code {code}: {' '.join(errors[-3:])}")
        return code != -signal.SIGKILL

    def _kill_keepers(self) -> None:
        for pid in self.processes("keeper.py"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.keepers += 1

    def processes(self, word: str = "") -> list[int]:
        """Return the processes that live in this directory and have `word` in their command lines."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is somebody else's
                if (process / "cwd").readlink() == self.directory and word in (process / "cmdline").read_text():
                    found.append(int(process.name))
        return found


# What comes of it


@dataclass(frozen=True)
class Story:
    """What a study came to: every evaluation with its outcome, and the best."""

    evaluations: Sequence[tuple[object, ...]]
    best: tuple[int, Outcome | None] | None


@dataclass(frozen=True)
class Result:
    """What came of a study whose drivers were killed: numbers by `COLUMNS`, and what must not be, in words."""

    counts: Counter[str]
    faults: list[str]


def story_of(place: Place) -> Story:
    """Return what the log says."""
    with Reader(place.log) as reader:
        best = reader.best(study_from_settings(reader.settings()).strategy.repeats)
        evaluations = [
            (e.outcome, e.number, e.values, e.generation, e.deme, e.parents, e.resume_from)
            for e in reader.evaluations()
        ]
    return Story(evaluations, None if best is None else (best.number, best.outcome))


def examine(place: Place, expected: Story) -> Result:
    """Compare a finished study with one that nobody disturbed."""
    try:
        return compare(place, expected)
    except StoreError as error:
        faults = [*place.faults, f"the log cannot be read: {error}"]
        return Result(Counter(studies=1, kills=place.kills), [f"{place.directory}: {fault}" for fault in faults])


def compare(place: Place, expected: Story) -> Result:
    """Compare what the log says, and what the program noted, with a study that nobody disturbed."""
    story, runs = story_of(place), runs_in(place)
    differing = sum(one != other for one, other in zip(story.evaluations, expected.evaluations, strict=False))
    wrong = {
        "lost": sum(isinstance(e[0], Failed) and e[0].cause is Cause.LOST for e in story.evaluations),
        "side by side": len(side_by_side(runs)),
        "differing points": differing + abs(len(story.evaluations) - len(expected.evaluations)),
    }
    again = {"run again": repeated(runs, "start"), "finished twice": repeated(runs, "end")}
    forbidden = wrong if place.keepers else wrong | again
    faults = [*place.faults, *(f"{name}: {number}" for name, number in forbidden.items() if number)]
    faults += [*damage(place), *left_over(place)]
    if story.best != expected.best:
        faults.append(f"the best is {story.best}, not {expected.best}")
    done = {"studies": 1, "kills": place.kills, "keepers killed": place.keepers, "evaluations": len(story.evaluations)}
    return Result(Counter(done | wrong | again), [f"{place.directory}: {fault}" for fault in faults])


def runs_in(place: Place) -> list[tuple[str, int, int]]:
    """Return what the program noted, in order: "start" or "end", the evaluation, the attempt."""
    lines = [line.split() for line in (place.directory / "notes").read_text().splitlines()]
    return [(kind, int(number), int(attempt)) for kind, number, attempt in lines]


def repeated(runs: list[tuple[str, int, int]], kind: str) -> int:
    """Return how many evaluations were started, or have ended, more than once."""
    return sum(times > 1 for times in Counter(number for noted, number, _ in runs if noted == kind).values())


def side_by_side(runs: list[tuple[str, int, int]]) -> list[int]:
    """Return the evaluations of which an attempt ended after another was started, or was itself started twice."""
    latest: dict[int, int] = {}
    found = []
    for kind, number, attempt in runs:
        if (latest.get(number) == attempt) == (kind == "start"):
            found.append(number)
        if kind == "start":
            latest[number] = attempt
    return found


def damage(place: Place) -> list[str]:
    """Return what is wrong with the log, apart from the story that it tells."""
    with closing(sqlite3.connect(place.log)) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
    found = [] if verdict == "ok" else [f"the file is damaged: {verdict}"]
    told: set[int] = set()
    with Reader(place.log) as reader:
        difference = first_difference(study_from_settings(reader.settings()), reader.events())
        for event in reader.events():
            if isinstance(event, Told):
                told.add(event.number)
            if isinstance(event, Launched) and event.number in told:
                found.append(f"evaluation {event.number} was launched when it was over")
    return found if difference is None else [*found, f"not what the seed says: {difference}"]


def left_over(place: Place) -> list[str]:
    """Return the processes that have not ended by themselves after a while, and end them."""
    found = []
    for pid in place.processes():
        with suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as process:
            if not select.select([process], [], [], PATIENCE_SECONDS / 6)[0]:
                found.append(f"process {pid} was left: {Path(f'/proc/{pid}/cmdline').read_text()!r}")
                os.kill(pid, signal.SIGKILL)
    return found


# When they die

Kill = Callable[[Path, str, Story, int], Result]
"""Has drivers killed in a new directory, and examines what comes of it."""


def undisturbed(directory: Path, strategy: str) -> Story:
    """Return what a study comes to that is left alone."""
    place = Place(directory, strategy)
    place.drive()
    story = story_of(place)
    if faults := examine(place, story).faults:
        raise RuntimeError(f"undisturbed, and yet: {faults}")
    return story


def kill_at_step(directory: Path, strategy: str, expected: Story, step: int) -> Result:
    """Kill the first driver at a step, and let the next one finish; no kills: there are fewer steps."""
    place = Place(directory, strategy)
    if not place.drive(step):
        look_at(place)
        place.drive()
    return examine(place, expected)


def kill_at_call(directory: Path, strategy: str, expected: Story, number: int, *, kind: str) -> Result:
    """Kill the first driver at a system call, and let the next one finish; no kills: there are fewer calls."""
    place = Place(directory, strategy)
    if not place.drive_to_call(kind, number):
        look_at(place)
        place.drive()
    return examine(place, expected)


def look_at(place: Place) -> None:
    """Read the log as people do while no driver works on it."""
    if (place.directory / "notes").exists():  # before anything has run there may be nothing to read
        try:
            story_of(place)
        except StoreError as error:
            place.faults.append(f"the log cannot be read: {error}")


def kill_in_chain(directory: Path, strategy: str, expected: Story, seed: int) -> Result:
    """Kill every driver some steps after its start, until the study is over."""
    place, rng = Place(directory, strategy), Random(seed)
    if not any(place.drive(rng.randint(1, 24)) for _ in range(MOST_DRIVERS)):
        place.drive()
    return examine(place, expected)


def kill_at_any_time(
    directory: Path, strategy: str, expected: Story, seed: int, *, seconds: float, keepers: bool
) -> Result:
    """Kill the command line after times below `seconds`, each time a little later, until the study is over."""
    place, rng = Place(directory, strategy), Random(seed)
    while True:
        victims = ["driver"]
        if keepers and place.keepers < MOST_KEEPERS:
            victims = rng.choice([["keeper"], ["driver", "keeper"], ["keeper", "driver"]])
        if place.drive_for(rng.uniform(0.2, 1) * seconds, victims):
            return examine(place, expected)
        seconds *= 1.1


def seconds_of_a_study(directory: Path, strategy: str) -> float:
    """Return how long the command line takes for the whole study."""
    begin = time.perf_counter()
    Place(directory, strategy).drive_for(PATIENCE_SECONDS, ["driver"])
    return time.perf_counter() - begin


# All together


def each(pool: Executor, kill: Kill, root: Path, strategy: str, expected: Story) -> Iterator[Result]:
    """Kill a driver at its first step or call, another one at its second, and so on until one has no more of them."""
    for first in count(1, WORKERS):
        numbers = range(first, first + WORKERS)
        results = list(several(pool, kill, root, strategy, expected, numbers))
        yield from results
        if not all(result.counts["kills"] for result in results):
            return


def several(
    pool: Executor, kill: Kill, root: Path, strategy: str, expected: Story, numbers: Iterable[int]
) -> Iterator[Result]:
    """Kill the drivers of one study for each of the numbers: steps, calls, or seeds."""
    futures = [pool.submit(kill, root / f"number {number}", strategy, expected, number) for number in numbers]
    return (future.result() for future in futures)


def manners(
    pool: Executor, root: Path, strategy: str, rounds: int, rng: Random
) -> Iterator[tuple[str, Iterable[Result]]]:
    """Kill drivers in every manner; return the results of each."""
    expected = pool.submit(undisturbed, root / "undisturbed", strategy).result()
    yield "each step", each(pool, kill_at_step, root / "each step", strategy, expected)
    if shutil.which("strace"):
        calls = [each(pool, partial(kill_at_call, kind=kind), root / kind, strategy, expected) for kind in CALLS]
        yield "each call", chain.from_iterable(calls)
    seconds = seconds_of_a_study(root / "alone", strategy)
    any_time = partial(kill_at_any_time, seconds=seconds, keepers=False)
    with_keepers = partial(kill_at_any_time, seconds=seconds, keepers=True)
    kills: dict[str, Kill] = {"chains": kill_in_chain, "any time": any_time, "with keepers": with_keepers}
    for name, kill in kills.items():
        seeds = [rng.getrandbits(32) for _ in range(rounds)]
        yield name, several(pool, kill, root / name, strategy, expected, seeds)


def tabulate(root: Path, strategies: Iterable[str], rounds: int, seed: int) -> list[str]:
    """Print a table of what came of it; return what must not be."""
    rng, faults = Random(seed), []
    print("| strategy | killed at |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 2) + "|")
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        for strategy in strategies:
            for manner, results in manners(pool, root / strategy, strategy, rounds, rng):
                counts: Counter[str] = Counter()
                for result in results:
                    counts.update(result.counts)
                    faults += result.faults
                cells = [strategy, manner, *(str(counts[column]) for column in COLUMNS)]
                print("|", " | ".join(cells), "|", flush=True)
    return faults


def main() -> None:
    """Kill, print the table, and the faults if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="studies of each strategy for each manner but the first")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="kills."))
    print(f"seed {arguments.seed}, {WORKERS // 2} cores, Python {platform.python_version()}")
    faults = tabulate(root, arguments.strategies, arguments.rounds, arguments.seed)
    if faults:
        sys.exit("\n".join(["", *faults]))
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
