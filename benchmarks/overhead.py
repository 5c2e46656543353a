"""What the driver costs: evaluations of a trivial compiled program, against a bare spawn-and-wait loop.

    python benchmarks/overhead.py [--evaluations 1000] [--rounds 7]

Bare loop and study alternate, on two slots, so that the noise of the machine falls on both; medians are reported.
The bare loop starts the same command with `posix_spawn`, its output to /dev/null, and waits. The study is a genetic
search of seven hyperparameters with its log on the same disk; its time is that of `optimize()`, all included.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SLOTS = 2
FLAGS = "abcdefg"
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int count, char **words) {
    double loss = 0;
    for (int i = 1; i < count; i++) {
        char *value = strchr(words[i], '=');
        if (value) loss += (atof(value + 1) - 0.3) * (atof(value + 1) - 0.3);
    }
    printf("FoM: %.9g\n", loss);
    return 0;
}
"""


def bare_seconds(program: Path, evaluations: int) -> float:
    """Return the time of a loop that does nothing but start the command and wait."""
    argv = [str(program), *(f"-{flag}=0.12345678" for flag in FLAGS)]
    null = os.open(os.devnull, os.O_WRONLY)
    running = 0
    begin = time.perf_counter()
    for _ in range(evaluations):
        if running == SLOTS:
            os.wait()
            running -= 1
        os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
        running += 1
    for _ in range(running):
        os.wait()
    os.close(null)
    return time.perf_counter() - begin


def study(program: Path, directory: Path, evaluations: int) -> dict[str, float]:
    """Run the study in this process; return its wall and CPU seconds and the peak memory in MB."""
    from crayai import hpo  # noqa: PLC0415 - only the process that is the study pays for it

    params = hpo.Params([[f"-{flag}", 1.0, (-1.0, 1.0)] for flag in FLAGS])
    evaluator = hpo.Evaluator(str(program), num_parallel_evals=SLOTS, run_path=directory)
    optimizer = hpo.GeneticOptimizer(evaluator, generations=10, pop_size=evaluations // 10, num_demes=1, seed=1)
    before = time.perf_counter(), time.process_time()
    optimizer.optimize(params)
    wall, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
    return {"wall": wall, "cpu": cpu, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def study_in_a_process(program: Path, evaluations: int) -> dict[str, float]:
    """Run the study in a fresh process, as its user would."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, "--study", str(program), "--directory", scratch + "/run"]
        done = subprocess.run([*command, "--evaluations", str(evaluations)], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def import_seconds() -> float:
    """Return how long a fresh Python takes to import the package, less an empty Python."""
    times = []
    for statement in ("pass", "from crayai import hpo"):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        times.append(time.perf_counter() - begin)
    return times[1] - times[0]


def compare(evaluations: int, rounds: int) -> None:
    """Alternate bare loop and study; print a table of medians."""
    with tempfile.TemporaryDirectory() as scratch:
        source, program = Path(scratch, "trivial.c"), Path(scratch, "trivial")
        source.write_text(PROGRAM)
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        pairs = []
        for number in range(rounds):
            pairs.append((bare_seconds(program, evaluations), study_in_a_process(program, evaluations)))
            print(f"round {number + 1} of {rounds}: {pairs[-1][1]['wall'] / pairs[-1][0]:.2f} x", file=sys.stderr)
        imports = statistics.median(import_seconds() for _ in range(rounds))

    def milliseconds(values: list[float]) -> float:
        return 1000 * statistics.median(values) / evaluations

    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
          f"{evaluations} evaluations, medians of {rounds} rounds")  # fmt: skip
    print(f"bare loop, wall per evaluation     {milliseconds([bare for bare, _ in pairs]):.2f} ms")
    print(f"study, wall per evaluation         {milliseconds([s['wall'] for _, s in pairs]):.2f} ms")
    print(f"study / bare, of each round        {statistics.median(s['wall'] / bare for bare, s in pairs):.2f} x")
    print(f"driver CPU per evaluation          {milliseconds([s['cpu'] for _, s in pairs]):.2f} ms")
    print(f"peak memory of the driver          {max(s['peak_mb'] for _, s in pairs):.0f} MB")
    print(f"import of crayai.hpo               {imports:.3f} s")


def main() -> None:
    """Compare, or be the study."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.study:
        print(json.dumps(study(arguments.study, arguments.directory, arguments.evaluations)))
    else:
        compare(arguments.evaluations, arguments.rounds)


if __name__ == "__main__":
    main()
