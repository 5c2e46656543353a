"""Fit a polynomial to the sine by genetic search: 13 generations of 10, with a log file for a line a generation."""

import shlex
import sys
from pathlib import Path

from crayai import hpo

HERE = Path(__file__).resolve().parent

params = hpo.Params(
    [
        ["-a", 1.0, (-1.0, 1.0)],
        ["-b", -1.0, (-1.0, 1.0)],
        ["-c", 1.0, (-1.0, 1.0)],
        ["-d", -1.0, (-1.0, 1.0)],
        ["-e", 1.0, (-1.0, 1.0)],
        ["-f", -1.0, (-1.0, 1.0)],
        ["-g", 1.0, (-1.0, 1.0)],
    ]
)
evaluator = hpo.Evaluator(shlex.join([sys.executable, str(HERE / "sin.py")]), run_path=str(HERE / "run" / "genetic"))
optimizer = hpo.GeneticOptimizer(evaluator, generations=13, pop_size=10, num_demes=1, log_fn="genetic.log")
optimizer.optimize(params)
print(optimizer.best_fom)
print(optimizer.best_params)
