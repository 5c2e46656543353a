"""What runs on a worker of Dask: sent there as text, so that neither crayai nor the driver's Python need be there.

A worker claims a task (see `proof`) before it runs the script of it, in a process group with two guards. One ends the
group, once, when the worker lets go of it, or dies, however that happens. The other one beats, and ends the group when
the claim is not its own any more: the driver has given the task up, or forgotten it.

    <name>.task      the script; without it nothing is run
    <name>.beat      another number every two seconds, as long as the group is there
    <name>.leaving   a mark: the worker was told to end, and has ended the task for that
"""

import os
import signal
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

_LOOK_SECONDS = 0.5
_PASSES = 10
_NO_DIRECTORY = 121  # of `proof`
_STAYING = ("init", "running", "paused")
_RANKED = ("SLURM_LOCALID", "SLURM_NODEID", "SLURM_PROCID", "SLURM_STEP", "PMI_", "PMIX_", "OMPI_COMM_WORLD_", "PALS_")
"""How variables begin that tell a worker which part of a parallel program it is: an evaluation is no part of that."""
_GUARDED = """\
read -r _began _rest </proc/uptime
_end() {
  _all=$(grep -lF "CRAYAI_JOB=$CRAYAI_JOB" /proc/[0-9]*/environ 2>/dev/null | tr -dc '0-9\\n')
  _began=$_began /bin/sh -c '
    kill -KILL "$@"
    if [ "$(readlink "$0".claim)" = "$CRAYAI_JOB" ] && [ ! -e "$0".end ]; then
      read -r _ended _rest </proc/uptime
      printf "code 137\\nbegan $_began\\nended $_ended\\nlocation %s\\nasked yes\\n" "$(hostname)" >"$0".end~
      mv "$0".end~ "$0".end
    fi
    kill -KILL 0' "$0" $_all
}
_is_mine() { [ "$(readlink "$0".claim)" = "$CRAYAI_JOB" ]; }
exec 3<&0 </dev/null
(
  trap "" TERM INT
  read -r _over <&3
  kill -TERM 0
  for _ in 1 2 3 4 5; do
    sleep 1
    [ ! -e "$0".end ] || break
  done
  _end
) &
exec 3<&-
(
  trap "" TERM INT
  _beat=0
  while _is_mine || { sleep 1; _is_mine; }; do
    echo $((_beat += 1)) >"$0".beat
    sleep 2
  done
  _end
) &
exec /bin/sh "$0".task
"""
"""Runs a script with its guards; nobody holds the other end of its input any more when the worker has died."""


def check(root: str, directories: "list[str]") -> None:
    """Make sure that a worker can keep records in `root`, and sees `directories`.

    Raises:
        OSError: It cannot.
    """
    for directory in directories:
        os.listdir(directory)  # noqa: PTH208 - only the error matters
    path = Path(root, f"probe-{uuid.uuid4().hex}")
    path.symlink_to("worker")
    path.unlink()


def run_task(path: str) -> None:
    """Run the script at `path`.task, if nobody else does, to its end, and see to it that there is a record of that.

    Raises:
        OSError: The directory is not there, or not ours.
    """
    owner = f"{socket.gethostname()}-{uuid.uuid4().hex}"
    try:
        Path(path + ".claim").symlink_to(owner)
    except FileExistsError:
        return  # another worker has it, or the driver has taken it back
    if not Path(path + ".task").exists():
        Path(path + ".claim").unlink()  # it was forgotten
        return
    began = time.monotonic()
    try:
        fact = _end_of(path, owner)
    except OSError as error:
        fact = f"error it cannot be started on {socket.gethostname()}: {error}"
    _leave_end(path, owner, fact, time.monotonic() - began)


def _end_of(path: str, owner: str) -> str:
    """Run a script that is claimed; return the first fact of its end."""
    from distributed import get_worker  # noqa: PLC0415 - the driver need not import it

    worker = get_worker()
    reading, writing = os.pipe()
    with open(reading, "rb") as end_of_line, open(writing, "wb") as lifeline:  # noqa: PTH123 - these are no paths
        process = subprocess.Popen(  # noqa: S603 - this is what a worker is for
            ["/bin/sh", "-c", _GUARDED, path],
            stdin=end_of_line,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**_environment(has_nanny=bool(worker.nanny)), "CRAYAI_JOB": owner},
            start_new_session=True,
        )
        try:
            code = _watched(process, path, worker, lifeline)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _kill_marked(owner)  # what is in another group
            process.wait()
    if code == _NO_DIRECTORY:
        return f"error {socket.gethostname()} does not see the directory where it starts"
    return f"code {code if code >= 0 else 128 - code}"


def _watched(process: "subprocess.Popen[bytes]", path: str, worker: object, lifeline: "IO[bytes]") -> int:
    """Wait for the end of a script; let go of its lifeline if the driver, or the worker's own end, wants it to end."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=_LOOK_SECONDS)
        is_leaving = worker.status.name not in _STAYING  # type: ignore[attr-defined]
        if is_leaving and not lifeline.closed:
            Path(path + ".leaving").touch()
        if is_leaving or Path(path + ".cancelled").exists():
            lifeline.close()


def _environment(*, has_nanny: bool) -> "dict[str, str]":
    """Return the variables of the worker, without those that are about itself."""
    import dask  # noqa: PLC0415 - as above

    kept = {name: text for name, text in os.environ.items() if not name.startswith(_RANKED)}
    if has_nanny:  # it sets numbers of threads that suit tasks of Dask
        for name, value in dask.config.get("distributed.nanny.pre-spawn-environ", {}).items():
            if kept.get(name) == str(value):
                del kept[name]
    return kept


def _kill_marked(owner: str) -> None:
    """Kill all that was started for a claim, wherever it went."""
    mark = f"CRAYAI_JOB={owner}".encode()
    for _ in range(_PASSES):  # one that is just being started may be overlooked
        found = False
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has ended, or is somebody else's
                if mark in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    found = True
        if not found:
            return


def _leave_end(path: str, owner: str, fact: str, seconds: float) -> None:
    """Write down the end of a script that has not done so itself, unless it was forgotten or given up meanwhile."""
    try:
        is_mine = os.readlink(path + ".claim") == owner  # noqa: PTH115 - as in the shell
    except FileNotFoundError:
        is_mine = False
    if not is_mine:
        Path(path + ".beat").unlink(missing_ok=True)
    elif not Path(path + ".end").exists():
        asked = ["asked yes"] if Path(path + ".leaving").exists() else []
        facts = [fact, "began 0", f"ended {seconds:.2f}", f"location {socket.gethostname()}", *asked]
        Path(path + ".end~").write_text("\n".join(facts) + "\n", encoding="utf-8")
        Path(path + ".end~").rename(path + ".end")
