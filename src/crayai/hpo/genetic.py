"""Genetic search of a script: ``hpo.GeneticOptimizer(evaluator, …)``."""

from pathlib import Path

from crayai.hpo.engine.checkpoints import checkpoint_path
from crayai.hpo.engine.observer import Observer
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import SettingsError
from crayai.hpo.evaluator import Evaluator
from crayai.hpo.optimizer import Optimizer as _Optimizer
from crayai.hpo.records import Event, Told
from crayai.hpo.report.logfiles import LogFiles
from crayai.hpo.strategy.repeats import RepeatedHistory


class Optimizer(_Optimizer):
    """Demes that evolve side by side and exchange their best.

    Where the evaluator has a directory of checkpoints, children train on: two parents give the hyperparameters, a third
    one the weights.

    Args:
        evaluator: Runs the evaluations.
        generations: Rounds.
        pop_size: Individuals per deme, and evaluations per deme and generation.
        num_demes: Subpopulations.
        mutation_rate: Probability that a hyperparameter of a child mutates; one does at least.
        crossover_rate: Probability that a hyperparameter comes from the second parent.
        migration_interval: Generations between migrations.
        gens_per_epoch: Generations per epoch of training.
        log_fn: The log file, a line a generation; each deme's stands beside it as ``Deme<i>_<log_fn>``.
        seed: Decides every random draw; 0 or None: draw one.
        repeats: Evaluate each point so often, for a noisy figure of merit; the mean counts.
        verbose: Print the settings and a line for each evaluation.
    """

    def __init__(  # noqa: PLR0913 - the historic arguments
        self,
        evaluator: Evaluator,
        *,
        generations: int = 10,
        pop_size: int = 10,
        num_demes: int = 4,
        mutation_rate: float = 0.05,
        crossover_rate: float = 0.33,
        migration_interval: int = 5,
        gens_per_epoch: int = 1,
        log_fn: str | Path | None = None,
        seed: int | None = None,
        repeats: int = 1,
        verbose: bool = False,
    ) -> None:
        arguments = {
            "generations": generations,
            "pop_size": pop_size,
            "num_demes": num_demes,
            "mutation_rate": mutation_rate,
            "crossover_rate": crossover_rate,
            "migration_interval": migration_interval,
            "trains_on": bool(evaluator.checkpoint),
        }
        strategy = StrategySettings(name="genetic", arguments=arguments, repeats=repeats)
        super().__init__(evaluator, strategy, seed=seed, verbose=verbose)
        if gens_per_epoch < 1:
            raise SettingsError(f"gens_per_epoch must be at least 1, got {gens_per_epoch!r}")
        self.gens_per_epoch = gens_per_epoch
        self.log_fn = log_fn

    def _observers(self, study: Study) -> list[Observer]:
        if not self.log_fn:
            return []
        files = LogFiles(
            path=Path(self.log_fn).absolute(),
            flags=study.space.flags,
            pop_size=self._strategy.arguments["pop_size"],
            num_demes=self._strategy.arguments["num_demes"],
            sign=int(study.loss(1)),
            gens_per_epoch=self.gens_per_epoch,
        )
        return [_LogWriter(files, self._strategy.repeats)]


class _LogWriter:
    """Keeps the log files in step with the search."""

    def __init__(self, files: LogFiles, repeats: int) -> None:
        self._files = files
        self._repeats = repeats

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:  # noqa: ARG002 - written anew
        if search.study.trains_on:
            self._files.checkpoint_of = lambda number: checkpoint_path(checkpoints, number)
        self._files.begin()
        self._files.update(RepeatedHistory(search.record, self._repeats))

    def event(self, event: Event, search: Search) -> None:
        if isinstance(event, Told):
            self._files.update(RepeatedHistory(search.record, self._repeats))

    def notice(self, text: str) -> None:
        pass

    def end(self, search: Search) -> None:
        pass
