"""Search the hyperparameters of train.py from Python."""

import shlex
import sys
from pathlib import Path

from crayai import hpo

HERE = Path(__file__).resolve().parent

params = hpo.Params(
    [
        ["--lr", 0.01, (1e-4, 0.1)],
        ["--width", 32, (8, 128)],
        ["--depth", 2, (1, 3)],
        ["--activation", "relu", ["relu", "tanh", "logistic"]],
        ["--solver", "sgd", ["sgd", "adam"]],
    ]
)
command = shlex.join([sys.executable, str(HERE / "train.py")])
evaluator = hpo.Evaluator(command, run_path=str(HERE / "run"), num_parallel_evals=2)
optimizer = hpo.GeneticOptimizer(evaluator, generations=4, pop_size=6, num_demes=1, mutation_rate=0.2)
optimizer.optimize(params)
print(optimizer.best_fom)
print(optimizer.best_params)
