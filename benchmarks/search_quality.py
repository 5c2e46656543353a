"""Genetic against random search at equal numbers of evaluations, on small problems with known shapes.

    python benchmarks/search_quality.py [--seeds 20] [--evaluations 130]

Each line is a problem; each number the median over the seeds of the best loss found. The last column counts the
seeds on which the genetic search ends below random search.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from crayai import hpo

Values = Mapping[str, Any]
Loss = Callable[[Values], float]
ANGLES = [0.1 * step - math.pi for step in range(63)]


def polynomial(values: Values) -> float:
    """Sum of squared errors of a polynomial of degree six against the sine."""
    return sum((sum(c * x**power for power, c in enumerate(values.values())) - math.sin(x)) ** 2 for x in ANGLES)


def mixed(values: Values) -> float:
    """A training as one imagines it: log scales, a list, a condition, a coarse whole number."""
    loss = (math.log10(values["--lr"]) + 2.7) ** 2 + 0.3 * (math.log2(values["--units"]) - 6.3) ** 2
    loss += {"relu": 0.0, "tanh": 0.6, "elu": 1.1}[values["--act"]] + 8 * (values["--drop"] - 0.23) ** 2
    loss += 0.5 * abs(values["--layers"] - 3)
    if values["--opt"] == "sgd":
        return loss + 0.3 + 6 * (values["--momentum"] - 0.9) ** 2
    return loss + 0.2 * (math.log10(values["--decay"]) + 4) ** 2


def rosenbrock(values: Values) -> float:
    """Rosenbrock's valley in five dimensions: the optimum lies at the end of a curved, narrow floor."""
    x = list(values.values())
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


def rastrigin(values: Values) -> float:
    """Rastrigin's function in four dimensions: many local optima."""
    return sum(4 + (z := 6 * (x - 0.37)) * z - 4 * math.cos(3 * z) for x in values.values())


PROBLEMS: dict[str, tuple[list[Any], Loss]] = {
    "polynomial": ([[f"-{c}", (-1.0) ** i, (-1.0, 1.0)] for i, c in enumerate("abcdefg")], polynomial),
    "mixed": (
        [
            hpo.Float("--lr", 1e-5, 1.0, default=0.1, log=True),
            hpo.Int("--units", 8, 1024, default=32, log=True),
            hpo.Choice("--act", ["relu", "tanh", "elu"], default="elu"),
            hpo.Float("--drop", 0.0, 0.9, default=0.5),
            hpo.Choice("--opt", ["sgd", "adam"]),
            hpo.Float("--momentum", 0.0, 0.99, when="--opt == 'sgd'"),
            hpo.Float("--decay", 1e-8, 0.1, log=True, when="--opt == 'adam'"),
            hpo.Int("--layers", 1, 8, default=1),
        ],
        mixed,
    ),
    "rosenbrock": ([[f"-{c}", -1.0, (-2.0, 2.0)] for c in "abcde"], rosenbrock),
    "rastrigin": ([[f"-{c}", 0.1, (0.0, 1.0)] for c in "abcd"], rastrigin),
}


def best_loss(problem: str, seed: int, strategy: str, **arguments: Any) -> float:
    """Return the least loss that a search finds."""
    params, loss = PROBLEMS[problem]
    search = hpo.Search(params, strategy, seed=seed, **arguments)
    while not search.is_done:
        suggestion = search.ask()
        if suggestion is None:
            break
        search.tell(suggestion.number, loss(suggestion.values))
    return min(evaluation.fom for evaluation in search.evaluations if evaluation.fom is not None)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=130)
    arguments = parser.parse_args()
    budget, seeds = arguments.evaluations, range(1, arguments.seeds + 1)
    print(f"{budget} evaluations, {arguments.seeds} seeds: median of the best loss\n")
    print(f"{'problem':<12} {'default':>12} {'random':>12} {'genetic':>12}   genetic wins")
    for problem, (params, loss) in PROBLEMS.items():
        first = hpo.Search(params, "random", seed=1).ask()
        default = math.nan if first is None else loss(first.values)
        random = [best_loss(problem, seed, "random", num_iters=budget) for seed in seeds]
        genetic = [
            best_loss(problem, seed, "genetic", generations=budget // 10, pop_size=10, num_demes=1) for seed in seeds
        ]
        wins = sum(g < r for g, r in zip(genetic, random, strict=True))
        medians = [default, statistics.median(random), statistics.median(genetic)]
        print(f"{problem:<12} " + " ".join(f"{m:>12.4g}" for m in medians) + f"   {wins} of {len(genetic)}")


if __name__ == "__main__":
    main()
