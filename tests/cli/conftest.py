"""A workplace for the command line: a directory with programs to evaluate, in which commands are run."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    printf "FoM: %.9e\\n", sum
}
"""

_GATED = """
if [ "$CRAYAI_EVALUATION" = 6 ] && [ ! -e passed ]; then
    echo reached > reached
    read line < gate
    touch passed
fi
while [ "$CRAYAI_EVALUATION" -gt 6 ] && [ ! -e passed ]; do sleep 0.02; done
awk -f bowl.awk -- "$@"
"""

_STUDY = """
[study]
command = "awk -f bowl.awk --"
seed = 7

[strategy]
name = "genetic"
generations = 3
pop_size = 4
num_demes = 1

[launcher]
slots = 2

[params]
"-x" = { low = 0.0, high = 1.0, default = 0.5 }
"-n" = { low = 1, high = 9, default = 3 }
"""


class Workplace:
    """A directory that holds bowl.awk, gated.sh and study.toml.

    ``bowl.awk`` prints the sum of (x - 0.3)^2 over its flags, and notes each evaluation in ``ran.tsv``; ``gated.sh``
    does the same, but holds evaluation 6, and those after it, at a gate until it is opened.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("bowl.awk", _BOWL)
        self.write("gated.sh", _GATED)
        self.write("study.toml", _STUDY)
        self._watchdog = threading.Timer(PATIENCE_SECONDS, self.open_gate)
        os.mkfifo(directory / "reached")
        os.mkfifo(directory / "gate")
        self._reached = os.open(directory / "reached", os.O_RDONLY | os.O_NONBLOCK)
        self._gate = os.open(directory / "gate", os.O_RDWR)

    def write(self, name: str, text: str) -> Path:
        """Write a file; return its path."""
        path = self.directory / name
        path.write_text(text)
        return path

    def crayai(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end."""
        return subprocess.run(
            self._line(words),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start the command line; it is ended if it outlasts all patience."""
        return self._start(self._line(words))

    def start_program(self, name: str) -> subprocess.Popen[str]:
        """Start a Python program of the directory, likewise."""
        return self._start(self.python(name))

    @staticmethod
    def python(name: str) -> list[str]:
        """Return the words that run a Python program."""
        return [sys.executable, name]

    def _start(self, words: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            words,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._watchdog = threading.Timer(PATIENCE_SECONDS, self._end, [process])
        self._watchdog.start()
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        self.open_gate()

    def start_gated(self, *options: str) -> subprocess.Popen[str]:
        """Start a study whose evaluation 6 stands at the gate, and return when it stands there."""
        process = self.start(*self.gated[:1], *options, *self.gated[1:])
        try:
            self.await_gate()
        except TimeoutError as error:
            process.kill()
            raise TimeoutError(f"{error}: {process.communicate()}") from error
        return process

    def await_gate(self) -> None:
        """Return when evaluation 6 stands at the gate."""
        ready, _, _ = select.select([self._reached], [], [], PATIENCE_SECONDS)
        if not ready:
            raise TimeoutError("no evaluation has come to the gate")
        os.read(self._reached, 100)

    @property
    def gated(self) -> list[str]:
        """The words of the study that `start_gated` starts: 12 evaluations, two at once."""
        words = "run --dir gated --strategy random --num-iters 12 --slots 2 --param -x=0.0..1.0 -- sh gated.sh"
        return words.split()

    def open_gate(self) -> None:
        """Let the evaluation at the gate pass."""
        os.write(self._gate, b"pass\n")

    def close(self) -> None:
        """Let go of the pipes, when nobody is left standing there."""
        self._watchdog.cancel()
        self.open_gate()
        os.close(self._reached)
        os.close(self._gate)

    def ran(self) -> list[list[str]]:
        """Return the number and the arguments of each evaluation that has run, by number."""
        file = self.directory / "ran.tsv"
        lines = file.read_text().splitlines() if file.exists() else []
        return sorted((line.split("\t") for line in lines), key=lambda words: int(words[0]))

    def numbers_ran(self) -> list[int]:
        """Return the numbers of the evaluations that have run, sorted."""
        return [int(line[0]) for line in self.ran()]

    def processes(self) -> list[str]:
        """Return the command lines of all processes that live in this directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink().is_relative_to(self.directory):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it has ended
        return [line for line in found if line]

    @staticmethod
    def _line(words: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "crayai", *map(str, words)]


@pytest.fixture
def place(tmp_path) -> Iterator[Workplace]:
    """A workplace of one test."""
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()
