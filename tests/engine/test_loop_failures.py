"""What the loop does when attempts fail: tries again, keeps away, suspects the set-up, lets fewer run at once."""

import signal
from itertools import pairwise

import pytest
from engine_helpers import SPACE, Driver, history, number_of, study_of, train, undisturbed

from crayai.hpo.engine.policies import policies_of
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import StudyFailed
from crayai.hpo.launch.base import Exited, NotStarted
from crayai.hpo.records import AttemptFailed, Cause, Completed, Failed, Told
from crayai.hpo.testing.fakes import End


def attempt_of(task):
    """Return which attempt `task` is."""
    return int(task.environment["CRAYAI_ATTEMPT"])


def random_study(evaluations=40):
    """Return a study whose points do not depend on outcomes."""
    settings = StrategySettings(name="random", arguments={"num_iters": evaluations})
    return Study(space=SPACE, strategy=settings, seed=5, command="train --quick")


def failed_attempts(driver):
    """Return what is on record of attempts that failed and were made again."""
    return [event for event in driver.log.events() if isinstance(event, AttemptFailed)]


@pytest.mark.fault("a machine fails one attempt (SIGBUS)", "another attempt elsewhere; same points, same outcomes")
def test_a_retry_is_a_new_attempt_of_the_same_evaluation(tmp_path):
    """An attempt that a signal ended is made again, elsewhere; its failure is on record, and the outcome is its own."""
    tasks = []

    def program(task):
        tasks.append(task)
        if number_of(task) == 3 and attempt_of(task) == 1:
            return End(Exited(-signal.SIGBUS, location="slot 1"))
        return train(task)

    study = study_of("random")
    driver = Driver(tmp_path, study, program, slots=2)
    assert driver.run()
    assert history(driver.search) == undisturbed(tmp_path, study)
    (failed,) = failed_attempts(driver)
    assert (failed.number, failed.attempt, failed.failed) == (3, 1, Failed(Cause.SIGNAL, "SIGBUS"))
    first, second = (task for task in tasks if number_of(task) == 3)
    assert (first.avoid, second.avoid) == ((), ("slot 1",))
    assert second.argv == first.argv
    assert "evaluation 3 failed (signal: SIGBUS); next attempt in 5 s" in driver.watcher.notices


def test_pauses_grow(tmp_path):
    """Retries wait twice as long each time; meanwhile others run, and the slots stay in use."""
    begun = []

    def program(task):
        begun.append((number_of(task), driver.machine.now))
        return End(Exited(1)) if number_of(task) == 2 and attempt_of(task) < 4 else End(stdout="FoM: 1")

    policies = policies_of({"exit_code": "retry 3 after 10 s"})
    driver = Driver(tmp_path, random_study(100), program, policies=policies)
    assert driver.run()
    times = [time for number, time in begun if number == 2]
    pauses = [later - earlier - 1 for earlier, later in pairwise(times)]
    assert all(wanted <= pause <= wanted + 2 for pause, wanted in zip(pauses, (10, 20, 40), strict=True))
    assert driver.search.failed == 0
    assert driver.machine.now <= 100 + 3 + 2  # 103 attempts of a second each


def test_a_last_retry_is_waited_for(tmp_path):
    """If nothing is left but a retry in its pause, the loop waits for it and for nothing else."""
    policies = policies_of({"exit_code": "retry 1 after 600 s"})
    driver = Driver(
        tmp_path,
        random_study(10),
        lambda task: End(Exited(1)) if number_of(task) == 9 and attempt_of(task) == 1 else End(stdout="FoM: 1"),
        policies=policies,
    )
    assert driver.run()
    assert driver.search.completed == 10
    assert 610 <= driver.machine.now <= 612


def test_when_retries_are_used_up_it_has_failed(tmp_path):
    """After the last retry the evaluation has failed, with the cause of the last attempt; all attempts are counted."""
    driver = Driver(
        tmp_path,
        random_study(10),
        lambda task: End(Exited(1)) if number_of(task) == 4 else End(stdout="FoM: 1"),
        policies=policies_of({"exit_code": "retry 2"}),
    )
    assert driver.run()
    assert [(event.number, event.attempt) for event in failed_attempts(driver)] == [(4, 1), (4, 2)]
    assert driver.search.record.outcome(4) == Failed(Cause.EXIT_CODE, "1")


@pytest.mark.fault("the driver stops between two retries", "the next one goes on counting")
def test_retries_are_counted_across_drivers(tmp_path):
    """A later driver knows how often an evaluation was tried, and does not begin to count anew."""
    study, policies = random_study(10), policies_of({"exit_code": "retry 3 after 100 s"})

    def program(task):
        return End(Exited(1)) if number_of(task) == 4 else End(stdout="FoM: 1")

    first = Driver(tmp_path, study, program, policies=policies)
    stop = lambda event, _: isinstance(event, AttemptFailed) and setattr(first.loop.interrupts, "count", 1)  # noqa: E731
    first.watcher.action = stop
    assert not first.run()
    second = Driver(tmp_path, study, program, policies=policies, log=first.log)
    assert second.run()
    assert len(failed_attempts(second)) == 3
    assert [tag for tag in second.machine.started if tag.startswith("study:4:")] == [f"study:4:{n}" for n in (2, 3, 4)]


@pytest.mark.fault(
    "the program cannot be started any more",
    "tried again three times; then the study stops, resumable, nothing recorded as failed",
)
def test_a_program_that_cannot_start_stops_the_study(tmp_path):
    """A program that cannot be started even when tried again stops the study, which can be gone on with."""
    study = random_study(20)
    driver = Driver(
        tmp_path,
        study,
        lambda task: End(NotStarted("train: Text file busy")) if number_of(task) == 7 else train(task),
    )
    with pytest.raises(StudyFailed, match=r"evaluation 7 failed 4 times by the cause 'could not start'.*file busy"):
        driver.run()
    driver.launcher.close()
    assert not any(isinstance(event, Told) and event.number == 7 for event in driver.log.events())
    later = Driver(tmp_path, study, log=driver.log)
    assert later.run()
    assert history(later.search) == undisturbed(tmp_path, study)


def test_a_policy_to_stop(tmp_path):
    """A cause whose policy is to stop ends the study at its first failure, and what runs is cancelled."""
    driver = Driver(
        tmp_path,
        random_study(20),
        lambda task: End(Exited(9)) if number_of(task) == 7 else End(stdout="FoM: 1"),
        slots=3,
        policies=policies_of({"exit_code": "stop"}),
    )
    with pytest.raises(StudyFailed, match="evaluation 7 failed by the cause 'exit code', for which"):
        driver.run()
    assert driver.machine.running == {}


@pytest.mark.fault(
    "the set-up breaks in the middle: all fail with one error",
    "one that completed before is tried; it fails too: the study stops, resumable, nothing recorded as failed",
)
def test_the_same_error_again_and_again_stops_the_study(tmp_path):
    """If all fail with one error and one that completed before fails now, nothing of it is told and the study stops."""
    study = random_study()

    def program(task):
        is_broken = number_of(task) >= 10 or attempt_of(task) > 1
        return End(Exited(1), stderr=f"pid {number_of(task)}: licence refused") if is_broken else train(task)

    driver = Driver(tmp_path, study, program)
    with pytest.raises(StudyFailed, match=r"the last \d+ evaluations failed with the same error") as caught:
        driver.run()
    driver.launcher.close()
    assert "licence refused" in str(caught.value)
    told = {event.number for event in driver.log.events() if isinstance(event, Told)}
    assert told == set(range(10))
    later = Driver(tmp_path, study, log=driver.log)
    assert later.run()
    assert history(later.search) == undisturbed(tmp_path, study)


@pytest.mark.fault(
    "many points fail with the same error",
    "one that completed before is tried; it completes: they have failed, the search goes on",
)
def test_points_that_fail_alike_are_told(tmp_path):
    """If one that completed before completes again, the others are bad points: they are told, and all goes on."""
    study = random_study()
    numbers = []

    def program(task):
        numbers.append((number_of(task), attempt_of(task)))
        return End(Exited(1), stderr="too deep") if number_of(task) >= 10 else End(stdout=f"FoM: {number_of(task)}")

    driver = Driver(tmp_path, study, program, slots=3)
    assert driver.run()
    assert (driver.search.completed, driver.search.failed) == (10, 30)
    assert [number for number, attempt in numbers if attempt > 1] == [0, 0]  # after 8 and after 16 failures
    assert sorted(number for number, attempt in numbers if attempt == 1) == list(range(40))
    assert [name for name in driver.outputs() if name.startswith("0.")] == ["0.1.err", "0.1.out"]


def test_held_failures_are_told_before_the_search_starves(tmp_path):
    """A search that needs outcomes to go on gets those of failures, also if no success comes in between."""
    settings = StrategySettings(name="genetic", arguments={"generations": 6, "pop_size": 2, "num_demes": 1})
    study = Study(space=SPACE, strategy=settings, seed=5, command="train")
    driver = Driver(tmp_path, study, lambda t: End(stdout="FoM: 1") if number_of(t) == 0 else End(Exited(1)))
    assert driver.run()
    assert (driver.search.completed, driver.search.failed) == (1, 11)


@pytest.mark.fault("programs cannot fork beside others", "they run again, fewer at once, with a warning")
def test_no_room_for_processes_means_fewer_at_once(tmp_path):
    """Programs that cannot fork beside others run again with fewer at once, none fails, and the user is told."""

    def program(_):
        if len(driver.machine.running) >= 3:
            return End(Exited(2), stderr="sh: 1: Cannot fork\n")
        return End(stdout="FoM: 1")

    driver = Driver(tmp_path, random_study(60), program, slots=8)
    assert driver.run()
    assert driver.search.completed == 60
    assert any("no room for more processes or files: at most" in notice for notice in driver.watcher.notices)
    assert len(driver.machine.started) < 60 + 40


def test_a_program_that_lacks_files_by_itself_fails(tmp_path):
    """What has no room although it runs alone is at fault itself."""
    driver = Driver(
        tmp_path,
        random_study(10),
        lambda t: End(Exited(1), stderr="OSError: Too many open files") if number_of(t) == 4 else End(stdout="FoM: 1"),
        slots=4,
    )
    assert driver.run()
    assert driver.search.record.outcome(4) == Failed(Cause.EXIT_CODE, "1")
    assert driver.search.completed == 9


def test_output_of_earlier_attempts_goes_with_the_evaluation(tmp_path):
    """When an evaluation completes at last, the output of its failed attempts is not kept either."""

    def program(task):
        return (
            End(Exited(-9)) if number_of(task) == 3 and attempt_of(task) == 1 else End(stdout=f"FoM: {number_of(task)}")
        )

    driver = Driver(tmp_path, random_study(6), program)
    assert driver.run()
    assert isinstance(driver.search.record.outcome(3), Completed)
    assert driver.outputs() == ["0.1.err", "0.1.out"]
