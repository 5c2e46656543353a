"""What waits to be launched."""

from crayai.hpo.engine.queue import Queue
from crayai.hpo.records import Asked, Suggestion


def asked(number, resume_from=None):
    """Return an evaluation."""
    return Asked(number, Suggestion({"--x": number}, resume_from=resume_from))


def drained(queue):
    """Return the numbers of those that are ready, in order."""
    return [queue.pop().number for _ in range(len(queue))]


def test_lower_numbers_come_first():
    """Whatever came when, the evaluation with the lowest number is launched first."""
    queue = Queue(lambda _: False)
    for number in (3, 1, 2):
        queue.add(asked(number))
    assert [a.number for a in queue] == [1, 2, 3]
    assert drained(queue) == [1, 2, 3]


def test_one_that_waits_for_another_is_ready_when_that_is_over():
    """An evaluation that trains on from another is not ready before that is over."""
    queue = Queue(lambda _: False)
    queue.add(asked(5, resume_from=1))
    queue.add(asked(4, resume_from=1))
    queue.add(asked(2))
    assert len(queue) == 1
    queue.over(1)
    queue.over(7)
    assert drained(queue) == [2, 4, 5]


def test_a_pause_ends_at_its_time():
    """A paused evaluation is ready from its time on."""
    queue = Queue(lambda _: False)
    queue.pause(asked(1), until=10.0)
    queue.wake(9.9)
    assert (len(queue), queue.next_wake) == (0, 10.0)
    queue.wake(10.0)
    assert (drained(queue), queue.next_wake) == ([1], None)


def test_one_can_be_taken_out():
    """One that is found to be running is not launched again."""
    queue = Queue(lambda _: False)
    for number in (1, 2, 3):
        queue.add(asked(number))
    queue.remove(asked(2))
    assert drained(queue) == [1, 3]
