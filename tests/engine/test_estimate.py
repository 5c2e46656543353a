"""What a study will take: shapes of searches, times, sizes, and how they are said."""

import pytest

from crayai.hpo.engine.doctor.estimate import (
    Estimate,
    Rounds,
    checkpoints_at_once,
    log_bytes,
    longest_of,
    recorded_seconds,
    rounds_of,
    size,
    span,
)
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Completed
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.store.sqlite import SqliteLog

SPACE = Space([Float("--x", -4.0, 4.0, default=3.0), Int("--n", 1, 6, default=2), Choice("--kind", ["a", "b"])])


SAVING = "train --load=@load --save=@save"


def study_of(name, repeats=1, space=SPACE, command="train", **arguments):
    """Return a study with a strategy."""
    strategy = StrategySettings(name=name, arguments=arguments, repeats=repeats)
    return Study(space=space, strategy=strategy, seed=5, command=command)


TRAINED = study_of("pbt", windows=7, pop_size=5, num_demes=2, command=SAVING)


def estimate_of(rounds, slots, *seconds):
    """Return an estimate of the time alone."""
    return Estimate(rounds=rounds, slots=slots, seconds=seconds, log_bytes=0)


@pytest.mark.parametrize(
    ("study", "rounds"),
    [
        (study_of("random", num_iters=40), Rounds(1, 40)),
        (study_of("random", num_iters=40, repeats=3), Rounds(1, 120)),
        (study_of("grid", grid_size=3), Rounds(1, 3 * 3 * 2 + 1)),
        (study_of("genetic", generations=7, pop_size=5, num_demes=2), Rounds(7, 10)),
        (study_of("genetic", generations=7, pop_size=5, num_demes=2, repeats=3), Rounds(7, 30)),
        (TRAINED, Rounds(7, 10, 0, "window", wait=False)),
        (study_of("pbt", windows=7, pop_size=5, lag=0, command=SAVING), Rounds(7, 5, 0, "window")),
    ],
)
def test_shape_of_each_strategy(study, rounds):
    """There is a round for each generation or window, and one of all other strategies; repeats count."""
    assert rounds_of(study) == rounds
    assert rounds.evaluations == study.algorithm.evaluations


@pytest.mark.parametrize(
    ("at_most", "rounds"), [(1000, Rounds(7, 10)), (70, Rounds(7, 10)), (24, Rounds(2, 10, 4)), (4, Rounds(1, 4))]
)
def test_a_budget_ends_the_search_early(at_most, rounds):
    """With a limit of evaluations, whole generations are followed by a part of one."""
    assert rounds_of(study_of("genetic", generations=7, pop_size=5, num_demes=2), at_most) == rounds
    assert rounds.evaluations == min(70, at_most)


def test_grid_that_nobody_can_count_is_refused():
    """A large grid with conditions has no known number of points; the message says what to change."""
    ranges = [Float(f"--x{i}", 0, 1, when="--kind == 'a'") for i in range(6)]
    study = study_of("grid", space=Space([*ranges, Choice("--kind", ["a", "b"])]), grid_size=9)
    with pytest.raises(SettingsError, match="smaller grid_size"):
        rounds_of(study)


@pytest.mark.parametrize(
    ("rounds", "slots", "seconds"),
    [
        (Rounds(1, 12), 1, 120),
        (Rounds(1, 12), 4, 30),
        (Rounds(1, 13), 4, 40),
        (Rounds(1, 3), 8, 10),
        (Rounds(5, 6), 4, 5 * 20),
        (Rounds(5, 6, 1), 4, 5 * 20 + 10),
    ],
)
def test_equal_evaluations_come_in_waves(rounds, slots, seconds):
    """Evaluations of 10 s fill the slots in waves, and each round begins when the one before is over."""
    assert estimate_of(rounds, slots, 10.0, 10.0).total_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("rounds", "slots", "seconds"),
    [((7, 10), 4, 7 * 25), ((7, 10), 10, 7 * 10), ((7, 10), 99, 7 * 10), ((7, 10, 3), 10, 8 * 10), ((7, 10), 1, 700)],
)
def test_windows_that_wait_for_nobody(rounds, slots, seconds):
    """With a lag the slots are never idle, and no member can be faster than its windows one after the other."""
    shape = Rounds(*rounds, wait=False)
    assert estimate_of(shape, slots, 10.0, 10.0).total_seconds() == pytest.approx(seconds)
    assert estimate_of(shape, slots, 5.0, 15.0).total_seconds() == pytest.approx(seconds + 5, abs=5)


def test_checkpoints_at_once():
    """There are two of each member, or one of each evaluation if all are kept; nobody else needs more than the best."""
    assert checkpoints_at_once(TRAINED, "best", 4) == 20
    assert checkpoints_at_once(TRAINED, "all", 4) == 70
    assert checkpoints_at_once(study_of("random", num_iters=40, command=SAVING), "best", 4) == 5


def test_rounds_wait_for_their_slowest():
    """Where times vary, a round on many slots takes as long as its slowest, one after the other takes the mean."""
    estimate = estimate_of(Rounds(3, 100), 100, 1.0, 1.0, 1.0, 9.0)
    assert estimate.total_seconds() == pytest.approx(3 * 9.0, rel=1e-6)
    assert estimate.total_seconds(slots=1) == pytest.approx(300 * 3.0)
    assert estimate.node_hours == estimate.total_seconds() / 3600


@pytest.mark.parametrize(("draws", "expected"), [(1, 2.0), (2, 22 / 9), (1000, 3.0)])
def test_expected_greatest_of_some_draws(draws, expected):
    """The expected greatest is the mean for one draw, and comes near the greatest for many."""
    assert longest_of([2.0, 3.0, 1.0], draws) == pytest.approx(expected)


def test_estimate_needs_a_time():
    """An estimate without any time is refused."""
    with pytest.raises(SettingsError, match="got no time"):
        estimate_of(Rounds(1, 1), 1)


def test_everything_that_is_written_counts():
    """The room is that of the log, of kept output and of the evaluations' directories."""
    estimate = Estimate(
        rounds=Rounds(2, 5), slots=1, seconds=[1.0], log_bytes=1000, output_bytes=20, directory_bytes=300
    )
    assert estimate.bytes == 1000 + 10 * 20 + 10 * 300


def test_log_is_as_large_as_foretold(tmp_path):
    """The size of a real log is within a quarter of the estimate."""
    study = study_of("genetic", generations=20, pop_size=10, num_demes=2)
    path = tmp_path / "study.db"
    with SqliteLog(path) as log:
        log.record_settings(study.settings())
        search = Search(study, log)
        while (asked := search.ask()) is not None:
            search.tell(asked.number, Completed(asked.number / 7), 1.5)
        search.commit()
    assert len(search.record) == 400
    assert path.stat().st_size == pytest.approx(log_bytes(search.record.suggestion(0).values, 400), rel=0.25)


def test_recorded_times_are_found(tmp_path):
    """Times come from the log of the same command, and from no other."""
    study = study_of("random", num_iters=3)
    path = tmp_path / "study.db"
    assert recorded_seconds(path, study) == []
    with SqliteLog(path) as log:
        log.record_settings(study.settings())
        search = Search(study, log)
        for seconds in (1.5, None, 2.5):
            search.tell(search.ask().number, Completed(0.5), seconds)
        search.commit()
    assert recorded_seconds(path, study) == [1.5, 2.5]
    other = Study(space=SPACE, strategy=study.strategy, seed=5, command="train --more")
    assert recorded_seconds(path, other) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 ms"),
        (0.0123, "12 ms"),
        (0.46, "0.46 s"),
        (1.26, "1.3 s"),
        (9.4, "9.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3599.9, "1 h"),
        (9600, "2 h 40 min"),
        (86399, "24 h"),
        (90000, "1 d 1 h"),
        (266400, "3 d 2 h"),
    ],
)
def test_time_spans_in_words(seconds, words):
    """Time spans have the two units that matter."""
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (345_678, "346 kB"), (5.2e9, "5.2 GB")]
)
def test_sizes_in_words(number, words):
    """Sizes have the unit that fits."""
    assert size(number) == words
