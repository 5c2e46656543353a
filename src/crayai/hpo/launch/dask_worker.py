"""What runs on a worker of Dask; it is sent there by value, so that crayai need not be there."""

import os
import select
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path

_LOOK_SECONDS = 0.5
_KILL_SECONDS = 5.0
_GUARDED = """\
exec 3<&0 </dev/null
(trap "" TERM; read -r over <&3; kill -TERM 0; sleep 5; kill -KILL 0) &
exec 3<&-
exec /bin/sh -c "$0"
"""
"""Runs a script with a guard, which ends all of it when nobody holds the other end of its input any more."""


def run_script(script: str, ticket: str, cancelled: str) -> int:
    """Run `script` of the plain shell, in a process group that ends with the worker; return its exit code.

    Args:
        script: The text.
        ticket: A path; without that file, which is removed, nothing is run.
        cancelled: A path; when there is a file, the script is ended.
    """
    try:
        Path(ticket).unlink()
    except FileNotFoundError:
        return 0  # another worker has it, or the driver has taken it back
    worker = os.environ.get("DASK_WORKER_NAME", "worker")
    reading, writing = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - this is what a worker is for
        ["/bin/sh", "-c", _GUARDED, script],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CRAYAI_JOB": f"{worker}-{uuid.uuid4().hex}"},
        start_new_session=True,
    )
    os.close(reading)
    end, told_at = os.pidfd_open(process.pid), None
    try:
        while not select.select([end], [], [], _LOOK_SECONDS)[0]:
            if told_at is None and Path(cancelled).exists():
                told_at = time.monotonic()
                os.killpg(process.pid, signal.SIGTERM)
            elif told_at is not None and time.monotonic() - told_at > _KILL_SECONDS:
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
    finally:
        os.close(end)
        os.close(writing)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what the script has left
        process.wait()


def states_of(keys: list[str], dask_scheduler: object = None) -> dict[str, str]:
    """Return the states of the tasks that the scheduler knows, by their keys."""
    tasks = dask_scheduler.tasks  # type: ignore[attr-defined]
    return {key: tasks[key].state for key in keys if key in tasks}
