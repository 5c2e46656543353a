"""What a study will take: evaluations, time, room on the disk."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from crayai.hpo.engine.checkpoints import Keep
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.study import Study
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked, Completed, Launched, Suggestion, Told, Values
from crayai.hpo.store.query import Reader
from crayai.hpo.store.sqlite import SqliteLog
from crayai.hpo.strategy.genetic import Genetic
from crayai.hpo.strategy.population_training import PopulationTraining
from crayai.hpo.strategy.repeats import Repeated

_SAMPLE = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_FACTORS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@dataclass(frozen=True, slots=True)
class Rounds:
    """The shape of a search: `number` rounds of `size` evaluations, and a `rest`.

    Attributes:
        number: How many rounds.
        size: Evaluations of each.
        rest: Evaluations of one that a budget cuts short.
        name: What a round is called.
        wait: Whether each is over before the next begins; else each evaluation waits for one of the round before.
    """

    number: int
    size: int
    rest: int = 0
    name: str = "generation"
    wait: bool = True

    @property
    def evaluations(self) -> int:
        """How many there will be."""
        return self.number * self.size + self.rest


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a study will take.

    Attributes:
        rounds: Its shape.
        slots: How many evaluations run at once.
        seconds: How long evaluations took; a sample.
        log_bytes: What the log will be.
        output_bytes: What an evaluation prints, where that is kept; None: not known.
        directory_bytes: What an evaluation leaves in a directory of its own; None: not known.
        checkpoint_bytes: What checkpoints take at any time at most; None: not known.
        nodes_held: Nodes that the study has from its beginning to its end.
        nodes_each: Nodes that each evaluation has while it runs, if none are held; None: they are.
    """

    rounds: Rounds
    slots: int
    seconds: Sequence[float]
    log_bytes: float
    output_bytes: float | None = None
    directory_bytes: float | None = None
    checkpoint_bytes: float | None = None
    nodes_held: int = 1
    nodes_each: float | None = None

    def __post_init__(self) -> None:
        if not self.seconds:
            raise SettingsError("an estimate needs to know how long an evaluation takes, got no time")

    @property
    def mean_seconds(self) -> float:
        """Of an evaluation."""
        return math.fsum(self.seconds) / len(self.seconds)

    def total_seconds(self, slots: int | None = None) -> float:
        """Return how long the study takes, on `slots` if they are given."""
        slots = slots or self.slots
        if not self.rounds.wait:
            at_once = min(slots, self.rounds.size)
            chain = self.rounds.number + bool(self.rounds.rest)
            busy = max(self.rounds.evaluations / at_once, chain) * self.mean_seconds
            return busy + longest_of(self.seconds, at_once) - self.mean_seconds
        each, rest = (self._round_seconds(size, slots) for size in (self.rounds.size, self.rounds.rest))
        return self.rounds.number * each + rest

    def _round_seconds(self, size: int, slots: int) -> float:
        """Return how long a round takes: so many waves, of which the last one ends with its slowest evaluation."""
        if size == 0:
            return 0.0
        waves = -(-size // slots)
        return (waves - 1) * self.mean_seconds + longest_of(self.seconds, min(slots, size))

    @property
    def node_hours(self) -> float:
        """Nodes times the hours for which the study has them."""
        if self.nodes_each is not None:
            return self.rounds.evaluations * self.mean_seconds * self.nodes_each / _HOUR
        return self.total_seconds() * self.nodes_held / _HOUR

    @property
    def bytes(self) -> float:
        """What the directory of the study will hold, as far as it is known."""
        return self.log_bytes + self.rounds.evaluations * ((self.output_bytes or 0) + (self.directory_bytes or 0))


def nodes_of(settings: EvaluationSettings) -> tuple[int, float | None]:
    """Return how many nodes are held all the time, and if none are, how many each evaluation has; see `Estimate`."""
    cluster = settings.cluster
    if settings.urika is not None:
        return settings.urika.nodes, None
    if settings.has_workers or (cluster is not None and not cluster.has_steps):
        return 0, settings.nodes_per_evaluation
    return cluster.nodes if cluster else 1, None


def rounds_of(study: Study, at_most: int | None = None) -> Rounds:
    """Return the shape of the search, if there are `at_most` so many evaluations.

    Raises:
        SettingsError: Nobody knows it beforehand.
    """
    total = study.algorithm.evaluations
    if total is None:
        raise SettingsError(
            "how many points the grid has is not known beforehand, for conditions rule out some of very many; "
            "choose a smaller grid_size for an estimate"
        )
    inner = study.algorithm.strategy if isinstance(study.algorithm, Repeated) else study.algorithm
    name, wait, size = "generation", True, total
    if isinstance(inner, Genetic):
        size = inner.generation_size * study.strategy.repeats
    elif isinstance(inner, PopulationTraining):
        name, wait, size = "window", inner.lag == 0, inner.population
    number, rest = divmod(min(total, at_most or total), size)
    return Rounds(number, size, rest, name, wait) if number else Rounds(1, rest, 0, name, wait)


def checkpoints_at_once(study: Study, keep: Keep, slots: int) -> int:
    """Return how many checkpoints there are at most: two of each member, or all, or the best and those being made."""
    if keep == "all":
        return rounds_of(study).evaluations
    return 2 * rounds_of(study).size if study.trains_on else 1 + slots


def checkpoint_bytes(study: Study, settings: EvaluationSettings, sizes: Sequence[int]) -> float | None:
    """Return what checkpoints of such sizes take at any time at most; None: there are none."""
    count = checkpoints_at_once(study, settings.keep, settings.capacity) if study.uses_checkpoints else 0
    return count * max(sizes, default=0) or None


def longest_of(seconds: Sequence[float], draws: int) -> float:
    """Return the expected greatest of `draws` from a sample: of n values, the i-th least with (i/n)^k - ((i-1)/n)^k."""
    n = len(seconds)
    return math.fsum(
        second * ((i / n) ** draws - ((i - 1) / n) ** draws) for i, second in enumerate(sorted(seconds), start=1)
    )


def log_bytes(values: Values, evaluations: int) -> float:
    """Return how large the log of so many evaluations with `values` is; found out by writing some."""
    with TemporaryDirectory(prefix="crayai-estimate-") as directory:
        path = Path(directory) / "study.db"
        with SqliteLog(path):
            pass
        empty = path.stat().st_size
        with SqliteLog(path) as log:
            for number in range(_SAMPLE):
                for event in (
                    Asked(number, Suggestion(values, parents=(number, number))),
                    Launched(number, 1),
                    Told(number, Completed(number / _SAMPLE), 1.0),
                ):
                    log.append(event)
            log.commit()
        return empty + evaluations * (path.stat().st_size - empty) / _SAMPLE


def recorded_seconds(log: Path, study: Study) -> list[float]:
    """Return how long evaluations took that a log knows of; none where there is no log, or of another command."""
    if not log.exists():
        return []
    with Reader(log) as reader:
        if reader.settings().get("command") != study.command:
            return []
        return [e.seconds for e in reader.events() if isinstance(e, Told) and e.seconds is not None]


def span(seconds: float) -> str:
    """Return a time span in words, such as ``40 ms``, ``1.2 s`` or ``2 h 40 min``."""
    if seconds < 0.1:  # noqa: PLR2004 - a tenth
        return f"{max(1, round(1000 * seconds))} ms"
    whole = round(seconds)
    if whole < 10:  # noqa: PLR2004 - from here on tenths of a second matter to nobody
        return f"{seconds:.2g} s"
    for unit, name, next_unit, next_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            first, rest = divmod(round(whole / next_unit), unit // next_unit)
            return f"{first} {name} {rest} {next_name}" if rest else f"{first} {name}"
    return f"{whole} s"


def size(number: float) -> str:
    """Return a number of bytes in words, such as ``12 kB``."""
    for name, factor in _FACTORS:
        if number >= factor:
            return f"{number / factor:.2g} {name}" if number < 100 * factor else f"{number / factor:.0f} {name}"
    return f"{number:.0f} B"
