"""Calls of a batch system's commands, which may be slow, or never answer: nobody waits for them but who wants to."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress

from crayai.hpo.launch.batch.dialect import Answer

TIMEOUT_SECONDS = 60.0
_LOOK_SECONDS = 0.002
_SAID_BYTES = 10_000
_NOT_FOUND = 127
"""The code of a command that is not there, as a shell gives it."""
_CHANGING = ("SLURM_", "PBS_QSTAT_")
KEPT = {"SLURM_CONF", "SLURM_CLUSTERS"}


class Call:
    """A command that runs beside us.

    Args:
        argv: The command.
        timeout_seconds: After that it is killed, and has not answered; None: after a minute.
        retrying: What it says when it would try for ever, and is killed as well; empty: it does not.
    """

    def __init__(self, argv: Sequence[str], timeout_seconds: float | None = None, retrying: str = "") -> None:
        self._retrying = retrying.encode()
        self._deadline = time.monotonic() + (TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds)
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed when read
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = ""
        self._code: int | None = None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - as the dialect says
                argv,
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._err,
                env=environment(),
                start_new_session=True,
            )
        except OSError as error:
            self._code = _NOT_FOUND if isinstance(error, FileNotFoundError) else None
            self._problem = f"{argv[0]}: {error.strerror}"

    def answer(self) -> Answer | None:
        """Return what it has answered; None: it still runs."""
        process = self._process
        if process is not None and process.poll() is None:
            said = os.pread(self._err.fileno(), _SAID_BYTES, 0)
            is_retrying = bool(self._retrying) and self._retrying in said
            if not is_retrying and time.monotonic() < self._deadline:
                return None
            os.killpg(process.pid, signal.SIGKILL)  # and what it may have started
            process.wait()
            self._problem = said.decode(errors="replace").strip() or "no answer"
        code = self._code if process is None or self._problem else process.returncode
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        return Answer(code, texts[0], self._problem or texts[1].strip())

    def stop(self) -> None:
        """Ask the command to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> Answer:
        """Return what it answers, when it does."""
        while (answer := self.answer()) is None:
            if self._process is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_LOOK_SECONDS if self._deadline <= time.monotonic() else 1.0)
        return answer


def ask(argv: Sequence[str], retrying: str = "") -> Answer:
    """Return what a command answers, unless it says that it is `retrying`."""
    return Call(argv, retrying=retrying).wait()


def environment() -> dict[str, str]:
    """Return our environment without what makes commands leave jobs out, or is about a job that we may run in."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_CHANGING) or name in KEPT}
    return {**kept, "SLURM_BITSTR_LEN": "0"}  # lists of array tasks as long as they are
