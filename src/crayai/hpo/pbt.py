"""Population based training of a script: ``hpo.PBTOptimizer(evaluator, …)``."""

from crayai.hpo.engine.study import StrategySettings
from crayai.hpo.evaluator import Evaluator
from crayai.hpo.optimizer import Optimizer as _Optimizer
from crayai.hpo.strategy.population_training import Exploit


class Optimizer(_Optimizer):
    """A population that trains in windows; the worst go on from the checkpoints of the best, with other values.

    Args:
        evaluator: Runs the evaluations; its command needs ``@checkpoint``, or ``@load`` and ``@save``.
        pop_size: Members per deme.
        windows: How often each member trains between two decisions.
        quantile: Share of a deme that is replaced at a decision, and share that it is replaced from.
        num_demes: Subpopulations; each decides `slowdown` times less often than the one before.
        interval: Windows between two decisions of the first deme.
        slowdown: How many times less often each further deme decides.
        lag: Windows that a decision looks back, so that no member waits for the slowest; 0: all wait for all.
        exploit: ``truncation``: the worst take over from the best; ``tournament``: each from a random better one.
        perturbation: Standard deviation of a step in the unit interval of a hyperparameter's scale.
        resample_rate: Probability that a hyperparameter is drawn anew instead.
        seed: Decides every random draw; 0 or None: draw one.
        verbose: Print the settings and a line for each evaluation.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        evaluator: Evaluator,
        *,
        pop_size: int = 16,
        windows: int = 10,
        quantile: float = 0.25,
        num_demes: int = 1,
        interval: int = 1,
        slowdown: int = 3,
        lag: int = 1,
        exploit: Exploit = "truncation",
        perturbation: float = 0.2,
        resample_rate: float = 0.1,
        seed: int | None = None,
        verbose: bool = False,
    ) -> None:
        arguments = {
            "pop_size": pop_size,
            "windows": windows,
            "quantile": quantile,
            "num_demes": num_demes,
            "interval": interval,
            "slowdown": slowdown,
            "lag": lag,
            "exploit": exploit,
            "perturbation": perturbation,
            "resample_rate": resample_rate,
        }
        super().__init__(evaluator, StrategySettings(name="pbt", arguments=arguments), seed=seed, verbose=verbose)
