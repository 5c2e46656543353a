"""What every optimizer of the face does: `optimize`, then ask it for the best."""

import signal
from pathlib import Path
from typing import Any

from crayai.hpo.engine.budget import Budget
from crayai.hpo.engine.checkpoints import checkpoint_path
from crayai.hpo.engine.conduct import check_program, conduct
from crayai.hpo.engine.observer import Observer
from crayai.hpo.engine.resume import choose_directory
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import SettingsError
from crayai.hpo.evaluator import Evaluator
from crayai.hpo.params import Params
from crayai.hpo.records import Evaluation, Value
from crayai.hpo.verbose import Verbose


class Optimizer:
    """A strategy with an evaluator.

    Attributes:
        best_fom: The best figure of merit.
        best_params: The hyperparameters that gave it, by flag.
        best_checkpoint: Where the program saved the model that gave it.
        evaluations: All evaluations by number.
    """

    def __init__(self, evaluator: Evaluator, strategy: StrategySettings, *, seed: int | None, verbose: bool) -> None:
        if not isinstance(evaluator, Evaluator):
            raise SettingsError(f"the first argument must be an hpo.Evaluator, got {evaluator!r}")
        self.evaluator = evaluator
        self.verbose = verbose
        self._strategy = strategy
        self._seed = seed or None
        self._search: Search | None = None
        self._checkpoints = Path()

    def optimize(
        self,
        params: Params,
        *,
        resume: bool = True,
        max_evaluations: int | None = None,
        max_wall_minutes: float | None = None,
        max_node_hours: float | None = None,
        target_fom: float | None = None,
    ) -> None:
        """Search `params`; afterwards the best is known.

        An unfinished study of the same settings in the evaluator's ``run_path`` is gone on with, unless `resume` is
        False; a finished or different one is moved aside, to ``run.1``, ``run.2``, …

        Args:
            params: The hyperparameters.
            resume: Whether to go on with an unfinished study.
            max_evaluations: Stop after so many; the study stays unfinished, as with the limits below.
            max_wall_minutes: Stop when drivers have worked for so long on the study.
            max_node_hours: Stop when evaluations have used so many nodes times hours.
            target_fom: Stop when a figure of merit is as good.

        Raises:
            CrayaiError: What was asked for cannot be, before anything is run; or the program always fails.
            KeyboardInterrupt: Ctrl-C; run the script again to go on.
            SystemExit: SIGTERM or SIGUSR1 asked for the end; likewise.
        """
        if not isinstance(params, Params):
            raise SettingsError(f"optimize needs an hpo.Params, got {params!r}")
        settings = self.evaluator.settings()
        budget = Budget(
            max_evaluations=max_evaluations,
            max_wall_minutes=max_wall_minutes,
            max_node_hours=max_node_hours,
            target_fom=target_fom,
        )
        study = Study(
            space=params.space,
            strategy=self._strategy,
            seed=self._seed,
            command=self.evaluator.cmd,
            fom=self.evaluator.fom,
            goal=self.evaluator.goal,
        )
        check_program(study, settings)  # before an earlier study is moved aside
        directory, moved_to = choose_directory(Path(self.evaluator.run_path), study, resume=resume)
        verbose = Verbose(directory, settings, output=self.evaluator.verbose, lines=self.verbose, moved_to=moved_to)
        conducted = conduct(study, directory, settings, [verbose, *self._observers(study)], budget=budget)
        self._search, self._checkpoints = conducted.search, conducted.checkpoints
        if conducted.end_reason:
            verbose.notice(f"stopped: {conducted.end_reason}")
        elif conducted.signal == signal.SIGINT and not self._search.is_done:
            raise KeyboardInterrupt
        elif conducted.signal and not self._search.is_done:
            raise SystemExit(128 + conducted.signal)

    def _observers(self, study: Study) -> list[Observer]:  # noqa: ARG002 - for those who have some
        return []

    @property
    def best_fom(self) -> float:
        """The best figure of merit."""
        fom = self._best().fom
        return fom if fom is not None else float("nan")

    @property
    def best_params(self) -> dict[str, Value]:
        """The hyperparameters of the best evaluation, by flag."""
        return dict(self._best().values)

    @property
    def best_checkpoint(self) -> Path:
        """Where the program saved the best model, as it was told by ``@checkpoint`` or ``@save``.

        Raises:
            SettingsError: It saved none.
        """
        if not self._found().study.uses_checkpoints:
            raise SettingsError("there are no checkpoints: the command has neither @checkpoint nor @save")
        return Path(checkpoint_path(self._checkpoints, self._best().number))

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations by number."""
        search = self._found()
        return [search.evaluation(number) for number in range(len(search.record))]

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row an evaluation and a column a hyperparameter.

        Raises:
            SettingsError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - an extra
        except ImportError:
            raise SettingsError("to_dataframe needs pandas: pip install 'crayai[pandas]'") from None
        rows = [
            {"number": e.number, "generation": e.generation, "deme": e.deme, "fom": e.fom, "failure": e.failure}
            | dict(e.values)
            for e in self.evaluations
        ]
        return pd.DataFrame(rows)

    def _found(self) -> Search:
        if self._search is None:
            raise SettingsError("nothing is known before optimize() has run")
        return self._search

    def _best(self) -> Evaluation:
        best = self._found().best_evaluation
        if best is None:
            raise SettingsError("no evaluation has completed")
        return best
