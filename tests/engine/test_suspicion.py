"""Whether an evaluation is at fault, or the set-up."""

from crayai.hpo.engine.suspicion import FIRST_FAILURES, SAME_FAILURES, Suspicion, Verdict


def fail(suspicion, number, error, *, has_completed=True):
    """Let `number` fail."""
    return suspicion.failed(number, error, has_completed=has_completed)


def test_nothing_but_failures_from_the_start():
    """The first failures are held, whatever their errors, and the last of them stops the study."""
    suspicion = Suspicion()
    verdicts = [fail(suspicion, n, f"error {n}", has_completed=False) for n in range(FIRST_FAILURES)]
    assert verdicts == [([], Verdict.GO_ON)] * (FIRST_FAILURES - 1) + [([], Verdict.STOP)]
    assert suspicion.held == list(range(FIRST_FAILURES))


def test_a_success_clears_the_suspicion():
    """A success releases what is held, in order, and the count begins anew."""
    suspicion = Suspicion()
    for number in range(SAME_FAILURES - 1):
        fail(suspicion, number, "same")
    assert suspicion.succeeded() == list(range(SAME_FAILURES - 1))
    assert [fail(suspicion, n, "same")[1] for n in range(SAME_FAILURES)][-2:] == [Verdict.GO_ON, Verdict.CONTROL]


def test_another_error_releases_those_before():
    """A failure with another error shows that the ones before had not that one fault; it is held itself."""
    suspicion = Suspicion()
    fail(suspicion, 0, "one")
    fail(suspicion, 1, "one")
    assert fail(suspicion, 2, "other") == ([0, 1], Verdict.GO_ON)
    assert suspicion.held == [2]


def test_a_probe_that_fails_stops_the_study():
    """While a control runs all failures are held; if it fails, the set-up is at fault and none is released."""
    suspicion = Suspicion()
    for number in range(SAME_FAILURES):
        released, verdict = fail(suspicion, number, "same")
    assert (released, verdict) == ([], Verdict.CONTROL)
    assert fail(suspicion, 98, "same") == ([], Verdict.GO_ON)
    assert fail(suspicion, 99, "other") == ([], Verdict.GO_ON)
    assert suspicion.controlled(has_failed=True) == ([], Verdict.STOP)
    assert len(suspicion.held) == SAME_FAILURES + 2


def test_a_probe_that_completes_clears_the_set_up():
    """If the control completes, the points are bad: their failures are released, and the next control comes later."""
    suspicion = Suspicion()
    for number in range(SAME_FAILURES):
        fail(suspicion, number, "same")
    assert suspicion.controlled(has_failed=False) == (list(range(SAME_FAILURES)), Verdict.GO_ON)
    verdicts = [fail(suspicion, number, "same")[1] for number in range(SAME_FAILURES)]
    assert verdicts == [Verdict.GO_ON] * (SAME_FAILURES - 1) + [Verdict.CONTROL]
    assert suspicion.streak == 2 * SAME_FAILURES


def test_a_probe_without_an_end_is_made_again():
    """A control that was taken back proves nothing: the next failure asks for another."""
    suspicion = Suspicion()
    for number in range(SAME_FAILURES):
        fail(suspicion, number, "same")
    suspicion.control_lost()
    assert fail(suspicion, 99, "same") == ([], Verdict.CONTROL)
