"""Which output of evaluations is kept: that of failed ones and of the best, or all."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.base import Task
from crayai.hpo.records import Completed


class Outputs:
    """The output files of a study.

    Args:
        directory: Where they are.
        search: Knows which evaluation is best.
        keep_all: Whether all are kept.
    """

    def __init__(self, directory: StudyDirectory, search: Search, *, keep_all: bool) -> None:
        self._directory = directory
        self._search = search
        self._keep_all = keep_all
        self._best_kept = search.best

    def sweep(self) -> None:
        """Remove what an earlier driver had no time to remove."""
        for number, path in self._directory.all_outputs():
            outcome = self._search.record.outcome(number) if number < len(self._search.record) else None
            is_spare = isinstance(outcome, Completed) and number != self._search.best and not self._keep_all
            if is_spare or (outcome is not None and path.suffix == ".exit"):
                path.unlink(missing_ok=True)

    def tidy(self, number: int, attempt: int, task: Task) -> None:
        """Remove the output of an evaluation that is over, or if it is the best that of the best before."""
        if self._keep_all or not isinstance(self._search.record.outcome(number), Completed):
            return
        if self._search.point_of(number) == self._search.best:
            remove([] if self._best_kept is None else self._directory.outputs(self._best_kept))
            self._best_kept = number
        elif attempt == 1:
            remove([task.stdout, task.stderr])
        else:
            remove(self._directory.outputs(number))


def remove(paths: Iterable[str | Path]) -> None:
    """Remove files, those that are there."""
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - twice for each evaluation, and three times as fast
