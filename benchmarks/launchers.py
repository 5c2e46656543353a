"""What each launcher and each container engine adds to an evaluation, against its bare command in the same run.

The points that a genetic search visits with each are compared, too: they must be those of the local launcher.

    python benchmarks/launchers.py [--evaluations 60] [only ...]

A study of a program that does nothing runs on one slot; so many of the bare commands, one after another, stand before
and after it. Where a batch system runs arrays, the reference is one array of its own. Slurm and Grid Engine are private
ones of this machine; PBS and TORQUE are stand-ins, which have no bare speed worth comparing with.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crayai.hpo.store.query import Reader
from crayai.hpo.testing.batch_stand_in import StandIn

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "containers")]

PROGRAM = ["sh", "-c", "echo FoM: ${1#*=}", "x"]
POINTS = ["--strategy", "genetic", "--generations", "4", "--pop-size", "6", "--num-demes", "1"]


@dataclass
class Case:
    """A launcher, or an engine.

    Attributes:
        name: In the table.
        options: Of ``crayai run``.
        bare: One command for one evaluation; empty: there is none.
        together: One command for all of them, which ends with the last; ``COUNT`` in it is how many.
        environment: For all of them.
    """

    name: str
    options: Sequence[str]
    bare: Sequence[str] = ()
    together: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def local(root: Path) -> Iterator[list[Case]]:
    """Yield this machine."""
    del root
    yield [Case("local", ["--slots", "1"], PROGRAM)]


@contextmanager
def engines(root: Path) -> Iterator[list[Case]]:
    """Yield the container engines that are here."""
    from rootfs import make_rootfs  # noqa: PLC0415 - for this case alone

    image = make_rootfs(root / "image")
    (image / str(root).lstrip("/")).mkdir(parents=True, exist_ok=True)
    settings = root / "containers.conf"
    settings.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\nnetns = "host"\n'
        '[engine]\nruntime = "runc"\n'
    )
    bare = {
        "podman": ["podman", "run", "--rm", "--init", "--rootfs", str(image)],
        "charliecloud": ["ch-run", str(image), "--"],
        "bubblewrap": ["bwrap", "--ro-bind", str(image), "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid"],
    }
    environment = {"CONTAINERS_CONF": str(settings), "USER": os.environ.get("USER", "root")}
    yield [
        Case(name, ["--slots", "1", "--container", f"{name}:{image}"], [*words, *PROGRAM], environment=environment)
        for name, words in bare.items()
        if shutil.which(words[0])
    ]


@contextmanager
def dask(root: Path) -> Iterator[list[Case]]:
    """Yield a cluster of one worker; the bare command is the program, for Dask has none."""
    del root
    import distributed  # noqa: PLC0415 - for this case alone

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield [Case("dask", ["--launcher", "dask", "--dask-address", cluster.scheduler_address], PROGRAM)]


@contextmanager
def slurm(root: Path) -> Iterator[list[Case]]:
    """Yield steps in an allocation of one node, and jobs."""
    from slurm_cluster import SlurmCluster  # noqa: PLC0415 - for this case alone

    with SlurmCluster(root / "slurm") as cluster:
        script = root / "job"
        script.write_text("#!/bin/sh\necho FoM: 1\n")
        common = ["--launcher", "slurm", "--nodes", "1"]
        array = ["sbatch", "-W", "-Q", "-o", "/dev/null", "--array=1-COUNT%4", str(script)]
        yield [
            Case("slurm, steps", common, ["srun", "-N1", "-n1", *PROGRAM], environment=cluster.environment),
            Case(
                "slurm, jobs", [*common, "--mode", "jobs", "--slots", "4"], (), array, environment=cluster.environment
            ),
        ]


@contextmanager
def grid_engine(root: Path) -> Iterator[list[Case]]:
    """Yield jobs of Grid Engine."""
    from grid_engine_cluster import GridEngine, unpacked  # noqa: PLC0415 - for this case alone

    (root / "packages").mkdir()
    (root / "cell").mkdir()
    packages = unpacked(root / "packages")
    with GridEngine(root / "cell", packages) as cell:
        script = root / "task"
        script.write_text("#!/bin/sh\necho FoM: 1\n")
        environment = {"PATH": f"{cell.bin}:{os.environ['PATH']}"}
        array = ["qsub", "-sync", "y", "-S", "/bin/sh", "-o", "/dev/null", "-j", "y", "-t", "1-COUNT", str(script)]
        yield [Case("sge, jobs", ["--launcher", "sge", "--nodes", "4"], (), array, environment)]


@contextmanager
def stand_ins(root: Path) -> Iterator[list[Case]]:
    """Yield stand-ins of PBS and TORQUE."""
    with ExitStack() as stack:
        cases = []
        for flavour in ("pbs", "torque", "moab"):
            batch = stack.enter_context(StandIn(root / flavour, flavour))
            environment = {"PATH": f"{batch.bin}:{os.environ['PATH']}"}
            cases.append(Case(f"{flavour}, stand-in", ["--launcher", flavour, "--nodes", "4"], (), (), environment))
        yield cases


KINDS: Mapping[str, Callable[[Path], AbstractContextManager[list[Case]]]] = {
    "local": local, "engines": engines, "dask": dask, "slurm": slurm, "sge": grid_engine, "pbs": stand_ins,
}  # fmt: skip


def run(words: Sequence[str], environment: Mapping[str, str], **how: Any) -> float:
    """Run a command; return how long it took."""
    began = time.monotonic()
    subprocess.run(words, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True, **how)
    return time.monotonic() - began


def bare_seconds(case: Case, count: int) -> float | None:
    """Return how long an evaluation takes without us."""
    if case.together:
        return run([word.replace("COUNT", str(count)) for word in case.together], case.environment) / count
    if not case.bare:
        return None
    return sum(run(case.bare, case.environment) for _ in range(count)) / count


def study(case: Case, directory: Path, strategy: Sequence[str]) -> Path:
    """Run a study to its end; return its log."""
    words = [sys.executable, "-m", "crayai", "run", "-q", "--dir", str(directory), *case.options, *strategy]
    run([*words, "--seed", "1", "--param", "--lr=0.01..1", "--", *PROGRAM], case.environment, cwd=directory.parent)
    return directory / "study.db"


def study_seconds(case: Case, directory: Path, count: int) -> float:
    """Return how long an evaluation takes in a study, from the first one's begin to the last one's end."""
    with Reader(study(case, directory, ["--strategy", "random", "--num-iters", str(count)])) as reader:
        times = reader.times()
    assert times
    return (times[1] - times[0]) / count


def points(case: Case, directory: Path) -> str:
    """Return a digest of all evaluations of a genetic search, with their outcomes."""
    with Reader(study(case, directory, POINTS)) as reader:
        rows = [(one.number, sorted(one.values.items()), one.outcome) for one in reader.evaluations()]
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:8]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", choices=[*KINDS, []])
    parser.add_argument("--evaluations", type=int, default=60)
    given = parser.parse_args()
    print("| launcher | bare | with crayai | more | points |\n|---|---|---|---|---|")
    for kind in given.only or KINDS:
        with tempfile.TemporaryDirectory(prefix="launchers-") as directory, KINDS[kind](Path(directory)) as cases:
            for number, case in enumerate(cases):
                before = bare_seconds(case, given.evaluations)
                seconds = study_seconds(case, Path(directory) / f"study{number}", given.evaluations)
                after = bare_seconds(case, given.evaluations)
                same = points(case, Path(directory) / f"points{number}")
                bare, more = "", ""
                if before is not None and after is not None:
                    bare = f"{1e3 * (before + after) / 2:.1f} ms"
                    more = f"{1e3 * (seconds - (before + after) / 2):+.1f} ms"
                print(f"| {case.name} | {bare} | {1e3 * seconds:.1f} ms | {more} | {same} |", flush=True)


if __name__ == "__main__":
    main()
