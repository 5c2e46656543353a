"""A population made up: members that train in windows, the worst going on from the best with changed values."""

import math
from random import Random

from crayai.hpo.records import Cause, Completed, Failed, loss_of
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.store.query import StoredEvaluation

SPACE = Space(
    [
        Float("--lr", 1e-5, 1.0, log=True),
        Float("--dropout", 0.0, 0.6),
        Int("--batch-size", 16, 1024, log=True),
        Choice("--augment", ["none", "flip", "flip+crop", "all & <everything>"]),
        Float("--momentum", 0.0, 0.99, when="--augment != 'none'"),
        Constant("--epochs", 5),
    ]
)


def stored(number, loss, resume_from=None, window=0, values=None, failed=False):
    """Return an evaluation as the log would give it."""
    outcome = Failed(Cause.EXIT_CODE, "3") if failed else Completed(loss)
    parents = () if resume_from is None else (resume_from,)
    return StoredEvaluation(number, window, 0, parents, resume_from, values or {}, outcome, 0.0, 1.0, 2.0, 1)


def population(windows, members, seed=0):
    """Return the evaluations of a whole training; some fail, and a quarter of the members is replaced each time."""
    random = Random(seed)
    places = {m: [random.random() for _ in SPACE.hyperparameters] for m in range(members)}
    losses = {m: 2.5 + 0.2 * random.random() for m in range(members)}
    found: dict[int, StoredEvaluation] = {}
    for window in range(windows):
        ranked = (
            sorted(range(members), key=lambda m: loss_of(found[(window - 1) * members + m].outcome)) if window else []
        )
        sources = {m: m for m in range(members)}
        for rank, loser in enumerate(reversed(ranked[-max(1, members // 4) :])):
            sources[loser] = ranked[rank]
        changed = {
            m: places[s] if s == m else [min(max(p + random.gauss(0, 0.12), 0.0), 1.0) for p in places[s]]
            for m, s in sources.items()
        }
        losses = {m: losses[s] * (1 - 0.15 * math.exp(-3 * abs(changed[m][0] - 0.6))) for m, s in sources.items()}
        places = changed
        for m, s in sources.items():
            found[window * members + m] = stored(
                window * members + m,
                losses[m] * (1 + random.gauss(0, 0.02)),
                (window - 1) * members + s if window else None,
                window,
                SPACE.values(places[m]),
                failed=random.random() < 0.02,
            )
    return found


def best_of(evaluations):
    """Return the number of the evaluation with the least loss."""
    return min(evaluations, key=lambda number: loss_of(evaluations[number].outcome))
