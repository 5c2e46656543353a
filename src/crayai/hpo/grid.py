"""Grid search of a script: ``hpo.GridOptimizer(evaluator, …)``."""

from crayai.hpo.engine.study import StrategySettings
from crayai.hpo.evaluator import Evaluator
from crayai.hpo.optimizer import Optimizer as _Optimizer


class Optimizer(_Optimizer):
    """The default point, then every point of an N-dimensional matrix.

    Args:
        evaluator: Runs the evaluations.
        grid_size: Points a range, both bounds included; lists are taken in full.
        chunk_size: Points that make one generation in the records; None: all.
        seed: Decides where a hyperparameter without a default starts; 0 or None: draw one.
        repeats: Evaluate each point so often, for a noisy figure of merit.
        verbose: Print the settings and a line for each evaluation.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        grid_size: int = 3,
        chunk_size: int | None = None,
        seed: int | None = None,
        repeats: int = 1,
        verbose: bool = False,
    ) -> None:
        arguments = {"grid_size": grid_size, "chunk_size": chunk_size or None}
        strategy = StrategySettings(name="grid", arguments=arguments, repeats=repeats)
        super().__init__(evaluator, strategy, seed=seed, verbose=verbose)
