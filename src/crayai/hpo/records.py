"""Frozen facts that travel between the rooms: what was suggested, what became of it, what happened when."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from zlib import crc32

from crayai.hpo.errors import SettingsError

Value = bool | int | float | str
"""What a hyperparameter may be."""

Values = Mapping[str, Value]
"""The active hyperparameters of one suggestion, by flag, in the order of the space."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a strategy asks to be evaluated.

    Attributes:
        values: What the program receives; an inactive hyperparameter is not in it.
        generation: The round of the search that it belongs to, from 0.
        deme: The subpopulation that it belongs to, from 0.
        parents: Numbers of the evaluations that it descends from.
        resume_from: Number of the evaluation whose checkpoint it trains on from.
    """

    values: Values
    generation: int = 0
    deme: int = 0
    parents: tuple[int, ...] = ()
    resume_from: int | None = None


def fingerprint(values: Values) -> int:
    """Return a checksum of values and their order."""
    return crc32(repr(tuple(values.items())).encode())


class Cause(StrEnum):
    """Why an evaluation has no usable figure of merit."""

    EXIT_CODE = "exit code"
    SIGNAL = "signal"
    TIME_LIMIT = "time limit"
    OUT_OF_MEMORY = "out of memory"
    NO_ROOM = "no room for files"
    NO_FOM = "no figure of merit"
    NO_CHECKPOINT = "no checkpoint"
    NOT_A_NUMBER = "not a number"
    NOT_STARTED = "could not start"
    LOST = "lost"
    NODE_FAILURE = "node failure"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    REPORTED = "reported as failed"


@dataclass(frozen=True, slots=True)
class Completed:
    """The program printed a figure of merit.

    Attributes:
        loss: The figure of merit turned so that less is better; finite.
    """

    loss: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.loss):
            raise SettingsError(f"a loss must be finite, got {self.loss!r}; report a failed evaluation instead")


@dataclass(frozen=True, slots=True)
class Failed:
    """The program gave no usable figure of merit: ranked behind every completed evaluation."""

    cause: Cause
    detail: str = ""


Outcome = Completed | Failed


def loss_of(outcome: Outcome) -> float:
    """Return what to rank by: the loss, or infinity for a failed evaluation."""
    return outcome.loss if isinstance(outcome, Completed) else math.inf


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A numbered suggestion with what became of it, as people ask for it.

    Attributes:
        number: Counts from 0.
        values: What the program received.
        fom: The figure of merit as printed; None: failed, or not over.
        failure: Why it failed; empty: it did not.
        generation: The round of the search, from 0.
        deme: The subpopulation, from 0.
        parents: Numbers of the evaluations that it descends from.
        resume_from: Number of the evaluation whose checkpoint it trained on from.
    """

    number: int
    values: Values
    fom: float | None
    failure: str
    generation: int
    deme: int
    parents: tuple[int, ...]
    resume_from: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A strategy suggested evaluation `number`."""

    number: int
    suggestion: Suggestion


@dataclass(frozen=True, slots=True)
class Launched:
    """An attempt at evaluation `number` is about to be handed to a launcher; attempts count from 1."""

    number: int
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt at evaluation `number` gave no outcome; another one is to be made.

    Attributes:
        number: The evaluation.
        attempt: Counts from 1.
        failed: Why.
        seconds: How long it ran; None: not known.
        location: Where it ran; empty: not known.
    """

    number: int
    attempt: int
    failed: Failed
    seconds: float | None = None
    location: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """Evaluation `number` is over.

    Attributes:
        number: The evaluation.
        outcome: What became of it.
        seconds: How long its last attempt ran; None: not known.
        proof: The `fingerprint` of its values, by which a damaged log can be put together again; None: not known.
    """

    number: int
    outcome: Outcome
    seconds: float | None = None
    proof: int | None = field(default=None, compare=False, repr=False)


Event = Asked | Launched | AttemptFailed | Told
