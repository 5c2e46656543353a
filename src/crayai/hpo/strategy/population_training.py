"""Population based training (Jaderberg et al. 2017): members train in windows, the worst go on from the best.

Evaluation ``window * population + member`` trains one member for one window. Demes evolve at different frequencies and
exchange their best (MF-PBT: Doulazmi et al. 2025), for a population that decides often is greedy: it favours what
pays at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked, Suggestion, Told, Value, loss_of
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import History, check_above, check_at_least, check_rate
from crayai.hpo.strategy.operators import (
    completed,
    first_values,
    mutated,
    unasked,
    uniform_point,
    with_structure_of,
)

if TYPE_CHECKING:
    from numpy.random import Generator

Exploit = Literal["truncation", "tournament"]


@dataclass(frozen=True, slots=True)
class PopulationState:
    """How far the training is.

    Attributes:
        asked: Evaluations asked for.
        windows_over: Windows of which all evaluations are over.
        told: How many evaluations of each window after those are over.
    """

    asked: int = 0
    windows_over: int = 0
    told: tuple[int, ...] = ()


class Member(NamedTuple):
    """A member with the loss by which it is judged (infinite if it failed); the better sorts first."""

    loss: float
    member: int


@dataclass(frozen=True, kw_only=True)
class PopulationTraining:
    """Settings of population based training.

    Args:
        space: Where to search.
        pop_size: Members per deme.
        windows: How often each member trains between two decisions.
        quantile: Share of a deme that is replaced at a decision, and share that it is replaced from.
        num_demes: Subpopulations; each decides `slowdown` times less often than the one before.
        interval: Windows between two decisions of the first deme.
        slowdown: How many times less often each further deme decides.
        lag: Windows that a decision looks back, so that no member waits for the slowest; 0: all wait for all.
        exploit: ``truncation``: the worst take over from the best; ``tournament``: each from a random better one.
        perturbation: Standard deviation of a step in the unit interval.
        resample_rate: Probability that a hyperparameter is drawn anew instead.
    """

    space: Space
    pop_size: int = 16
    windows: int = 10
    quantile: float = 0.25
    num_demes: int = 1
    interval: int = 1
    slowdown: int = 3
    lag: int = 1
    exploit: Exploit = "truncation"
    perturbation: float = 0.2
    resample_rate: float = 0.1

    def __post_init__(self) -> None:
        check_at_least(1, windows=self.windows, num_demes=self.num_demes, interval=self.interval)
        check_at_least(1, slowdown=self.slowdown)
        check_at_least(2, pop_size=self.pop_size)
        check_at_least(0, lag=self.lag)
        check_above(0, perturbation=self.perturbation)
        check_rate(resample_rate=self.resample_rate, quantile=self.quantile)
        if self.exploit not in get_args(Exploit):
            raise SettingsError(f"exploit must be 'truncation' or 'tournament', got {self.exploit!r}")
        if self.exploit == "truncation" and not 1 <= self._replaced <= self.pop_size / 2:
            raise SettingsError(
                f"quantile must be at most 0.5, and at least one of the pop_size={self.pop_size} members of a deme; "
                f"got quantile={self.quantile!r}, which is {self._replaced} members"
            )

    @property
    def population(self) -> int:
        """Members of all demes."""
        return self.pop_size * self.num_demes

    @property
    def evaluations(self) -> int:
        """How many there will be."""
        return self.windows * self.population

    @property
    def _replaced(self) -> int:
        """How many members of a deme are replaced at a decision."""
        return int(self.quantile * self.pop_size + 1e-9)

    def start(self) -> PopulationState:
        """Return the state before the first event."""
        return PopulationState()

    def ask(self, state: PopulationState, history: History, rng: "Generator") -> Suggestion | None:
        """Return the next window of the next member: from scratch, where it was itself, or where a better one is."""
        window, member = divmod(state.asked, self.population)
        if window == self.windows or window > state.windows_over + self.lag:
            return None
        if window == 0:
            return self._first(history, member, rng)
        own = state.asked - self.population
        judged = window - 1 - self.lag
        demes = self._ranked(history, window - 1) if judged >= 0 else ()
        source = self._source(demes, window, member, rng) if demes else Source(member, member)
        if source is None:
            return self._restart(window, member, rng)
        if source.weights == member:
            return Suggestion(history.suggestion(own).values, window, self._deme(member), (own,), own)
        weights, inherited = own - member + source.weights, own - member + source.hyperparameters
        values = self._explored(history.suggestion(inherited), history.suggestion(weights), rng)
        return Suggestion(values, window, self._deme(member), (inherited,), weights)

    def fold(self, state: PopulationState, event: Asked | Told) -> PopulationState:
        """Count."""
        if isinstance(event, Asked):
            return PopulationState(state.asked + 1, state.windows_over, state.told)
        place = event.number // self.population - state.windows_over
        told = [*state.told, *([0] * (place + 1 - len(state.told)))]
        told[place] += 1
        over = 0
        while over < len(told) and told[over] == self.population:
            over += 1
        return PopulationState(state.asked, state.windows_over + over, tuple(told[over:]))

    def is_done(self, state: PopulationState) -> bool:
        """Return whether all is over."""
        return state.windows_over == self.windows

    def resumable(self, state: PopulationState) -> range:
        """Return the last window of which all was asked for, and what was asked for since."""
        return range(max(0, (state.asked // self.population - 1) * self.population), state.asked)

    def _deme(self, member: int) -> int:
        return member // self.pop_size

    def _first(self, history: History, member: int, rng: "Generator") -> Suggestion:
        """Return where a member starts: the default point, then points that are spread evenly."""
        if member == 0:
            return Suggestion(self.space.start(uniform_point(self.space, rng)))
        draw = lambda tries: first_values(self.space, history, tries, rng)  # noqa: E731 - one line, used once
        return Suggestion(unasked(self.space, history, draw, rng), 0, self._deme(member))

    def _restart(self, window: int, member: int, rng: "Generator") -> Suggestion:
        """Return a start from scratch, for nobody has a checkpoint."""
        return Suggestion(self.space.start_values(uniform_point(self.space, rng)), window, self._deme(member))

    def _ranked(self, history: History, window: int) -> Sequence[Sequence[Member]]:
        """Return the members of each deme, the best first, as they were `lag` windows before `window`."""
        first = window * self.population
        members = [Member(self._loss(history, first + m), m) for m in range(self.population)]
        return [sorted(members[i : i + self.pop_size]) for i in range(0, self.population, self.pop_size)]

    def _loss(self, history: History, number: int | None) -> float:
        """Return the loss of an evaluation's ancestor `lag` windows before, whose weights it goes on with."""
        for _ in range(self.lag):
            number = None if number is None else history.suggestion(number).resume_from
        outcome = None if number is None else history.outcome(number)
        return float("inf") if outcome is None else loss_of(outcome)

    def _source(self, demes: Sequence[Sequence[Member]], window: int, member: int, rng: "Generator") -> "Source | None":
        """Return whose weights and hyperparameters a member goes on with; None: nobody has any."""
        number = self._deme(member)
        deme = demes[number]
        rank = next(i for i, other in enumerate(deme) if other.member == member)
        has_failed = deme[rank].loss == float("inf")
        decides = window % (self.interval * self.slowdown**number) == 0
        best = min(other[0] for other in demes)
        if best.loss == float("inf"):
            return None
        if not has_failed and not (decides and self._loses(rank, rng)):
            return Source(member, member)
        if self.exploit == "tournament" and not has_failed:
            winners: Sequence[Member] = deme[:rank]
        else:
            winners = [other for other in deme[: max(1, self._replaced)] if other.loss < deme[rank].loss]
        winner = winners[int(rng.random() * len(winners))] if winners else best
        if not winner.loss < deme[rank].loss:
            return Source(member, member)
        if self._deme(best.member) != number and rank == self.pop_size - 1 and best.loss < deme[0].loss:
            return self._migrant(best.member, winner.member)
        return Source(winner.member, winner.member)

    def _loses(self, rank: int, rng: "Generator") -> bool:
        """Return whether the member of a rank is to be replaced."""
        if self.exploit == "truncation":
            return rank >= self.pop_size - self._replaced
        opponent = int(rng.random() * (self.pop_size - 1))
        return opponent < rank  # the ranks but its own: those below it are better

    def _migrant(self, best: int, winner: int) -> "Source":
        """Return what the worst of a deme takes from the best of all, who is in another one.

        From a deme that decides more often come the weights alone: its hyperparameters are greedy.
        """
        return Source(best, winner if self._deme(best) < self._deme(winner) else best)

    def _explored(self, inherited: Suggestion, weights: Suggestion, rng: "Generator") -> dict[str, Value]:
        """Return values near those inherited, some drawn anew, with the structure that the weights have."""
        genes = list(completed(self.space.places(inherited.values), rng))
        for i in self.space.searched:
            hyperparameter = self.space.hyperparameters[i]
            resampled, place = rng.random(2).tolist()
            if resampled < self.resample_rate:
                genes[i] = place
            elif hyperparameter.is_ordered:
                genes[i] = mutated(genes[i], hyperparameter, self.perturbation, rng)
        return with_structure_of(weights.values, genes, self.space)


class Source(NamedTuple):
    """Whose weights, and whose hyperparameters, a member goes on with."""

    weights: int
    hyperparameters: int
