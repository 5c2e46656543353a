"""The comparison of searches: runs them for many seeds, tests the differences, and prints tables."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pbt_tasks as tasks
from pbt_search import METHODS, Found, Problem, trained
from scipy.stats import mannwhitneyu  # comes with scikit-learn

from crayai.hpo.records import Completed
from crayai.hpo.store.query import Reader

HERE = Path(__file__).resolve().parent
RAY = "Ray Tune's PBT"
Results = dict[str, dict[str, list[Found]]]
"""What was found, by task and method, in the order of the seeds."""


class Job(NamedTuple):
    """One search."""

    task: str
    method: str
    seed: int


def run(job: Job) -> Found:
    """Run a search."""
    return METHODS[job.method](Problem(job.task, job.seed))


def measure(names: Sequence[str], seeds: Sequence[int], methods: Sequence[str], workers: int) -> Results:
    """Run every method for every task and seed."""
    jobs = [Job(*job) for job in product(names, methods, seeds)]
    found: Results = {name: {method: [] for method in methods} for name in names}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for job, one in zip(jobs, pool.map(run, jobs), strict=True):
            found[job.task][job.method].append(one)
            print(f"{job.task}, {job.method}, seed {job.seed}: test error {one.test_error:.4f}", file=sys.stderr)
    return found


def is_found(line: str) -> bool:
    """Return whether a line is what a search found; Ray's own words come in between."""
    return line.startswith("{")


def ray_lines(python: Path, names: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """Yield the lines of Ray's own process."""
    words = [str(python), str(HERE / "pbt_ray.py"), "--tasks", *names, "--seeds", *map(str, seeds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if is_found(line):
                print(line, end="", file=sys.stderr)
                yield line
    if process.returncode:
        print("Ray Tune was left out: its process failed", file=sys.stderr)


def add_ray(found: Results, lines: Iterable[str], seeds: Sequence[int]) -> None:
    """Add what Ray has found for these seeds."""
    for line in lines:
        search = json.loads(line)
        if search["task"] in found and search["seed"] in seeds:
            one = Found(search["fom"], search["test_error"], search["windows"])
            found[search["task"]].setdefault(RAY, []).append(one)


def superiority(first: Sequence[float], second: Sequence[float]) -> float:
    """Return how often a value of the first is below one of the second (Vargha and Delaney 2000); 0.5: no effect."""
    wins = sum((a < b) + (a == b) / 2 for a in first for b in second)
    return wins / len(first) / len(second)


def tabulate(task: str, found: dict[str, list[Found]]) -> None:
    """Print what the methods have found for a task; the first one is compared with every other."""
    reference = next(iter(found))
    ours = [f.test_error for f in found[reference]]
    print(f"\n{task}: test error in percent, {len(ours)} seeds; p and A: of {reference} against this one\n")
    print("| method | median | quartiles | median validation | p (Mann-Whitney) | A | windows |")
    print("|---|---|---|---|---|---|---|")
    for method, results in found.items():
        errors = [f.test_error for f in results]
        low, middle, high = statistics.quantiles(errors, n=4, method="inclusive")
        cells = [f"{100 * middle:.2f}", f"{100 * low:.2f}-{100 * high:.2f}"]
        cells.append(f"{100 * statistics.median(f.fom for f in results):.2f}")
        if method != reference:
            cells += [f"{mannwhitneyu(ours, errors).pvalue:.2g}", f"{superiority(ours, errors):.2f}"]
        else:
            cells += ["", ""]
        cells.append(f"{statistics.mean(f.windows for f in results):.0f}")
        print(f"| {method} |", " | ".join(cells), "|")


def compare_with_command(problem: Problem) -> str:
    """Run the command `crayai run` once; return whether it asks and finds what asking and telling does."""
    print("the same search through crayai run", file=sys.stderr)
    expected = trained(problem, "pbt", pop_size=problem.members, windows=problem.windows)
    with tempfile.TemporaryDirectory(prefix="pbt.") as scratch:
        directory = Path(scratch, "run")
        run_command(problem, directory)
        with Reader(directory / "study.db") as reader:
            evaluations = list(reader.evaluations())
        same = sum(
            one.resume_from == other.resume_from
            and {flag.removeprefix("--"): value for flag, value in one.values.items()} == other.values
            and (one.outcome.loss if isinstance(one.outcome, Completed) else None)
            == (other.scores.fom if other.model else None)
            and (other.model is None or test_error_in(directory, one.number) == other.scores.test_error)
            for one, other in zip(evaluations, expected, strict=True)
        )
    return f"\ncrayai run, {problem.task}, seed {problem.seed}: {same} of {len(expected)} evaluations are the same"


def run_command(problem: Problem, directory: Path) -> None:
    """Run the search as a study of programs."""
    options = ["--quiet", "--dir", str(directory), "--seed", str(problem.seed), "--keep-output", "--strategy", "pbt"]
    options += ["--pop-size", str(problem.members), "--windows", str(problem.windows)]
    for name, (low, high, scale) in tasks.RANGES.items():
        bounds = f"{int(low)}..{int(high)}" if "int" in scale else f"{float(low)}..{float(high)}"
        options += ["--param", f"--{name}={bounds}" + " log" * ("log" in scale)]
    program = [sys.executable, str(HERE / "pbt_tasks.py"), f"--task={problem.task}", f"--split={problem.seed}"]
    program += [f"--epochs={problem.epochs}", "--load=@load", "--save=@save"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "crayai", "run", *options, "--", *program]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)


def test_error_in(directory: Path, number: int) -> float:
    """Return the test error that an evaluation has printed."""
    (output,) = directory.glob(f"*/{number}.*.out")
    (line,) = (line for line in output.read_text().splitlines() if line.startswith("test error: "))
    return float(line.removeprefix("test error: "))
