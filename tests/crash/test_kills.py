"""Drivers that are killed with SIGKILL: whoever goes on ends with what a study left alone ends with."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest
from kills import (
    STRATEGIES,
    WORKERS,
    each,
    kill_at_any_time,
    kill_at_step,
    kill_in_chain,
    seconds_of_a_study,
    several,
    side_by_side,
    undisturbed,
)


@pytest.fixture(scope="module")
def pool():
    """Return processes that have and watch drivers killed, two a core."""
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as executor:
        yield executor


@pytest.fixture(scope="module")
def expected(pool, tmp_path_factory):
    """Return what a study with each of the strategies comes to when nobody disturbs it."""
    root = tmp_path_factory.mktemp("undisturbed")
    return {strategy: pool.submit(undisturbed, root / strategy, strategy).result() for strategy in STRATEGIES}


def faults_of(results):
    """Return what must not be in any of the results."""
    return [fault for result in results for fault in result.faults]


@pytest.mark.fault(
    "kill -9 of the driver before and after each commit, submission, forgetting, closing, for each strategy",
    "the next driver ends with the same points, outcomes and best; no run is repeated",
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_driver_may_be_killed_at_each_step(tmp_path, pool, expected, strategy):
    """Whichever effect a driver is killed before or after, the next one ends with the same, and runs nothing again."""
    results = list(each(pool, kill_at_step, tmp_path, strategy, expected[strategy]))
    assert faults_of(results) == []
    assert sum(result.counts["kills"] for result in results) > 2 * len(expected[strategy].evaluations)


@pytest.mark.fault("kill -9 of each driver some steps after its start, until the study is over", "likewise")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_driver_after_driver_may_be_killed(tmp_path, pool, expected, strategy, seeded):
    """However many drivers die some steps after their start, one after the other, the study ends with the same."""
    seeds = [seeded.getrandbits(32) for _ in range(3)]
    results = several(pool, kill_in_chain, tmp_path, strategy, expected[strategy], seeds)
    assert faults_of(results) == []


@pytest.mark.fault(
    "kill -9 of `crayai run`, and of its keeper, at random times",
    "likewise; only what ran under a killed keeper runs again, and never two attempts side by side",
)
@pytest.mark.parametrize("keepers", [False, True], ids=["drivers", "drivers and keepers"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_command_may_be_killed_at_any_time(tmp_path, pool, expected, strategy, keepers, seeded):
    """Killed from outside at random times, with or without its keeper, the command ends with the same at last."""
    kill = partial(kill_at_any_time, seconds=seconds_of_a_study(tmp_path / "alone", strategy), keepers=keepers)
    results = several(pool, kill, tmp_path, strategy, expected[strategy], [seeded.getrandbits(32) for _ in range(2)])
    assert faults_of(results) == []


def test_the_detector_sees_attempts_side_by_side():
    """An attempt that ends after another one was started was alive with it; one that was killed before was not."""
    one_after_the_other = [("start", 4, 1), ("start", 7, 1), ("start", 4, 2), ("end", 4, 2), ("end", 7, 1)]
    assert side_by_side(one_after_the_other) == []
    assert side_by_side([*one_after_the_other, ("end", 4, 1)]) == [4]
    assert side_by_side([("start", 4, 1), ("start", 4, 1)]) == [4]
