"""What the tests of the face share: a program to evaluate, scripts to run, and a gate to hold an evaluation at."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

PATIENCE_SECONDS = 60.0

_BOWL = """
BEGIN {
    line = ENVIRON["CRAYAI_EVALUATION"]
    for (i = 1; i < ARGC; i++) {
        line = line "\\t" ARGV[i]
        if (split(ARGV[i], part, "=") == 2) sum += (part[2] - 0.3) ^ 2
    }
    print line >> "ran.tsv"
    close("ran.tsv")
    print "loss 17 after epoch 1"
    printf "FoM: %.9e\\n", sum
}
"""

_GATED = """
if [ "$CRAYAI_EVALUATION" = 6 ]; then
    [ -e passed ] || { touch passed; echo reached > reached; read line < gate; }
    touch opened
fi
while [ "$CRAYAI_EVALUATION" -gt 6 ] && [ ! -e opened ]; do sleep 0.02; done
awk -f bowl.awk -- "$@"
"""


def write_bowl(directory: Path) -> str:
    """Write a program whose figure of merit is the sum of (x - 0.3)^2; return the command for it."""
    (directory / "bowl.awk").write_text(_BOWL)
    return "awk -f bowl.awk --"


def ran(directory: Path) -> list[list[str]]:
    """Return the number and the arguments of each evaluation of the bowl that has run, in the order of arrival."""
    file = directory / "ran.tsv"
    return [line.split("\t") for line in file.read_text().splitlines()] if file.exists() else []


def numbers_ran(directory: Path) -> list[int]:
    """Return the numbers of the evaluations of the bowl that have run, sorted."""
    return sorted(int(line[0]) for line in ran(directory))


def table(name: str) -> pd.DataFrame:
    """Read a log file as the users do."""
    return pd.read_csv(name, sep=r"\s+")


def script(text: str) -> list[str]:
    """Return the command that runs `text` as a user's script; warnings are shown, not raised."""
    return [sys.executable, "-c", text]


def run_script(directory: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a user's script in `directory` to its end."""
    return subprocess.run(
        script(text),
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


class Gate:
    """Holds evaluation 6 of the command `command`, and those after it, until it is opened."""

    command = "sh gated.sh"

    def __init__(self, directory: Path) -> None:
        write_bowl(directory)
        (directory / "gated.sh").write_text(_GATED)
        os.mkfifo(directory / "reached")
        os.mkfifo(directory / "gate")
        self._reached = os.open(directory / "reached", os.O_RDONLY | os.O_NONBLOCK)
        self._gate = os.open(directory / "gate", os.O_RDWR)

    def wait(self) -> None:
        """Return when evaluation 6 stands at the gate."""
        ready, _, _ = select.select([self._reached], [], [], PATIENCE_SECONDS)
        if not ready:
            raise TimeoutError("no evaluation has come to the gate")

    def open(self) -> None:
        """Let it pass."""
        os.write(self._gate, b"pass\n")

    def close(self) -> None:
        """Let go of the pipes."""
        os.close(self._reached)
        os.close(self._gate)


@contextmanager
def gate(directory: Path) -> Iterator[Gate]:
    """Put up a gate in `directory` while the block runs."""
    barrier = Gate(directory)
    try:
        yield barrier
    finally:
        barrier.open()  # nobody is left standing there
        barrier.close()


def kill_at_gate(directory: Path, text: str, barrier: Gate) -> None:
    """Run a user's script until an evaluation stands at the gate, then kill it with SIGKILL."""
    process = subprocess.Popen(script(text), cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        barrier.wait()
    finally:
        process.kill()
        process.wait()
