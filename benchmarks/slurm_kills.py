"""Kills everything that a study on Slurm consists of, at random times, and looks whether anything is lost or run twice.

    python benchmarks/slurm_kills.py [--rounds 20] [--seed N]

Each round is a study in one of the modes. While it runs, something happens every second or so: the driver, its keeper
or a node is killed, the controller stops for a while, a job is requeued. A driver that has died is followed by another
one. Then each evaluation must be completed, none may have run beside itself, and no program may have ended well twice.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from slurm_cluster import SlurmCluster, missing, processes, wait_until

from crayai.hpo.records import Completed
from crayai.hpo.store.query import Reader

EVALUATIONS = 32
PATIENCE_SECONDS = 240.0
PROGRAM = """
me="$CRAYAI_EVALUATION $CRAYAI_ATTEMPT"
exec 9>"lock.$CRAYAI_EVALUATION"
flock -n 9 || echo "beside $me" >>trace
echo "begin $me" >>trace
sleep 0.7
echo "end $me" >>trace
echo "FoM: ${1#*=}"
"""
STRIKES = ("driver", "driver", "driver_by_term", "keeper", "node", "controller", "requeue")


class Round:
    """One study, and what happens to it."""

    def __init__(self, cluster: SlurmCluster, place: Path, mode: str, draw: random.Random) -> None:
        self.place, self.events = place, Counter[str]()
        self._cluster, self._mode, self._draw = cluster, mode, draw
        self._driver: subprocess.Popen[bytes]
        place.mkdir()
        (place / "program.sh").write_text(PROGRAM)
        (place / "trace").touch()

    def run(self) -> None:
        """Run the study to its end, whatever happens."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            self._driver = self._start()
            while self._driver.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    self._driver.wait(self._draw.uniform(0.2, 1.5))
                    break
                strike = self._draw.choice(STRIKES)
                self.events[strike] += 1
                getattr(self, f"_strike_{strike}")()
            if self._driver.returncode == 0:
                return
        raise AssertionError(f"not over after {PATIENCE_SECONDS:g} s")

    def _start(self) -> subprocess.Popen[bytes]:
        words = ["--quiet", "--strategy", "random", "--num-iters", str(EVALUATIONS), "--seed", "1"]
        launcher = ["--launcher", "slurm", "--mode", self._mode, "--nodes", "4", "--poll-seconds", "0.5"]
        policies = [
            f"--on-{cause}=retry 20 after 0.1 s, then rank last" for cause in ("node-failure", "lost", "preempted")
        ]
        command = ["--param", "-x=0.0..1.0", "--", "sh", "program.sh"]
        argv = [sys.executable, "-m", "crayai", "run", *words, *launcher, *policies, *command]
        with (self.place / "err").open("ab") as err:
            return subprocess.Popen(argv, cwd=self.place, stdout=subprocess.DEVNULL, stderr=err)

    def _strike_driver(self) -> None:
        self._driver.kill()
        self._driver.wait()

    def _strike_driver_by_term(self) -> None:
        self._driver.terminate()
        self._driver.wait()

    def _strike_keeper(self) -> None:
        for pid in processes():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"keeper" in words and Path(f"/proc/{pid}/cwd").readlink() == self.place:
                    os.kill(pid, signal.SIGKILL)

    def _strike_node(self) -> None:
        node = self._draw.choice(self._cluster.nodes)
        self._cluster.crash(node)
        self._cluster.restart(node)

    def _strike_controller(self) -> None:
        self._cluster.signal_controller(signal.SIGSTOP)
        time.sleep(self._draw.uniform(0.5, 4.0))
        self._cluster.signal_controller(signal.SIGCONT)

    def _strike_requeue(self) -> None:
        rows = self._cluster.run("squeue", "-h", "-r", "-t", "running", "-o", "%i", check=False).split()
        if rows and self._mode == "jobs":
            self._cluster.run("scontrol", "requeue", self._draw.choice(rows), check=False)
            for row in self._cluster.run("squeue", "-h", "-r", "-t", "pending", "-o", "%A", check=False).split():
                self._cluster.run("scontrol", "update", f"jobid={row}", "starttime=now", check=False)

    def faults(self) -> list[str]:
        """Return what is not as it must be."""
        with Reader(self.place / "run" / "study.db") as reader:
            outcomes = {one.number: one.outcome for one in reader.evaluations()}
        found = [f"{number} has {outcomes.get(number)}" for number in range(EVALUATIONS)
                 if not isinstance(outcomes.get(number), Completed)]  # fmt: skip
        rows = [line.split() for line in (self.place / "trace").read_text().splitlines()]
        found += [f"{number} ran beside itself" for what, number, _ in rows if what == "beside"]
        ends = Counter(number for what, number, _ in rows if what == "end")
        return found + [f"{number} ended {count} times" for number, count in ends.items() if count > 1]


def main() -> None:
    """Run rounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    if problem := missing():
        sys.exit(problem)
    draw, events, bad = random.Random(given.seed), Counter[str](), 0
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="slurm.") as name, SlurmCluster(Path(name) / "cluster") as cluster:
        os.environ |= cluster.environment
        for number in range(given.rounds):
            one = Round(cluster, Path(name) / str(number), ("jobs", "steps")[number % 2], draw)
            try:
                one.run()
                faults = one.faults()
                wait_until(lambda: not cluster.run("squeue", "-h", check=False), "nothing is left in the queue")
            except (AssertionError, TimeoutError) as error:
                left = cluster.run("squeue", "-o", "%i %j %T %r %N %C", check=False)
                faults = [str(error), left, (one.place / "err").read_text()[-2000:]]
            events += one.events
            bad += bool(faults)
            print(f"round {number}: {dict(one.events)} {'; '.join(faults) or 'nothing lost'}", flush=True)
            if faults:
                cluster.run("scancel", "--user=root", check=False)
    print(f"{given.rounds} rounds, {bad} with faults; {dict(events)}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
