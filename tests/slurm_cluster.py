"""A private Slurm cluster on one machine, real daemons and all, for tests and by hand.

    python tests/slurm_cluster.py up DIR [--nodes 4] [--cpus 4] [--preempt] [--gpus] [--memory] [--accounting]
    export SLURM_CONF=DIR/slurm.conf; sinfo; srun -N4 hostname
    python tests/slurm_cluster.py down DIR

Everything is in DIR: configuration, keys, state, logs. Nothing in /etc is read, and each cluster has ports of its own
on the loopback interface, so several can be up at once. One process is the parent of all: it adopts what daemonises,
and when its user has died, or says so, it kills whatever it has adopted. So nothing is left, whatever is killed.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import debian

PACKAGES = ["slurm-wlm", "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge"]
ACCOUNTING_PACKAGES = ["slurmdbd", "mariadb-server"]
PATIENCE_SECONDS = 60
_LOOK_SECONDS = 0.02


def missing(*, accounting=False):
    """Return what has to be done to have Slurm here; empty: nothing. Debian's packages are installed if we may."""
    commands = {"slurmctld": PACKAGES, "munged": PACKAGES} | ({"slurmdbd": ACCOUNTING_PACKAGES} if accounting else {})
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    packages = [name for command in commands if not shutil.which(command, path=path) for name in commands[command]]
    if not packages:
        return ""
    packages = list(dict.fromkeys(packages))
    why = debian.refusal(packages)
    return (
        f"Slurm is not here: {why or 'its packages cannot be installed'}" if why or not debian.install(packages) else ""
    )


class SlurmCluster:
    """A cluster that is up while the block runs.

    Args:
        directory: Its own.
        nodes: How many, called n1, n2, …
        cpus: Of each, whatever the machine has.
        preempt: Two partitions, low (the default) and high, which requeues what runs in low.
        gpus: Four GPUs a node, which are none.
        memory: Memory is a resource, too, of which each node has 4000 MB.
        accounting: slurmdbd, and a database for it.
        extra: More lines of slurm.conf.
    """

    def __init__(self, directory, nodes=4, cpus=4, **options):
        self.directory = Path(directory).absolute()
        self.nodes = [f"n{i}" for i in range(1, nodes + 1)]
        self.conf = self.directory / "slurm.conf"
        self._options = {"nodes": nodes, "cpus": cpus, **options}
        self._server = None

    def __enter__(self):
        """Start it, and wait until all nodes are idle."""
        self._server = subprocess.Popen(self._words(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self._server.stdout.readline()
        if line != "up\n":
            raise RuntimeError(f"the cluster did not come up: {line}{self._server.stdout.read()}")
        return self

    def __exit__(self, *_):
        """End all of it."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def up(self):
        """Start it to stay until `down`."""
        self.directory.mkdir(parents=True)
        with (self.directory / "server.log").open("w") as log:
            server = subprocess.Popen([*self._words(), "--stay"], stdout=log, stderr=log, start_new_session=True)
        (self.directory / "server.pid").write_text(str(server.pid))
        log = self.directory / "server.log"
        wait_until(lambda: "up\n" in log.read_text() or server.poll() is not None, "the cluster is up")
        if server.poll() is not None:
            raise RuntimeError(f"the cluster did not come up: {log.read_text()}")

    def down(self):
        """End one that stays."""
        pid = int((self.directory / "server.pid").read_text())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the cluster is down")

    def _words(self):
        program = Path(__file__).with_name("slurm_daemons.py")
        return [sys.executable, str(program), str(self.directory), json.dumps(self._options)]

    @property
    def environment(self):
        """The environment in which Slurm's commands speak to this cluster."""
        return environment(self.conf)

    def run(self, *words, check=True):
        """Return what a command prints; it must end well if `check`."""
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def wait(self, is_reached, what):
        """Wait until `is_reached` returns true."""
        wait_until(is_reached, what)

    def state(self, job):
        """Return the state of a job."""
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T", check=False)

    def pid(self, daemon):
        """Return the process of a daemon: slurmctld, munged, slurmd.n1 and so on."""
        return int((self.directory / "run" / f"{daemon}.pid").read_text())

    def crash(self, node):
        """Let a node die: its slurmd, and all that it started."""
        log = str(self.directory / "log" / f"slurmd.{node}.log")
        doomed = [pid for pid in processes() if log in open_files(pid)]
        for victim in [one for pid in doomed for one in (pid, *descendants(pid))]:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def restart(self, node):
        """Start the slurmd of a node that has died."""
        self._server.stdin.write(f"{node}\n")
        self._server.stdin.flush()

    def signal_controller(self, number):
        """Send a signal to slurmctld, such as SIGSTOP and SIGCONT."""
        os.kill(self.pid("slurmctld"), number)

    def update(self, node, state):
        """Set the state of a node as an administrator does: down, drain, resume, which it may have done by itself."""
        self.run("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test", check=state != "resume")


def wait_until(is_reached, what):
    """Wait until `is_reached` returns true; an error after a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(_LOOK_SECONDS)


def environment(conf):
    """Return our environment, with `conf` as Slurm's configuration."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    return {**kept, "SLURM_CONF": str(conf), "PATH": os.pathsep.join([os.environ["PATH"], "/usr/sbin"])}


def daemon(name):
    """Return the path of a daemon, which is not on everybody's PATH."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"])) or name


def free_ports(count):
    """Return ports that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def processes():
    """Return all processes."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def is_alive(pid):
    """Return whether a process runs; one that only waits to be reaped does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def open_files(pid):
    """Return the files that a process has open."""
    found = []
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(entry.readlink()))
    return found


def descendants(pid):
    """Return what a process started, and what that started."""
    children = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [one for child in children for one in (child, *descendants(child))]


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=4, help="of each node")
    for name in ("preempt", "gpus", "memory", "accounting"):
        parser.add_argument(f"--{name}", action="store_true")
    given = vars(parser.parse_args())
    what = given.pop("what")
    cluster = SlurmCluster(**given)
    if what == "down":
        cluster.down()
        return
    if problem := missing(accounting=given["accounting"]):
        sys.exit(problem)
    cluster.up()
    sys.stdout.write(f"export SLURM_CONF={cluster.conf}\n")


if __name__ == "__main__":
    main()
