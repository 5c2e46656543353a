"""Fit a polynomial to the sine by grid search: the default point and the 128 corners of the ranges."""

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
evaluator = hpo.Evaluator(shlex.join([sys.executable, str(HERE / "sin.py")]), run_path=str(HERE / "run" / "grid"))
optimizer = hpo.GridOptimizer(evaluator, grid_size=2, chunk_size=50)
optimizer.optimize(params)
print(optimizer.best_fom)
print(optimizer.best_params)
