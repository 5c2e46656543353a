"""The commands of Moab in front of TORQUE: msub, showq, checkjob, canceljob."""

from collections.abc import Mapping, Sequence
from typing import Any

from .server import NAME, Server, clock, fail, options_of, say

_CLUSTER = '<cluster LocalActiveNodes="0" LocalConfigNodes="2" LocalIdleNodes="2" LocalUpNodes="2" LocalUpProcs="16"/>'
_CANCELLED = 271


def msub(server: Server, words: Sequence[str]) -> int:
    """Take a script as a job."""
    options, resources, script = options_of(words)
    problem = ""
    if options.get("-q", "workq") != "workq":
        problem = "Unknown queue MSG=cannot locate queue"
    elif not server.has_room(1):
        problem = (
            "Maximum number of jobs already in queue MSG=total number of current user's jobs exceeds the queue limit"
        )
    if problem:
        return fail(f"ERROR:  cannot migrate job 'Moab.1' to torque - rm failure, rc: 170, msg: '{problem}'", 1)
    number = server.take(script, [None], options.get("-N", "STDIN"), options.get("-o", ""), resources)
    if server.loses_answer():
        return fail("ERROR:  lost connection to server", 1)
    say(f"\n{number}")
    return 0


def showq(server: Server, words: Sequence[str]) -> int:
    """List jobs by where they are; those that have ended are another list."""
    jobs = server.jobs()
    lists = {"active": "R", "eligible": "Q", "blocked": ""}
    if "-c" in words:
        lists = {"completed": "F"}
    said = ""
    for option, state in lists.items():
        these = [job for job in jobs if job["state"] == state]
        said += f'<queue count="{len(these)}" option="{option}">{"".join(map(_element, these))}</queue>'
    say(f"<Data><Object>queue</Object>{_CLUSTER}{said}</Data>")
    return 0


def checkjob(server: Server, words: Sequence[str]) -> int:
    """Describe one job."""
    found = [job for job in server.jobs() if str(job["number"]) == words[-1]]
    if not found:
        return fail(f"ERROR:  invalid job specified ({words[-1]})\n", 1)
    say(f"<Data>{_element(found[0])}</Data>")
    return 0


def canceljob(server: Server, words: Sequence[str]) -> int:
    """Mark jobs for their end."""
    alive = {str(job["number"]): job["id"] for job in server.jobs() if job["state"] != "F"}
    code = 0
    for name in words:
        if name in alive:
            server.mark(alive[name], "delete").touch()
            say(f"\njob '{name}' cancelled\n")
        else:
            code = fail(f"ERROR:  invalid job specified ({name})\n", 1)
    return code


def _element(job: Mapping[str, Any]) -> str:
    """Return a job as Moab shows it."""
    wall = clock(job["resources"].get("walltime", ""))
    facts = {
        "AWDuration": round(job["seconds"]), "DRMJID": f"{job['number']}.{NAME}", "GJID": job["number"],
        "JobID": job["number"], "JobName": job["name"], "MasterHost": NAME if job["runs"] else "", "PAL": "torque",
        "ReqAWDuration": 8640000 if wall == float("inf") else round(wall), "State": _state(job),
    }  # fmt: skip
    if job["state"] == "F":
        code = job["exit_status"]
        was_cancelled = code is None or (code == _CANCELLED and job["seconds"] < wall)
        facts["CompletionCode"] = ("CNCLD" + ("" if code is None else f"({code})")) if was_cancelled else code
    shown = (f'{name}="{text}"' for name, text in facts.items() if text != "")
    return f"<job {' '.join(shown)}/>"


def _state(job: Mapping[str, Any]) -> str:
    if job["state"] == "Q":
        return "BatchHold" if job["comment"] else "Idle"
    if job["state"] == "R":
        return "Running"
    return "Removed" if job["exit_status"] in (None, _CANCELLED) else "Completed"
