"""What a long study costs: the time and memory of going on with it, the size of its log, the CPU time of a commit.

    python benchmarks/resume.py [--evaluations 100000] [--strategies random genetic]

A study of eight hyperparameters is made by asking and telling, with one commit for each evaluation, as the loop does
on one slot. Then a fresh process opens it, until the next evaluation has been asked for. The reference is bare
sqlite3: a fresh process that reads all rows of the same tables and keeps none, and commits of as many bytes as an
evaluation takes, one row each.
"""

import argparse
import json
import math
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from crayai.hpo.engine.resume import open_study
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.records import Cause, Completed, Failed, Launched, Outcome, Values
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space

SPACE = Space(
    [
        Float("--learning-rate", 1e-6, 1.0, default=0.1, log=True),
        Float("--weight-decay", 1e-8, 0.1, default=1e-4, log=True),
        Float("--dropout", 0.0, 0.9, default=0.5),
        Float("--momentum", 0.0, 0.99, default=0.9),
        Int("--layers", 1, 32, default=4),
        Int("--units", 8, 4096, default=64, log=True),
        Choice("--activation", ["relu", "tanh", "gelu", "silu"]),
        Choice("--optimizer", ["adam", "sgd", "lamb"]),
    ]
)
POP_SIZE = 100
BUDGETS = {
    "random": lambda evaluations: {"num_iters": evaluations + POP_SIZE},
    "genetic": lambda evaluations: {
        "generations": evaluations // POP_SIZE + 1, "pop_size": POP_SIZE, "num_demes": 1,
    },
}  # fmt: skip
"""One generation more than is made, so that there is something to go on with."""

Figures = dict[str, float]
ROWS = {
    "resume, seconds": 5.0,
    "resume, peak MB": 300.0,
    "bare reading of the rows, seconds": None,
    "bare reading of the rows, peak MB": None,
    "size of study.db, MB": 60.0,
    "commit, CPU ms": 1.0,
    "bare commit of as many bytes, CPU ms": None,
    "ask, tell and commit, CPU ms": None,
}
"""What is measured, and the target."""


def study_of(strategy: str, evaluations: int) -> Study:
    """Return the study."""
    settings = StrategySettings(name=strategy, arguments=BUDGETS[strategy](evaluations))
    return Study(space=SPACE, strategy=settings, seed=1, command="python train.py")


def outcome_of(number: int, values: Values) -> Outcome:
    """Return an outcome that the values decide, with as many digits as those of real programs; one in 50 fails."""
    if number % 50 == 49:
        return Failed(Cause.EXIT_CODE, "1")
    return Completed(sum(math.sin(float(value)) ** 2 for value in values.values() if not isinstance(value, str)))


def peak_mb() -> float:
    """Return the most memory that this process had; what its parent had before does not count."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def make(root: Path, strategy: str, evaluations: int) -> Figures:
    """Make the study; return what a turn costs."""
    committing = 0.0
    begin = time.process_time()
    with open_study(root, study_of(strategy, evaluations)) as opened:
        search = opened.search
        for _ in range(evaluations):
            asked = search.ask()
            if asked is None:
                raise RuntimeError("the strategy has nothing more to ask")
            search.append(Launched(asked.number, 1))
            search.tell(asked.number, outcome_of(asked.number, asked.suggestion.values), 12.345678)
            before = time.process_time()
            search.commit()
            committing += time.process_time() - before
    turns = time.process_time() - begin
    size = sum(path.stat().st_size for path in root.glob("study.db*"))
    return {
        "commit, CPU ms": 1000 * committing / evaluations,
        "ask, tell and commit, CPU ms": 1000 * turns / evaluations,
        "size of study.db, MB": size / 1e6,
    }


def resume(root: Path, strategy: str, evaluations: int) -> Figures:
    """Go on with the study, as far as its next evaluation."""
    begin = time.perf_counter()
    with open_study(root, study_of(strategy, evaluations)) as opened:
        asked = opened.search.ask()
        seconds = time.perf_counter() - begin
        if asked is None or asked.number != evaluations:
            raise RuntimeError(f"asked for {asked}")
        return {"resume, seconds": seconds, "resume, peak MB": peak_mb()}


def read_rows(root: Path, _strategy: str, _evaluations: int) -> Figures:
    """Read all rows of all tables, and keep none."""
    begin = time.perf_counter()
    with closing(sqlite3.connect(root / "study.db")) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            for _ in connection.execute(f"SELECT * FROM {table}"):
                pass
    seconds = time.perf_counter() - begin
    return {"bare reading of the rows, seconds": seconds, "bare reading of the rows, peak MB": peak_mb()}


def commit_rows(root: Path, _strategy: str, evaluations: int) -> Figures:
    """Commit rows of as many bytes as an evaluation takes, with the journal of the log."""
    row = (os.urandom((root / "study.db").stat().st_size // evaluations),)
    with closing(sqlite3.connect(root / "bare.db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE bare (row BLOB)")
        begin = time.process_time()
        for _ in range(evaluations):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO bare VALUES (?)", row)
            connection.execute("COMMIT")
        return {"bare commit of as many bytes, CPU ms": 1000 * (time.process_time() - begin) / evaluations}


TASKS = {task.__name__: task for task in (make, resume, read_rows, commit_rows)}


def in_a_process(task: str, root: Path, strategy: str, evaluations: int) -> Figures:
    """Return the figures of a task that has a fresh process for itself."""
    command = [sys.executable, __file__, "--strategies", strategy, "--evaluations", str(evaluations)]
    done = subprocess.run([*command, "--task", task, "--directory", root], check=True, stdout=subprocess.PIPE)
    figures: Figures = json.loads(done.stdout)
    return figures


def tabulate(strategies: list[str], evaluations: int) -> None:
    """Do all tasks for each strategy, and print a table."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {evaluations} evaluations"
    )
    columns: list[Figures] = []
    for strategy in strategies:
        with tempfile.TemporaryDirectory() as scratch:
            columns.append({})
            for task in TASKS:
                columns[-1] |= in_a_process(task, Path(scratch), strategy, evaluations)
    print("| |", " | ".join(strategies), "| target |")
    print("|---" * (len(strategies) + 2) + "|")
    for name, target in ROWS.items():
        cells = [f"{column[name]:.3g}" + " **missed**" * bool(target and column[name] > target) for column in columns]
        print(f"| {name} |", " | ".join(cells), "|", f"{target:g}" if target else "", "|")


def main() -> None:
    """Measure, or do one task."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--evaluations", type=int, default=100_000)
    parser.add_argument("--strategies", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        task = TASKS[arguments.task]
        print(json.dumps(task(arguments.directory, arguments.strategies[0], arguments.evaluations)))
    else:
        tabulate(arguments.strategies, arguments.evaluations)


if __name__ == "__main__":
    main()
