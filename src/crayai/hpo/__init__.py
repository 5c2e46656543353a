"""Hyperparameter optimisation: the names for scripts.

from crayai import hpo

params = hpo.Params([["--lr", 1e-3, (1e-5, 1e-1)]])
evaluator = hpo.Evaluator("python train.py", fom="FoM: ")
optimizer = hpo.GeneticOptimizer(evaluator, generations=10, pop_size=12)
optimizer.optimize(params)
print(optimizer.best_fom, optimizer.best_params)
"""

from crayai.hpo import errors, evaluator, genetic, grid, params, pbt, random
from crayai.hpo.errors import (
    CrayaiError,
    LaunchError,
    SettingsError,
    SpaceError,
    StoreError,
    StoreFull,
    StudyChanged,
    StudyFailed,
    StudyLocked,
)
from crayai.hpo.evaluator import Evaluator
from crayai.hpo.genetic import Optimizer as GeneticOptimizer
from crayai.hpo.grid import Optimizer as GridOptimizer
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.params import Params
from crayai.hpo.pbt import Optimizer as PBTOptimizer
from crayai.hpo.random import Optimizer as RandomOptimizer
from crayai.hpo.records import Evaluation
from crayai.hpo.search import Search
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int

__all__ = [
    "Choice",
    "Constant",
    "Container",
    "CrayaiError",
    "Evaluation",
    "Evaluator",
    "Float",
    "GeneticOptimizer",
    "GridOptimizer",
    "Int",
    "LaunchError",
    "PBTOptimizer",
    "Params",
    "RandomOptimizer",
    "Search",
    "SettingsError",
    "SpaceError",
    "StoreError",
    "StoreFull",
    "StudyChanged",
    "StudyFailed",
    "StudyLocked",
    "errors",
    "evaluator",
    "genetic",
    "grid",
    "params",
    "pbt",
    "random",
]
