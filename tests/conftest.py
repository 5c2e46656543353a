"""What several rooms' tests share."""

import os
import secrets
import select
from random import Random

import pytest
from hypothesis import settings

settings.register_profile("crayai", deadline=None)  # a busy machine is no failure
settings.load_profile("crayai")
PATIENCE_SECONDS = 60


class Bell:
    """A named pipe through which a program and a test tell each other how far they are."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self._file = os.open(path, os.O_RDWR)
        self._heard = b""

    def __str__(self):
        """Return the path, for command lines."""
        return str(self.path)

    def hear(self):
        """Return the next line that somebody wrote, without its end."""
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._file], [], [], PATIENCE_SECONDS)
            assert ready, f"nobody rang {self.path.name}"
            self._heard += os.read(self._file, 4096)
        line, self._heard = self._heard.split(b"\n", 1)
        return line.decode()

    def ring(self):
        """Let one reader go on."""
        os.write(self._file, b"\n")

    def close(self):
        """Close the pipe."""
        os.close(self._file)


@pytest.fixture
def bells(tmp_path):
    """Return a function that makes a bell of a name; a program rings with `echo text > BELL`, listens with `read`."""
    made = []

    def make(name):
        made.append(Bell(tmp_path / f"{name}.fifo"))
        return made[-1]

    yield make
    for bell in made:
        bell.close()


@pytest.fixture
def bell(bells):
    """Return a bell."""
    return bells("bell")


@pytest.fixture
def seeded(request):
    """Return random numbers whose seed a failing test prints; the variable CRAYAI_TEST_SEED repeats it."""
    seed = int(os.environ.get("CRAYAI_TEST_SEED", secrets.randbits(32)))
    print(f"{request.node.name}: CRAYAI_TEST_SEED={seed}")  # noqa: T201 - pytest shows it if the test fails
    return Random(seed)
