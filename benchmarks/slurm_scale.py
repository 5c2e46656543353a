"""What a driver takes beside many nodes and many jobs, on a private Slurm of real daemons on this machine.

    python benchmarks/slurm_scale.py [--nodes 256] [--jobs 1000] [--pending 10000] [-o FILE]

The same study is run on few nodes and on many, and while somebody else's jobs fill the queue; then one whose own jobs
do. Reported are the driver's own CPU time and memory, and the commands of Slurm's that it has run.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from slurm_cluster import SlurmCluster, missing

from crayai.hpo.store.query import Reader

Row = tuple[str, str, float, str]
COUNTED = ("sbatch", "squeue", "scancel", "sacct", "scontrol", "salloc", "sinfo")
FEW = 4
WATCHED_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Driver:
    """A driver that runs beside us.

    Attributes:
        cpu_seconds: Its own, without those of the commands that it runs.
        memory_mb: The most that it had.
        seconds: How long it has run.
    """

    def __init__(self, directory: Path, evaluations: int, options: list[str]) -> None:
        self.directory = directory
        self._calls = directory.with_suffix(".calls")
        self._calls.touch()
        study = ["--quiet", "--dir", str(directory), "--strategy", "random", "--num-iters", str(evaluations)]
        launcher = ["--launcher", "slurm", "--mode", "jobs", *options, "--param", "-x=0.0..1.0", "--", "echo FoM: 1;:"]
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crayai", "run", *study, *launcher],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "CRAYAI_CALLS": str(self._calls)},
        )
        self.cpu_seconds = self.memory_mb = 0.0

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._began

    def watch(self, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Wait for its end, or until it is enough."""
        while self._process.poll() is None and not is_enough():
            self._look()
            time.sleep(0.1)

    def _look(self) -> None:
        process = Path(f"/proc/{self._process.pid}")
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            peak = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return  # it has just ended
        self.cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        self.memory_mb = int(peak.split()[1]) / 1024

    def leave(self) -> None:
        """Ask it to leave its jobs alone, and wait for that."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    @property
    def calls(self) -> list[str]:
        """The commands of Slurm's that it has run."""
        return self._calls.read_text().split()

    def rows(self, where: str, evaluations: int) -> Iterator[Row]:
        """Yield what it has taken."""
        yield "driver's CPU, ms an evaluation", where, 1000 * self.cpu_seconds / evaluations, ""
        yield "driver's memory, MB", where, self.memory_mb, ""
        yield "evaluations a second", where, evaluations / self.seconds, ""
        yield "commands an evaluation", where, len(self.calls) / evaluations, "<= 0.1"
        yield "squeue a minute", where, 60 * self.calls.count("squeue") / self.seconds, "<= 12"


def count_calls(scratch: Path) -> None:
    """Put commands before Slurm's that write down their names."""
    counted = scratch / "counted"
    counted.mkdir()
    for name in COUNTED:
        wrapper = counted / name
        wrapper.write_text(f'#!/bin/sh\necho {name} >>"${{CRAYAI_CALLS:-/dev/null}}"\nexec {shutil.which(name)} "$@"\n')
        wrapper.chmod(0o755)
    os.environ["PATH"] = f"{counted}{os.pathsep}{os.environ['PATH']}"


def whole(scratch: Path, name: str, where: str, jobs: int, nodes: int) -> Iterator[Row]:
    """Run a study to its end."""
    driver = Driver(scratch / name, jobs, ["--nodes", str(nodes), "--slots", str(min(jobs, 256))])
    driver.watch()
    with Reader(driver.directory / "study.db") as reader:
        assert reader.counts().completed == jobs
    yield from driver.rows(where, jobs)


def crowd(cluster: SlurmCluster, scratch: Path, jobs: int, pending: int) -> Iterator[Row]:
    """Run a study beside so many jobs of somebody else that wait."""
    other = cluster.run("sbatch", "--parsable", "--hold", f"--array=0-{pending - 1}", "--wrap", "true").strip()
    yield from whole(scratch, "crowd", f"{FEW} nodes, {pending} jobs of others wait", jobs, FEW)
    cluster.run("scancel", other)


def own_queue(scratch: Path, pending: int) -> Iterator[Row]:
    """Watch a driver of which so many jobs wait, for a minute."""
    driver = Driver(scratch / "own", pending, ["--slots", str(pending), "--alloc-args", "--hold"])
    submitted = driver.directory / "jobs"
    driver.watch(lambda: sum(1 for _ in submitted.glob("*/[0-9]*")) >= pending and all_named(submitted))
    where = f"{pending} jobs of its own wait"
    yield "until all are submitted, s", where, driver.seconds, ""
    yield "driver's CPU until then, ms a job", where, 1000 * driver.cpu_seconds / pending, ""
    yield "commands of Slurm's until then", where, float(len(driver.calls)), ""
    cpu, calls, since = driver.cpu_seconds, len(driver.calls), driver.seconds
    driver.watch(lambda: driver.seconds - since >= WATCHED_SECONDS)
    yield "driver's CPU while it waits, % of a core", where, 100 * (driver.cpu_seconds - cpu) / WATCHED_SECONDS, ""
    yield "commands a minute while it waits", where, (len(driver.calls) - calls) * 60 / WATCHED_SECONDS, "<= 12"
    yield "driver's memory, MB", where, driver.memory_mb, ""
    driver.leave()


def all_named(submitted: Path) -> bool:
    """Return whether Slurm has given each submission its name."""
    return all((path / "id").exists() for path in submitted.glob("[0-9]*"))


def figures(scratch: Path, nodes: int, jobs: int, pending: int) -> Iterator[Row]:
    """Measure on few nodes, then on many."""
    with SlurmCluster(scratch / "few", nodes=FEW, cpus=4) as cluster:
        os.environ |= cluster.environment
        yield from whole(scratch, "few.study", f"{FEW} nodes", jobs, FEW)
        yield from crowd(cluster, scratch, jobs, pending)
        yield from own_queue(scratch, pending)
    begin = time.monotonic()
    with SlurmCluster(scratch / "many", nodes=nodes, cpus=1) as cluster:
        os.environ |= cluster.environment
        yield "until all nodes are there, s", f"{nodes} nodes", time.monotonic() - begin, ""
        yield from whole(scratch, "many.study", f"{nodes} nodes", jobs, nodes)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pending", type=int, default=10_000)
    parser.add_argument("-o", dest="output", type=Path)
    given = parser.parse_args()
    if problem := missing():
        sys.exit(problem)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}\n\n| figure | where | measured | target |\n|---|---|---|---|")
    found: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="slurm.") as name:
        scratch = Path(name)
        count_calls(scratch)
        for row in figures(scratch, given.nodes, given.jobs, given.pending):
            print(f"| {row[0]} | {row[1]} | {row[2]:.4g} | {row[3]} |", flush=True)
            found.append(row)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")
    if given.output:
        given.output.write_text(json.dumps({"machine": machine, "figures": found}, indent=1))


if __name__ == "__main__":
    main()
