"""The commands of OpenPBS and TORQUE: qsub, qselect, qdel, qstat, pbsnodes."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .server import NAME, Server, fail, options_of, say

_UNKNOWN, _UNKNOWN_ARRAY = 153, 234
_NODES = ("node1", "node2")
_HEAD = {"pbs_version": "23.06.06", "pbs_server": NAME}


def qsub(server: Server, words: Sequence[str]) -> int:
    """Take a script as a job, or as an array of jobs."""
    is_pbs = server.flavour == "pbs"
    if list(words) == ["--version"]:
        if is_pbs:
            say("pbs_version = 23.06.06")
        return 0 if is_pbs else fail("Version: 6.1.2\nCommit: 34ff845417cc0348dfe0a61a491e5e0f4adf6ef4", 0)
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
    is_pbs = server.flavour == "pbs"
    whose = "total number of current user's jobs exceeds the queue limit: user u@h, queue workq"
    why = "nodes file is empty, all systems are busy, or no nodes have the requested feature"
    of_pbs = (
        (options.get("-q", "workq") != "workq", "Unknown queue", 170),
        ("-J" in options and len(places) == 1, "illegal -J value", 2),
        (len(places) > server.most_together, "Array job exceeds server or queue size limit", 1),
        ("-J" in options and options.get("-r") == "n", "cannot submit non-rerunable Array Job", 2),
        (not server.has_room(len(places)), "would exceed queue workq's per-user limit of jobs in 'Q' state", 1),
    )
    of_torque = (
        (options.get("-q", "workq") != "workq", "Unknown queue MSG=cannot locate queue", 172),
        (
            resources.get("nodes", "").startswith("64"),
            f"Job exceeds queue resource limits MSG=cannot locate feasible nodes ({why})",
            190,
        ),
        (
            len(places) > server.most_together,
            f"Bad Job Array Request MSG=Requested array size too large, limit is {server.most_together}",
            1,
        ),
        (not server.has_room(len(places)), f"Maximum number of jobs already in queue for user MSG={whose}", 228),
    )
    found = next(((text, code) for is_so, text, code in (of_pbs if is_pbs else of_torque) if is_so), None)
    return found if found is None or is_pbs else (f"submit error ({found[0]})", found[1])


def _places(array: str) -> list[int | None]:
    first, _, last = array.partition("-")
    return list(range(int(first), int(last) + 1)) if array else [None]


def qselect(server: Server, words: Sequence[str]) -> int:
    """Name the jobs of a name: those of PBS that are not over, and an array once; those of TORQUE, but no array."""
    wanted = words[list(words).index("-N") + 1]
    if server.flavour == "torque":
        names = [job["id"] for job in server.jobs() if _name_of(job) == wanted]
    else:
        names = [_array_of(job) for job in server.jobs() if job["name"] == wanted and job["state"] != "F"]
    for name in dict.fromkeys(names):
        say(name)
    return 0


def _array_of(job: Mapping[str, Any]) -> str:
    return job["id"] if job["index"] is None else f"{job['number']}[].{NAME}"


def _name_of(job: Mapping[str, Any]) -> str:
    """Return the name of a job of TORQUE."""
    return job["name"] if job["index"] is None else f"{job['name']}-{job['index']}"


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
    """Describe jobs, or the queues, or the server."""
    if "-Q" in words or "-B" in words:
        about = ("Queue: workq", _QUEUE) if "-Q" in words else (f"Server: {NAME}", _SERVER)
        _tell(*about)
        return 0
    names = [word for word in words if not word.startswith("-") and word != "json"]
    return (_qstat_of_pbs if server.flavour == "pbs" else _qstat_of_torque)(server, words, names)


def _qstat_of_pbs(server: Server, words: Sequence[str], names: Sequence[str]) -> int:
    """Describe jobs; with ``-E`` in one request, in which any that is known makes it a success, else the first alone.

    Without a history, ``-x`` is answered by nothing, with success.
    """
    has_history = not server.is_set("no_history")
    if "-x" in words and not has_history:
        say_header()
        return fail(f"qstat: PBS is not configured to maintain job history {names[-1]}", 0)
    jobs = server.jobs()
    alive = {job["number"] for job in jobs if job["state"] != "F"}
    asked = names if "-E" in words else names[:1]
    these = [
        job for job in jobs if {job["id"], _array_of(job)} & set(asked) and (has_history or job["number"] in alive)
    ]
    if not these:
        say_header()
        return fail(f"qstat: Unknown Job Id {names[-1]}", _UNKNOWN)
    _tell_json({"Jobs": {job["id"]: _subjob(job) or _facts(job, is_pbs=True) for job in these
                         if has_history or job["state"] != "F" or job["index"] is not None}})  # fmt: skip
    return 0


def _subjob(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a job of an array that was deleted before it ran: the array's facts; else nothing."""
    if job["index"] is None or job["state"] != "F" or job["runs"]:
        return {}
    return {"Job_Name": job["name"], "job_state": "X", "comment": "Subjob finished", "Exit_status": 1}


def _qstat_of_torque(server: Server, words: Sequence[str], names: Sequence[str]) -> int:
    """Describe jobs, a document for each name, and a connection; an array without ``-t`` stands for all jobs."""
    jobs, code = server.jobs(), 0
    for count, name in enumerate(names):
        if count and server.is_set("breaks_off"):
            return fail(f"qstat: cannot connect to server {NAME} (errno=111) Connection refused", code or 111)
        is_array = "[]" in name
        these = [job for job in jobs if name in (job["id"], _array_of(job)) or (is_array and "-t" not in words)]
        if not these:
            text = f"Unknown Array ID MSG=unable to find array {name}" if is_array else f"Unknown Job Id Error {name}"
            code = fail(f"qstat: {text}", code or (_UNKNOWN_ARRAY if is_array else _UNKNOWN))
            continue
        facts = ({**_facts(job, is_pbs=False), "Job_Name": _name_of(job)} for job in these)
        shown = (f"<Job><Job_Id>{job['id']}</Job_Id>{_xml(one)}</Job>" for job, one in zip(these, facts, strict=True))
        say(f'<?xml version="1.0"?>\n<Data>{"".join(shown)}</Data>')
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


def say_header() -> None:
    """Answer as PBS's qstat does that has nothing to tell of jobs."""
    _tell_json({})


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
