"""The parent of a private Slurm cluster's daemons: starts them, adopts what daemonises, and kills all at the end.

    python slurm_daemons.py DIR OPTIONS [--stay]

It prints ``up`` when all nodes are idle, and then starts the slurmd of each node that it reads a line with. The end is
when its standard input closes, as it does when whoever started it dies, or, with --stay, when it is told by SIGTERM.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from slurm_cluster import daemon, environment, free_ports, wait_until

_PR_SET_CHILD_SUBREAPER = 36
_CONF = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge.socket
CredType=cred/munge
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/run/slurmctld.pid
SlurmdPidFile={base}/run/slurmd.%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters={resources}
SlurmdParameters=config_overrides
MaxJobCount=50000
MaxArraySize=20001
KillWait=2
InactiveLimit=0
SlurmdTimeout=10
MessageTimeout=10
CompleteWait=0
JobRequeue=1
EnforcePartLimits=NO
PropagateResourceLimits=NONE
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={dbd}
AccountingStoragePass={base}/munge.socket
"""
_PREEMPT = """\
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""
_PARTITION = "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO\n"
_SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={base}/munge.socket
DbdHost=localhost
DbdPort={dbd}
SlurmUser=root
LogFile={base}/log/slurmdbd.log
PidFile={base}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""


def configure(base, options):
    """Write the files of a cluster."""
    for name in ("state", "log", "run", "spool"):
        (base / name).mkdir(parents=True, exist_ok=True)
    count = options["nodes"]
    controller, dbd, database, *ports = free_ports(count + 3)
    facts = {"base": base, "host": socket.gethostname().split(".")[0], "controller": controller, "dbd": dbd}
    facts |= {"database": database, "resources": "CR_Core_Memory" if options.get("memory") else "CR_Core"}
    gpus = "Gres=gpu:a100:4 " if options.get("gpus") else ""
    nodes = [
        f"NodeName=n{i} NodeHostname={facts['host']} NodeAddr=127.0.0.1 Port={port} CPUs={options['cpus']} "
        f"RealMemory=4000 {gpus}State=UNKNOWN\n"
        for i, port in enumerate(ports, start=1)
    ]
    parts = [_CONF.format(**facts), "GresTypes=gpu\n" if gpus else "", *nodes]
    parts += [_ACCOUNTING.format(**facts)] if options.get("accounting") else []
    parts += [_PREEMPT if options.get("preempt") else _PARTITION, options.get("extra", "")]
    (base / "slurm.conf").write_text("".join(parts))
    if gpus:
        make_gpus(base)
    if options.get("accounting"):
        conf = base / "slurmdbd.conf"
        conf.write_text(_SLURMDBD.format(**facts))
        conf.chmod(0o600)
    return database


def make_gpus(base):
    """Make four GPUs, which are copies of /dev/null."""
    (base / "gpus").mkdir()
    for number in range(4):
        os.mknod(base / "gpus" / f"nvidia{number}", 0o600 | 0o020000, os.makedev(1, 3))
    (base / "gres.conf").write_text(f"Name=gpu Type=a100 File={base}/gpus/nvidia[0-3]\n")


def start(base, options):
    """Start all daemons, and wait until the nodes are idle; return what runs commands."""
    database = configure(base, options)
    run = Runner(base)
    key = base / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    base.chmod(0o755)
    places = [f"--{name}-file={base}/{file}" for name, file in (("key", "munge.key"), ("log", "log/munged.log"))]
    places += [f"--pid-file={base}/run/munged.pid", f"--seed-file={base}/munge.seed"]
    run("munged", *places, f"--socket={base}/munge.socket", "--force")
    if options.get("accounting"):
        start_accounting(base, database, run)
    run("slurmctld")
    for i in range(1, options["nodes"] + 1):
        (base / "spool" / f"n{i}").mkdir()
        run("slurmd", "-N", f"n{i}")
    wait_until(lambda: run("sinfo", "-h", "-N", "-o", "%N %T").count(" idle") >= options["nodes"], "all nodes idle")
    return run


def start_accounting(base, port, run):
    """Start a database, and slurmdbd."""
    data = base / "database"
    run("mariadb-install-db", "--user=root", f"--datadir={data}", "--auth-root-authentication-method=normal",
        "--skip-test-db")  # fmt: skip
    where = f"--socket={base}/database.socket"
    server = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", where, "--bind-address=127.0.0.1"]
    with (base / "log" / "database.log").open("w") as log:
        subprocess.Popen([daemon(server[0]), *server[1:], f"--port={port}"], stdout=log, stderr=log)
    wait_until(lambda: "alive" in run("mariadb-admin", "--no-defaults", where, "ping"), "the database")
    grants = [
        f"create user slurm@'{host}' identified by 'slurm'; grant all on slurm_acct_db.* to slurm@'{host}';"
        for host in ("127.0.0.1", "localhost")
    ]
    run("mariadb", "--no-defaults", where, "-e", "".join(grants))
    run("slurmdbd")
    wait_until(lambda: "Cluster" in run("sacctmgr", "show", "cluster"), "slurmdbd")
    run("sacctmgr", "-i", "add", "cluster", "private")


class Runner:
    """Runs the cluster's commands; their own words go to a log."""

    def __init__(self, base):
        self._environment = environment(base / "slurm.conf")
        self._log = base / "log" / "start.log"

    def __call__(self, command, *words):
        """Return what a command prints."""
        with self._log.open("a") as log:
            done = subprocess.run(
                [daemon(command), *words],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                env=self._environment,
                check=False,
            )
        return done.stdout


def kill_all():
    """Kill every process that is ours, until there is none."""
    while True:
        with suppress(OSError):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for pid in children:
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main():
    """Serve until the end."""
    base, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        run = start(base, options)
        sys.stdout.write("up\n")
        sys.stdout.flush()
        if "--stay" in sys.argv:
            while True:
                signal.pause()
        for node in sys.stdin:
            run("slurmd", "-N", node.strip())
    finally:
        kill_all()


if __name__ == "__main__":
    main()
