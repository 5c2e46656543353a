"""A stand-in for OpenPBS, TORQUE and Moab: it follows recorded answers of OpenPBS 23.06.06, TORQUE 6 and Moab 9.

``qsub`` and its kin, or ``msub`` and its kin, in a directory for PATH, which queue jobs and really run them, on this
machine. A directory is the server (see `server`): a file for each job, which the process that runs jobs (see `runner`)
alone writes, and marks of those who delete. That process starts with the first job, and ends with the last.
"""

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from .server import Server

_COMMANDS = {
    "pbs": ("qsub", "qstat", "qselect", "qdel", "pbsnodes", "pbs_tmrsh"),
    "torque": ("qsub", "qstat", "qselect", "qdel", "pbsnodes", "pbsdsh"),
    "moab": ("msub", "showq", "checkjob", "canceljob", "pbsdsh"),
}


class StandIn:
    """A batch system in a directory of its own.

    Args:
        directory: Empty, or not there.
        flavour: ``pbs``, ``torque`` or ``moab``.
        slots: How many jobs run at once.

    Attributes:
        bin: The directory of its commands, for PATH.
    """

    def __init__(self, directory: Path | str, flavour: str = "pbs", slots: int = 4) -> None:
        directory = Path(directory).absolute()
        self.bin = directory / "bin"
        self._spool = directory / "spool"
        self._spool.mkdir(parents=True)
        self.bin.mkdir()
        (self._spool / "settings.json").write_text(json.dumps({"flavour": flavour, "slots": slots}))
        self._server = Server(self._spool)
        module = Path(__file__).parent
        for name in _COMMANDS[flavour]:
            path = self.bin / name
            words = f'{sys.executable} -S -m {module.name} {self._spool} {name} "$@"'
            path.write_text(
                "#!/bin/sh\n# A stand-in, recorded from OpenPBS 23.06.06, TORQUE 6 and Moab 9.\n"
                f"PYTHONPATH={module.parent} exec {words}\n"
            )
            path.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that it runs."""
        self.kill_runner()
        for job in self.jobs:
            self._server.end(job, signal.SIGKILL)
        shutil.rmtree(self._spool, ignore_errors=True)

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """What it knows of its jobs, in the order of their submission."""
        return self._server.jobs()

    def delete(self, name: str) -> None:
        """Delete a job, as somebody else would."""
        self._server.mark(name, "delete").touch()

    def refuse(self, *, connections: bool) -> None:
        """Let commands find nobody at the other end, or somebody again."""
        if connections:
            (self._spool / "down").touch()
        else:
            (self._spool / "down").unlink(missing_ok=True)

    def forget_ends(self) -> None:
        """Keep nothing of jobs that end from now on."""
        (self._spool / "forgets").touch()

    def keep_no_history(self) -> None:
        """Be a PBS without ``job_history_enable``, which is its default."""
        (self._spool / "no_history").touch()

    def break_off(self, *, after_first: bool) -> None:
        """Let TORQUE's qstat reach nobody any more after the first job that it asks for, or again all of them."""
        if after_first:
            (self._spool / "breaks_off").touch()
        else:
            (self._spool / "breaks_off").unlink(missing_ok=True)

    def lose_answer(self) -> None:
        """Take the next submission without saying so."""
        (self._spool / "loses").touch()

    def limit(self, jobs: int) -> None:
        """Take no more than so many jobs that are not over."""
        (self._spool / "limit").write_text(str(jobs))

    def limit_arrays(self, jobs: int) -> None:
        """Take no array of more jobs."""
        (self._spool / "array_limit").write_text(str(jobs))

    def purge(self, name: str) -> None:
        """Forget a job that has ended, as by ``qdel -x``."""
        self._server.mark(name, "job").unlink()

    def fail_node(self, *, daemon_alone: bool = False) -> None:
        """Lose all that runs, and queue it again, as if its node had crashed, or its daemon: then programs go on."""
        for job in self.jobs:
            if job["state"] == "R":
                self._server.mark(job["id"], "orphan" if daemon_alone else "crash").touch()

    def kill_runner(self) -> None:
        """Kill the process that runs jobs; the next submission starts another one."""
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((self._spool / "runner").read_text()), signal.SIGKILL)
