"""The searches that the population based training benchmark compares, each with the same number of epochs in all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pbt_tasks as tasks

from crayai import hpo

Values = dict[str, Any]


class Found(NamedTuple):
    """The model that a search would hand over, the one with the best figure of merit; and how much it has trained."""

    fom: float
    test_error: float
    windows: int


@dataclass(frozen=True)
class Problem:
    """What all searches have in common.

    Attributes:
        task: What is learned.
        seed: Of the search, and of how the examples are divided.
        members: Models of a population; trainings of the other searches.
        windows: Of each member.
        epochs: Of a window.
    """

    task: str
    seed: int
    members: int = 16
    windows: int = 10
    epochs: int = 3

    def fresh(self, seed: int) -> tasks.Model:
        """Return an untrained network."""
        return tasks.fresh(self.task, self.seed, seed)

    def train(self, model: tasks.Model, seed: int, values: Values, span: int = 1) -> tasks.Scores:
        """Train a network for `span` windows at once."""
        return tasks.train(model, self.task, self.seed, seed, span * self.epochs, values)


def params() -> list[Any]:
    """Return the hyperparameters as crayai wants them."""
    return [
        hpo.Int(f"--{name}", int(low), int(high), log="log" in scale)
        if "int" in scale
        else hpo.Float(f"--{name}", low, high, log="log" in scale)
        for name, (low, high, scale) in tasks.RANGES.items()
    ]


def bare(values: Any) -> Values:
    """Return values by the names that the training knows."""
    return {flag.removeprefix("--"): value for flag, value in values.items()}


class Trained(NamedTuple):
    """An evaluation that is over; without a model where it failed."""

    values: Values
    scores: tasks.Scores
    model: tasks.Model | None
    resume_from: int | None


def trained(problem: Problem, strategy: str, *, span: int = 1, **arguments: Any) -> list[Trained]:
    """Drive a search to its end, one evaluation after another; each trains for `span` windows at once."""
    search = hpo.Search(params(), strategy, seed=problem.seed, **arguments)
    done: list[Trained] = []
    while (asked := search.ask()) is not None:
        source = asked.resume_from
        while source is not None and done[source].model is None:
            source = done[source].resume_from
        before = None if source is None else done[source].model
        model = problem.fresh(asked.seed) if before is None else before.copy()
        scores = problem.train(model, asked.seed, bare(asked.values), span)
        search.tell(asked.number, scores.fom)
        done.append(Trained(bare(asked.values), scores, None if math.isnan(scores.fom) else model, asked.resume_from))
    if not search.is_done:
        raise RuntimeError(f"the search {strategy!r} asks for nothing more, and is not done")
    return done


def best_of(scores: Sequence[tasks.Scores], span: int = 1) -> Found:
    """Return the best by its figure of merit, the first of equals; each has trained for `span` windows."""
    best = min((s for s in scores if not math.isnan(s.fom)), key=lambda s: s.fom)
    return Found(best.fom, best.test_error, len(scores) * span)


def pbt(problem: Problem, **arguments: Any) -> Found:
    """Population based training; any window of any member may be the best."""
    members = problem.members // arguments.get("num_demes", 1)
    settings = {"pop_size": members, "windows": problem.windows, **arguments}
    return best_of([t.scores for t in trained(problem, "pbt", **settings)])


def genetic(problem: Problem) -> Found:
    """Genetic search without checkpoints: every evaluation is a whole training."""
    shape = {"generations": 4, "pop_size": problem.members // 4, "num_demes": 1}
    return best_of([t.scores for t in trained(problem, "genetic", span=problem.windows, **shape)], problem.windows)


def random_trainings(problem: Problem) -> list[Trained]:
    """Return the whole trainings of random search."""
    return trained(problem, "random", span=problem.windows, num_iters=problem.members)


def random(problem: Problem) -> Found:
    """Random search: every evaluation is a whole training, judged at its end."""
    return best_of([t.scores for t in random_trainings(problem)], problem.windows)


def random_stopped(problem: Problem) -> Found:
    """Random search whose trainings are judged after each window: the best moment of the best one."""
    search = hpo.Search(params(), "random", seed=problem.seed, num_iters=problem.members)
    scores: list[tasks.Scores] = []
    while (asked := search.ask()) is not None:
        model, values = problem.fresh(asked.seed), bare(asked.values)
        of_this = [problem.train(model, asked.seed + window, values) for window in range(problem.windows)]
        search.tell(asked.number, of_this[-1].fom)
        scores += of_this
    return best_of(scores)


def constant(problem: Problem) -> Found:
    """The best setting of random search, trained once more as a whole with another seed."""
    trainings = random_trainings(problem)
    best = min((t for t in trainings if t.model), key=lambda t: t.scores.fom)
    seed = problem.seed + 1_000_000
    again = problem.train(problem.fresh(seed), seed, best.values, problem.windows)
    return Found(again.fom, again.test_error, (len(trainings) + 1) * problem.windows)


METHODS: dict[str, Callable[[Problem], Found]] = {
    "pbt": pbt,
    "pbt, lag 0": lambda problem: pbt(problem, lag=0),
    "pbt, 2 demes": lambda problem: pbt(problem, num_demes=2),
    "random": random,
    "random, best window": random_stopped,
    "constant": constant,
    "genetic": genetic,
}
"""By name; the first is compared with all others."""
