"""A stand-in for OpenPBS and TORQUE: its answers follow recorded ones of OpenPBS 23.06.06 and TORQUE 6.

``qsub``, ``qstat``, ``qselect`` and ``qdel`` in a directory for PATH, which queue jobs and really run them, on this
machine. A directory is the server: a file for each job, which the process that runs jobs alone writes, and ``.delete``
marks of `qdel`. That process starts with the first job, and ends with the last.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

SERVER = "standin0"
_COMMANDS = ("qsub", "qstat", "qselect", "qdel")
_LOOK_SECONDS = 0.02
_KILL_SECONDS = 2.0
_UNKNOWN = 153
_UNREACHABLE = 111


class StandIn:
    """A batch system in a directory of its own.

    Args:
        directory: Empty, or not there.
        flavour: ``pbs`` or ``torque``.
        slots: How many jobs run at once.

    Attributes:
        bin: The directory of its commands, for PATH.
    """

    def __init__(self, directory: Path, flavour: str = "pbs", slots: int = 4) -> None:
        self._spool = directory / "spool"
        self.bin = directory / "bin"
        self._spool.mkdir(parents=True)
        self.bin.mkdir()
        (self._spool / "settings.json").write_text(json.dumps({"flavour": flavour, "slots": slots}))
        for name in _COMMANDS:
            path = self.bin / name
            words = f'{sys.executable} -S {__file__} {self._spool} {name} "$@"'
            path.write_text(f"#!/bin/sh\n# A stand-in, recorded from OpenPBS 23.06.06 and TORQUE 6.\nexec {words}\n")
            path.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that it runs."""
        self.kill_runner()
        for job in _jobs(self._spool):
            _signal(job, signal.SIGKILL)
        shutil.rmtree(self._spool, ignore_errors=True)

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """What it knows of its jobs, in the order of their submission."""
        return _jobs(self._spool)

    def refuse(self, *, connections: bool) -> None:
        """Let commands find nobody at the other end, or somebody again."""
        _mark(self._spool / "down", is_set=connections)

    def forget_ends(self) -> None:
        """Keep nothing of jobs that end from now on."""
        _mark(self._spool / "forgets", is_set=True)

    def lose_answer(self) -> None:
        """Take the next submission without saying so."""
        _mark(self._spool / "loses", is_set=True)

    def limit(self, jobs: int) -> None:
        """Take no more than so many jobs that are not over."""
        (self._spool / "limit").write_text(str(jobs))

    def fail_node(self) -> None:
        """Lose all that runs as if its node had crashed: it is queued again."""
        for job in _jobs(self._spool):
            if job["state"] == "R":
                (self._spool / f"{job['id']}.crash").touch()

    def kill_runner(self) -> None:
        """Kill the process that runs jobs; the next submission starts another one."""
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((self._spool / "runner").read_text()), signal.SIGKILL)


def _mark(path: Path, *, is_set: bool) -> None:
    if is_set:
        path.touch()
    else:
        path.unlink(missing_ok=True)


def _jobs(spool: Path) -> list[dict[str, Any]]:
    found = []
    for path in spool.glob("*.job"):
        with suppress(FileNotFoundError):
            found.append(json.loads(path.read_text()))
    return sorted(found, key=lambda job: (job["number"], job["index"] or 0))


def _save(spool: Path, job: Mapping[str, Any]) -> None:
    part = spool / f"{job['id']}.part"
    part.write_text(json.dumps(job))
    part.rename(spool / f"{job['id']}.job")


def _signal(job: Mapping[str, Any], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if job["pid"]:
            os.killpg(job["pid"], number)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _fail(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


def _parsed(words: Sequence[str]) -> tuple[dict[str, str], dict[str, str], str]:
    """Return options, resources and the script."""
    options: dict[str, str] = {}
    resources: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option, value, *rest = rest
        if option == "-l":
            resources.update(part.partition("=")[::2] for part in value.split(","))
        options[option] = value
    return options, resources, rest[0]


def _places(array: str) -> list[int | None]:
    first, _, last = array.partition("-")
    return list(range(int(first), int(last) + 1)) if array else [None]


def _next_number(spool: Path) -> int:
    with (spool / "numbers").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        number = file.tell()
        file.write("x")
    return number


def _qsub(spool: Path, words: Sequence[str], flavour: str) -> int:
    """Take a script as a job, or as an array of jobs."""
    if list(words) == ["--version"]:
        _say("pbs_version = 23.06.06" if flavour == "pbs" else "Version: 6.1.2")
        return 0
    options, resources, script = _parsed(words)
    array = options.get("-J" if flavour == "pbs" else "-t", "")
    places = _places(array)
    if options.get("-q", "workq") != "workq":
        return _fail("qsub: Unknown queue", 170)
    if array and flavour == "pbs" and len(places) == 1:
        return _fail("qsub: illegal -J value", 2)
    limit = spool / "limit"
    alive = sum(job["state"] not in "FC" for job in _jobs(spool))
    if limit.exists() and alive + len(places) > int(limit.read_text()):
        return _fail("qsub: would exceed queue workq's per-user limit of jobs in 'Q' state", 1)
    number, text = _next_number(spool), Path(script).read_text()
    for place in places:
        name = f"{number}.{SERVER}" if place is None else f"{number}[{place}].{SERVER}"
        job = {
            "id": name, "number": number, "index": place, "name": options.get("-N", "STDIN"), "state": "Q",
            "script": text, "output": options.get("-o", ""), "resources": resources, "exit_status": None,
            "pid": 0, "began": 0.0, "seconds": 0.0, "runs": 0, "comment": "",
        }  # fmt: skip
        if "ncpus=64" in resources.get("select", ""):
            job["comment"] = "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)"
        _save(spool, job)
    command = [sys.executable, "-S", __file__, str(spool), "run"]
    subprocess.Popen(command, start_new_session=True, stdin=-3, stdout=-3, stderr=-3)  # noqa: S603 - ourselves
    if (spool / "loses").exists():
        (spool / "loses").unlink()
        return _fail("qsub: End of File", 1)
    _say(f"{number}{'[]' if array else ''}.{SERVER}")
    return 0


def _qselect(spool: Path, words: Sequence[str]) -> int:
    """Name the jobs of a name that are not over; an array once."""
    wanted = words[list(words).index("-N") + 1]
    alive = [job for job in _jobs(spool) if job["name"] == wanted and (job["state"] not in "FC" or "-x" in words)]
    for name in dict.fromkeys(f"{job['number']}{'' if job['index'] is None else '[]'}.{SERVER}" for job in alive):
        _say(name)
    return 0


def _qdel(spool: Path, words: Sequence[str]) -> int:
    known = {job["id"]: job for job in _jobs(spool)}
    code = 0
    for name in words:
        if name not in known:
            code = _fail(f"qdel: Unknown Job Id {name}", _UNKNOWN)
        elif known[name]["state"] in "FC":
            code = _fail(f"qdel: Job has finished {name}", 35)
        else:
            (spool / f"{name}.delete").touch()
    return code


def _qstat(spool: Path, words: Sequence[str], flavour: str) -> int:
    """Describe jobs: those of the given names, and of the arrays of these names."""
    names = [word for word in words if not word.startswith("-") and word != "json"]
    jobs = _jobs(spool)
    found: dict[str, dict[str, Any]] = {}
    code = 0
    for name in names:
        these = [job for job in jobs if name in (job["id"], f"{job['number']}[].{SERVER}")]
        if not these:
            code = _fail(f"qstat: Unknown Job Id {'Error ' if flavour == 'torque' else ''}{name}", _UNKNOWN)
        for job in these:
            found[job["id"]] = _facts(job, flavour)
    if flavour == "pbs":
        said = {"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": SERVER}
        _say(json.dumps({**said, **({"Jobs": found} if found else {})}, indent="\t"))
    else:
        for name, facts in found.items():
            _say(f'<?xml version="1.0"?>\n<Data><Job><Job_Id>{name}</Job_Id>{_xml(facts)}</Job></Data>')
    return code


def _facts(job: Mapping[str, Any], flavour: str) -> dict[str, Any]:
    """Return the attributes of a job, as they are shown."""
    output = job["output"]
    if job["index"] is not None:
        output = output.replace("^array_index^", str(job["index"])) + (f"-{job['index']}" if flavour != "pbs" else "")
    clock = time.strftime("%H:%M:%S", time.gmtime(job["seconds"]))
    facts = {
        "Job_Name": job["name"], "job_state": job["state"], "queue": "workq", "server": SERVER,
        "Output_Path": f"{SERVER}:{output}", "Resource_List": job["resources"], "comment": job["comment"],
        "exec_host": f"{SERVER}/0" if job["runs"] else "", "run_count": job["runs"],
        "resources_used": {"walltime": clock},
    }  # fmt: skip
    if job["exit_status"] is not None:
        facts["Exit_status" if flavour == "pbs" else "exit_status"] = job["exit_status"]
    return {name: value for name, value in facts.items() if value != ""}


def _xml(facts: Mapping[str, Any]) -> str:
    pairs = ((name, _xml(value) if isinstance(value, dict) else str(value)) for name, value in facts.items())
    return "".join(f"<{name}>{text}</{name}>" for name, text in pairs)


class _Runner:
    """Runs jobs until all are over."""

    def __init__(self, spool: Path, flavour: str, slots: int) -> None:
        self._spool, self._flavour, self._slots = spool, flavour, slots
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Return when no job is left."""
        while self._spool.exists():
            jobs = [job for job in _jobs(self._spool) if job["state"] not in "FC"]
            if not jobs:
                return
            for job in jobs:
                self._look_at(job)
            time.sleep(_LOOK_SECONDS)

    def _look_at(self, job: dict[str, Any]) -> None:
        marks = [self._spool / f"{job['id']}.{what}" for what in ("delete", "crash")]
        if job["state"] == "Q":
            if marks[0].exists():
                self._over(job, None)
            elif len(self._children) < self._slots and not job["comment"]:
                self._start(job)
            return
        child = self._children.get(job["id"])
        job["seconds"] = time.time() - job["began"]
        code = child.poll() if child else (None if Path(f"/proc/{job['pid']}").exists() else 0)
        late = job["seconds"] - _limit(job["resources"])
        if marks[1].exists():
            _signal(job, signal.SIGKILL)
            marks[1].unlink()
            self._children.pop(job["id"], None)
            _save(self._spool, {**job, "state": "Q", "exit_status": -20, "pid": 0})
        elif code is not None:
            ended = 271 if marks[0].exists() else -29 if late > 0 and self._flavour == "pbs" else code
            self._over(job, ended if ended >= 0 or late > 0 else 256 - ended)
        elif late > 0 or marks[0].exists():
            began = job.setdefault("told", time.time())
            _signal(job, signal.SIGTERM if time.time() - began < _KILL_SECONDS else signal.SIGKILL)
            _save(self._spool, job)

    def _start(self, job: dict[str, Any]) -> None:
        index = "PBS_ARRAY_INDEX" if self._flavour == "pbs" else "PBS_ARRAYID"
        script = self._spool / f"{job['id']}.sh"
        script.write_text(job["script"])
        child = subprocess.Popen(  # noqa: S603 - this is what a batch system is for
            ["/bin/sh", str(script)],
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "PBS_JOBID": job["id"],
                "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBNAME": job["name"],
                **({} if job["index"] is None else {index: str(job["index"])}),
            },
            cwd=os.environ.get("HOME", "/"),
            stdin=subprocess.DEVNULL,
            stdout=(self._spool / f"{job['id']}.OU").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._children[job["id"]] = child
        job.update(state="R", pid=child.pid, began=time.time(), runs=job["runs"] + 1, exit_status=None)
        _save(self._spool, job)

    def _over(self, job: dict[str, Any], code: int | None) -> None:
        """Note the end of a job, and copy what it has said to where that was wished."""
        self._children.pop(job["id"], None)
        _signal(job, signal.SIGKILL)
        with suppress(OSError):
            shutil.copy(self._spool / f"{job['id']}.OU", _facts(job, self._flavour)["Output_Path"].partition(":")[2])
        if (self._spool / "forgets").exists():
            (self._spool / f"{job['id']}.job").unlink()
            return
        _save(self._spool, {**job, "state": "F" if self._flavour == "pbs" else "C", "exit_status": code})


def _limit(resources: Mapping[str, str]) -> float:
    parts = resources.get("walltime", "").split(":")
    return sum(int(part) * 60**place for place, part in enumerate(reversed(parts))) if parts[0] else float("inf")


def _main(spool: Path, command: str, words: Sequence[str]) -> int:
    settings = json.loads((spool / "settings.json").read_text())
    flavour = settings["flavour"]
    if command == "run":
        with (spool / "runner").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one after the other: none ends while the next one is asked for
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            _Runner(spool, flavour, settings["slots"]).run()
        return 0
    if (spool / "down").exists():
        return _fail(f"Connection refused\n{command}: cannot connect to server {SERVER} (errno=111)", _UNREACHABLE)
    match command:
        case "qsub":
            return _qsub(spool, words, flavour)
        case "qselect":
            return _qselect(spool, words)
        case "qdel":
            return _qdel(spool, words)
        case _:
            return _qstat(spool, words, flavour)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
