"""Draws, crossover, mutation, selection and migration on points of the unit cube; one idea each.

A point is a tuple of places in [0, 1]. A parent has None where a hyperparameter is inactive; a child's place there
is drawn at random, for a condition may switch it on.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from crayai.hpo.records import Value
from crayai.hpo.space.base import Hyperparameter
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import History

if TYPE_CHECKING:
    from numpy.random import Generator

Genes = tuple[float | None, ...]
Values = dict[str, Value]

_TRIES = 40
_WALK_LIMIT = 20_000


class Individual(NamedTuple):
    """An evaluation with its loss (infinite if it failed); the better sorts first, then the earlier."""

    loss: float
    number: int


def uniform_point(space: Space, rng: "Generator") -> tuple[float, ...]:
    """Return a point that is anywhere with equal probability."""
    return tuple(rng.random(len(space.hyperparameters)).tolist())


@cache
def _ratios(dimensions: int) -> tuple[float, ...]:
    """Return the steps of Roberts' sequence: powers of 1 / x, where x solves x^(d+1) = x + 1."""
    x = 2.0
    for _ in range(64):
        x = (1 + x) ** (1 / (dimensions + 1))
    return tuple(x**-i for i in range(1, dimensions + 1))


def spread_point(first: Genes, number: int, rng: "Generator") -> tuple[float, ...]:
    """Return point `number` of an even covering of the cube that begins with the random point `first`.

    An additive recurrence, x_n = x_0 + n r mod 1 in each dimension (Roberts 2018, "The unreasonable effectiveness of
    quasirandom sequences"). Where `first` has no place the result is random.
    """
    start = completed(first, rng)
    return tuple((place + number * ratio) % 1.0 for place, ratio in zip(start, _ratios(len(first)), strict=True))


def first_values(space: Space, history: History, tries: int, rng: "Generator") -> Values:
    """Return a point of the first generation: the default is there, the next is random, the others spread from it."""
    number = len(history)
    if number == 1 or tries:
        return space.start_values(uniform_point(space, rng))
    first = space.places(history.suggestion(1).values)
    return space.start_values(spread_point(first, number - 1, rng))


def with_structure_of(weights: Mapping[str, Value], genes: Sequence[float], space: Space) -> Values:
    """Return the values at `genes`, but for structural ones those that the `weights` were trained with."""
    everything = [
        weights.get(h.flag, h.value(place)) if h.structural else h.value(place)
        for h, place in zip(space.hyperparameters, genes, strict=True)
    ]
    return space.only_active(everything)


def tournament(
    population: Sequence[Individual], size: int, rng: "Generator", but: Individual | None = None
) -> Individual:
    """Return the best of `size` individuals drawn with replacement (Goldberg and Deb 1991), other than `but`.

    `population` is sorted, the best first, and holds more than `but`.
    """
    excluded = len(population) if but is None else bisect_left(population, but)
    best = int(min(rng.random(size).tolist()) * (len(population) - (but is not None)))
    return population[best + (best >= excluded)]


def crossover(first: Genes, second: Genes, rate: float, rng: "Generator") -> Genes:
    """Return `first` with each gene taken from `second` with probability `rate` (uniform crossover, Syswerda 1989)."""
    draws = rng.random(len(first)).tolist()
    return tuple(b if draw < rate else a for a, b, draw in zip(first, second, draws, strict=True))


def completed(genes: Genes, rng: "Generator") -> tuple[float, ...]:
    """Return `genes` with a random place wherever there is none."""
    draws = rng.random(len(genes)).tolist()
    return tuple(draw if gene is None else gene for gene, draw in zip(genes, draws, strict=True))


def mutated(place: float, hyperparameter: Hyperparameter, step: float, rng: "Generator") -> float:
    """Return another place: near by where there is an order, anywhere else where there is none.

    `step` is the standard deviation of the move; one that leaves the value as it is becomes the least that does not.
    """
    size = hyperparameter.size
    if size is not None and not hyperparameter.is_ordered:
        cell = min(int(place * size), size - 1)
        return ((cell + 1 + int(rng.random() * (size - 1))) % size + 0.5) / size
    move = step * float(rng.standard_normal())
    moved = reflected(place + move)
    if size is None or hyperparameter.value(moved) != hyperparameter.value(place):
        return moved
    return neighbour(place, hyperparameter, size, up=move > 0)


def neighbour(place: float, hyperparameter: Hyperparameter, size: int, *, up: bool) -> float:
    """Return a place of the next value above or below; of the other side where there is none."""
    here = hyperparameter.value(place)
    for sign in (1, -1) if up else (-1, 1):
        distance = 0.25 / size
        while 0 <= place + sign * distance <= 1:
            if hyperparameter.value(place + sign * distance) != here:
                return place + sign * distance
            distance *= 1.25
        end = 1.0 if sign > 0 else 0.0
        if hyperparameter.value(end) != here:
            return end
    return place


def reflected(place: float) -> float:
    """Return `place` folded back into [0, 1] at the bounds, so that they do not attract."""
    place %= 2.0
    return 2.0 - place if place > 1.0 else place


def survivors(population: Sequence[Individual], newcomers: Sequence[Individual], size: int) -> tuple[Individual, ...]:
    """Return the best `size` of both: what was good is kept and not evaluated again (mu + lambda selection)."""
    return tuple(sorted({*population, *newcomers})[:size])


def migrate_ring(demes: Sequence[tuple[Individual, ...]]) -> tuple[tuple[Individual, ...], ...]:
    """Let the best of each deme take the place of the worst of the next one."""
    if len(demes) == 1:
        return tuple(demes)
    return tuple(
        survivors(deme, [demes[i - 1][0]], len(deme)) if demes[i - 1][0] < deme[-1] else deme
        for i, deme in enumerate(demes)
    )


def unasked(space: Space, history: History, draw: Callable[[int], Values], rng: "Generator") -> Values:
    """Return values that were never asked; asked ones only where the space is exhausted.

    Args:
        space: The space.
        history: What was asked.
        draw: Draws values; its argument counts the draws, so that it can go farther afield.
        rng: Decides where the search for a free point starts when draws keep hitting asked ones.
    """
    for attempt in range(_TRIES):
        values = draw(attempt)
        if not history.was_asked(values):
            return values
    if space.size is None or space.size > _WALK_LIMIT:
        for _ in range(_TRIES):  # `draw` may be stuck in one corner of a space that is far from exhausted
            if not history.was_asked(values):
                break
            values = space.values(uniform_point(space, rng))
        return values
    matrix = space.grid(max(size for h in space.hyperparameters if (size := h.size) is not None))
    free = [digits for digits in matrix if not history.was_asked(matrix.values(digits))]
    return matrix.values(free[int(rng.random() * len(free))]) if free else values
