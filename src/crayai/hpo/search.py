"""Ask and tell, for those who evaluate by themselves: ``hpo.Search(params, strategy="genetic", seed=1)``."""

import math
import secrets
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crayai.hpo.engine.resume import open_study
from crayai.hpo.engine.search import Search as _Search
from crayai.hpo.engine.streams import program_seed
from crayai.hpo.engine.study import Goal, StrategySettings, Study, with_seed
from crayai.hpo.params import Params
from crayai.hpo.records import Asked, Cause, Completed, Evaluation, Failed, Outcome, Values
from crayai.hpo.store.base import MemoryLog


@dataclass(frozen=True, slots=True)
class Suggested:
    """What to evaluate.

    Attributes:
        number: Names it in `tell`.
        values: The active hyperparameters by flag.
        seed: For the random numbers of the evaluation.
        generation: The round of the search, from 0.
        resume_from: Number of the evaluation whose model it trains on from, once that is over; None: from scratch.
    """

    number: int
    values: Values
    seed: int
    generation: int
    resume_from: int | None = None


class Search:
    """A search whose evaluations are the caller's business; several suggestions may be out at once.

    Args:
        params: The hyperparameters: an `hpo.Params`, or the list for one.
        strategy: ``genetic``, ``random``, ``grid`` or ``pbt``.
        seed: Decides every random draw; None: draw one.
        goal: ``minimize`` or ``maximize`` the figure of merit.
        repeats: Suggest each point so often, for a noisy figure of merit; the mean counts.
        directory: Where the search is kept, to be gone on with later; None: in memory alone.
        arguments: Of the strategy, such as ``generations=20``.

    Raises:
        SettingsError: An argument that cannot be.
        StudyChanged: The search in `directory` has other settings.
    """

    def __init__(
        self,
        params: Params | Sequence[Any],
        strategy: str = "genetic",
        *,
        seed: int | None = None,
        goal: Goal = "minimize",
        repeats: int = 1,
        directory: str | Path | None = None,
        **arguments: Any,
    ) -> None:
        space = (params if isinstance(params, Params) else Params(params)).space
        chosen = StrategySettings(name=strategy, arguments=arguments, repeats=repeats)
        study = Study(space=space, strategy=chosen, seed=seed, goal=goal)
        self._held = ExitStack()
        if directory is None:
            self._search = _Search(with_seed(study, secrets.randbits(31)), MemoryLog())
        else:
            self._search = self._held.enter_context(open_study(Path(directory), study)).search
        self._again: deque[Asked] = deque(self._search.unfinished())

    def ask(self) -> Suggested | None:
        """Return what to evaluate; None: not before another `tell`, or no more (see `is_done`).

        What was asked for before a restart and never told is returned again, first.
        """
        asked = self._again.popleft() if self._again else self._search.ask()
        if asked is None:
            return None
        self._search.commit()
        seed = program_seed(self._search.study.seed or 0, asked.number)
        s = asked.suggestion
        return Suggested(asked.number, s.values, seed, s.generation, s.resume_from)

    def tell(self, number: int, fom: float) -> None:
        """Report the figure of merit of evaluation `number`; one that is not finite counts as failed.

        Raises:
            SettingsError: `number` was never asked for, or is over.
        """
        value = float(fom)
        finite = math.isfinite(value)
        self._tell(
            number,
            Completed(self._search.study.loss(value)) if finite else Failed(Cause.NOT_A_NUMBER, str(value)),
        )

    def tell_failed(self, number: int, detail: str = "") -> None:
        """Report that evaluation `number` gave no figure of merit, and why.

        Raises:
            SettingsError: `number` was never asked for, or is over.
        """
        self._tell(number, Failed(Cause.REPORTED, detail))

    @property
    def best(self) -> Evaluation | None:
        """The best evaluation; None: none has completed."""
        return self._search.best_evaluation

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations by number."""
        return [self._search.evaluation(number) for number in range(len(self._search.record))]

    @property
    def is_done(self) -> bool:
        """Whether all has been asked for and told."""
        return self._search.is_done

    def close(self) -> None:
        """Let go of the directory."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, number: int, outcome: Outcome) -> None:
        self._search.tell(number, outcome)
        self._search.commit()
