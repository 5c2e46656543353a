"""Which points the doctor runs: the default one again and again, others, and each flag changed alone."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from crayai.hpo.engine.streams import Streams, program_seed
from crayai.hpo.engine.study import Study
from crayai.hpo.records import Value, Values
from crayai.hpo.space.base import Hyperparameter
from crayai.hpo.strategy.operators import uniform_point

BAD_VALUE = "crayai-doctor"
"""What no number can be, and no choice is likely to."""

_TRIES = 1000
_GRID = 5
_QUARTER = 0.25


class Role(StrEnum):
    """What a probe is for."""

    DEFAULT = "the default point"
    AGAIN = "the default point again, with the same seed"
    SEED = "the default point with another seed"
    POINT = "another point"
    BASE = "a point where a flag is active"
    FLAG = "one flag changed alone"
    BOUND = "one flag changed alone, to a bound"
    BAD = "a value that cannot be"
    WINDOW = "a second window"


Everything = tuple[Value, ...]
"""A value for each hyperparameter, in the order of the space, be it active or not."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One run of the program.

    Attributes:
        number: Counts from 0; the program has it as ``CRAYAI_EVALUATION``.
        role: What it is for.
        everything: What the values are made of.
        values: What the program receives.
        seed: What it has as ``CRAYAI_SEED``.
        flag: The one that differs from the probe `base`; empty: none.
        base: The number of that probe.
        window: How often the model was trained before.
        load: The number of the probe whose checkpoint it goes on from; None: from scratch.
    """

    number: int
    role: Role
    everything: Everything
    values: Values
    seed: int
    flag: str = ""
    base: int = 0
    window: int = 0
    load: int | None = None


class Prober:
    """Makes probes, numbered in turn; the same for the same study.

    All but those with the role ``SEED`` have one seed, so that what differs between them is the flags' doing.

    Attributes:
        never_active: Flags that were active at no point that could be found.
    """

    def __init__(self, study: Study) -> None:
        self._space = study.space
        self._seed = study.seed or 0
        self._streams = Streams(self._seed)
        self._made: list[Probe] = []
        self.never_active: list[str] = []

    def default(self) -> Probe:
        """Return the point that the study will begin with."""
        places = uniform_point(self._space, self._streams.of(0))
        return self._add(
            Role.DEFAULT,
            tuple(
                h.value(place) if h.default is None else h.default
                for h, place in zip(self._space.hyperparameters, places, strict=True)
            ),
        )

    def others(self, *, quick: bool) -> list[Probe]:
        """Return what to run after the default point; if `quick`, no flag alone."""
        default = self._made[0]
        self._add(Role.AGAIN, default.everything)
        self._add(Role.SEED, default.everything)
        for _ in range(2):
            self._add(Role.POINT, self._random())
        for i in () if quick else self._space.order:
            if i in self._space.searched:
                self._add_flag(i, self._base_of(self._space.flags[i]))
        if flag := self._flag_to_spoil(default.values):
            self._add(Role.BAD, default.everything, flag, values={**default.values, flag: BAD_VALUE})
        return self._made[1:]

    def closer(self, suspects: Sequence[str], bases: Sequence[Probe], *, is_noisy: bool) -> list[Probe]:
        """Return a second look at the noise, if there is some, and at `suspects`: their bounds, where they are active.

        Args:
            suspects: Flags that seem to have no effect.
            bases: Probes that may be changed: the first that will do, and the last random point.
            is_noisy: Whether the default point has several figures of merit.
        """
        start = len(self._made)
        for flag in suspects:
            active = [base for base in bases if flag in base.values and base.flag != flag]
            others = [base for base in active if base.role is Role.POINT]
            for base in {base.number: base for base in (*active[:1], *others[-1:])}.values():
                self._add_flag(self._space.flags.index(flag), base, Role.BOUND)
        for _ in range(2 if is_noisy else 0):
            self._add(Role.SEED, self._made[0].everything)
        return self._made[start:]

    def second_window(self, values: Values, load: int | None, flag: str = "") -> Probe:
        """Return a second window with `values`, of which `flag` is to be watched; all have one seed, another one."""
        probe = Probe(
            number=len(self._made),
            role=Role.WINDOW,
            everything=(),
            values=values,
            seed=program_seed(self._seed, 1),
            flag=flag,
            window=1,
            load=load,
        )
        self._made.append(probe)
        return probe

    def moved(self, probe: Probe, flags: Collection[str], *, to_bound: bool = False) -> Values:
        """Return the values of a probe with `flags` moved far within their ranges, or to a bound."""
        everything = list(probe.everything)
        for i, hyperparameter in enumerate(self._space.hyperparameters):
            if hyperparameter.flag in flags:
                everything[i] = far_value(hyperparameter, everything[i], to_bound)
        return self._space.only_active(tuple(everything))

    def _add(
        self, role: Role, everything: Everything, flag: str = "", base: int = 0, values: Values | None = None
    ) -> Probe:
        number = len(self._made)
        probe = Probe(
            number=number,
            role=role,
            everything=everything,
            values=self._space.only_active(everything) if values is None else values,
            seed=program_seed(self._seed, number if role is Role.SEED else 0),
            flag=flag,
            base=base,
        )
        self._made.append(probe)
        return probe

    def _add_flag(self, i: int, base: Probe | None, role: Role = Role.FLAG) -> None:
        """Change one flag of `base`."""
        hyperparameter = self._space.hyperparameters[i]
        if base is None:
            self.never_active.append(hyperparameter.flag)
            return
        changed = _with(base.everything, i, far_value(hyperparameter, base.everything[i], role is Role.BOUND))
        self._add(role, changed, hyperparameter.flag, base.number)

    def _base_of(self, flag: str) -> Probe | None:
        """Return the probe nearest to the default point where `flag` is active; one is added if there is none."""
        default = self._made[0].everything
        bases = [p for p in self._made if p.role in (Role.DEFAULT, Role.POINT, Role.FLAG, Role.BASE)]
        active = [probe for probe in bases if flag in probe.values]
        if active:
            return min(active, key=lambda p: sum(a != b for a, b in zip(p.everything, default, strict=True)))
        found = next((e for e in self._candidates(default) if flag in self._space.only_active(e)), None)
        return None if found is None else self._add(Role.BASE, found)

    def _candidates(self, default: Everything) -> Iterator[Everything]:
        """Return points near the default one, then any."""
        for i, hyperparameter in enumerate(self._space.hyperparameters):
            yield from (_with(default, i, value) for value in hyperparameter.grid(_GRID))
        yield from (self._random(number) for number in range(_TRIES))

    def _random(self, number: int | None = None) -> Everything:
        stream = self._streams.of(len(self._made) if number is None else number)
        places = uniform_point(self._space, stream)
        return tuple(h.value(place) for h, place in zip(self._space.hyperparameters, places, strict=True))

    def _flag_to_spoil(self, values: Values) -> str:
        """Return the flag to give a value that cannot be: a number's, rather than a word's; empty: none."""
        flags = [flag for flag in values if self._space[flag].pass_as != "switch"]
        return min(flags, key=lambda flag: (not is_number(values[flag]), self._space[flag].size == 1), default="")


def far_value(hyperparameter: Hyperparameter, value: Value, to_bound: bool = False) -> Value:
    """Return the bound that is farther away, or a value a quarter from it: well inside, where programs should work."""
    low, high = (0.0, 1.0) if to_bound else (_QUARTER, 1 - _QUARTER)
    return hyperparameter.value(low if hyperparameter.place(value) >= 0.5 else high)  # noqa: PLR2004 - the middle


def is_number(value: Value) -> bool:
    """Return whether the program receives a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with(everything: Everything, i: int, value: Value) -> Everything:
    return (*everything[:i], value, *everything[i + 1 :])
