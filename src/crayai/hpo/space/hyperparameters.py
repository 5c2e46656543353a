"""The kinds of hyperparameter: a value's place in the unit interval, and back.

A strategy works in the unit cube. Each kind maps the interval [0, 1] onto its values so that equal lengths
are equally likely: a range of integers or a list of choices is cut into cells of equal size (equal on the log
scale where the range is log), and a value's place is the middle of its cell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from crayai.hpo.errors import SpaceError
from crayai.hpo.records import Value
from crayai.hpo.space.base import PassAs, as_text, eight_digits
from crayai.hpo.space.checks import (
    as_number,
    cell_at,
    check_common,
    check_range,
    check_truth,
    check_values,
    checked_choices,
    checked_start,
    distance,
    make_plain,
    middle_of,
    steps_within,
    warn_outside,
)


@dataclass(frozen=True)
class Float:
    """A real number between `low` and `high`, bounds included.

    Args:
        flag: The name, as on the command line.
        low: The least value.
        high: The greatest value.
        default: Where the search starts; None: drawn at random.
        log: Search the logarithm; needs low > 0.
        step: Only low, low + step, low + 2 step …; not with `log`.
        start: The range that the first generation is drawn from, within the bounds; None: all of it.
        structural: Whether it is inherited with a model's weights, and never perturbed.
        when: A condition on other hyperparameters, such as ``"--optimizer == 'sgd'"``.
        pass_as: How a value reaches the program.
    """

    flag: str
    low: float
    high: float
    default: float | None = None
    log: bool = False
    step: float | None = None
    when: str | None = None
    pass_as: PassAs = "flag=value"
    start: tuple[float, float] | None = None
    structural: bool = False

    def __post_init__(self) -> None:
        check_common(self.flag, self.pass_as, self.when)
        make_plain(self, "low", "high", "step", "default")
        check_range(self.flag, self.low, self.high, log=self.log, step=self.step)
        for name in ("low", "high", "step"):
            if (number := getattr(self, name)) is not None:
                object.__setattr__(self, name, float(number))
        check_truth(self.flag, "structural", self.structural)
        object.__setattr__(self, "start", checked_start(self.flag, self.start, self.low, self.high, self.step))
        if self.default is None:
            return
        default = eight_digits(as_number(self.flag, self.default))
        if self.low <= self.default <= self.high:
            default = self._inside(default)
        else:
            warn_outside(self.flag, self.default, f"{self.low!r}..{self.high!r}")
        object.__setattr__(self, "default", default)

    @property
    def size(self) -> int | None:
        """The number of steps, or None for a continuum."""
        if self.step is None:
            return None
        return math.floor((self.high - self.low) / self.step * (1 + 1e-12)) + 1

    @property
    def is_ordered(self) -> bool:
        """Numbers are ordered."""
        return True

    def value(self, place: float) -> float:
        """Return the value at `place` in [0, 1], with eight significant digits and within the bounds."""
        if self.step is not None:
            return self._inside(self.low + cell_at(place, self.size or 1) * self.step)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self._inside(math.exp(low + place * (high - low)))
        return self._inside(self.low + place * (self.high - self.low))

    def start_place(self, place: float) -> float:
        """Return `place` of the range to start from as a place of the whole; steps are equally likely."""
        if self.start is None:
            return place
        if self.step is not None:
            first, cells = steps_within(self.start, self.low, self.step)
            return middle_of(first + cell_at(place, cells), self.size or 1)
        bottom, top = map(self.place, self.start)
        return bottom + place * (top - bottom)

    def place(self, value: Value) -> float:
        """Return the place of `value` in [0, 1]."""
        number = min(max(as_number(self.flag, value), self.low), self.high)
        if self.step is not None:
            cell = round((number - self.low) / self.step)
            return middle_of(min(cell, (self.size or 1) - 1), self.size or 1)
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def grid(self, points: int) -> list[Value]:
        """Return `points` equidistant values (on the log scale if `log`)."""
        if points == 1:
            return [self.value(0.5)]
        if self.size is not None and self.size <= points:
            return [self.value(middle_of(cell, self.size)) for cell in range(self.size)]
        return list(dict.fromkeys(self.value(i / (points - 1)) for i in range(points)))

    def _inside(self, value: float) -> float:
        return min(max(eight_digits(value), self.low), self.high)


@dataclass(frozen=True)
class Int:
    """A whole number between `low` and `high`, bounds included.

    Args:
        flag: The name, as on the command line.
        low: The least value.
        high: The greatest value.
        default: Where the search starts; None: drawn at random.
        log: Search the logarithm; needs low ≥ 1.
        step: Only low, low + step, low + 2 step …; not with `log`.
        start: The range that the first generation is drawn from, within the bounds; None: all of it.
        structural: Whether it is inherited with a model's weights, and never perturbed.
        when: A condition on other hyperparameters.
        pass_as: How a value reaches the program.
    """

    flag: str
    low: int
    high: int
    default: int | None = None
    log: bool = False
    step: int = 1
    when: str | None = None
    pass_as: PassAs = "flag=value"
    start: tuple[int, int] | None = None
    structural: bool = False

    def __post_init__(self) -> None:
        check_common(self.flag, self.pass_as, self.when)
        make_plain(self, "low", "high", "step", "default")
        for name in ("low", "high", "step", "default"):
            number = getattr(self, name)
            if number is None and name == "default":
                continue
            if not isinstance(number, int | float) or isinstance(number, bool) or number != number // 1:
                raise SpaceError(f"{self.flag}: {name} of a whole-number range must be whole, got {number!r}")
            object.__setattr__(self, name, int(number))
        check_range(self.flag, self.low, self.high, log=self.log, step=None if self.step == 1 else self.step)
        check_truth(self.flag, "structural", self.structural)
        object.__setattr__(self, "start", checked_start(self.flag, self.start, self.low, self.high, self.step))
        if self.default is not None and not self.low <= self.default <= self.high:
            warn_outside(self.flag, self.default, f"{self.low}..{self.high}")

    @property
    def size(self) -> int:
        """The number of whole numbers in the range."""
        return (self.high - self.low) // self.step + 1

    @property
    def is_ordered(self) -> bool:
        """Numbers are ordered."""
        return True

    def value(self, place: float) -> int:
        """Return the whole number whose cell holds `place`."""
        if not self.log:
            return self.low + cell_at(place, self.size) * self.step
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return min(max(round(math.exp(low + place * (high - low))), self.low), self.high)

    def start_place(self, place: float) -> float:
        """Return `place` of the range to start from as a place of the whole, where each number has its cell."""
        if self.start is None:
            return place
        if not self.log:
            first, cells = steps_within(self.start, self.low, self.step)
            return middle_of(first + cell_at(place, cells), self.size)
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        bottom, top = math.log(self.start[0] - 0.5), math.log(self.start[1] + 0.5)
        return min(max((bottom + place * (top - bottom) - low) / (high - low), 0.0), 1.0)

    def place(self, value: Value) -> float:
        """Return the middle of the cell of `value`."""
        number = min(max(as_number(self.flag, value), self.low), self.high)
        if not self.log:
            return middle_of(min(round((number - self.low) / self.step), self.size - 1), self.size)
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return (math.log(number) - low) / (high - low)

    def grid(self, points: int) -> list[Value]:
        """Return at most `points` different whole numbers, equidistant as far as rounding allows."""
        if points == 1:
            return [self.value(0.5)]
        if self.size <= points:
            return list(range(self.low, self.high + 1, self.step))
        shares = [i / (points - 1) for i in range(points)]
        if self.log:
            numbers = [round(self.low * (self.high / self.low) ** share) for share in shares]
        else:
            numbers = [self.low + round(share * (self.size - 1)) * self.step for share in shares]
        return list(dict.fromkeys(min(number, self.high) for number in numbers))


@dataclass(frozen=True)
class Choice:
    """One of a finite list: strings, numbers, booleans, mixed.

    A list of booleans is an on/off flag: ``--nesterov`` stands on the command line, or does not.

    Args:
        flag: The name, as on the command line.
        choices: At least two different values.
        default: Where the search starts; None: drawn at random.
        ordered: Whether neighbours in the list are similar; None: true of three or more rising or falling
            numbers.
        structural: Whether it is inherited with a model's weights, and never perturbed.
        when: A condition on other hyperparameters.
        pass_as: How a value reaches the program; None: ``switch`` for booleans, else ``flag=value``.
    """

    flag: str
    choices: Sequence[Value]
    default: Value | None = None
    ordered: bool | None = None
    when: str | None = None
    pass_as: PassAs = None  # type: ignore[assignment]  # set below, so that readers see no None
    structural: bool = False
    _cell_of: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", checked_choices(self.flag, self.choices))
        make_plain(self, "default")
        booleans = all(isinstance(choice, bool) for choice in self.choices)
        if self.pass_as is None:
            object.__setattr__(self, "pass_as", "switch" if booleans and self.choices else "flag=value")
        check_common(self.flag, self.pass_as, self.when, booleans=booleans)
        check_truth(self.flag, "structural", self.structural)
        if self.ordered is not None:
            check_truth(self.flag, "ordered", self.ordered)
        cell_of = {as_text(choice): cell for cell, choice in enumerate(self.choices)}
        if len(self.choices) < 2:  # noqa: PLR2004 - one choice is no choice
            raise SpaceError(
                f"{self.flag}: a list of choices needs at least two values, got {list(self.choices)!r}; "
                "make a single value a constant, or put it into the command"
            )
        if len(cell_of) < len(self.choices):
            raise SpaceError(f"{self.flag}: the choices must differ, got {list(self.choices)!r}")
        object.__setattr__(self, "_cell_of", cell_of)
        if self.default is not None and as_text(self.default) not in cell_of:
            shown = [as_text(choice) for choice in self.choices[:6]]
            warn_outside(self.flag, self.default, "|".join(shown) + ("|…" if len(self.choices) > len(shown) else ""))

    @property
    def start(self) -> None:
        """All choices are drawn from."""
        return

    @property
    def size(self) -> int:
        """The number of choices."""
        return len(self.choices)

    @property
    def is_ordered(self) -> bool:
        """Whether neighbours in the list are similar."""
        if self.ordered is not None:
            return self.ordered
        numbers = [c for c in self.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        if len(numbers) < max(3, len(self.choices)):
            return False
        return all(a < b for a, b in pairwise(numbers)) or all(a > b for a, b in pairwise(numbers))

    def value(self, place: float) -> Value:
        """Return the choice whose cell holds `place`."""
        return self.choices[cell_at(place, self.size)]

    def start_place(self, place: float) -> float:
        """Return `place`: all choices are drawn from."""
        return place

    def place(self, value: Value) -> float:
        """Return the middle of the cell of `value`, of the nearest number, or of the first choice."""
        cell = self._cell_of.get(as_text(value))
        if cell is None:
            cell = min(range(self.size), key=lambda i: distance(self.choices[i], value))
        return middle_of(cell, self.size)

    def grid(self, points: int) -> list[Value]:  # noqa: ARG002 - choices are taken in full
        """Return all choices."""
        return list(self.choices)


@dataclass(frozen=True)
class Constant:
    """A value that is passed along and never searched.

    Args:
        flag: The name, as on the command line.
        constant: The value.
        when: A condition on other hyperparameters.
        pass_as: How the value reaches the program; None: ``switch`` for a boolean, else ``flag=value``.
    """

    flag: str
    constant: Value
    when: str | None = None
    pass_as: PassAs = None  # type: ignore[assignment]  # set below, so that readers see no None

    def __post_init__(self) -> None:
        make_plain(self, "constant")
        boolean = isinstance(self.constant, bool)
        if self.pass_as is None:
            object.__setattr__(self, "pass_as", "switch" if boolean else "flag=value")
        check_common(self.flag, self.pass_as, self.when, booleans=boolean)
        check_values(self.flag, (self.constant,))

    @property
    def start(self) -> None:
        """There is nothing to draw."""
        return

    @property
    def structural(self) -> bool:
        """There is nothing to inherit."""
        return False

    @property
    def default(self) -> Value:
        """The value."""
        return self.constant

    @property
    def size(self) -> int:
        """There is one value."""
        return 1

    @property
    def is_ordered(self) -> bool:
        """There is nothing to order."""
        return True

    def value(self, place: float) -> Value:  # noqa: ARG002 - it is the same everywhere
        """Return the value."""
        return self.constant

    def start_place(self, place: float) -> float:
        """Return `place`: there is nothing to draw."""
        return place

    def place(self, value: Value) -> float:  # noqa: ARG002 - it is the same everywhere
        """Return the middle."""
        return 0.5

    def grid(self, points: int) -> list[Value]:  # noqa: ARG002 - there is one value
        """Return the value."""
        return [self.constant]
