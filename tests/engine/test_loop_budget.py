"""What a study may use: the loop stops there, in order, and a later driver goes on with more."""

import pytest
from engine_helpers import Driver, Watcher, history, number_of, study_of, train, undisturbed

from crayai.hpo.engine.budget import Account, Budget
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import AttemptFailed, Told
from crayai.hpo.testing.fakes import End


def told(driver):
    """Return the numbers of the evaluations that are over."""
    return sorted(event.number for event in driver.log.events() if isinstance(event, Told))


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("strategy", ["random", "genetic", "repeated", "grid"])
def test_max_evaluations(tmp_path, strategy, slots):
    """Just so many are asked for and run, whatever the slots; with more the search is that of an undisturbed one."""
    study = study_of(strategy)
    driver = Driver(tmp_path, study, slots=slots, budget={"max_evaluations": 9})
    assert not driver.run()
    assert driver.loop.end_reason == "the max_evaluations of 9 are reached"
    assert told(driver) == list(range(9))
    again = Driver(tmp_path, study, log=driver.log, budget={"max_evaluations": 9})
    assert not again.run()
    assert again.machine.started == []
    later = Driver(tmp_path, study, log=driver.log, slots=slots, budget={"max_evaluations": 1000})
    assert later.run()
    assert later.loop.end_reason == ""
    assert history(later.search) == undisturbed(tmp_path, study)


def test_max_wall_minutes(tmp_path):
    """No evaluation is started that would not end in time if it took as long as usual, and none is cut off."""
    driver = Driver(
        tmp_path, study_of("random"), lambda task: End(train(task).status, "FoM: 1", seconds=25), slots=2,
        budget={"max_wall_minutes": 2},
    )  # fmt: skip
    assert not driver.run()
    assert driver.loop.end_reason == "the max_wall_minutes of 2 allow no more"
    assert driver.machine.now == pytest.approx(100, abs=0.1)  # a fifth round would end after 125 s
    assert len(told(driver)) == 8


@pytest.mark.fault(
    "the wall-clock budget ends while evaluations run",
    "they are ended without an outcome, and run again with more time",
)
def test_what_takes_longer_than_the_wall_minutes_is_ended(tmp_path):
    """What still runs when the time is over is ended without an outcome, and run again with more time."""
    study = study_of("random")

    def program(task):
        return End(train(task).status, train(task).stdout, seconds=1000 if number_of(task) == 5 else 10)

    driver = Driver(tmp_path, study, program, slots=2, budget={"max_wall_minutes": 1.5})
    assert not driver.run()
    assert driver.machine.now == pytest.approx(90, abs=0.1)
    assert 5 not in told(driver)
    assert [event.number for event in driver.log.events() if isinstance(event, AttemptFailed)] == [5]
    later = Driver(tmp_path, study, log=driver.log)
    assert later.run()
    assert history(later.search) == undisturbed(tmp_path, study)


def test_wall_minutes_of_earlier_drivers_count(tmp_path):
    """The minutes are those of all drivers together."""
    study = study_of("random")
    driver = Driver(tmp_path, study, lambda _: End(stdout="FoM: 1", seconds=10))
    clock = lambda: driver.machine.now  # noqa: E731 - one line, used once
    budget = Budget(max_wall_minutes=2)
    driver.loop.account = Account(budget, driver.search, worked_seconds=90, clock=clock)
    assert not driver.run()
    assert driver.machine.now <= 30


def test_max_node_hours(tmp_path):
    """Nodes times hours are counted for all attempts, those of earlier drivers too, and not exceeded."""
    study = study_of("random")
    first = Driver(tmp_path, study, lambda _: End(stdout="FoM: 1", seconds=3600), slots=3, budget={"max_node_hours": 7})
    assert not first.run()
    assert 6 <= len(told(first)) <= 7
    assert first.loop.end_reason == "the max_node_hours of 7 allow no more"
    program = lambda _: End(stdout="FoM: 1", seconds=3600)  # noqa: E731 - one line, used once
    second = Driver(tmp_path, study, program, log=first.log, budget={"max_node_hours": 11})
    assert not second.run()
    assert 10 <= len(told(second)) <= 11


def test_node_hours_of_what_waits_in_a_queue(tmp_path):
    """Time in a queue uses no nodes."""
    now = [0.0]
    search = Driver(tmp_path, study_of("random"), lambda _: End()).search
    account = Account(Budget(max_node_hours=1), search, slots=2, clock=lambda: now[0])
    account.launched("a")
    account.launched("b")
    now[0] = 7200.0
    account.still_wait(lambda: {"a", "b", "c"})
    assert account.reason_to_end() == ""
    now[0] += 1800.0
    account.still_wait(lambda: {"b"})
    assert account.reason_to_end() == ""
    now[0] += 1800.0
    assert account.reason_to_end() == "the max_node_hours of 1 allow no more"


def test_node_hours_of_what_runs_for_ever(tmp_path):
    """An evaluation that uses up all node-hours by itself is ended."""
    driver = Driver(
        tmp_path, study_of("random"), lambda _: End(stdout="FoM: 1", seconds=1e9), slots=2, budget={"max_node_hours": 3}
    )
    assert not driver.run()
    assert 3600 <= driver.machine.now <= 2 * 3600
    assert told(driver) == []


@pytest.mark.parametrize(("goal", "sign"), [("minimize", 1), ("maximize", -1)])
def test_a_target(tmp_path, goal, sign):
    """As soon as a figure of merit is as good as the target the study stops, and what runs is ended."""

    def program(task):
        return End(stdout=f"FoM: {sign * (10 - number_of(task))}", seconds=1000 if number_of(task) == 8 else 1)

    study = study_of("random", goal=goal)
    driver = Driver(tmp_path, study, program, slots=2, budget={"target_fom": sign * 4})
    assert not driver.run()
    assert driver.loop.end_reason == f"the target_fom of {sign * 4} is reached"
    assert driver.search.best == 6
    assert driver.machine.now < 20
    assert driver.machine.running == {}


def test_a_search_that_is_over_needs_no_reason(tmp_path):
    """If the search ends with its budget, it is over and not stopped."""
    for budget in ({"max_evaluations": 24, "max_node_hours": 100}, {"target_fom": 0}):
        program = lambda task: End(stdout=f"FoM: {23 - number_of(task)}")  # noqa: E731 - one line, used once
        driver = Driver(tmp_path / next(iter(budget)), study_of("random"), program, budget=budget)
        assert driver.run()
        assert driver.loop.end_reason == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_evaluations": 0}, "max_evaluations must be a whole number of at least 1, got 0"),
        ({"max_evaluations": 2.5}, "max_evaluations must be a whole number of at least 1, got 2.5"),
        ({"max_wall_minutes": 0}, "max_wall_minutes must be above 0, got 0"),
        ({"max_node_hours": float("nan")}, "max_node_hours must be above 0, got nan"),
        ({"target_fom": float("inf")}, "target_fom must be a number, got inf"),
        ({"target_fom": "low"}, "target_fom must be a number, got 'low'"),
    ],
)
def test_what_cannot_be_a_budget(wrong, message):
    """A limit that cannot be is refused with its name, the rule and the value."""
    with pytest.raises(SettingsError, match=f"^{message}$"):
        Budget(**wrong)


def test_the_grace_time(tmp_path):
    """After a batch system's signal what runs may finish within the grace time, and is ended then."""

    def program(task):
        return End(stdout="FoM: 1", seconds=5 if number_of(task) < 4 else 1000)

    def stop(event, search):
        if isinstance(event, Told) and search.completed == 4:
            driver.loop.interrupts._handle(15, None)
            driver.asked_at = driver.machine.now

    driver = Driver(tmp_path, study_of("random"), program, slots=2, watcher=Watcher(stop), grace_seconds=60)
    assert not driver.run()
    assert driver.machine.now - driver.asked_at == pytest.approx(60 - 6, abs=0.1)
    assert driver.loop.interrupts.signal == 15
    assert "stopping: running evaluations may finish for 54 s" in driver.watcher.notices
    assert told(driver) == [0, 1, 2, 3]
