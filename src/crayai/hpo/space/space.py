"""The ordered whole of the hyperparameters, with the conditions between them."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from math import prod

from crayai.hpo.errors import SpaceError
from crayai.hpo.records import Value, Values
from crayai.hpo.space.base import Hyperparameter
from crayai.hpo.space.conditions import (
    Comparison,
    Condition,
    Flag,
    comparisons_in,
    flags_in,
    holds,
    parse_condition,
)
from crayai.hpo.space.hyperparameters import Choice

Point = Sequence[float]
"""A place in the unit cube: a coordinate in [0, 1] for every hyperparameter, in the order of the space."""


class Space:
    """Hyperparameters in the order given; unmodifiable.

    Raises:
        SpaceError: No hyperparameters, a flag twice, or conditions that speak of unknown flags, of values that
            cannot be, or in a circle.
    """

    def __init__(self, hyperparameters: Sequence[Hyperparameter]) -> None:
        self.hyperparameters = tuple(hyperparameters)
        self.flags = tuple(h.flag for h in self.hyperparameters)
        self._by_flag = dict(zip(self.flags, self.hyperparameters, strict=True))
        if not self.hyperparameters:
            raise SpaceError("the search space is empty: give at least one hyperparameter")
        for flag in self.flags:
            if self.flags.count(flag) > 1:
                raise SpaceError(f"{flag}: the flag occurs {self.flags.count(flag)} times; each may occur once")
        self.conditions: dict[str, Condition] = {}
        for h in self.hyperparameters:
            if h.when is not None:
                self.conditions[h.flag] = self._checked(h.flag, self._parsed(h.flag, h.when))
        self.order = tuple(self.flags.index(flag) for flag in self._sorted_flags())
        self.searched = tuple(i for i, h in enumerate(self.hyperparameters) if h.size != 1)

    @cached_property
    def size(self) -> int | None:
        """An upper bound of the number of different points; None: a continuum."""
        sizes = [h.size for h in self.hyperparameters]
        return None if None in sizes else prod(size for size in sizes if size is not None)

    def __getitem__(self, flag: str) -> Hyperparameter:
        """Return the hyperparameter of that flag."""
        return self._by_flag[flag]

    def values(self, point: Point) -> dict[str, Value]:
        """Return the values of the hyperparameters that are active at `point`."""
        return self.only_active([h.value(place) for h, place in zip(self.hyperparameters, point, strict=True)])

    def places(self, values: Values) -> tuple[float | None, ...]:
        """Return the place of each value in the unit cube; None where the hyperparameter is inactive."""
        return tuple(h.place(values[h.flag]) if h.flag in values else None for h in self.hyperparameters)

    def start(self, fallback: Point) -> dict[str, Value]:
        """Return the default values; where there is none, the value at `fallback`."""
        return self.only_active(
            [
                h.value(place) if h.default is None else h.default
                for h, place in zip(self.hyperparameters, fallback, strict=True)
            ]
        )

    def start_values(self, point: Point) -> dict[str, Value]:
        """Return the values at `point` of the part of the space that a search starts from."""
        return self.only_active([_start_value(h, place) for h, place in zip(self.hyperparameters, point, strict=True)])

    def grid(self, points: int) -> "Grid":
        """Return the matrix of `points` values a range."""
        return Grid(self, [h.grid(points) for h in self.hyperparameters])

    def only_active(self, everything: Sequence[Value]) -> dict[str, Value]:
        """Return, of one value for each hyperparameter, those whose condition is true."""
        if not self.conditions:
            return dict(zip(self.flags, everything, strict=True))
        active: dict[str, Value] = {}
        for i in self.order:
            if self.is_active(self.flags[i], active):
                active[self.flags[i]] = everything[i]
        return {flag: active[flag] for flag in self.flags if flag in active}

    def is_active(self, flag: str, values: Values) -> bool:
        """Return whether the hyperparameter counts, given the active ones before it in topological order."""
        condition = self.conditions.get(flag)
        return condition is None or holds(condition, values) is True

    def _sorted_flags(self) -> list[str]:
        graph = {flag: sorted(flags_in(self.conditions[flag])) for flag in self.conditions}
        try:
            dependent = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " depends on ".join(reversed(error.args[1]))
            raise SpaceError(f"the conditions run in a circle: {circle}") from None
        return dependent + [flag for flag in self.flags if flag not in dependent]

    def _parsed(self, flag: str, when: str) -> Condition:
        try:
            return parse_condition(when, self.flags)
        except SpaceError as error:
            raise SpaceError(f"{flag}: {error}") from None

    def _checked(self, flag: str, condition: Condition) -> Condition:
        for comparison in comparisons_in(condition):
            for side, other in ((comparison.left, comparison.right), (comparison.right, comparison.left)):
                if isinstance(side, Flag) and not isinstance(other, Flag):
                    self._check_comparison(flag, self[side.name], comparison, other)
        return condition

    def _check_comparison(
        self, flag: str, asked: Hyperparameter, comparison: Comparison, other: Value | tuple[Value, ...]
    ) -> None:
        """Refuse what can never be true: a misspelt choice, a string beside a range, an order among words."""
        literals = other if isinstance(other, tuple) else (other,)
        choices = asked.choices if isinstance(asked, Choice) else None
        if choices is None or comparison.operator in {"<", "<=", ">", ">="}:
            numbers = choices is None or any(not isinstance(c, str) for c in choices)
            if not numbers or any(isinstance(literal, str) for literal in literals):
                if isinstance(asked.value(0.0), str) and choices is None:
                    return
                raise SpaceError(
                    f"{flag}: its condition compares {asked.flag} with {literals[0]!r}: only numbers have an order"
                )
            return
        for literal in literals:
            if literal not in choices:
                near = get_close_matches(str(literal), [str(c) for c in choices], 1)
                hint = f"did you mean {near[0]!r}?" if near else "it can be " + ", ".join(map(repr, choices))
                raise SpaceError(
                    f"{flag}: its condition compares {asked.flag} with {literal!r}, which it never is; {hint}"
                )


def _start_value(hyperparameter: Hyperparameter, place: float) -> Value:
    """Return the value at `place` of the range to start from, and never one that rounding has put outside."""
    value = hyperparameter.value(hyperparameter.start_place(place))
    if hyperparameter.start is None or isinstance(value, str):
        return value
    low, high = hyperparameter.start
    return min(max(value, low), high)


class Grid:
    """The N-dimensional matrix of a space, walked lazily.

    A place in the matrix is a tuple of digits, one per hyperparameter; an inactive one has the digit 0. The last
    hyperparameter (in topological order) turns fastest.
    """

    def __init__(self, space: Space, values: Sequence[Sequence[Value]]) -> None:
        self.space = space
        self.axes = tuple(tuple(axis) for axis in values)

    @cached_property
    def first(self) -> tuple[int, ...]:
        """The digits of the first point."""
        return (0,) * len(self.axes)

    def values(self, digits: Sequence[int]) -> dict[str, Value]:
        """Return the active values at `digits`."""
        return self.space.only_active([axis[d] for axis, d in zip(self.axes, digits, strict=True)])

    def after(self, digits: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the digits of the next different point; None after the last."""
        active = self.values(digits)
        for i in reversed(self.space.order):
            if self.space.flags[i] in active and digits[i] + 1 < len(self.axes[i]):
                rest = set(self.space.order[self.space.order.index(i) + 1 :])
                return tuple(d + 1 if j == i else 0 if j in rest else d for j, d in enumerate(digits))
        return None

    def count(self, at_most: int) -> int | None:
        """Return the number of points; None if conditions make it unknown within `at_most` steps."""
        if not self.space.conditions:
            return prod(len(axis) for axis in self.axes)
        for count, _ in enumerate(self, start=1):
            if count > at_most:
                return None
        return count

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """Walk through the digits of all points."""
        digits: tuple[int, ...] | None = self.first
        while digits is not None:
            yield digits
            digits = self.after(digits)
