"""Ask and tell, on record: a strategy with its state, its history and its log."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crayai.hpo.engine.streams import Streams
from crayai.hpo.engine.study import Study
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import (
    Asked,
    AttemptFailed,
    Completed,
    Evaluation,
    Event,
    Failed,
    Launched,
    Outcome,
    Suggestion,
    Told,
    fingerprint,
)
from crayai.hpo.store.base import Log
from crayai.hpo.strategy.base import Record
from crayai.hpo.strategy.repeats import RepeatedHistory


class Search:
    """The search as far as it is known; made from its log, and kept in step with it.

    Args:
        study: The settings; its seed must be set.
        log: What happened so far; later events are appended to it, to be committed by the caller.
        held: What is known of evaluations that were not asked for since a damaged log was recovered: by number, in
            its order.

    Attributes:
        record: Every suggestion with its outcome.
        attempts: How often each evaluation was launched, but for finished ones with one attempt.
        failed_attempts: Those of each unfinished evaluation that failed and were to be made again.
        best: The number of the completed evaluation with the least loss, the earlier of equals; of repeated points
            the first evaluation, and their mean loss counts.
        best_loss: Its loss.
        streams: The random numbers of each evaluation.
        failed: How many evaluations have failed.
        ended: How many attempts are known to have ended, and when.
        seconds: How long these ran, all together.
    """

    def __init__(self, study: Study, log: Log, held: Mapping[int, Sequence[Event]] | None = None) -> None:
        if study.seed is None:
            raise SettingsError("a search needs a seed")
        self.study = study
        self.record = Record()
        self.attempts: dict[int, int] = {}
        self.failed_attempts: dict[int, list[AttemptFailed]] = {}
        self.ended = 0
        self.seconds = 0.0
        self.best: int | None = None
        self.best_loss: float | None = None
        self.failed = 0
        self.completed = 0
        self.streams = Streams(study.seed)
        self._log = log
        self._held = dict(held or {})
        self._state: Any = study.algorithm.start()
        for event in log.events():
            self._take_in(event)

    @property
    def usual_seconds(self) -> float:
        """How long an attempt took on average; 0: none has ended."""
        return self.seconds / max(1, self.ended)

    @property
    def is_done(self) -> bool:
        """Whether all evaluations are over."""
        return self.study.algorithm.is_done(self._state)

    @property
    def resumable(self) -> Collection[int]:
        """The evaluations that a later suggestion may train on from."""
        return self.study.algorithm.resumable(self._state)

    @property
    def best_evaluation(self) -> Evaluation | None:
        """The best evaluation, with the mean figure of merit of its repeats; None: nothing has completed."""
        if self.best is None or self.best_loss is None:
            return None
        return replace(self.evaluation(self.best), fom=self.study.loss(self.best_loss))

    @property
    def default_loss(self) -> float | None:
        """The loss of the default point, the first one; None: not completed."""
        return self._point_loss(0) if len(self.record) else None

    def unfinished(self) -> list[Asked]:
        """Return the evaluations without an outcome."""
        return [Asked(number, self.record.suggestion(number)) for number in self.record.unfinished()]

    def next_attempt(self, number: int) -> int:
        """Return the number of the next attempt at an evaluation, from 1."""
        at_least = 0 if self.record.outcome(number) is None else 1
        return self.attempts.get(number, at_least) + 1

    def is_over(self, number: int) -> bool:
        """Return whether an evaluation has an outcome."""
        return self.record.outcome(number) is not None

    def has_failed(self, number: int, attempt: int) -> bool:
        """Return whether this attempt is on record as failed, and another is to be made."""
        return any(failed.attempt == attempt for failed in self.failed_attempts.get(number, ()))

    def evaluation(self, number: int) -> Evaluation:
        """Return evaluation `number` with its outcome, for people."""
        s, outcome = self.record.suggestion(number), self.record.outcome(number)
        fom = self.study.loss(outcome.loss) if isinstance(outcome, Completed) else None
        failure = f"{outcome.cause}: {outcome.detail}" if isinstance(outcome, Failed) else ""
        return Evaluation(number, s.values, fom, failure, s.generation, s.deme, s.parents, s.resume_from)

    def ask(self) -> Asked | None:
        """Return the next evaluation that is not over; None: not before another outcome, or no more."""
        asked = self.ask_next()
        while asked is not None and self.record.outcome(asked.number) is not None:
            asked = self.ask_next()
        return asked

    def ask_next(self) -> Asked | None:
        """Return the next evaluation, over if its outcome was held; None: not before another outcome, or no more."""
        number = len(self.record)
        suggestion: Suggestion | None = self.study.algorithm.ask(self._state, self.record, self.streams.of(number))
        if suggestion is None:
            return None
        asked, others = self._with_held(Asked(number, suggestion))
        for event in (asked, *others):
            self.append(event)
        return asked

    def _with_held(self, drawn: Asked) -> tuple[Asked, Sequence[Event]]:
        """Return an evaluation with what is held of it.

        A held suggestion takes the place of the one that is drawn: what was drawn once is not drawn again. Where it
        was lost, an outcome is taken that proves to be of the values that are drawn.
        """
        held = self._held.pop(drawn.number, ())
        if held and isinstance(held[0], Asked):
            return held[0], held[1:]
        proof = fingerprint(drawn.suggestion.values) if held else None
        return drawn, [event for event in held if not isinstance(event, Told) or event.proof == proof]

    def tell(self, number: int, outcome: Outcome, seconds: float | None = None) -> Told:
        """Take in what became of evaluation `number`, whose last attempt ran for `seconds`.

        Raises:
            SettingsError: It was never asked for, or is over.
        """
        if not 0 <= number < len(self.record):
            raise SettingsError(f"evaluation {number} was never asked for; {len(self.record)} were")
        if self.record.outcome(number) is not None:
            raise SettingsError(f"evaluation {number} was told before")
        told = Told(number, outcome, seconds, fingerprint(self.record.suggestion(number).values))
        self.append(told)
        return told

    def append(self, event: Event) -> None:
        """Record `event`, and learn of it."""
        self._log.append(event)
        self._take_in(event)

    def commit(self) -> None:
        """Make durable what was appended."""
        self._log.commit()

    def _take_in(self, event: Event) -> None:
        if isinstance(event, AttemptFailed | Told) and event.seconds is not None:
            self.ended += 1
            self.seconds += event.seconds
        if isinstance(event, Launched):
            self.attempts[event.number] = event.attempt
        elif isinstance(event, AttemptFailed):
            self.failed_attempts.setdefault(event.number, []).append(event)
        else:
            self._fold(event)

    def _fold(self, event: Asked | Told) -> None:
        self.record.append(event)
        self._state = self.study.algorithm.fold(self._state, event)
        if isinstance(event, Told):
            if self.attempts.get(event.number) == 1:
                del self.attempts[event.number]  # most have one, and next_attempt knows
            self.failed_attempts.pop(event.number, None)
            self._count(event)

    def point_of(self, number: int) -> int:
        """Return the number of the first evaluation of the same point: itself, unless points are repeated."""
        return number - number % self.study.strategy.repeats

    def _count(self, told: Told) -> None:
        if isinstance(told.outcome, Failed):
            self.failed += 1
            return
        self.completed += 1
        point = self.point_of(told.number)
        loss = self._point_loss(point)
        if loss is None:
            return
        if self.best is None or self.best_loss is None or (loss, point) < (self.best_loss, self.best):
            self.best, self.best_loss = point, loss

    def _point_loss(self, point: int) -> float | None:
        """Return the mean loss of all repeats of a point; None: one has failed, or is not over."""
        repeats = self.study.strategy.repeats
        if point + repeats > len(self.record):
            return None
        outcome = RepeatedHistory(self.record, repeats).outcome(point // repeats)
        return outcome.loss if isinstance(outcome, Completed) else None
