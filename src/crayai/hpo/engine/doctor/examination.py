"""What the doctor's runs have shown."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from crayai.hpo.engine.doctor.bench import Run
from crayai.hpo.engine.doctor.probes import Role
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.study import Study

_IQR_OF_NORMAL = 1.349
_BEYOND_CHANCE = 10


@dataclass(frozen=True, slots=True)
class Litter:
    """What the program leaves where it starts.

    Attributes:
        files: That the first run wrote.
        overwritten: Those of them that later runs wrote anew, while these made no files of other names.
    """

    files: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """What second windows have shown: those that go on from the checkpoint of the first run, and one from scratch.

    Attributes:
        first: The first window.
        loaded: A second one, with the same values, that goes on from it.
        again: The same again, with the same seed.
        fresh: The same with nothing to load.
        is_fine: Whether different points have different figures of merit.
        repeats: The same as `again`, where that was no exact repetition: chance takes more than two runs to be known.
        first_chance: How much the figure of merit of the first window varies with the same seed.
        pairs: For each flag that was changed alone, runs with the one value and the other, all from one checkpoint.
        untried: Flags that were not, for there were too many.
        together: A run with all flags changed; where that made no difference, the same from scratch.
        is_source_changed: Whether the checkpoint of the first window is another one now.
    """

    first: Run
    loaded: Run
    again: Run
    fresh: Run
    is_fine: bool = True
    repeats: tuple[Run, ...] = ()
    first_chance: float = 0.0
    pairs: Mapping[str, Sequence[tuple[Run, Run]]] = field(default_factory=dict)
    untried: tuple[str, ...] = ()
    together: tuple[Run, ...] = ()
    is_source_changed: bool = False

    @property
    def chance(self) -> float:
        """How much figures of merit vary with the same seed; in the window where it is more, for it may be luck."""
        foms = [run.fom for run in (self.loaded, self.again, *self.repeats) if run.fom is not None]
        return max(self.first_chance, max(foms, default=0.0) - min(foms, default=0.0))

    def differ(self, a: Run, b: Run) -> bool:
        """Return whether two figures of merit differ by more than chance; a failure differs from any."""
        return a.fom is None or b.fom is None or abs(a.fom - b.fom) > _BEYOND_CHANCE * self.chance

    def are_alike(self, a: Run, b: Run) -> bool:
        """Return whether two runs that do not differ are alike for certain, not because of a coarse figure of merit."""
        is_telling = self.loaded.saved.digest == self.again.saved.digest
        return self.is_fine or not is_telling or a.saved.digest == b.saved.digest

    @property
    def is_ignored(self) -> bool:
        """Whether it makes no difference what there is to load, or none that can be told from chance."""
        return not self.differ(self.loaded, self.fresh)

    @property
    def is_idle(self) -> bool:
        """Whether a second window trains nothing."""
        same = not self.is_ignored and self.loaded.fom == self.first.fom
        return same and self.are_alike(self.loaded, self.first)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What the runs have shown.

    Attributes:
        study: Its seed is set.
        settings: How evaluations are run.
        runs: By number.
        litter: What they left behind.
        never_active: Flags that were active at no point.
        room: The free bytes where the directory of the study will be; None: not known.
        checkpoint_room: The free bytes where its checkpoints will be.
        strays: Files that the first run left in a directory of its own.
        saved_at_load: Files that it left where nothing was to load.
        training: What second windows have shown; None: there were none.
        surroundings: What was seen in the place of the program, see `sight`.
    """

    study: Study
    settings: EvaluationSettings
    runs: tuple[Run, ...]
    litter: Litter = field(default_factory=Litter)
    never_active: tuple[str, ...] = ()
    room: int | None = None
    checkpoint_room: int | None = None
    strays: tuple[str, ...] = ()
    saved_at_load: tuple[str, ...] = ()
    training: Training | None = None
    surroundings: str = ""

    @property
    def default(self) -> Run:
        """The first run, at the default point."""
        return self.runs[0]

    def of(self, *roles: Role) -> list[Run]:
        """Return the runs for a purpose."""
        return [run for run in self.runs if run.probe.role in roles]

    @property
    def points(self) -> list[Run]:
        """The runs with one seed at different points."""
        return self.of(Role.DEFAULT, Role.POINT, Role.BASE, Role.FLAG)

    @property
    def sound(self) -> list[Run]:
        """The runs as a study's evaluations are, where they do not fail."""
        return [run for run in self.runs if run.fom is not None and run.probe.role is not Role.BAD]

    @cached_property
    def flags(self) -> dict[str, list[tuple[Run, Run]]]:
        """For each flag that was changed alone, the runs with the one value and the other."""
        pairs: dict[str, list[tuple[Run, Run]]] = {}
        for run in self.of(Role.FLAG, Role.BOUND):
            pairs.setdefault(run.probe.flag, []).append((self.runs[run.probe.base], run))
        return pairs

    @property
    def without_effect(self) -> list[str]:
        """Flags that leave the figure of merit as it is wherever they were changed."""
        return [flag for flag, pairs in self.flags.items() if all(a.fom == b.fom is not None for a, b in pairs)]

    @property
    def is_fine(self) -> bool:
        """Whether no two points have the same figure of merit, but for flags without effect."""
        silent = self.without_effect
        foms = [run.fom for run in self.points if run.fom is not None and run.probe.flag not in silent]
        return len(set(foms)) == len(foms)

    @property
    def is_repeatable(self) -> bool:
        """Whether the same seed gave the same figure of merit."""
        return all(run.fom == self.default.fom for run in self.of(Role.AGAIN))

    @property
    def at_default(self) -> list[float]:
        """The figures of merit at the default point, that of the repetition with the same seed second."""
        runs = [self.default, *self.of(Role.AGAIN, Role.SEED)]
        return [run.fom for run in runs if run.fom is not None]

    @property
    def noise(self) -> float:
        """The standard deviation at the default point; a repetition that agrees with the first is no other run."""
        first, *others = self.at_default
        values = [first, *(others[1:] if self.is_repeatable else others)]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def spread(self) -> float:
        """The standard deviation among different points, from the quartiles, for one very bad point says little."""
        values = [run.fom for run in self.points if run.fom is not None]
        if len(values) < 2:  # noqa: PLR2004 - there is nothing to compare
            return 0.0
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / _IQR_OF_NORMAL
