"""Kills drivers of studies on stand-ins of PBS and TORQUE at random, and counts what was lost or ran twice.

    python benchmarks/pbs_kills.py [--rounds 6] [--seed 1]

Drivers are killed, or told to end; answers of qsub are lost; nobody reaches the server; the server forgets jobs.
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
from pathlib import Path

from crayai.hpo.testing.batch_stand_in import StandIn

EVALUATIONS = 40
MOST_SECONDS = 120


def one_round(flavour: str, root: Path, rng: random.Random) -> str:
    """Run a study to its end, whatever happens to its drivers; return what happened and what it has cost."""
    program = (
        f"echo $CRAYAI_EVALUATION >> {root}/began; sleep 0.2; echo $CRAYAI_EVALUATION >> {root}/ended; echo FoM: 1"
    )
    options = f"--launcher {flavour} --nodes 4 --strategy random --num-iters {EVALUATIONS} --seed 1 --poll-seconds 0.2"
    words = [sys.executable, "-m", "crayai", "run", "-q", "--dir", str(root / "study"), *options.split()]
    words += ["--param", "--lr=0.01..1", "--", "sh", "-c", program]
    deadline = time.monotonic() + MOST_SECONDS
    faults: Counter[str] = Counter()
    with StandIn(root / "batch", flavour) as batch:
        environment = {**os.environ, "PATH": f"{batch.bin}:{os.environ['PATH']}"}
        if rng.random() < 0.5:
            batch.forget_ends()
        while time.monotonic() < deadline:
            driver = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                if driver.wait(rng.uniform(0.3, 2.5)) == 0:
                    break
            except subprocess.TimeoutExpired:
                faults[harm(batch, driver, rng)] += 1
    began, ended = (Counter((root / name).read_text().split()) for name in ("began", "ended"))
    twice = sum(count - 1 for count in began.values())
    return f"{flavour}: {dict(faults)} lost {EVALUATIONS - len(ended)}, twice {twice}"


def harm(batch: StandIn, driver: subprocess.Popen[bytes], rng: random.Random) -> str:
    """Do something bad, of which the driver dies; return what."""
    what = rng.choice(["killed", "killed", "told to end", "answer lost, killed", "server away, killed"])
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
    given = parser.parse_args()
    rng = random.Random(given.seed)
    print(f"seed {given.seed}")
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as place:
            print(f"round {number}, {one_round(('pbs', 'torque', 'moab')[number % 3], Path(place), rng)}", flush=True)


if __name__ == "__main__":
    main()
