"""Ask and tell on record, and that a search is nothing but its log."""

import pytest

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked, Cause, Completed, Failed, Launched, Suggestion, Told
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.store.base import MemoryLog
from crayai.hpo.store.sqlite import SqliteLog

SPACE = Space([Float("--x", -4.0, 4.0, default=3.0), Int("--n", 1, 6), Choice("--kind", ["a", "b"])])
STRATEGIES = {
    "random": {"num_iters": 20},
    "grid": {"grid_size": 3},
    "genetic": {"generations": 4, "pop_size": 3, "num_demes": 2},
}


def study_of(name="random", *, repeats=1, goal="minimize", seed=5):
    """Return a study."""
    strategy = StrategySettings(name=name, arguments=STRATEGIES[name], repeats=repeats)
    return Study(space=SPACE, strategy=strategy, seed=seed, goal=goal)


def outcome_of(suggestion):
    """Return an outcome that the values decide."""
    x, n = suggestion.values["--x"], suggestion.values["--n"]
    return Failed(Cause.EXIT_CODE, "1") if n == 6 else Completed((x - 1) ** 2 + n)


def finish(search, random):
    """Ask and tell to the end, several at a time and in any order, on record."""
    under_way = search.unfinished()
    while not search.is_done:
        while len(under_way) < 3 and (asked := search.ask()) is not None:
            under_way.append(asked)
            search.append(Launched(asked.number, 1))
        asked = under_way.pop(random.randrange(len(under_way)))
        search.tell(asked.number, outcome_of(asked.suggestion))
    search.commit()


def facts(search):
    """Return all that a search knows."""
    numbers = range(len(search.record))
    return (
        [(search.record.suggestion(number), search.record.outcome(number)) for number in numbers],
        (search.completed, search.failed, search.best, search.best_loss, search.default_loss),
        dict(search.attempts),
        search.is_done,
        search.unfinished(),
        search._state,
    )


def test_a_search_counts():
    """Asking and telling are counted, failed ones apart, and unfinished ones are known."""
    search = Search(study_of(), MemoryLog())
    first, second, third = (search.ask() for _ in range(3))
    assert [first.number, second.number, third.number] == [0, 1, 2]
    assert first.suggestion.values["--x"] == 3.0
    search.tell(1, Completed(2.0))
    search.tell(0, Failed(Cause.NO_FOM))
    assert (search.completed, search.failed, search.unfinished(), search.is_done) == (1, 1, [third], False)
    assert (search.best, search.best_loss, search.default_loss) == (1, 2.0, None)


def test_attempts_are_known_until_the_end():
    """How often an evaluation was launched is known, and so the number of the next attempt, when it is over too."""
    search = Search(study_of(), MemoryLog())
    search.ask()
    search.append(Launched(0, 1))
    search.append(Launched(0, 2))
    search.ask()
    search.append(Launched(1, 1))
    search.ask()
    assert [search.next_attempt(number) for number in range(3)] == [3, 2, 1]
    search.tell(0, Completed(1.0))
    search.tell(1, Completed(1.0))
    assert [search.next_attempt(number) for number in range(3)] == [3, 2, 1]


def test_the_best_of_equals_is_the_earlier_number():
    """Of equal losses the lower number is best, in whatever order they arrive."""
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        search = Search(study_of(), MemoryLog())
        for _ in range(3):
            search.ask()
        for number in order:
            search.tell(number, Completed(5.0 if number == 0 else 2.0))
        assert search.best == 1


def test_an_end_is_told_once():
    """What was never asked for, or is over, cannot be told; the message says which."""
    search = Search(study_of(), MemoryLog())
    search.ask()
    for number in (-1, 1):
        with pytest.raises(SettingsError, match=rf"evaluation {number} was never asked for; 1 were"):
            search.tell(number, Completed(1.0))
    search.tell(0, Completed(1.0))
    with pytest.raises(SettingsError, match="evaluation 0 was told before"):
        search.tell(0, Completed(0.0))
    assert search.best_loss == 1.0


def test_an_evaluation_for_people():
    """People see the figure of merit as printed, and the cause of a failure in words."""
    search = Search(study_of(goal="maximize"), MemoryLog())
    for _ in range(3):
        search.ask()
    search.tell(0, Completed(-0.75))
    search.tell(1, Failed(Cause.SIGNAL, "SIGKILL"))
    assert search.evaluation(0).fom == 0.75
    assert (search.evaluation(1).fom, search.evaluation(1).failure) == (None, "signal: SIGKILL")
    assert (search.evaluation(2).fom, search.evaluation(2).failure) == (None, "")


def test_a_search_needs_a_seed():
    """Without a seed nothing could be repeated."""
    with pytest.raises(SettingsError, match="a search needs a seed"):
        Search(study_of(seed=None), MemoryLog())


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("name", STRATEGIES)
def test_any_prefix_of_a_log_is_a_search(name, repeats, seeded):
    """A search made from any prefix of a log is the one that stood there, and goes on to the same end."""
    study = study_of(name, repeats=repeats)
    log, states = MemoryLog(), []
    whole = Search(study, log)
    append = whole.append

    def append_and_look(event):
        append(event)
        states.append((facts(whole)[1:], len(whole.record)))

    whole.append = append_and_look
    finish(whole, seeded)
    events = list(log.events())
    assert len(states) == len(events)
    for length in range(len(events) + 1):
        prefix = MemoryLog()
        for event in events[:length]:
            prefix.append(event)
        search = Search(study, prefix)
        if length:
            assert (facts(search)[1:], len(search.record)) == states[length - 1]
        finish(search, seeded)
        assert facts(search)[0] == facts(whole)[0]
        assert facts(search)[1] == facts(whole)[1]


def test_events_before_the_death_of_a_driver(tmp_path, seeded):
    """A search on a file that is opened anew after every few events comes out as one that never stopped."""
    study = study_of("genetic")
    whole = Search(study, MemoryLog())
    finish(whole, seeded)
    while True:
        with SqliteLog(tmp_path / "study.db") as log:
            search = Search(study, log)
            if search.is_done:
                break
            under_way = search.unfinished()
            while len(under_way) < 4 and (asked := search.ask()) is not None:
                under_way.append(asked)
            one = seeded.choice(under_way)
            search.tell(one.number, outcome_of(one.suggestion))
            search.commit()
            left = next((asked for asked in under_way if asked is not one), None)
            if left:
                search.tell(left.number, Completed(-1000.0))  # never committed: it has never been
    assert facts(search) == facts(whole)


def test_the_log_decides_even_against_the_strategy():
    """What is on record counts, though the strategy of today would ask for something else: nothing is drawn again."""
    log = MemoryLog()
    other = {"--x": -3.25, "--n": 4, "--kind": "b"}
    log.append(Asked(0, Suggestion(other)))
    log.append(Told(0, Completed(7.0)))
    search = Search(study_of(), log)
    assert search.record.suggestion(0).values == other
    assert search.best_loss == 7.0
    assert search.ask().number == 1
