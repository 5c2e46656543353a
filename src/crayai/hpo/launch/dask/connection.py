"""A scheduler of Dask, which may go away and come back, with another address too, or be made here."""

import json
import logging
import os
import time
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.dask.settings import Dask
from crayai.hpo.launch.notices import OUTAGE, Notices

_CONNECT_SECONDS = 30
_RECONNECT_SECONDS = 2
_ANSWER_SECONDS = 10
_POLL_SECONDS = 1.0
_BACK_OFF_SECONDS = 5.0
_PROBED_WORKERS = 16
_LACK = "lack"
State = Literal["waits", "runs"]
_OVER = ("memory", "erred")
_STATES: Mapping[str, State] = {"queued": "waits", "waiting": "waits", "no-worker": "waits", "processing": "runs"}


class Connection:
    """A client that outlives outages of its scheduler.

    Args:
        dask: The cluster.
        check: A program of Python that fails on workers that are of no use.

    Attributes:
        places: How many evaluations the workers can run at once, as last heard.
        notices: What the user is told.

    Raises:
        LaunchError: There is no such cluster, or no Dask, or a worker is of no use.
    """

    def __init__(self, dask: Dask, check: str) -> None:
        try:
            import distributed  # noqa: PLC0415 - takes a second, and is there for those who want it alone
        except ImportError as error:
            raise LaunchError("launcher='dask' needs Dask's distributed: pip install 'crayai[dask]'") from error
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # outages are told below, in a line
        self._distributed: Any = distributed
        self._dask = dask
        self._cluster: Any = None
        self._client: Any = self._first_client()
        self._unsent: dict[str, str] = {}
        self._unwanted: set[str] = set()
        self._next_at = float("-inf")
        self.notices = Notices()
        self.places = 0
        self.states(())
        if trouble := self.notices.take()[0] if OUTAGE in self.notices else self._trouble(check):
            self.close()
            raise LaunchError(trouble)

    def submit(self, key: str, text: str) -> None:
        """Have a worker run a program of Python as the task `key`, now or as soon as there is a scheduler."""
        self._unsent[key] = text
        self._send()

    def drop(self, keys: Collection[str]) -> None:
        """Have the scheduler forget tasks, now or as soon as there is one."""
        self._unwanted.update(keys)
        for key in keys:
            self._unsent.pop(key, None)
        self._send()

    def is_due(self) -> bool:
        """Return whether it is time to ask."""
        return time.monotonic() >= self._next_at

    def states(self, keys: Collection[str]) -> dict[str, State] | None:
        """Return which of the tasks wait for a worker, or have one; None: nobody answers."""
        self._next_at = time.monotonic() + _POLL_SECONDS
        try:
            self._make_whole()
            known: Mapping[str, str] = self._ask(self._client.scheduler.get_task_status, keys=list(keys))
            self._count(self._ask(self._client.scheduler.identity)["workers"].values())
        except Exception as error:  # noqa: BLE001 - Dask raises whatever there is, and its versions differ in that
            self.notices.begin(
                OUTAGE,
                f"waiting for Dask's scheduler, which does not answer: {_words(error)} (distributed here is "
                f"{self._distributed.__version__}, and should be the same there)",
            )
            self._next_at = time.monotonic() + _BACK_OFF_SECONDS
            return None
        self.notices.end(OUTAGE, "Dask's scheduler answers again")
        self.drop([key for key in keys if known.get(key) in _OVER])
        unsent: dict[str, State] = dict.fromkeys(self._unsent, "waits")
        return {key: _STATES[known[key]] for key in keys if known.get(key) in _STATES} | unsent

    def close(self) -> None:
        """Let go of the scheduler, and end it if it is our own."""
        _close(self._client)
        if self._cluster is not None:
            _close(self._cluster)

    def _first_client(self) -> Any:
        try:
            if self._dask.is_local:
                self._cluster = self._own_cluster()
                return self._distributed.Client(self._cluster, set_as_default=False)
            return self._client_within(_CONNECT_SECONDS)
        except LaunchError:
            raise
        except Exception as error:
            where = self._dask.scheduler_file or self._dask.address or "this machine"
            raise LaunchError(
                f"no scheduler of Dask answers at {where}: {_words(error)}; is it running, with distributed "
                f"{self._distributed.__version__} as here, and with the security that it needs configured here?"
            ) from error

    def _client_within(self, seconds: float) -> Any:
        """Return another client; one that finds no scheduler is closed, for it has a thread of its own already."""
        address, kind = self._address(), self._distributed.Client
        client = kind.__new__(kind)
        try:
            kind.__init__(client, address, timeout=seconds, set_as_default=False)
        except BaseException:
            _close(client)
            raise
        return client

    def _trouble(self, check: str) -> str:
        """Return what some of the workers say when they run `check`; empty: nothing, as a worker that hangs does."""
        answers: Mapping[str, object] = {}
        with suppress(Exception):
            workers = list(self._ask(self._client.scheduler.identity)["workers"])[:_PROBED_WORKERS]
            run = self._client._run  # noqa: SLF001 - what is public waits for ever
            answers = self._ask(run, exec, check, {}, workers=workers, on_error="return") if workers else {}
        for worker, answer in answers.items():
            if isinstance(answer, Exception):
                return (
                    f"the worker of Dask at {worker} cannot work for this study: {_words(answer)}; workers must see "
                    "the study's directory, and the one where it was started, by the same names and as the same user"
                )
        return ""

    def _own_cluster(self) -> Any:
        """Return workers in threads of this process: signals reach them only through it."""
        slots = self._dask.slots or len(os.sched_getaffinity(0))
        return self._distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=slots,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.ERROR,
            resources={name: amount * slots for name, amount in self._dask.needs.items()},
        )

    def _address(self) -> str:
        """Return where the scheduler is.

        Raises:
            LaunchError: Its file does not say so.
        """
        path = self._dask.scheduler_file
        if not path:
            return self._dask.address
        try:
            return str(json.loads(Path(path).read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LaunchError(
                f"dask_scheduler_file must be the file that a scheduler of Dask has written, got {path!r}: "
                f"{_words(error)}; is the scheduler running?"
            ) from error

    def _make_whole(self) -> None:
        """Make another client where this one has lost its scheduler: it would not look elsewhere, nor for long."""
        if self._client.status != "running" and not self._dask.is_local:
            _close(self._client)
            self._client = self._client_within(_RECONNECT_SECONDS)

    def _ask(self, function: Any, *values: Any, **arguments: Any) -> Any:
        """Return what the scheduler answers.

        Raises:
            Exception: It does not.
        """
        if self._client.status != "running":
            raise ConnectionError(f"the connection is {self._client.status}")
        return self._client.sync(function, *values, callback_timeout=_ANSWER_SECONDS, **arguments)

    def _send(self) -> None:
        """Tell the scheduler what it was not told, as far as it is there."""
        with suppress(Exception):  # what was not sent is sent later
            while self._client.status == "running" and (self._unsent or self._unwanted):
                if self._unwanted:
                    unwanted = [self._distributed.Future(key, self._client) for key in self._unwanted]
                    self._client.cancel(unwanted, force=True)
                    self._unwanted.clear()
                for key, text in list(self._unsent.items()):
                    needs = self._dask.needs or None
                    future = self._client.submit(exec, text, {}, key=key, pure=False, resources=needs)
                    self._distributed.fire_and_forget(future)
                    del self._unsent[key]

    def _count(self, workers: Collection[Mapping[str, Any]]) -> None:
        """Take in which workers there are; tell when none can run an evaluation."""
        self.places = sum(map(self._places_of, workers))
        if self.places:
            self.notices.end(_LACK)
        else:
            lacking = f"has {self._dask.resources}" if workers else "has come to Dask's scheduler yet"
            self.notices.begin(_LACK, f"no worker {lacking}: evaluations wait for one")

    def _places_of(self, worker: Mapping[str, Any]) -> int:
        """Return how many evaluations a worker can run at once."""
        has = worker.get("resources", {})
        return int(min([worker["nthreads"], *(has.get(name, 0.0) // much for name, much in self._dask.needs.items())]))


def places_of(dask: Dask) -> int:
    """Return how many evaluations the workers there are can run at once.

    Raises:
        LaunchError: There is no such cluster, or no Dask.
    """
    with closing(Connection(dask, "")) as connection:
        return connection.places


def _close(one: Any) -> None:
    """Close a client or a cluster; one that has given up by itself has left its thread."""
    with suppress(Exception):
        one.close(timeout=_RECONNECT_SECONDS)
    with suppress(Exception):
        one._loop_runner.stop()  # noqa: SLF001 - nothing public does


def _words(error: BaseException) -> str:
    """Return what an exception says, which may be nothing but its kind."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
