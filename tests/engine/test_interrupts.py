"""Ctrl-C: counted, and a wait ends at once."""

import os
import signal
import threading

import pytest

from crayai.hpo.engine.interrupts import Interrupts

PATIENCE_SECONDS = 60


def press():
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_is_counted():
    """While nothing waits Ctrl-C is counted, and raises nothing."""
    interrupts = Interrupts()
    with interrupts.caught():
        press()
        press()
    assert interrupts.count == 2


def test_the_handler_before_comes_back():
    """After the block Ctrl-C does what it did before, also if the block fails."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interrupts().caught():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        press()


def test_a_wait_ends_at_once():
    """Ctrl-C ends a wait, whatever it waits for, and the next thing can be done."""
    interrupts = Interrupts()
    never = threading.Event()
    with interrupts.caught():
        timer = threading.Timer(0.05, press)
        timer.start()
        interrupts.wait(0, lambda: never.wait(PATIENCE_SECONDS))
        timer.join()
        assert interrupts.count == 1
        done = []
        interrupts.wait(1, lambda: done.append("next"))
    assert done == ["next"]


def test_a_wait_that_catches_every_exception_ends():
    """What tries again whatever goes wrong does not take Ctrl-C for a failure."""
    interrupts = Interrupts()
    tries = []

    def stubborn():
        while len(tries) < 2:
            tries.append("try")
            try:
                press()
            except Exception:  # noqa: BLE001 - that is what is tested
                continue

    with interrupts.caught():
        interrupts.wait(0, stubborn)
    assert tries == ["try"]


def test_a_request_before_the_wait_is_not_missed():
    """Nothing is waited for if a request came that has not been obeyed."""
    interrupts = Interrupts()
    with interrupts.caught():
        press()
        done = []
        interrupts.wait(0, lambda: done.append("wait"))
    assert done == []


def test_what_the_wait_raises_is_not_swallowed():
    """Only the request itself ends in silence; an error in the wait comes through, and Ctrl-C is counted again."""
    interrupts = Interrupts()

    def fail():
        raise ZeroDivisionError

    with interrupts.caught():
        with pytest.raises(ZeroDivisionError):
            interrupts.wait(0, fail)
        press()
    assert interrupts.count == 1


def test_in_another_thread_nothing_is_caught():
    """Where Python cannot catch signals, the block runs all the same."""
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with Interrupts().caught():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert seen == [before]
