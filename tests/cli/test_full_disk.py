"""A real file system that is full: a small tmpfs."""

import subprocess
from contextlib import suppress

import pytest


@pytest.fixture
def small_disk(place):
    """Return a directory on a file system of one megabyte."""
    path = place.directory / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "crayai-test", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs a file system of its own: run as root where mount is allowed ({mounted.stderr.strip()})")
    yield path
    subprocess.run(["umount", path], check=True)


def fill(path):
    """Use up all room on the file system of `path`; return the file that has it."""
    ballast = path / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


@pytest.mark.fault(
    "the disk is full (tmpfs of 1 MB): no room for the log nor for output",
    "the study pauses, says so, and goes on by itself when there is room; same points, nothing failed",
)
def test_a_full_disk_is_waited_for(place, small_disk) -> None:
    """Evaluations that cannot write fail no evaluation: the study pauses and goes on by itself when there is room."""
    words = [str(small_disk / "run") if word == "gated" else word for word in place.gated]
    place.write("loud.sh", 'head -c 20000 /dev/zero | tr "\\0" x || exit 1; echo; exec sh gated.sh "$@"')
    words[-1] = "loud.sh"
    process = place.start(*words)
    place.await_gate()
    ballast = fill(small_disk)
    place.open_gate()
    said = []
    for line in process.stderr:
        said.append(line)
        if "paused" in line:
            ballast.unlink()
    process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert any("going on: there is room again" in line for line in said)
    status = place.crayai("status", small_disk / "run").stdout
    assert "12 of 12" in status
    assert "failed       0" in status
    assert set(place.numbers_ran()) == set(range(12))
    assert place.crayai("verify", small_disk / "run").returncode == 0


_TRAIN = """
head -c 40000 /dev/zero > "$2" && echo FoM: "$CRAYAI_EVALUATION"
"""


@pytest.mark.fault(
    "the disk of checkpoints is full, or becomes full",
    "refused before anything runs; later the study waits, and goes on by itself when there is room",
)
def test_a_full_disk_of_checkpoints(place, small_disk) -> None:
    """A full disk of checkpoints is refused at the start; one that becomes full is waited for, and nothing fails."""
    place.write("train.sh", _TRAIN)
    options = f"--dir trained --checkpoint {small_disk} --pop-size 4 --windows 6 --slots 2 --param -x=0.0..1.0"
    words = f"run --strategy pbt {options} -- sh train.sh @load @save".split()
    ballast = fill(small_disk)
    refused = place.crayai(*words)
    assert refused.returncode == 1
    assert "is on a full disk; make room, or choose another with checkpoint = PATH" in " ".join(refused.stderr.split())
    ballast.unlink()
    ballast.write_bytes(bytes(850_000))  # of a megabyte: room for the first members, not for all
    process = place.start(*words)
    said = []
    for line in process.stderr:
        said.append(line)
        if "paused" in line:
            ballast.unlink(missing_ok=True)
    process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert any("going on: there is room again" in line for line in said), said
    assert "failed       0" in place.crayai("status", "trained").stdout
