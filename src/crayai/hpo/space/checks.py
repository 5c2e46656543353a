"""Checks that hyperparameters share: each names the flag, the rule and the value; and cells of the unit interval."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from crayai.hpo.errors import SpaceError
from crayai.hpo.records import Value
from crayai.hpo.space.base import Hyperparameter, PassAs, plain

Number = TypeVar("Number", int, float)

_COUNTLESS = 1e300


def cell_at(place: float, cells: int) -> int:
    """Return which of so many equal cells of the unit interval holds `place`."""
    return min(int(place * cells), cells - 1)


def middle_of(cell: int, cells: int) -> float:
    """Return the middle of a cell."""
    return (cell + 0.5) / cells


def distance(choice: Value, value: Value) -> float:
    """Return how far a value is from a choice; words are far from everything."""
    if isinstance(choice, str) or isinstance(value, str):
        return math.inf
    return abs(choice - value)


def as_number(flag: str, value: Value) -> float:
    """Return `value`, which must be a number."""
    if not isinstance(value, int | float):
        raise SpaceError(f"{flag}: a number is needed, got {value!r}")
    return value


def make_plain(hyperparameter: Hyperparameter, *names: str) -> None:
    """Put Python's own values in the place of NumPy scalars."""
    for name in names:
        object.__setattr__(hyperparameter, name, plain(getattr(hyperparameter, name)))


def checked_choices(flag: str, choices: Any) -> tuple[Value, ...]:
    """Return the choices as a tuple of plain values."""
    if isinstance(choices, str) or not hasattr(choices, "__iter__"):
        raise SpaceError(f"{flag}: choices must be a list of values, got {choices!r}")
    values = tuple(plain(choice) for choice in choices)
    check_values(flag, values)
    return values


def check_values(flag: str, values: Sequence[Any]) -> None:
    """Refuse values that no program can receive."""
    for value in values:
        if not isinstance(value, bool | int | float | str):
            raise SpaceError(f"{flag}: a value must be text, a number, true or false, got {value!r}")


def check_common(flag: Any, pass_as: str, when: Any, *, booleans: bool = False) -> None:
    """Refuse what no kind of hyperparameter may be."""
    if not isinstance(flag, str) or not flag.strip():
        raise SpaceError(f"a hyperparameter needs a flag, such as '--lr', got {flag!r}")
    if when is not None and not isinstance(when, str):
        raise SpaceError(f"{flag}: the condition 'when' must be text, such as \"--layers > 1\", got {when!r}")
    if pass_as == "switch" and not booleans:
        raise SpaceError(f"{flag}: only booleans can be passed as a switch")
    if pass_as not in get_args(PassAs):
        known = ", ".join(repr(way) for way in get_args(PassAs))
        raise SpaceError(f"{flag}: pass_as must be one of {known}, got {pass_as!r}")
    if pass_as == "environment" and not flag.isidentifier():
        raise SpaceError(f"{flag}: an environment variable needs a name of letters, digits and underscores, such as LR")


def check_range(flag: str, low: float, high: float, *, log: bool, step: float | None) -> None:
    """Refuse a range that is empty, inverted, infinite, or at odds with its scale."""
    for name, number in (("low", low), ("high", high), ("step", 1 if step is None else step)):
        if not is_finite(number):
            raise SpaceError(f"{flag}: {name} must be a finite number, got {number!r}")
    check_truth(flag, "log", log)
    if not low < high:
        problem = "the range is empty" if low == high else "the range is inverted"
        raise SpaceError(f"{flag}: low must be below high, got low={low!r} high={high!r}: {problem}")
    if log and low <= 0:
        raise SpaceError(f"{flag}: a log range needs low > 0, got low={low!r}")
    if step is not None and (log or not 0 < step <= high - low):
        rule = "a log range takes no step" if log else f"step must be above 0 and at most {high - low!r}"
        raise SpaceError(f"{flag}: {rule}, got step={step!r}")


def checked_start(
    flag: str, start: Any, low: Number, high: Number, step: Number | None
) -> tuple[Number, Number] | None:
    """Return the range to start from as two numbers of the kind of the bounds."""
    if start is None:
        return None
    kind = type(low)
    ends = _ends(start, kind)
    numbers = [kind(end) for end in ends if _is_number(end) and low <= end <= high and kind(end) == end]
    if len(ends) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:  # noqa: PLR2004 - low and high
        what = "whole numbers" if kind is int else "numbers"
        raise SpaceError(f"{flag}: start must be two {what} within {low!r}..{high!r}, the lower first, got {start!r}")
    if step is not None and steps_within(numbers, low, step)[1] < 1:
        raise SpaceError(
            f"{flag}: start must hold a step from low={low!r}, got start={start!r} step={step!r}: widen it"
        )
    return numbers[0], numbers[1]


def steps_within(start: Sequence[Number], low: Number, step: Number) -> tuple[int, int]:
    """Return the first step above `low` that is in a range, and how many are; ends count, as far as rounding goes."""
    below, above = start[0] - low, start[1] - low
    if isinstance(step, int):
        first, last = int(-(-below // step)), int(above // step)
    else:
        first = math.ceil(min(below / step, _COUNTLESS) * (1 - 1e-12))
        last = math.floor(min(above / step, _COUNTLESS) * (1 + 1e-12))
    return first, last - first + 1


def _ends(start: Any, kind: type[Number]) -> list[Any]:
    """Return what stands for the ends of a range: a list's items, or the numbers in text such as ``1..4``."""
    if isinstance(start, str):
        try:
            return [kind(end) for end in start.split("..")]
        except ValueError:
            return []
    start = start.tolist() if hasattr(start, "tolist") else start
    return [plain(end) for end in start] if isinstance(start, list | tuple) else []


def check_truth(flag: str, name: str, value: Any) -> None:
    """Refuse a switch that is neither on nor off."""
    if not isinstance(value, bool):
        raise SpaceError(f"{flag}: {name} must be true or false, got {value!r}")


def is_finite(number: Any) -> bool:
    """Return whether this is a finite number."""
    return _is_number(number) and math.isfinite(number)


def warn_outside(flag: str, default: Value, domain: str) -> None:
    """Warn of a default that the search will never come back to."""
    warnings.warn(
        f"{flag}: the default {default!r} is outside {domain}; the search starts from it and then stays inside",
        stacklevel=4,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
