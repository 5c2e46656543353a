"""Fit a polynomial to the sine by random search: the default point and 128 random ones."""

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
evaluator = hpo.Evaluator(shlex.join([sys.executable, str(HERE / "sin.py")]), run_path=str(HERE / "run" / "random"))
optimizer = hpo.RandomOptimizer(evaluator, num_iters=129)
optimizer.optimize(params)
print(optimizer.best_fom)
print(optimizer.best_params)
