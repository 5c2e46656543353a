"""How many evaluations run at once where there is no room for all."""

from crayai.hpo.engine.throttle import Throttle


def test_without_a_shortage_there_is_no_limit():
    """As long as there is room any number may run."""
    throttle = Throttle()
    throttle.success()
    assert throttle.most > 10**6


def test_a_shortage_means_one_fewer():
    """Each failure for want of room means one fewer at once; the last one always may run."""
    throttle = Throttle()
    limits = []
    for _ in range(5):
        throttle.shortage(4)
        limits.append(throttle.most)
    assert limits == [3, 2, 1, 1, 1]


def test_the_limit_rises_with_successes():
    """After a round of successes one more may run."""
    throttle = Throttle()
    throttle.shortage(4)
    for _ in range(4):
        throttle.success()
    assert throttle.most == 4
