"""Clusters of Dask for tests: of processes, each with what its machine may have or lack."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

WAITS = 'trap "echo - >> log; exit 1" TERM; echo + >> log; while [ ! -e go ]; do sleep 0.05; done; echo - >> log'
"""A program that notes when it starts and ends."""

_POOR = """
import os, sys
sys.modules["crayai"] = None  # it cannot be imported
del os.pidfd_open  # as in Conda's Python
from distributed.cli.dask_worker import main
main()
"""


class Cluster:
    """A scheduler and workers, which can be started and killed.

    Attributes:
        directory: Where their files are.
        file: The scheduler's.
        processes: All that were started.
    """

    def __init__(self, directory):
        self.directory = directory
        self.file = directory / "scheduler.json"
        self.processes = []

    @property
    def address(self):
        """Of the scheduler."""
        return json.loads(self.file.read_text())["address"]

    def start_scheduler(self, port=0, **variables):
        """Start it, and wait until it listens."""
        self.file.unlink(missing_ok=True)
        words = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        scheduler = self._start([*words, "--scheduler-file", str(self.file)], variables)
        while not self.file.exists() or not self.file.read_text():
            assert scheduler.poll() is None
        return scheduler

    def start_worker(self, *options, **variables):
        """Start one that has neither crayai nor a pidfd."""
        words = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.directory)]
        return self._start(["-c", _POOR, self.address, *words, *options], variables)

    def kill(self):
        """Kill everything."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.processes.clear()

    def _start(self, words, variables):
        process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            env={**os.environ, **variables},
        )
        self.processes.append(process)
        return process


@contextmanager
def cluster_in(directory):
    """Yield a cluster without anything, and kill what was started."""
    cluster = Cluster(directory)
    try:
        yield cluster
    finally:
        for process in cluster.processes:
            process.send_signal(signal.SIGCONT)
        cluster.kill()


def pid_in(path):
    """Return the process that has written its number, as soon as it has."""
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def has_ended(pid):
    """Return whether a process is over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
