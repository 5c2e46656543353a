"""What population based training costs beside the training: its wall clock, the driver's CPU time, the checkpoints."""

import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from crayai.hpo.engine.streams import program_seed
from crayai.hpo.store.query import Reader, StoredEvaluation

SEED = 1
LOOK_SECONDS = 0.05
COPIES = 9
TICKS = os.sysconf("SC_CLK_TCK")
PROGRAM = r"""
// A training that sleeps: loads, waits 0.8 to 1.2 times the given seconds as CRAYAI_SEED decides, and saves.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static char block[1 << 20];
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}
int main(int count, char **words) {
    double start = now(), seconds = 1, x = 0;
    long bytes = 0;
    const char *load = "", *save = "", *notes = 0, *seed = getenv("CRAYAI_SEED"), *number = getenv("CRAYAI_EVALUATION");
    for (int i = 1; i < count; i++) {
        char *value = strchr(words[i], '=') + 1;
        if (!strncmp(words[i], "--load=", 7)) load = value;
        if (!strncmp(words[i], "--save=", 7)) save = value;
        if (!strncmp(words[i], "--ck=", 5)) load = save = value;
        if (!strncmp(words[i], "--bytes=", 8)) bytes = atol(value);
        if (!strncmp(words[i], "--seconds=", 10)) seconds = atof(value);
        if (!strncmp(words[i], "--notes=", 8)) notes = value;
        if (!strncmp(words[i], "-x=", 3)) x = atof(value);
    }
    int old = open(load, O_RDONLY);
    while (old >= 0 && read(old, block, sizeof block) > 0) {}
    if (old >= 0) close(old);
    seconds *= 0.8 + 0.4 * (seed ? strtoul(seed, 0, 10) % 10007 / 10006.0 : 0.5);
    struct timespec rest = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&rest, 0);
    int new = open(save, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    for (long left = bytes; left > 0;) {
        ssize_t done = write(new, block, left < (long)sizeof block ? left : (long)sizeof block);
        if (done < 0) return 1;
        left -= done;
    }
    if (new < 0 || close(new)) return 1;
    printf("FoM: %.9g\n", (x - 0.3) * (x - 0.3));
    fflush(stdout);
    if (notes) {
        char line[100];
        int file = open(notes, O_WRONLY | O_CREAT | O_APPEND, 0666);
        int size = snprintf(line, sizeof line, "%s %.6f %.6f\n", number ? number : "-", start, now());
        if (write(file, line, size) != size) return 1;
    }
    return 0;
}
"""


def compiled(scratch: Path) -> Path:
    """Return the program, built in `scratch`."""
    source, program = scratch / "training.c", scratch / "training"
    source.write_text(PROGRAM)
    subprocess.run([shutil.which("cc") or "gcc", "-O2", "-o", program, source], check=True)
    return program


@dataclass(frozen=True)
class Shape:
    """How large a study is.

    Attributes:
        members: Of the population.
        slots: Members that train at once.
        windows: Of each member.
        seconds: Of a window, on average.
        megabytes: Of a checkpoint.
        lag: Of the strategy.
        one_path: Whether the program loads from and saves to the same path.
    """

    members: int
    slots: int
    windows: int
    seconds: float
    megabytes: float
    lag: int = 1
    one_path: bool = False

    @property
    def bytes(self) -> int:
        """Return the size of a checkpoint."""
        return int(self.megabytes * 1e6)

    def program(self, program: Path) -> list[str]:
        """Return the command, but for the paths of checkpoints."""
        return [str(program), f"--seconds={self.seconds}", f"--bytes={self.bytes}"]

    def command(self, program: Path, directory: Path) -> list[str]:
        """Return the words that start the study."""
        paths = ["--ck=@checkpoint"] if self.one_path else ["--load=@load", "--save=@save"]
        options = (
            f"--quiet --dir {shlex.quote(str(directory / 'run'))} --seed {SEED} --slots {self.slots} --strategy pbt "
            f"--pop-size {self.members} --windows {self.windows} --lag {self.lag}"
        )
        training = [*self.program(program), f"--notes={directory / 'notes'}", *paths]
        study = [*shlex.split(options), "--param", "-x=0.0..1.0", "--", *training]
        return [sys.executable, "-m", "crayai", "run", *study]


class Span(NamedTuple):
    """When a program began and ended, on the monotonic clock."""

    begin: float
    end: float


@dataclass
class Watched:
    """What was seen of a study from outside.

    Attributes:
        wall: Seconds from the start of the command to its end.
        driver: CPU seconds of the driver.
        keeper: CPU seconds of the process that keeps the evaluations.
        removers: CPU seconds of the processes that remove checkpoints.
        peak_bytes: The most that checkpoints took of the file system.
        spans: Of the programs, by the number of the evaluation.
        evaluations: What the log says.
    """

    wall: float = 0.0
    driver: float = 0.0
    keeper: float = 0.0
    removers: float = 0.0
    peak_bytes: int = 0
    spans: dict[int, Span] = field(default_factory=dict)
    evaluations: list[StoredEvaluation] = field(default_factory=list)


def watch(shape: Shape, program: Path, directory: Path, *, disk: bool = False) -> Watched:
    """Run the study of a shape as its user would, and look at it now and then."""
    directory.mkdir()
    seen = Watched()
    begin = time.perf_counter()
    process = subprocess.Popen(shape.command(program, directory), stdout=subprocess.DEVNULL)
    keeper: int | None = None
    # WNOWAIT: the CPU time of a process that has ended can be read until somebody waits for it.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        keeper = keeper or keeper_of(process.pid)
        with suppress(OSError):
            seen.keeper = cpu_seconds(keeper)[0] if keeper else 0.0
            seen.removers = cpu_seconds(process.pid)[1]
        if disk:
            seen.peak_bytes = max(seen.peak_bytes, disk_bytes(directory / "run" / "checkpoints"))
        time.sleep(LOOK_SECONDS)
    seen.wall = time.perf_counter() - begin
    seen.driver = cpu_seconds(process.pid)[0]
    if process.wait():
        raise RuntimeError(f"the study ended with code {process.returncode}")
    seen.spans = spans(directory / "notes")
    with Reader(directory / "run" / "study.db") as reader:
        seen.evaluations = list(reader.evaluations())
    return seen


def keeper_of(driver: int) -> int | None:
    """Return the process that keeps the evaluations of a driver; None: it is not there yet."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            status = (place / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == driver and "keeper.py" in (place / "cmdline").read_text():
                return int(place.name)
    return None


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Return the CPU time of a process, user and system, and that of its children that it has waited for."""
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, system, children, children_system = (int(word) / TICKS for word in status[11:15])
    return own + system, children + children_system


def disk_bytes(root: Path) -> int:
    """Return what a directory takes of its file system."""
    total = 0
    for folder, _, files in os.walk(root):
        for name in files:
            with suppress(FileNotFoundError):
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
    return total


def spans(notes: Path) -> dict[int, Span]:
    """Return what the programs have noted."""
    lines = (line.split() for line in notes.read_text().splitlines())
    return {int(number): Span(float(begin), float(end)) for number, begin, end in lines}


def alone(shape: Shape, program: Path, directory: Path) -> list[float]:
    """Return how long each member takes in a plain loop, with the seeds that it has in the study.

    The loops run side by side: programs that sleep do not disturb each other.
    """
    loop = (
        "import os, subprocess, sys, time\n"
        "save, seeds, command = sys.argv[1], sys.argv[2].split(','), sys.argv[3:]\n"
        "begin = time.perf_counter()\n"
        "for window, seed in enumerate(seeds):\n"
        "    paths = [f'--load={save}.{window - 1}', f'--save={save}.{window}']\n"
        "    subprocess.run([*command, *paths], check=True, stdout=subprocess.DEVNULL,\n"
        "                   env={**os.environ, 'CRAYAI_SEED': seed})\n"
        "print(time.perf_counter() - begin)\n"
    )
    directory.mkdir()
    processes = []
    for member in range(shape.members):
        seeds = [program_seed(SEED, window * shape.members + member) for window in range(shape.windows)]
        words = [str(directory / str(member)), ",".join(map(str, seeds)), *shape.program(program)]
        processes.append(subprocess.Popen([sys.executable, "-c", loop, *words], stdout=subprocess.PIPE, text=True))
    return [float(process.communicate()[0]) for process in processes]


def handovers(shape: Shape, seen: Watched) -> Iterator[float]:
    """Yield how long each child began after its parent, and all that its start depends on, had ended.

    What a window of a member depends on are its parent and all that ended `lag` windows before.
    """
    for evaluation in seen.evaluations:
        if evaluation.resume_from is None:
            continue
        judged = (evaluation.number // shape.members - shape.lag) * shape.members
        awaited = [evaluation.resume_from, *range(max(0, judged))]
        yield seen.spans[evaluation.number].begin - max(seen.spans[number].end for number in awaited)


def copy_seconds(shape: Shape, program: Path, directory: Path) -> list[float]:
    """Return how long `cp` takes for a checkpoint that was written just now."""
    directory.mkdir()
    times = []
    for number in range(COPIES):
        paths = [directory / f"{name}.{number}" for name in ("from", "to")]
        instant = [*shape.program(program), "--seconds=0", f"--save={paths[0]}"]
        subprocess.run(instant, check=True, stdout=subprocess.DEVNULL)
        begin = time.perf_counter()
        subprocess.run(["cp", *map(str, paths)], check=True)
        times.append(time.perf_counter() - begin)
        for path in paths:
            path.unlink()
    return times


def has_reflinks(directory: Path) -> bool:
    """Return whether files can share their blocks there."""
    source = directory / "reflink"
    source.write_text("x")
    command = ["cp", "--reflink=always", str(source), str(directory / "reflink.copy")]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


Row = tuple[str, str, float, str]
"""What was measured, where, the figure, and the target."""


def sleeping_rows(shapes: list[Shape], targets: list[float]) -> Iterator[Row]:
    """Measure studies of programs that sleep against their members in plain loops."""
    with tempfile.TemporaryDirectory(prefix="pbt.") as name:
        scratch = Path(name)
        program = compiled(scratch)
        reference = statistics.mean(alone(shapes[0], program, scratch / "alone"))
        yield "a member alone, s", "plain loop", reference, ""
        for shape, target in zip(shapes, targets, strict=True):
            label = f"lag {shape.lag}"
            seen = watch(shape, program, scratch / label)
            steps = shape.members * shape.windows / 1000
            yield "study, s", label, seen.wall, ""
            yield "study / member alone", label, seen.wall / reference, f"{target}"
            yield "CPU of driver and keeper per window, ms", label, (seen.driver + seen.keeper) / steps, "5"
            yield "of it the driver's, ms", label, seen.driver / steps, ""
            yield "CPU of removing checkpoints per window, ms", label, seen.removers / steps, ""


def large_rows(two: Shape, one: Shape) -> Iterator[Row]:
    """Measure the handing over of large checkpoints: by two paths, and by one."""
    with tempfile.TemporaryDirectory(prefix="pbt.") as name:
        scratch = Path(name)
        program = compiled(scratch)
        yield "reflinks (1: yes)", "file system", float(has_reflinks(scratch)), ""
        for shape, label in ((two, "two paths"), (one, "one path")):
            seen = watch(shape, program, scratch / label, disk=True)
            shutil.rmtree(scratch / label)
            gaps = sorted(handovers(shape, seen))
            middle = statistics.median(gaps)
            yield "handing over, median, ms", label, 1000 * middle, "" if shape.one_path else "20"
            yield "handing over, worst, ms", label, 1000 * gaps[-1], ""
            if shape.one_path:
                copy = statistics.median(copy_seconds(shape, program, scratch / "copies"))
                yield "cp of a checkpoint, median, ms", "plain", 1000 * copy, ""
                yield "handing over / cp", label, middle / copy, "1.2"
            yield "peak of disk / (members x checkpoint)", label, seen.peak_bytes / shape.members / shape.bytes, "2.5"
