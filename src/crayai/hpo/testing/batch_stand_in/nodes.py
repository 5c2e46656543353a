"""The nodes of a job: this machine under its own name, and under others; and the commands that run something there."""

import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence

from .server import Server, fail


def hosts_of(resources: Mapping[str, str]) -> list[str]:
    """Return the nodes of a job, the first of which is this machine; a node stands there for each of its ranks."""
    wanted = resources.get("select") or resources.get("nodes", "1")
    found = re.match(r"\d+", wanted)
    ranks = re.search(r"(?:mpiprocs|ppn)=(\d+)", wanted)
    others = [f"node{number}" for number in range(2, 1 + int(found[0] if found else 1))]
    return [host for host in (socket.gethostname(), *others) for _ in range(int(ranks[1]) if ranks else 1)]


def pbs_tmrsh(server: Server, words: Sequence[str]) -> int:
    """Run a command on a node of the job that we are in, under the name of that node; it may outlive us."""
    node, *command = words
    with open(os.environ["PBS_NODEFILE"]) as file:  # noqa: PTH123 - as it is named
        if node not in file.read().split():
            return fail(f'pbs_tmrsh: host "{node}" is not a node in job {os.environ["PBS_JOBID"]}', 255)
    own = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    child = subprocess.Popen(  # noqa: S603 - this is what it is for
        ["unshare", "--uts", *own, "sh", "-c", 'hostname "$0" && exec "$@"', node, *command],  # noqa: S607
        env={name: text for name, text in os.environ.items() if name.startswith("PBS_")}
        | {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": os.environ.get("HOME", "/")},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # it would be found in the output of the job
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with server.mark(os.environ["PBS_JOBID"], "tasks").open("a") as file:
        file.write(f"{child.pid}\n")
    code = child.wait()
    return code if code >= 0 else 128 - code


def pbsdsh(server: Server, words: Sequence[str]) -> int:
    """Do as TORQUE's does with ``-h``."""
    return pbs_tmrsh(server, words[1:])
