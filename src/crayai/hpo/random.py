"""Random search of a script: ``hpo.RandomOptimizer(evaluator, …)``."""

from crayai.hpo.engine.study import StrategySettings
from crayai.hpo.errors import SettingsError
from crayai.hpo.evaluator import Evaluator
from crayai.hpo.optimizer import Optimizer as _Optimizer


class Optimizer(_Optimizer):
    """The default point, then independent random ones.

    Args:
        evaluator: Runs the evaluations.
        num_iters: Evaluations, the default point included.
        numIters: The same, in the older spelling.
        seed: Decides every random draw; 0 or None: draw one.
        repeats: Evaluate each point so often, for a noisy figure of merit; the mean counts.
        verbose: Print the settings and a line for each evaluation.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        num_iters: int | None = None,
        numIters: int | None = None,  # noqa: N803 - the older spelling
        seed: int | None = None,
        repeats: int = 1,
        verbose: bool = False,
    ) -> None:
        if num_iters is not None and numIters is not None:
            raise SettingsError("num_iters and numIters are the same: give one of them")
        iterations = num_iters if num_iters is not None else numIters
        arguments = {} if iterations is None else {"num_iters": iterations}
        strategy = StrategySettings(name="random", arguments=arguments, repeats=repeats)
        super().__init__(evaluator, strategy, seed=seed, verbose=verbose)
