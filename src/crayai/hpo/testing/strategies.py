"""What every strategy must do; the tests of a new one subclass `StrategyConformance`.

    class TestMyStrategy(StrategyConformance):
        def make(self, space):
            return MyStrategy(space=space)

pytest collects the inherited tests. They need no program: each point has a loss of its own, and outcomes arrive in
an order that the test chooses. A broken rule raises AssertionError with what was expected, and with the seed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from random import Random
from typing import Any

from crayai.hpo.engine.streams import Streams
from crayai.hpo.records import Asked, Cause, Completed, Failed, Outcome, Suggestion, Told, Value, Values
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import Record, Strategy

Judge = Callable[[Values], Outcome]
"""What becomes of a point."""

_MOST_EVALUATIONS = 20_000
_WORST_LOSS = 1e300
_OPTIMUM = 0.3
_REFOLDED = 50


def mixed_space() -> Space:
    """Return a space with every kind of hyperparameter, conditions upon conditions, and not all defaults."""
    return Space(
        [
            Float("--lr", 1e-5, 1e-1, default=1e-3, log=True),
            Int("--layers", 1, 4, default=2),
            Choice("--optimizer", ["sgd", "adam", "lamb"], default="adam"),
            Float("--momentum", 0.0, 0.99, when="--optimizer == 'sgd'"),
            Choice("--nesterov", [True, False], when="--momentum > 0.3"),
            Int("--units", 16, 512, log=True),
            Float("--dropout", 0.0, 0.5, step=0.125, default=0.25),
            Constant("--epochs", 5),
        ]
    )


def tiny_space() -> Space:
    """Return a space of nine points."""
    return Space([Int("--size", -2, 0, default=0), Choice("--kind", ["a", "b", "c", "d"], when="--size < 0")])


def bowl(space: Space) -> Judge:
    """Return a loss for every point: the squared distance from a place of the cube, more where one is inactive."""

    def judge(values: Values) -> Outcome:
        places = space.places(values)
        return Completed(sum(1.0 if place is None else (place - _OPTIMUM) ** 2 for place in places))

    return judge


@dataclass
class Search:
    """A strategy at work, driven as the engine drives it.

    Args:
        strategy: What is tested.
        judge: What becomes of a point.
        seed: The study's.
        slots: How many evaluations are out at once.
        order: Chooses which of them is over next; None: the oldest.

    Attributes:
        record: Every suggestion with its outcome.
        events: What happened.
        states: The state at the start and after each event.
    """

    strategy: Strategy[Any]
    judge: Judge
    seed: int = 0
    slots: int = 1
    order: Random | None = None
    record: Record = field(default_factory=Record)
    events: list[Asked | Told] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.streams = Streams(self.seed)
        self.states.append(self.strategy.start())

    @property
    def suggestions(self) -> list[Suggestion]:
        """What was asked for, by number."""
        return [self.record.suggestion(number) for number in range(len(self.record))]

    @property
    def points(self) -> list[dict[str, Value]]:
        """The values that were asked for, by number."""
        return [dict(suggestion.values) for suggestion in self.suggestions]

    def ask(self) -> Suggestion | None:
        """Return the next suggestion, and forget it."""
        return self.strategy.ask(self.states[-1], self.record, self.streams.of(len(self.record)))

    def append(self, event: Asked | Told) -> None:
        """Take in `event`."""
        self.record.append(event)
        self.events.append(event)
        self.states.append(self.strategy.fold(self.states[-1], event))

    def refolded(self) -> Any:
        """Return the state that the events give to a strategy that was never asked."""
        return reduce(self.strategy.fold, self.events, self.strategy.start())

    def steps(self) -> Iterator[Suggestion | None]:
        """Search to the end; yield what each asking is about to give.

        Raises:
            AssertionError: Nothing is out, and yet the strategy neither asks for more nor is done; or it goes on and
                on; or it suggests a child of an evaluation that is not over.
        """
        out: list[int] = []
        while not self.strategy.is_done(self.states[-1]):
            while len(out) < self.slots:
                suggestion = self.ask()
                yield suggestion
                if suggestion is None:
                    break
                self._check_parents(suggestion)
                out.append(len(self.record))
                self.append(Asked(len(self.record), suggestion))
            _expect(bool(out), f"seed {self.seed}: nothing is out, nothing is asked for, and yet it is not done")
            _expect(len(self.record) <= _MOST_EVALUATIONS, f"seed {self.seed}: it ends")
            number = out.pop(self.order.randrange(len(out)) if self.order else 0)
            self.append(Told(number, self.judge(self.record.suggestion(number).values)))

    def run(self) -> "Search":
        """Search to the end."""
        for _ in self.steps():
            pass
        return self

    def _check_parents(self, suggestion: Suggestion) -> None:
        for parent in suggestion.parents:
            known = parent < len(self.record)
            over = known and (self.record.outcome(parent) is not None or suggestion.resume_from is not None)
            _expect(over, f"seed {self.seed}: a parent is over before its children start, got {suggestion!r}")


class StrategyConformance:
    """The rules of `crayai.hpo.strategy.base.Strategy`, each as a test.

    Attributes:
        seeds: Of the studies that are tried.
        repeats: Evaluations of each point, one after the other.
        default_comes_again: Whether the default point is on the strategy's list a second time, as on a grid.
        trains_on: Whether evaluations go on from the checkpoints of others, so that points come again.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    repeats: int = 1
    default_comes_again: bool = False
    trains_on: bool = False

    def make(self, space: Space) -> Strategy[Any]:
        """Return the strategy, for a search of `space` with ten to some hundred evaluations."""
        raise NotImplementedError

    def search(self, space: Space, seed: int, slots: int = 1, *, shuffled: bool = False) -> Search:
        """Return a search that has not begun."""
        order = Random(seed) if shuffled else None  # noqa: S311 - no secret, and to be repeated
        return Search(self.make(space), bowl(space), seed, slots, order)

    def test_points_depend_on_the_seed_alone(self) -> None:
        """The same seed gives the same suggestions, however many are out and in whatever order outcomes arrive."""
        for seed in self.seeds:
            one = self.search(mixed_space(), seed).run()
            for slots in (1, 2, 7, 1000):
                many = self.search(mixed_space(), seed, slots, shuffled=True).run()
                _expect_equal(many.suggestions, one.suggestions, f"seed {seed}, {slots} slots: the suggestions")

    def test_asking_changes_nothing(self) -> None:
        """Asking twice in the same state with equal random numbers gives equal answers and leaves the state."""
        for seed in self.seeds:
            search = self.search(mixed_space(), seed, 3, shuffled=True)
            for first in search.steps():
                _expect_equal(search.ask(), first, f"seed {seed}: the second answer")
                if len(search.events) < _REFOLDED:
                    _expect_equal(search.states[-1], search.refolded(), f"seed {seed}: the state after asking")

    def test_folding_the_events_resumes(self) -> None:
        """Folding the events, all or the first of them, gives the state that the search was in, and its next point."""
        for seed in self.seeds:
            done = self.search(mixed_space(), seed, 4, shuffled=True).run()
            again = Search(self.make(mixed_space()), bowl(mixed_space()), seed)
            for event, state in zip(done.events, done.states[1:], strict=True):
                if isinstance(event, Asked) and event.number % 3 == seed % 3:  # the others were asked before
                    _expect_equal(
                        again.ask(), event.suggestion, f"seed {seed}: suggestion {event.number} after resuming"
                    )
                again.append(event)
                _expect_equal(again.states[-1], state, f"seed {seed}: the state after {event!r}")

    def test_it_ends_when_everything_asked_for_is_over(self) -> None:
        """It is done after as many evaluations as announced, not before the last outcome, and then asks for no more."""
        for seed in self.seeds:
            search = self.search(mixed_space(), seed, 5, shuffled=True).run()
            announced = search.strategy.evaluations
            if announced is not None:
                _expect_equal(len(search.record), announced, f"seed {seed}: the number of evaluations")
            _expect_equal(list(search.record.unfinished()), [], f"seed {seed}: evaluations without an outcome")
            early = [search.strategy.is_done(state) for state in search.states[:-1]]
            _expect(not any(early), f"seed {seed}: it is not done before the last outcome")
            _expect_equal(search.ask(), None, f"seed {seed}: what is asked for when all is over")

    def test_only_active_hyperparameters_have_values(self) -> None:
        """A suggestion holds the hyperparameters whose conditions are true, in the order of the space."""
        for seed in self.seeds:
            space = mixed_space()
            for values in self.search(space, seed).run().points:
                active = [flag for flag in space.flags if space.is_active(flag, values)]
                _expect_equal(list(values), active, f"seed {seed}: the flags of {values!r}")

    def test_values_stay_inside(self) -> None:
        """Every value is of its hyperparameter's kind and within its bounds."""
        for seed in self.seeds:
            space = mixed_space()
            for values in self.search(space, seed).run().points:
                for flag, value in values.items():
                    _expect(_is_inside(space, flag, value), f"seed {seed}: {flag}={value!r} is in its domain")

    def test_the_default_comes_first(self) -> None:
        """Evaluation 0 has the default of each hyperparameter that has one."""
        for seed in self.seeds:
            space = mixed_space()
            values = self.search(space, seed).run().points[0]
            defaults = {flag: space[flag].default for flag in values if space[flag].default is not None}
            _expect_equal({flag: values[flag] for flag in defaults}, defaults, f"seed {seed}: the first point")

    def test_a_failed_evaluation_ranks_last(self) -> None:
        """A failed evaluation is to the search what an enormous loss would be, but for its missing checkpoint."""
        if self.trains_on:
            return

        def judge(bad: Outcome) -> Judge:
            good = bowl(mixed_space())
            return lambda values: bad if values["--layers"] == 1 else good(values)

        for seed in self.seeds:
            failing, poor = (
                Search(self.make(mixed_space()), judge(bad), seed).run()
                for bad in (Failed(Cause.SIGNAL, "9"), Completed(_WORST_LOSS))
            )
            _expect_equal(failing.points, poor.points, f"seed {seed}: the points beside failed evaluations")

    def test_failures_never_stop_the_search(self) -> None:
        """Where every evaluation fails, the search goes on to its end all the same."""
        for seed in self.seeds:
            failing = Search(self.make(mixed_space()), lambda _: Failed(Cause.EXIT_CODE, "1"), seed, slots=3).run()
            good = self.search(mixed_space(), seed).run()
            _expect_equal(len(failing.record), len(good.record), f"seed {seed}: the evaluations where all fail")

    def test_no_point_twice_until_all_were_asked(self) -> None:
        """No point comes twice while there is another, not even while earlier ones are out; but to be trained on."""
        if self.trains_on:
            return
        everything = sum(1 for _ in tiny_space().grid(100))
        for seed in self.seeds:
            for space in (tiny_space(), mixed_space()):
                points = self.search(space, seed, slots=5, shuffled=True).run().points
                distinct = [tuple(point.items()) for point in points[:: self.repeats]]
                if self.default_comes_again and distinct[0] in distinct[1:]:
                    distinct.pop(0)
                if space.size is not None:
                    distinct = distinct[:everything]
                again = [point for i, point in enumerate(distinct) if point in distinct[:i]]
                _expect_equal(again, [], f"seed {seed}: points that came twice, of {len(distinct)}")

    def test_each_point_comes_as_often_as_promised(self) -> None:
        """A point is evaluated `repeats` times, one number after the other."""
        for seed in self.seeds:
            points = self.search(mixed_space(), seed, slots=3).run().points
            repeated = [point for point in points[:: self.repeats] for _ in range(self.repeats)]
            _expect_equal(points, repeated, f"seed {seed}: the points, each {self.repeats} times")


def _is_inside(space: Space, flag: str, value: Value) -> bool:
    match space[flag]:
        case Float(low=low, high=high):
            return isinstance(value, float) and low <= value <= high
        case Int(low=low, high=high):
            return type(value) is int and low <= value <= high
        case Choice(choices=choices):
            return value in choices
        case other:
            return value == other.default


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)


def _expect_equal(actual: object, wanted: object, rule: str) -> None:
    if actual != wanted:
        raise AssertionError(f"{rule}: wanted {wanted!r}, got {actual!r}")
