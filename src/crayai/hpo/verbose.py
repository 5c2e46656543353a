"""What a script prints: with `verbose` the settings, a line for each evaluation and the best; notices always."""

import sys
from contextlib import suppress
from pathlib import Path

from crayai import __version__
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.records import Event, Launched, Told
from crayai.hpo.report.words import evaluation_line, settings_block


class Verbose:
    """Prints what happens.

    Args:
        root: The directory of the study.
        settings: How evaluations are run.
        lines: Whether to print settings, evaluations and the best.
        output: Whether to print these and what the programs print.
        moved_to: Where an earlier study was moved; None: nothing was in the way.
    """

    def __init__(
        self, root: Path, settings: EvaluationSettings, *, lines: bool, output: bool, moved_to: Path | None
    ) -> None:
        self._directory = StudyDirectory(root)
        self._settings = settings
        self._lines = lines or output
        self._output = output
        self._moved_to = moved_to
        self._attempts: dict[int, int] = {}

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:  # noqa: ARG002 - not shown
        """Print the settings, and whether this is a new study."""
        self._attempts = dict(search.attempts)
        if self._moved_to is not None:
            self.notice(f"the earlier study is now in {self._moved_to}")
        if was_resumed:
            done = search.completed + search.failed
            self.notice(f"going on with the unfinished study in {self._directory.root}: {done} evaluations are over")
        if self._lines:
            print(f"crayai {__version__}")  # noqa: T201 - the user asked for it
            print(settings_block(search.study.settings(), str(self._directory.root), self._settings.capacity))  # noqa: T201

    def event(self, event: Event, search: Search) -> None:
        """Print what became of an evaluation."""
        if isinstance(event, Launched):
            self._attempts[event.number] = event.attempt
        if not isinstance(event, Told) or not self._lines:
            return
        print(evaluation_line(search.evaluation(event.number), search.best_evaluation), flush=True)  # noqa: T201
        attempt = self._attempts.pop(event.number, 1)
        if self._output:
            self._copy(self._directory.output(event.number, attempt) + ".out")

    def notice(self, text: str) -> None:
        """Print `text` beside the output."""
        print(f"crayai: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def end(self, search: Search) -> None:
        """Print the best."""
        best = search.best_evaluation
        if not self._lines or best is None:
            return
        words = [f"Best: {best.fom:g}", search.study.filled_command.arguments_line(best.values)]
        print(" ".join(words), flush=True)  # noqa: T201

    @staticmethod
    def _copy(path: str) -> None:
        with suppress(FileNotFoundError), Path(path).open(encoding="utf-8", errors="replace") as file:
            for line in file:
                sys.stdout.write(line)
        sys.stdout.flush()
