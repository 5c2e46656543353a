"""A private Grid Engine on one machine, real daemons and all, for tests.

Everything is in one directory: configuration, spool, logs. The daemons have ports of their own, and live in namespaces
of their own, where the machine is called sge0; their first process ends with whoever has started it, and all others
with that. Debian's packages are unpacked and not installed, so that ``qsub`` is found by those who ask for it alone.
"""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import debian
from slurm_cluster import descendants, free_ports, wait_until

PACKAGES = ["gridengine-client", "gridengine-common", "gridengine-exec", "gridengine-master"]
LIBRARIES = ["libdb5.3", "libhwloc15", "libjemalloc2", "libmunge2", "libpam0g", "libssl3", "libtirpc3"]
HOME = Path("/usr/lib/gridengine")
"""Where the programs look for one another."""
COMMANDS = ("qacct", "qconf", "qdel", "qmod", "qstat", "qsub")
_BOOTSTRAP = """\
admin_user none
default_domain none
ignore_fqdn false
spooling_method classic
spooling_lib libspoolc
spooling_params {base}/default/common;{base}/qmaster
binary_path {home}
qmaster_spool_dir {base}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
_GLOBAL = {
    "execd_spool_dir": "{base}/execd",
    "mailer": "none",
    "min_uid": "0",
    "min_gid": "0",
    "load_report_time": "00:00:01",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00",
}
_SCHEDULER = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "load_formula": "slots",
    "job_load_adjustments": "NONE",
    "load_adjustment_decay_time": "0:0:0",
}
_QUEUE = {"qname": "main.q", "hostlist": "sge0", "slots": "8", "pe_list": "NONE", "load_thresholds": "NONE"}


def missing():
    """Return why there is no Grid Engine here; empty: all that is needed is here."""
    if why := debian.refusal(LIBRARIES):
        return f"a private Grid Engine is made of packages: {why}"
    if subprocess.run(["unshare", "--mount", "--uts", "--pid", "--fork", "true"], check=False).returncode:
        return "a private Grid Engine needs namespaces, which are not allowed here"
    return ""


def unpacked(directory):
    """Return where Debian's packages are unpacked, in `directory` unless they are installed; None: they are not."""
    if (HOME / "sge_qmaster").exists():
        return Path("/")
    is_here = debian.install(LIBRARIES) and debian.unpack(PACKAGES, directory)
    return directory if is_here else None


class GridEngine:
    """A Grid Engine of one machine with eight slots, up while the block runs.

    Args:
        directory: Its own.
        packages: Where Debian's packages are unpacked.
    """

    def __init__(self, directory, packages):
        self.directory, self._packages = Path(directory).absolute(), packages
        self.bin = self.directory / "bin"
        self._server, self._pid = None, 0

    def __enter__(self):
        """Start it, and wait until it takes jobs."""
        self.directory.mkdir(exist_ok=True)
        HOME.mkdir(exist_ok=True)
        spaces = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        ports = map(str, free_ports(2))
        words = ["unshare", *spaces, sys.executable, __file__, str(self.directory), str(self._packages), *ports]
        with (self.directory / "start.log").open("w") as log:
            self._server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self._server.stdout.readline()
        if line != "up\n":
            self.__exit__()
            raise RuntimeError(f"Grid Engine did not come up: {(self.directory / 'start.log').read_text()}")
        (self._pid,) = descendants(self._server.pid)[:1]
        self._make_commands()
        wait_until(lambda: "main.q@sge0" in self.run("qstat", "-f", check=False), "the machine is there")
        return self

    def __exit__(self, *_):
        """End all of it."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def _make_commands(self):
        """Write the commands, which enter the namespaces where the server is found; its jobs are there."""
        self.bin.mkdir()
        for name in COMMANDS:
            (self.bin / name).write_text(
                f'#!/bin/sh\n[ "$(uname -n)" != sge0 ] || exec env {self._setting} {HOME}/{name} "$@"\n'
                f'exec {self._enter()} {HOME}/{name} "$@"\n'
            )
            (self.bin / name).chmod(0o755)

    def _enter(self, *more):
        return f"nsenter --target {self._pid} --mount --uts {' '.join(more)} env {self._setting}"

    @property
    def _setting(self):
        return (self.directory / "environment").read_text().replace("\n", " ")

    def run(self, command, *words, check=True):
        """Return what a command prints; it must end well if `check`."""
        done = subprocess.run([self.bin / command, *words], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command} {words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def set(self, name, value):
        """Change a value of the global configuration."""
        file = self.directory / "put" / "global"
        file.parent.mkdir(exist_ok=True)
        file.write_text(_with(self.run("qconf", "-sconf").replace("\\\n", ""), {name: value}))
        self.run("qconf", "-Mconf", str(file))

    def wait(self, is_reached, what):
        """Wait until `is_reached` returns true."""
        wait_until(is_reached, what)

    def crash_node(self):
        """Let the machine die, as far as it runs jobs: its daemon, and all that it has started."""
        for pid in descendants(self._pid):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() != "sge_qmaster\n":
                    os.kill(pid, signal.SIGKILL)

    def restart_node(self):
        """Let the machine come back."""
        subprocess.run(["sh", "-c", f"{self._enter('--pid')} {HOME}/sge_execd"], check=True)

    def signal_server(self, number):
        """Send a signal to the server, such as SIGSTOP and SIGCONT."""
        for pid in descendants(self._pid):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "sge_qmaster\n":
                    os.kill(pid, number)


def serve(base, packages, *ports):
    """Start the daemons, as the first process of the namespaces, and wait for the end of who has started us."""
    socket.sethostname("sge0")
    for name in ("default/common", "qmaster", "execd"):
        (base / name).mkdir(parents=True)
    (base / "hosts").write_text("127.0.0.1 sge0 localhost\n")
    _run("mount", "--bind", base / "hosts", "/etc/hosts")
    if packages != Path("/"):
        _run("mount", "--bind", f"{packages}{HOME}", HOME)
    setting = {"SGE_ROOT": base, "SGE_CELL": "default", "SGE_ARCH": "lx-amd64", "LD_LIBRARY_PATH": HOME}
    setting |= dict(zip(("SGE_QMASTER_PORT", "SGE_EXECD_PORT"), ports, strict=True))
    (base / "environment").write_text("".join(f"{name}={value}\n" for name, value in setting.items()))
    os.environ.update({name: str(value) for name, value in setting.items()})
    share = packages / "usr/share/gridengine"
    (base / "util").symlink_to(share / "util")
    common = base / "default/common"
    (common / "act_qmaster").write_text("sge0\n")
    (common / "bootstrap").write_text(_BOOTSTRAP.format(base=base, home=HOME))
    (base / "global").write_text(_with((share / "default-configuration").read_text(), _GLOBAL).format(base=base))
    _run(HOME / "spoolinit", "classic", "libspoolc", f"{common};{base}/qmaster", "init")
    for kind, value in (("configuration", base / "global"), ("complexes", share / "util/resources/centry"),
                        ("usersets", share / "util/resources/usersets"), ("managers", "root")):  # fmt: skip
        _run(HOME / "spooldefaults.bin", kind, value)
    _run(HOME / "sge_qmaster")
    wait_until(lambda: _run(HOME / "qconf", "-as", "sge0", check=False) == 0, "the server")
    _run(HOME / "qconf", "-ah", "sge0", check=False)
    _run(HOME / "sge_execd")
    for show, put, changed in (("-ssconf", "-Msconf", _SCHEDULER), ("-sq", "-Aq", _QUEUE)):
        text = subprocess.run([HOME / "qconf", show], capture_output=True, text=True, check=True).stdout
        (base / "changed").write_text(_with(text, changed))
        _run(HOME / "qconf", put, base / "changed")
    sys.stdout.write("up\n")
    sys.stdout.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the dead are buried
    sys.stdin.read()


def _run(*words, check=True):
    """Run a command; what it says goes to the log."""
    return subprocess.run(list(map(str, words)), stdout=sys.stderr, stdin=subprocess.DEVNULL, check=check).returncode


def _with(text, changed):
    """Return lines of a name and a value each, some of which are changed."""
    rows = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    return "".join(f"{name} {changed.get(name, value)}\n" for name, value in rows)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
