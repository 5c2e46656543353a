"""What the commands of a stand-in share: the jobs of its server, on disk."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "standin0"
_ALONE = {"-f", "-V", "-z"}


class Server:
    """Jobs in a directory; states are ``Q``, ``R`` and ``F``, whatever the flavour calls them."""

    def __init__(self, spool: Path) -> None:
        settings = json.loads((spool / "settings.json").read_text())
        self.spool = spool
        self.flavour: str = settings["flavour"]
        self.slots: int = settings["slots"]

    def jobs(self) -> list[dict[str, Any]]:
        """Return all that are known, in the order of their submission."""
        found = []
        for path in self.spool.glob("*.job"):
            with suppress(FileNotFoundError):
                found.append(json.loads(path.read_text()))
        return sorted(found, key=lambda job: (job["number"], job["index"] or 0))

    def save(self, job: Mapping[str, Any]) -> None:
        """Write down what is known of a job."""
        part = self.spool / f"{job['id']}.part"
        part.write_text(json.dumps(job))
        part.rename(self.spool / f"{job['id']}.job")

    def end(self, job: Mapping[str, Any], number: int) -> None:
        """Send a signal to what a job runs, on all of its nodes."""
        tasks = self.mark(job["id"], "tasks")
        others = tasks.read_text().split() if tasks.exists() else []
        for pid in filter(None, (job["pid"], *map(int, others))):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def mark(self, job: str, what: str) -> Path:
        """Return the file that says what somebody wants of a job."""
        return self.spool / f"{job}.{what}"

    def has_room(self, jobs: int) -> bool:
        """Return whether it takes so many more jobs."""
        limit = self.spool / "limit"
        alive = sum(job["state"] != "F" for job in self.jobs())
        return not limit.exists() or alive + jobs <= int(limit.read_text())

    @property
    def most_together(self) -> float:
        """How many jobs an array may have."""
        limit = self.spool / "array_limit"
        return int(limit.read_text()) if limit.exists() else float("inf")

    def take(
        self, script: Path, places: Sequence[int | None], name: str, output: str, resources: Mapping[str, str]
    ) -> int:
        """Queue a script as jobs, and see to it that somebody runs them; return the number of all of them."""
        number, text = self._next_number(), script.read_text()
        for place in places:
            self.save({
                "id": f"{number}.{NAME}" if place is None else f"{number}[{place}].{NAME}",
                "number": number, "index": place, "name": name, "state": "Q", "script": text,
                "output": self._output(output, place), "resources": resources, "exit_status": None, "pid": 0,
                "began": 0.0, "seconds": 0.0, "runs": 0, "comment": _comment(resources),
            })  # fmt: skip
        command = [sys.executable, "-S", "-m", Path(__file__).parent.name, str(self.spool), "run"]
        subprocess.Popen(command, start_new_session=True, stdin=-3, stdout=-3, stderr=-3)  # noqa: S603 - ourselves
        return number

    def is_set(self, mark: str) -> bool:
        """Return whether the server behaves in a way that somebody has chosen."""
        return (self.spool / mark).exists()

    def loses_answer(self) -> bool:
        """Return whether nobody is to be told of what was just done."""
        mark = self.spool / "loses"
        is_there = mark.exists()
        mark.unlink(missing_ok=True)
        return is_there

    def _next_number(self) -> int:
        with (self.spool / "numbers").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            number = file.tell()
            file.write("x")
        return number

    def _output(self, path: str, place: int | None) -> str:
        if place is None:
            return path
        return path.replace("^array_index^", str(place)) + ("" if self.flavour == "pbs" else f"-{place}")


def options_of(words: Sequence[str]) -> tuple[dict[str, str], dict[str, str], Path]:
    """Return options, resources and the script of a command that submits."""
    options: dict[str, str] = {}
    resources: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        if rest[0] in _ALONE:
            rest.pop(0)
            continue
        option, value, *rest = rest
        if option == "-l":
            resources.update(part.partition("=")[::2] for part in value.split(","))
        options[option] = value
    return options, resources, Path(rest[0])


def clock(text: str) -> float:
    """Return the seconds of ``01:02:03``; infinite: nothing is said."""
    parts = text.split(":")
    return sum(int(part) * 60**place for place, part in enumerate(reversed(parts))) if parts[0] else float("inf")


def say(text: str) -> None:
    """Answer."""
    sys.stdout.write(text + "\n")


def fail(text: str, code: int) -> int:
    """Complain, and return the exit code."""
    sys.stderr.write(text + "\n")
    return code


def _comment(resources: Mapping[str, str]) -> str:
    """Return why a job can never run; empty: it can."""
    if "ncpus=64" in resources.get("select", ""):
        return "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)"
    return "cannot locate feasible nodes" if resources.get("nodes", "").startswith("64") else ""
