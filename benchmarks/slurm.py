"""What running on Slurm costs beside Slurm itself, on a private cluster of real daemons on this machine.

    python benchmarks/slurm.py [--steps 100] [--jobs 1000] [-o FILE]

Steps a second through `crayai run` are compared with bare ``srun`` in the same allocation, as many at once. Of jobs are
reported: how long after its end the driver knows of one, and how many commands of Slurm's an evaluation takes.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from slurm_cluster import SlurmCluster, missing

from crayai.hpo.store.query import Reader

Row = tuple[str, str, float, str]
COUNTED = ("sbatch", "squeue", "scancel", "sacct", "scontrol", "salloc")


def study(directory: Path, evaluations: int, options: list[str], command: list[str]) -> float:
    """Run a random search; return how long it took from outside."""
    words = ["--quiet", "--dir", str(directory), "--strategy", "random", "--num-iters", str(evaluations)]
    argv = [sys.executable, "-m", "crayai", "run", *words, "--launcher", "slurm", *options, "--param", "-x=0.0..1.0"]
    begin = time.perf_counter()
    subprocess.run([*argv, "--", *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def rate_in_log(directory: Path) -> float:
    """Return how many evaluations a second ended, from the first end to the last."""
    with Reader(directory / "study.db") as reader:
        ends = sorted(one.told_at for one in reader.evaluations() if one.told_at is not None)
    return (len(ends) - 1) / (ends[-1] - ends[0])


def bare_rate(job: str, steps: int, at_once: int, command: list[str]) -> float:
    """Return how many steps a second bare ``srun`` starts, at most `at_once` side by side."""
    srun = ["srun", f"--jobid={job}", "-N1", "-n1", "--exact", "--cpus-per-task=1", "--mem=0", *command]
    begin = time.perf_counter()
    running: list[subprocess.Popen[bytes]] = []
    for _ in range(steps):
        if len(running) == at_once:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            running = [process for process in running if process.poll() is None]
        running.append(subprocess.Popen(srun, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for process in running:
        process.wait()
    return steps / (time.perf_counter() - begin)


def step_rows(cluster: SlurmCluster, scratch: Path, steps: int) -> Iterator[Row]:
    """Compare the rates of steps, one at a time and eight at once."""
    program = ["sh", "-c", "echo FoM: 1"]
    for nodes, per_node in ((1, 1), (4, 2)):
        at_once = nodes * per_node
        job = cluster.run("sh", "-c", f"salloc --no-shell --exclusive -N{nodes} 2>&1").split()[-1]
        bare = [bare_rate(job, steps, at_once, program)]
        ours = []
        for turn in range(2):
            options = ["--nodes", str(nodes), "--evals-per-node", str(per_node), "--alloc-jobid", job]
            directory = scratch / f"steps.{at_once}.{turn}"
            study(directory, steps, options, ["echo FoM: 1"])
            ours.append(rate_in_log(directory))
            bare.append(bare_rate(job, steps, at_once, program))
        cluster.run("scancel", job)
        where = f"{at_once} at once"
        yield "steps a second, bare srun", where, statistics.mean(bare), ""
        yield "steps a second, crayai", where, statistics.mean(ours), ""
        yield "crayai / bare", where, statistics.mean(ours) / statistics.mean(bare), ">= 0.9"


def job_rows(scratch: Path, jobs: int, slots: int) -> list[Row]:
    """Report how soon ends of jobs are known, and how often Slurm is called."""
    counted = scratch / "counted"
    counted.mkdir()
    for name in COUNTED:
        wrapper = counted / name
        wrapper.write_text(f'#!/bin/sh\necho {name} >>{counted}/calls\nexec {shutil.which(name)} "$@"\n')
        wrapper.chmod(0o755)
    os.environ["PATH"] = f"{counted}{os.pathsep}{os.environ['PATH']}"
    directory = scratch / "jobs"
    command = ["echo FoM: 1; date +%s.%N; true"]
    seconds = study(directory, jobs, ["--mode", "jobs", "--slots", str(slots), "--keep-output"], command)
    with Reader(directory / "study.db") as reader:
        told = {one.number: one.told_at for one in reader.evaluations()}
    late = []
    for number, at in told.items():
        (output,) = directory.glob(f"output/{number}.*.out")
        late.append((at or 0.0) - float(output.read_text().split()[-1]))
    calls = (counted / "calls").read_text().split()
    where = f"{jobs} jobs, {slots} in the queue"
    return [
        ("from an end to the driver, median, s", where, statistics.median(late), "<= 1"),
        ("from an end to the driver, worst, s", where, max(late), ""),
        ("jobs a second", where, jobs / seconds, ""),
        ("commands of Slurm's an evaluation", where, len(calls) / jobs, "<= 0.1"),
        *((f"of them {name}", where, float(calls.count(name)), "") for name in sorted(set(calls))),
    ]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("-o", dest="output", type=Path)
    given = parser.parse_args()
    if problem := missing():
        sys.exit(problem)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}\n\n| figure | where | measured | target |\n|---|---|---|---|")
    found: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="slurm.") as name:
        scratch = Path(name)
        with SlurmCluster(scratch / "cluster", nodes=4, cpus=4) as cluster:
            os.environ |= cluster.environment
            for row in chain(step_rows(cluster, scratch, given.steps), job_rows(scratch, given.jobs, given.slots)):
                print(f"| {row[0]} | {row[1]} | {row[2]:.4g} | {row[3]} |", flush=True)
                found.append(row)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")
    if given.output:
        given.output.write_text(json.dumps({"machine": machine, "figures": found}, indent=1))


if __name__ == "__main__":
    main()
