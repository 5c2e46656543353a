"""Population based training: what it costs beside the training, and what it finds.

    python benchmarks/pbt.py time [--windows 20] [--seconds 1]
    python benchmarks/pbt.py result [--seeds 1 2 3] [--ray PYTHON]

`time` runs the command `crayai run` with a compiled program that sleeps instead of training. `result` trains real
networks (see pbt_tasks.py) with the same number of epochs in all by population based training and other searches, and
reports the test error of the model with the best validation. PYTHON is an interpreter that has ray[tune] and
scikit-learn, or a file of lines that pbt_ray.py has printed; without it Ray Tune is left out. Progress goes to standard
error, tables to standard output, all figures to the file of `-o` as JSON.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pbt_result as result
import pbt_search
import pbt_tasks
from pbt_time import Row, Shape, large_rows, sleeping_rows


def machine() -> str:
    """Return what the figures were measured on."""
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}"


def time_of(given: argparse.Namespace) -> Any:
    """Measure what it costs, and print a table."""
    few, large = given.members, given.large_members
    shapes = [Shape(few, few, given.windows, given.seconds, given.megabytes, lag) for lag in (1, 0)]
    studies = [Shape(large, large * 2, given.large_windows, given.large_seconds, given.large_megabytes, 1, one)
               for one in (False, True)]  # fmt: skip
    rows: list[Row] = []
    print("| figure | where | measured | target |\n|---|---|---|---|")
    for name, where, figure, target in _both(sleeping_rows(shapes, [1.1, 1.3]), large_rows(*studies)):
        rows.append((name, where, figure, target))
        missed = " **missed**" if target and float(f"{figure:.4g}") > float(target) else ""
        print(f"| {name} | {where} | {figure:.4g}{missed} | {target} |", flush=True)
    return rows


def _both(first: Iterable[Row], second: Iterable[Row]) -> Iterable[Row]:
    yield from first
    yield from second


def result_of(given: argparse.Namespace) -> Any:
    """Compare what the searches find, and print a table a task."""
    found = result.measure(given.tasks, given.seeds, given.methods, given.workers)
    if given.ray and given.ray.suffix == ".jsonl":
        lines = given.ray.read_text().splitlines()
        result.add_ray(found, filter(result.is_found, lines), given.seeds)
    elif given.ray:
        result.add_ray(found, result.ray_lines(given.ray, given.tasks, given.seeds), given.seeds)
    else:
        print("Ray Tune was left out: give --ray PYTHON", file=sys.stderr)
    for task in given.tasks:
        result.tabulate(task, found[task])
    if given.command:
        print(result.compare_with_command(pbt_search.Problem(given.tasks[0], given.seeds[0])))
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    time = commands.add_parser("time", help="what it costs beside the training")
    time.set_defaults(measure=time_of)
    for name, default in (("members", 16), ("windows", 20), ("large-members", 4), ("large-windows", 8)):
        time.add_argument(f"--{name}", type=int, default=default)
    for name, number in (("seconds", 1.0), ("megabytes", 1.0), ("large-seconds", 3.0), ("large-megabytes", 200.0)):
        time.add_argument(f"--{name}", type=float, default=number)
    compare = commands.add_parser("result", help="what it finds")
    compare.set_defaults(measure=result_of)
    compare.add_argument("--tasks", nargs="+", choices=pbt_tasks.TASKS, default=list(pbt_tasks.TASKS))
    compare.add_argument("--seeds", nargs="+", type=int, default=list(range(1, 11)))
    compare.add_argument("--methods", nargs="+", choices=pbt_search.METHODS, default=list(pbt_search.METHODS))
    compare.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    compare.add_argument("--ray", type=Path, metavar="PYTHON", help="with ray[tune], or a .jsonl of pbt_ray.py")
    compare.add_argument("--no-command", dest="command", action="store_false", help="do not run `crayai run` once")
    for command in (time, compare):
        command.add_argument("-o", dest="output", type=Path, help="write all figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Measure."""
    given = arguments()
    before = machine()
    print(before, flush=True)
    figures = given.measure(given)
    print(f"\nload at the end {', '.join(f'{number:.1f}' for number in os.getloadavg())}")
    if given.output:
        shown = {key: str(value) for key, value in vars(given).items() if key not in {"measure", "output"}}
        given.output.write_text(json.dumps({"machine": before, "arguments": shown, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
