"""Draws, crossover, mutation, selection and migration."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crayai.hpo.records import Asked, Suggestion
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import Record
from crayai.hpo.strategy.operators import (
    Individual,
    completed,
    crossover,
    migrate_ring,
    mutated,
    reflected,
    spread_point,
    survivors,
    tournament,
    unasked,
    uniform_point,
)
from crayai.hpo.testing.strategies import tiny_space

places = st.floats(0, 1)
seeds = st.integers(0, 2**32)
individuals = st.lists(
    st.builds(Individual, st.floats(0, 100) | st.just(math.inf), st.integers(0, 1000)),
    unique_by=lambda individual: individual.number,
)


def generator(seed=0):
    """Return random numbers."""
    return np.random.default_rng(seed)


@given(st.floats(-50, 50))
def test_reflection_stays_inside(place):
    """A place beyond a bound is folded back, one inside is left alone, and the fold has the period 2."""
    inside = reflected(place)
    assert 0 <= inside <= 1
    assert inside == pytest.approx(reflected(place + 2), abs=1e-9)
    assert inside == pytest.approx(reflected(-place), abs=1e-9)
    if 0 <= place <= 1:
        assert inside == place


@settings(deadline=None)
@given(places, st.integers(2, 30), st.floats(0, 2), seeds)
def test_an_ordered_value_moves_by_one_cell_at_least(place, size, step, seed):
    """A mutated whole number is another one, inside its range."""
    hyperparameter = Int("-n", 0, size - 1)
    before = hyperparameter.value(place)
    after = hyperparameter.value(mutated(place, hyperparameter, step, generator(seed)))
    assert after != before
    assert 0 <= after < size


@settings(deadline=None)
@given(places, st.integers(2, 30), seeds)
def test_an_unordered_value_becomes_another(place, size, seed):
    """A mutated choice is another one."""
    hyperparameter = Choice("-c", [f"c{i}" for i in range(size)])
    after = mutated(place, hyperparameter, 0.1, generator(seed))
    assert 0 <= after <= 1
    assert hyperparameter.value(after) != hyperparameter.value(place)


def test_an_unordered_value_becomes_any_other_equally_often():
    """Where there is no order, each other choice is as likely as any."""
    hyperparameter, rng = Choice("-c", list("abcd")), generator(3)
    after = [hyperparameter.value(mutated(0.4, hyperparameter, 0.01, rng)) for _ in range(3000)]
    assert all(900 < after.count(letter) < 1100 for letter in "acd"), "seed 3"


@settings(deadline=None)
@given(places, st.floats(0, 5), seeds)
def test_a_continuous_value_stays_inside(place, step, seed):
    """A mutated real number stays inside, however wide the step."""
    assert 0 <= mutated(place, Float("-x", 0.0, 1.0), step, generator(seed)) <= 1


def test_a_continuous_value_moves_by_the_step():
    """The moves of a real number have the step as standard deviation, and no preferred direction."""
    rng = generator(4)
    moves = np.array([mutated(0.5, Float("-x", 0.0, 1.0), 0.05, rng) - 0.5 for _ in range(4000)])
    assert moves.std() == pytest.approx(0.05, rel=0.05), "seed 4"
    assert abs(moves.mean()) < 0.004, "seed 4"


@given(st.lists(places, min_size=1, max_size=8), places, seeds)
def test_a_child_has_genes_of_its_parents(first, rate, seed):
    """Each gene of a child is that of one parent; at rate 0 all are the first's, at rate 1 the second's."""
    one, two = tuple(first), tuple(place / 2 for place in first)
    assert crossover(one, two, 0, generator(seed)) == one
    assert crossover(one, two, 1, generator(seed)) == two
    child = crossover(one, two, rate, generator(seed))
    assert all(gene in pair for gene, *pair in zip(child, one, two, strict=True))


def test_the_crossover_rate_is_the_share_of_the_second_parent():
    """A third of the genes come from the second parent if the rate is a third."""
    child = crossover((0.0,) * 6000, (1.0,) * 6000, 1 / 3, generator(5))
    assert sum(child) / 6000 == pytest.approx(1 / 3, abs=0.02), "seed 5"


@given(st.lists(places | st.none(), min_size=1, max_size=8), seeds)
def test_missing_genes_are_drawn(genes, seed):
    """Where a parent has no place the child gets one; the others are left."""
    full = completed(tuple(genes), generator(seed))
    assert all(0 <= b <= 1 and (a is None or a == b) for a, b in zip(genes, full, strict=True))


@settings(deadline=None)
@given(individuals.filter(lambda population: len(population) > 1), st.integers(1, 5), seeds, st.data())
def test_a_tournament_has_a_winner_other_than_the_excluded(population, size, seed, data):
    """The winner is of the population, and is not the one to be left out."""
    population.sort()
    but = data.draw(st.none() | st.sampled_from(population))
    winner = tournament(population, size, generator(seed), but=but)
    assert winner in population
    assert winner != but


def test_a_tournament_favours_the_better():
    """Of ten, the best wins a tournament of two 19 times in a hundred, the worst once."""
    population = [Individual(float(i), i) for i in range(10)]
    rng = generator(6)
    winners = [tournament(population, 2, rng).number for _ in range(10_000)]
    assert winners.count(0) / 10_000 == pytest.approx(0.19, abs=0.02), "seed 6"
    assert winners.count(9) / 10_000 == pytest.approx(0.01, abs=0.005), "seed 6"


@given(individuals, individuals, st.integers(1, 12))
def test_the_best_of_both_survive(population, newcomers, size):
    """Survivors are the best of old and new, best first, nobody twice, failed ones last."""
    alive = survivors(population, newcomers, size)
    everyone = set(population) | set(newcomers)
    assert list(alive) == sorted(everyone)[:size]


@given(st.lists(st.lists(st.floats(0, 100), min_size=3, max_size=3), min_size=1, max_size=5))
def test_migration_keeps_sizes_and_the_best(all_losses):
    """A deme keeps its size and order, its best is no worse, and who is new was the best of the deme before."""
    demes = tuple(
        tuple(sorted(Individual(loss, 10 * d + i) for i, loss in enumerate(losses)))
        for d, losses in enumerate(all_losses)
    )
    after = migrate_ring(demes)
    for d, (old, new) in enumerate(zip(demes, after, strict=True)):
        assert len(new) == len(old)
        assert list(new) == sorted(new)
        assert new[0] <= old[0]
        assert set(new) <= {*old, demes[d - 1][0]}
        assert demes[d - 1][0] in new or demes[d - 1][0] > old[-1]


def test_migration_goes_around_the_ring():
    """The best of each deme goes to the next one, and that of the last to the first."""
    a, b, c = (tuple(Individual(float(10 * d + i), 10 * d + i) for i in range(2)) for d in range(3))
    assert migrate_ring((a, b, c)) == (a, (a[0], b[0]), (b[0], c[0]))
    assert migrate_ring((c, b)) == ((b[0], c[0]), b)


def test_a_single_deme_has_no_migration():
    """Alone, a deme stays as it is."""
    demes = ((Individual(1.0, 0), Individual(2.0, 1)),)
    assert migrate_ring(demes) == demes


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("dimensions", "cells", "points"), [(1, 50, 100), (2, 8, 200), (3, 4, 250)])
def test_spread_points_cover_the_cube(seed, dimensions, cells, points):
    """Spread points leave no cell of the cube empty where independent random ones would leave several."""
    rng = generator(seed)
    first = tuple(rng.random(dimensions))
    spread = [spread_point(first, number, rng) for number in range(points)]
    assert all(0 <= place < 1 for point in spread for place in point)
    hit = {tuple(int(place * cells) for place in point) for point in spread}
    assert len(hit) == cells**dimensions


def test_a_uniform_point_has_a_place_for_each_hyperparameter():
    """A random point is in the cube and has as many places as there are hyperparameters."""
    point = uniform_point(tiny_space(), generator())
    assert len(point) == 2
    assert all(0 <= place < 1 for place in point)


def record_of(points):
    """Return a history in which `points` were asked for."""
    record = Record()
    for number, values in enumerate(points):
        record.append(Asked(number, Suggestion(values)))
    return record


def test_drawing_goes_on_until_a_point_is_new():
    """Known points are drawn over, and the number of draws so far is told."""
    record, tries = record_of([{"-n": 0}, {"-n": 1}]), []
    values = unasked(Space([Int("-n", 0, 10**6)]), record, lambda n: tries.append(n) or {"-n": n}, generator())
    assert values == {"-n": 2}
    assert tries == [0, 1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_the_last_free_points_are_found(seed):
    """Where draws keep hitting known points, a free one is looked for, until there is none."""
    space = tiny_space()
    known = {"--size": 0}
    record = record_of([known])
    for _ in range(8):
        values = unasked(space, record, lambda _: dict(known), generator(seed))
        assert not record.was_asked(values)
        record.append(Asked(len(record), Suggestion(values)))
    assert unasked(space, record, lambda _: dict(known), generator(seed)) == known


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_stuck_in_a_corner_of_a_large_space_is_helped(seed):
    """Where draws keep hitting known points of a large space, any other point is taken."""
    space = Space([Int("-n", 0, 10**6)])
    assert unasked(space, record_of([{"-n": 0}]), lambda _: {"-n": 0}, generator(seed)) != {"-n": 0}
