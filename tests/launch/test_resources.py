"""A machine that runs out of processes or memory, by control groups of its own."""

import itertools
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from crayai.hpo.launch.keeper import MemoryKills

GROUPS = Path("/sys/fs/cgroup")
DRIVER = """
import os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from contextlib import closing
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.testing.launchers import ends_of, make_task, wait_until
directory, slots, script = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with closing(LocalLauncher(directory, slots)) as launcher:
    tasks = [make_task(directory, number, ("/bin/sh", "-c", script, "sh", str(number))) for number in range(slots)]
    for task in tasks:
        launcher.submit(task)
    told = []
    if "-e go" in script:
        wait_until(launcher, lambda: launcher.poll([]) or told.extend(launcher.notices()) or told, "it is told")
        (directory / "go").touch()
    for end in ends_of(launcher, tasks):
        print(end)
    print(*told, sep="\\n")
"""


def parent_group(controller):
    """Return where groups of `controller` can be made; skip the test where they cannot."""
    if (GROUPS / controller).is_dir():
        return GROUPS / controller
    subtree = GROUPS / "cgroup.subtree_control"
    with suppress(OSError):
        subtree.write_text(f"+{controller}")
        return GROUPS
    return pytest.skip(f"needs a control group for {controller}: run as root with /sys/fs/cgroup writable")


@pytest.fixture
def group():
    """Return a function that makes a control group with a limit, which is the first of the given files that exists."""
    made = []
    numbers = itertools.count()

    def make(controller, **limits):
        path = parent_group(controller) / f"crayai-test-{os.getpid()}-{next(numbers)}"
        try:
            path.mkdir()
        except OSError as error:
            pytest.skip(f"needs a control group for {controller}: {error}")
        made.append(path)
        name, limit = next((name, limit) for name, limit in limits.items() if (path / name.replace("__", ".")).exists())
        (path / name.replace("__", ".")).write_text(str(limit))
        return path

    yield make
    for path in made:
        path.rmdir()


def drive(group, directory, slots, script):
    """Run `script` in each slot of a launcher that lives in `group`; return what the driver printed."""
    words = [sys.executable, "-c", DRIVER, group, directory, str(slots), script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


@pytest.mark.fault("too many processes (pids control group)", "fewer evaluations at once, with a warning; none fails")
def test_too_many_processes_mean_fewer_at_once(tmp_path, group):
    """Where the machine refuses another process, evaluations wait for a place, none fails, and the user is told."""
    script = "until [ -e go ]; do :; done"  # it needs no other process
    *ends, notice = drive(group("pids", pids__max=5), tmp_path, 6, script)
    assert len(ends) == 6
    assert all("Exited(code=0" in end for end in ends)
    assert "no room for another process (Resource temporarily unavailable)" in notice


@pytest.mark.fault(
    "the kernel kills the program for want of memory (memory control group)",
    "out of memory, not a signal; tried once more",
)
def test_the_kernels_kill_for_want_of_memory_is_told_apart(tmp_path, group):
    """A program that the kernel kills because memory is used up has exceeded that limit, and was not just killed."""
    place = group("memory", memory__max=60 << 20, memory__limit_in_bytes=60 << 20)
    script = f"exec {sys.executable} -S -c 'a = bytearray(200 << 20)'"
    ends = drive(place, tmp_path, 1, script)
    assert "code=-9" in ends[0]
    assert "Limit.MEMORY" in ends[0]


@pytest.mark.fault("the kernel kills a child of the program, which then fails", "out of memory")
def test_the_death_of_a_child_for_want_of_memory_too(tmp_path, group):
    """If the kernel kills a child of the program, and the program fails of it, memory is the cause as well."""
    place = group("memory", memory__max=60 << 20, memory__limit_in_bytes=60 << 20)
    ends = drive(place, tmp_path, 1, f"{sys.executable} -S -c 'a = bytearray(200 << 20)' || exit 3")
    assert "code=3" in ends[0]
    assert "Limit.MEMORY" in ends[0]


@pytest.mark.fault("somebody kills the program by hand", "signal; tried once more, elsewhere if possible")
def test_a_kill_by_hand_is_a_signal(tmp_path, group):
    """A program that somebody killed has exceeded no limit."""
    ends = drive(group("memory", memory__max=1 << 30, memory__limit_in_bytes=1 << 30), tmp_path, 1, "kill -9 $$")
    assert "code=-9" in ends[0]
    assert "limit=None" in ends[0]


def test_each_kill_is_accounted_for_once(tmp_path):
    """Two programs that were killed account for two kills; a third one was killed by somebody else."""
    kills = MemoryKills()
    kills.file = str(tmp_path / "memory.events")
    Path(kills.file).write_text("oom 3\noom_kill 2\n")
    kills.seen = 0
    assert [kills.has_new(is_killed=True) for _ in range(3)] == [True, True, False]
    Path(kills.file).write_text("oom 3\noom_kill 9\n")
    assert [kills.has_new(is_killed=False) for _ in range(2)] == [True, False]
