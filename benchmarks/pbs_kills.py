"""Kills drivers of studies on stand-ins of PBS, TORQUE and Moab at random, and counts what was lost or ran twice.

    python benchmarks/pbs_kills.py [--rounds 6] [--seed 1] [--harm "daemon dead" --harm killed …]

Drivers are killed, or told to end; answers of qsub are lost; nobody reaches the server, or its answers break off; it
forgets jobs, or keeps no history; the daemons of nodes die alone; somebody deletes a job. A tenth of the evaluations
takes longer than it takes to call a job lost of which nothing is heard. After a minute the study is left in peace to
finish.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from crayai.hpo.testing.batch_stand_in import StandIn

EVALUATIONS = 40
HARM_SECONDS = 60
MOST_SECONDS = 300
HARMS = ("killed", "told to end", "answer lost, killed", "server away, killed", "broken off", "daemon dead", "deleted")


def one_round(flavour: str, root: Path, rng: random.Random, harms: Sequence[str]) -> str:
    """Run a study to its end, whatever happens to its drivers; return what happened and what it has cost."""
    program = (
        f"echo $CRAYAI_EVALUATION >> {root}/began; case $CRAYAI_EVALUATION in *3) sleep 13 ;; *) sleep 0.2 ;; esac; "
        f"echo $CRAYAI_EVALUATION >> {root}/ended; echo FoM: 1"
    )
    options = f"--launcher {flavour} --nodes 4 --strategy random --num-iters {EVALUATIONS} --seed 1 --poll-seconds 0.2"
    words = [sys.executable, "-m", "crayai", "run", "-q", "--dir", str(root / "study"), *options.split()]
    words += ["--param", "--lr=0.01..1", "--", "sh", "-c", program]
    deadline = time.monotonic() + HARM_SECONDS
    faults: Counter[str] = Counter()
    with StandIn(root / "batch", flavour) as batch:
        environment = {**os.environ, "PATH": f"{batch.bin}:{os.environ['PATH']}"}
        if rng.random() < 0.5:
            batch.forget_ends()
        if flavour == "pbs" and rng.random() < 0.5:
            batch.keep_no_history()
        while time.monotonic() < deadline:
            driver = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                if driver.wait(rng.uniform(0.3, 2.5)) == 0:
                    break
            except subprocess.TimeoutExpired:
                faults[harm(batch, driver, rng, rng.choice(harms))] += 1
        else:
            subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, timeout=MOST_SECONDS, check=True)
    began, ended = (Counter((root / name).read_text().split()) for name in ("began", "ended"))
    twice = sum(count - 1 for count in began.values())
    cancelled = cancelled_in(root / "study")
    lost = set(map(str, range(EVALUATIONS))) - set(ended) - cancelled
    return f"{flavour}: {dict(faults)} cancelled {len(cancelled)}, lost {len(lost)}, twice {twice}"


def cancelled_in(study: Path) -> set[str]:
    """Return the evaluations that count as cancelled."""
    with closing(sqlite3.connect(f"file:{study / 'study.db'}?mode=ro", uri=True)) as log:
        return {str(number) for (number,) in log.execute("SELECT number FROM evaluation WHERE cause = 'cancelled'")}


def harm(batch: StandIn, driver: subprocess.Popen[bytes], rng: random.Random, what: str) -> str:
    """Do something bad, of which the driver dies; return what."""
    alive = [job["id"] for job in batch.jobs if job["state"] != "F"]
    if what == "deleted" and alive:
        batch.delete(rng.choice(alive))
    if what == "daemon dead":
        batch.fail_node(daemon_alone=True)
    batch.break_off(after_first=what == "broken off")  # and is mended with the next fault
    if what.startswith("answer"):
        batch.lose_answer()
    if what.startswith("server"):
        batch.refuse(connections=True)
        time.sleep(rng.uniform(0, 1))
    driver.send_signal(signal.SIGTERM if what == "told to end" else signal.SIGKILL)
    driver.wait()
    batch.refuse(connections=False)
    return what


def main() -> None:
    """Print a line a round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--harm", action="append", choices=HARMS, help="one of those to be done; left out: all")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    print(f"seed {given.seed}")
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as place:
            flavour = ("pbs", "torque", "moab")[number % 3]
            print(f"round {number}, {one_round(flavour, Path(place), rng, given.harm or HARMS)}", flush=True)


if __name__ == "__main__":
    main()
