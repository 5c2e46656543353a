"""The commands of OpenPBS and TORQUE: qsub, qselect, qdel, qstat, pbsnodes."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .server import NAME, Server, fail, options_of, say

_UNKNOWN = 153
_NODES = ("node1", "node2")
_HEAD = {"pbs_version": "23.06.06", "pbs_server": NAME}


def qsub(server: Server, words: Sequence[str]) -> int:
    """Take a script as a job, or as an array of jobs."""
    is_pbs = server.flavour == "pbs"
    if list(words) == ["--version"]:
        say("pbs_version = 23.06.06" if is_pbs else "Version: 6.1.2")
        return 0
    options, resources, script = options_of(words)
    array = options.get("-J" if is_pbs else "-t", "")
    places = _places(array)
    if problem := _refusal(server, options, resources, places):
        return fail(f"qsub: {problem[0]}", problem[1])
    number = server.take(script, places, options.get("-N", "STDIN"), options.get("-o", ""), resources)
    if server.loses_answer():
        return fail("qsub: End of File", 1)
    say(f"{number}{'[]' if array else ''}.{NAME}")
    return 0


def _refusal(
    server: Server, options: Mapping[str, str], resources: Mapping[str, str], places: Sequence[int | None]
) -> tuple[str, int] | None:
    """Return why a submission is not taken, and the exit code."""
    if options.get("-q", "workq") != "workq":
        return "Unknown queue", 170
    if "-J" in options and len(places) == 1:
        return "illegal -J value", 2
    if server.flavour == "torque" and resources.get("nodes", "").startswith("64"):
        why = "nodes file is empty, all systems are busy, or no nodes have the requested feature"
        return f"submit error (Job exceeds queue resource limits MSG=cannot locate feasible nodes ({why}))", 190
    if not server.has_room(len(places)):
        return "would exceed queue workq's per-user limit of jobs in 'Q' state", 1
    return None


def _places(array: str) -> list[int | None]:
    first, _, last = array.partition("-")
    return list(range(int(first), int(last) + 1)) if array else [None]


def qselect(server: Server, words: Sequence[str]) -> int:
    """Name the jobs of a name that are not over; an array once."""
    wanted = words[list(words).index("-N") + 1]
    alive = [job for job in server.jobs() if job["name"] == wanted and (job["state"] != "F" or "-x" in words)]
    for name in dict.fromkeys(f"{job['number']}{'' if job['index'] is None else '[]'}.{NAME}" for job in alive):
        say(name)
    return 0


def qdel(server: Server, words: Sequence[str]) -> int:
    """Mark jobs for their end."""
    known = {job["id"]: job for job in server.jobs()}
    code = 0
    for name in words:
        if name not in known:
            code = fail(f"qdel: Unknown Job Id {name}", _UNKNOWN)
        elif known[name]["state"] == "F":
            code = fail(f"qdel: Job has finished {name}", 35)
        else:
            server.mark(name, "delete").touch()
    return code


def qstat(server: Server, words: Sequence[str]) -> int:
    """Describe jobs: those of the given names, and of the arrays of these names; or the queues; or the server."""
    is_pbs = server.flavour == "pbs"
    if "-Q" in words or "-B" in words:
        about = ("Queue: workq", _QUEUE) if "-Q" in words else (f"Server: {NAME}", _SERVER)
        _tell(*about)
        return 0
    names = [word for word in words if not word.startswith("-") and word != "json"]
    jobs = server.jobs()
    found: dict[str, dict[str, Any]] = {}
    code = 0
    for name in names:
        these = [job for job in jobs if name in (job["id"], f"{job['number']}[].{NAME}")]
        if not these:
            code = fail(f"qstat: Unknown Job Id {'' if is_pbs else 'Error '}{name}", _UNKNOWN)
        for job in these:
            found[job["id"]] = _facts(job, is_pbs=is_pbs)
    if is_pbs:
        _tell_json({"Jobs": found} if found else {})
    else:
        for name, facts in found.items():
            say(f'<?xml version="1.0"?>\n<Data><Job><Job_Id>{name}</Job_Id>{_xml(facts)}</Job></Data>')
    return code


_QUEUE = {
    "queue_type": "Execution", "total_jobs": 0, "resources_max.walltime": "24:00:00",
    "resources_default.walltime": "01:00:00", "enabled": "True", "started": "True",
}  # fmt: skip
_SERVER = {"server_state": "Active", "default_queue": "workq", "max_array_size": 10000}
_NODE = {
    "pbs": {
        "state": "free", "pcpus": 8, "resources_available.ncpus": 8, "resources_available.mem": "16gb",
        "resources_available.ngpus": 2,
    },
    "torque": {"state": "free", "np": 8, "ntype": "cluster", "status": "rectime=1795451647,ncpus=8,physmem=16777216kb"},
}  # fmt: skip


def pbsnodes(server: Server, words: Sequence[str]) -> int:  # noqa: ARG001 - all of them are meant
    """Describe the nodes."""
    for name in _NODES:
        _tell(name, _NODE[server.flavour])
    return 0


def _tell(title: str, facts: Mapping[str, Any]) -> None:
    """Describe something that is no job."""
    say("\n".join([title, *(f"    {key} = {value}" for key, value in facts.items()), ""]))


def _tell_json(told: Mapping[str, Any]) -> None:
    say(json.dumps({"timestamp": int(time.time()), **_HEAD, **told}, indent="\t"))


def _facts(job: Mapping[str, Any], *, is_pbs: bool) -> dict[str, Any]:
    """Return the attributes of a job, as they are shown."""
    facts = {
        "Job_Name": job["name"], "job_state": "C" if job["state"] == "F" and not is_pbs else job["state"],
        "queue": "workq", "server": NAME, "Output_Path": f"{NAME}:{job['output']}",
        "Resource_List": job["resources"], "comment": job["comment"], "exec_host": f"{NAME}/0" if job["runs"] else "",
        "run_count": job["runs"],
        "resources_used": {"walltime": time.strftime("%H:%M:%S", time.gmtime(job["seconds"]))},
    }  # fmt: skip
    if job["exit_status"] is not None:
        facts["Exit_status" if is_pbs else "exit_status"] = job["exit_status"]
    return {name: value for name, value in facts.items() if value != ""}


def _xml(facts: Mapping[str, Any]) -> str:
    pairs = ((name, _xml(value) if isinstance(value, dict) else str(value)) for name, value in facts.items())
    return "".join(f"<{name}>{text}</{name}>" for name, text in pairs)
