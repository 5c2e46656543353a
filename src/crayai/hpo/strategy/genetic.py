"""Genetic search: demes that evolve side by side and exchange their best."""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from crayai.hpo.records import Asked, Suggestion, Told, Value, Values, loss_of
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import History, check_at_least, check_rate
from crayai.hpo.strategy.operators import (
    Genes,
    Individual,
    completed,
    crossover,
    first_values,
    migrate_ring,
    mutated,
    survivors,
    tournament,
    unasked,
    uniform_point,
    with_structure_of,
)

if TYPE_CHECKING:
    from numpy.random import Generator

TOURNAMENT_SIZE = 2
FIRST_STEP = 0.2
STEP_HALVES_AFTER = 5


@dataclass(frozen=True, slots=True)
class GeneticState:
    """What the search remembers.

    Attributes:
        asked: Evaluations asked for.
        generation: The one that is being evaluated.
        demes: The survivors of the generations before, best first.
        newcomers: What is over of this generation, in the order of arrival.
    """

    asked: int
    generation: int
    demes: tuple[tuple[Individual, ...], ...]
    newcomers: tuple[Individual, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Genetic:
    """Settings of the genetic search.

    Args:
        space: Where to search.
        generations: Rounds; each is over before the next begins.
        pop_size: Individuals per deme, and evaluations per deme and generation.
        num_demes: Subpopulations.
        mutation_rate: Probability that a hyperparameter of a child mutates; one does at least.
        crossover_rate: Probability that a hyperparameter comes from the second parent.
        migration_interval: Generations between migrations.
        trains_on: Whether children train on from the checkpoint of a survivor: three parents, two for the
            hyperparameters and one for the weights (Yu et al. 2019, arXiv:1901.03900).
    """

    space: Space
    generations: int = 10
    pop_size: int = 10
    num_demes: int = 4
    mutation_rate: float = 0.05
    crossover_rate: float = 0.33
    migration_interval: int = 5
    trains_on: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, generations=self.generations, pop_size=self.pop_size, num_demes=self.num_demes)
        check_at_least(1, migration_interval=self.migration_interval)
        check_rate(mutation_rate=self.mutation_rate, crossover_rate=self.crossover_rate)

    @property
    def generation_size(self) -> int:
        """Evaluations per generation."""
        return self.pop_size * self.num_demes

    @property
    def evaluations(self) -> int:
        """How many there will be."""
        return self.generations * self.generation_size

    def start(self) -> GeneticState:
        """Return the state before the first event."""
        return GeneticState(0, 0, ((),) * self.num_demes)

    def ask(self, state: GeneticState, history: History, rng: "Generator") -> Suggestion | None:
        """Return the default point first, then a spread first generation, then children of survivors."""
        generation, place = divmod(state.asked, self.generation_size)
        if generation > state.generation or generation == self.generations:
            return None
        deme = place // self.pop_size
        if state.asked == 0:
            return Suggestion(self.space.start(uniform_point(self.space, rng)))
        if generation == 0:
            draw = lambda tries: first_values(self.space, history, tries, rng)  # noqa: E731 - one line, used once
            return Suggestion(unasked(self.space, history, draw, rng), 0, deme)
        parents = self._parents(state.demes[deme], rng)
        genes = [self.space.places(history.suggestion(parent.number).values) for parent in parents]
        trained = self._trained(state.demes[deme], rng)
        weights = {} if trained is None else history.suggestion(trained).values
        values = unasked(self.space, history, lambda tries: self._child(genes, weights, generation, tries, rng), rng)
        return Suggestion(values, generation, deme, tuple(parent.number for parent in parents), trained)

    def fold(self, state: GeneticState, event: Asked | Told) -> GeneticState:
        """Gather a generation; when all of it is over, let the best survive."""
        if isinstance(event, Asked):
            return GeneticState(state.asked + 1, state.generation, state.demes, state.newcomers)
        newcomers = (*state.newcomers, Individual(loss_of(event.outcome), event.number))
        if len(newcomers) < self.generation_size:
            return GeneticState(state.asked, state.generation, state.demes, newcomers)
        demes = tuple(
            survivors(deme, [i for i in newcomers if self._deme_of(i.number) == d], self.pop_size)
            for d, deme in enumerate(state.demes)
        )
        if (state.generation + 1) % self.migration_interval == 0:
            demes = migrate_ring(demes)
        return GeneticState(state.asked, state.generation + 1, demes)

    def is_done(self, state: GeneticState) -> bool:
        """Return whether all is over."""
        return state.generation == self.generations

    def resumable(self, state: GeneticState) -> list[int]:
        """Return the survivors, and what is over of this generation."""
        known = (*state.demes, state.newcomers) if self.trains_on else ()
        return [individual.number for individuals in known for individual in individuals]

    def _deme_of(self, number: int) -> int:
        return number % self.generation_size // self.pop_size

    def _parents(self, deme: tuple[Individual, ...], rng: "Generator") -> tuple[Individual, ...]:
        """Return two different survivors, or the only one."""
        first = tournament(deme, TOURNAMENT_SIZE, rng)
        return (first, tournament(deme, TOURNAMENT_SIZE, rng, but=first)) if len(deme) > 1 else (first,)

    def _trained(self, deme: tuple[Individual, ...], rng: "Generator") -> int | None:
        """Return the third parent, whose weights the child trains on from; None: from scratch."""
        trained = [individual for individual in deme if individual.loss < inf] if self.trains_on else []
        return tournament(trained, TOURNAMENT_SIZE, rng).number if trained else None

    def _child(
        self, parents: list[Genes], weights: Values, generation: int, tries: int, rng: "Generator"
    ) -> dict[str, Value]:
        """Cross the parents and mutate; the more `tries` hit known points, the wider the steps."""
        genes = list(completed(crossover(parents[0], parents[-1], self.crossover_rate, rng), rng))
        step = FIRST_STEP / (1 + generation / STEP_HALVES_AFTER) * (1 + tries)
        sure, *draws = rng.random(1 + len(genes)).tolist()
        for place, i in enumerate(self.space.searched):
            if draws[i] < self.mutation_rate or place == int(sure * len(self.space.searched)):
                genes[i] = mutated(genes[i], self.space.hyperparameters[i], step, rng)
        return with_structure_of(weights, genes, self.space)
