"""Debian's packages for the tests: installed, or unpacked for those alone who ask for their commands."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

_ENVIRONMENT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def refusal(packages):
    """Return why packages cannot be installed here; empty: they can."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        return ""
    return f"as root on Debian, apt-get install {' '.join(packages)}"


def install(packages):
    """Install packages; return whether they are here."""
    with _alone():
        _apt("update")
        return _apt("install", "-y", "--no-install-recommends", *packages) == 0


def unpack(packages, directory):
    """Unpack packages into a directory; return whether all of them are there."""
    with _alone():
        _apt("update")
        _apt("download", *packages, cwd=directory)
    files = list(Path(directory).glob("*.deb"))
    for file in files:
        subprocess.run(["dpkg", "-x", str(file), str(directory)], check=True)
    return len(files) == len(packages)


def _apt(*words, cwd=None):
    argv = ["apt-get", words[0], "-qq", *words[1:]]
    return subprocess.run(argv, check=False, env=_ENVIRONMENT, cwd=cwd, stdout=subprocess.DEVNULL).returncode


@contextmanager
def _alone():
    """Let one process at a time work on the machine's packages."""
    with (Path(tempfile.gettempdir()) / "crayai-tests-apt").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
