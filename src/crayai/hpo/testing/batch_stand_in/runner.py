"""The process that runs the jobs of a stand-in, one of them at a time."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any

from .nodes import hosts_of
from .server import NAME, Server, clock

_LOOK_SECONDS = 0.02
_KILL_SECONDS = 2.0
_DELETED = 256 + signal.SIGTERM


def run(server: Server) -> None:
    """Run jobs until none is left, as soon as nobody else does: none ends while the next one is asked for."""
    with (server.spool / "runner").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _Runner(server).run()


class _Runner:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Return when no job is left."""
        while self._server.spool.exists():
            jobs = [job for job in self._server.jobs() if job["state"] != "F"]
            if not jobs:
                return
            for job in jobs:
                if job["state"] == "Q":
                    self._look_at_waiting(job)
                else:
                    self._look_at_running(job)
            time.sleep(_LOOK_SECONDS)

    def _look_at_waiting(self, job: dict[str, Any]) -> None:
        if self._server.mark(job["id"], "delete").exists():
            self._over(job, None)
        elif len(self._children) < self._server.slots and not job["comment"]:
            self._start(job)

    def _look_at_running(self, job: dict[str, Any]) -> None:
        deleted, crashed, orphaned = (self._server.mark(job["id"], what) for what in ("delete", "crash", "orphan"))
        job["seconds"] = time.time() - job["began"]
        is_late = job["seconds"] > clock(job["resources"].get("walltime", ""))
        child = self._children.get(job["id"])
        code = child.poll() if child else (None if os.path.exists(f"/proc/{job['pid']}") else 0)  # noqa: PTH110 - cheap
        if crashed.exists() or orphaned.exists():
            if crashed.exists():
                self._server.end(job, signal.SIGKILL)
            crashed.unlink(missing_ok=True)
            orphaned.unlink(missing_ok=True)
            self._children.pop(job["id"], None)
            self._server.save({**job, "state": "Q", "exit_status": -20, "pid": 0})
        elif code is not None:
            if is_late and not deleted.exists() and self._server.flavour == "pbs":
                code = -29
            elif is_late or deleted.exists():
                code = _DELETED
            elif code < 0:
                code = 256 - code
            self._over(job, code)
        elif is_late or deleted.exists():
            self._tell_to_end(job, by_hand=deleted.exists())

    def _tell_to_end(self, job: dict[str, Any], *, by_hand: bool) -> None:
        told = job.setdefault("told", time.time())
        self._server.end(job, signal.SIGTERM if time.time() - told < _KILL_SECONDS else signal.SIGKILL)
        if by_hand and self._server.flavour == "pbs":
            job["comment"] = f"Job run on ({NAME}:ncpus=1) and terminated by user@{NAME}"
        self._server.save(job)

    def _start(self, job: dict[str, Any]) -> None:
        """Have a shell start the script; it dies of the first signal, and the script is not waited for then."""
        index = "PBS_ARRAY_INDEX" if self._server.flavour == "pbs" else "PBS_ARRAYID"
        script, words, nodes = (self._server.mark(job["id"], what) for what in ("sh", "words", "nodes"))
        script.write_text(job["script"])
        script.chmod(0o700)
        words.write_text(f"{script}\n")
        nodes.write_text("".join(f"{host}\n" for host in hosts_of(job["resources"])))
        job.update(state="R", pid=0, began=time.time(), runs=job["runs"] + 1, exit_status=None)
        self._server.save(job)  # before anybody can see that it runs
        child = subprocess.Popen(
            ["/bin/sh"],
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "PBS_JOBID": job["id"],
                "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBNAME": job["name"],
                "PBS_NODEFILE": str(nodes),
                **({} if job["index"] is None else {index: str(job["index"])}),
            },
            cwd=os.environ.get("HOME", "/"),
            stdin=words.open("rb"),
            stdout=self._server.mark(job["id"], "OU").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._children[job["id"]] = child
        self._server.save({**job, "pid": child.pid})

    def _over(self, job: dict[str, Any], code: int | None) -> None:
        """Note the end of a job, and copy what it has said to where that was wished."""
        self._children.pop(job["id"], None)
        self._server.end(job, signal.SIGKILL)
        with suppress(OSError):
            shutil.copy(self._server.mark(job["id"], "OU"), job["output"])
        if (self._server.spool / "forgets").exists():
            self._server.mark(job["id"], "job").unlink()
        else:
            self._server.save({**job, "state": "F", "exit_status": code})
