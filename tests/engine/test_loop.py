"""The loop: what it visits, tells, keeps and survives, with a launcher that runs nothing."""

import signal
from itertools import count
from random import Random

import pytest
from engine_helpers import SPACE, STRATEGIES, Driver, Watcher, history, number_of, study_of, train, undisturbed

from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import StoreFull, StudyFailed
from crayai.hpo.launch.base import Exited, Gone
from crayai.hpo.records import Asked, AttemptFailed, Cause, Completed, Failed, Launched, Told
from crayai.hpo.testing.fakes import End, FakeFullLog, FakeLauncher, FakeMachine

# What is visited


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_slots_and_order_change_nothing(tmp_path, strategy, seeded):
    """The same seed visits the same points with the same outcomes on any number of slots, in any order of the ends."""
    expected = undisturbed(tmp_path, study_of(strategy))
    for slots in (1, 2, 8):
        for repeat in range(3):
            driver = Driver(tmp_path / f"{slots}.{repeat}", study_of(strategy), slots=slots, random=seeded)
            assert driver.run()
            assert history(driver.search) == expected
            assert driver.machine.most_running <= slots


def test_all_slots_are_used(tmp_path):
    """As many evaluations run at once as there are slots."""
    driver = Driver(tmp_path, study_of("random"), slots=5)
    driver.run()
    assert driver.machine.most_running == 5
    assert driver.machine.now == 5  # 24 evaluations of a second each


def test_another_seed_visits_other_points(tmp_path):
    """The seed decides: another one visits other points."""
    first = undisturbed(tmp_path / "11", study_of("random"))
    other = Study(space=SPACE, strategy=STRATEGIES["random"], seed=12, command="train --quick")
    assert undisturbed(tmp_path / "12", other)[1:] != first[1:]


def test_the_greatest_is_best_where_more_is_better(tmp_path):
    """With the goal to maximize, the best evaluation is the one with the greatest figure of merit."""
    driver = Driver(tmp_path, study_of("random", goal="maximize"))
    driver.run()
    foms = [evaluation.fom for evaluation in map(driver.search.evaluation, range(24)) if evaluation.fom is not None]
    assert driver.search.evaluation(driver.search.best).fom == max(foms)


# Failures


def test_a_failure_among_good_ones_is_told_and_ranks_last(tmp_path):
    """A failed evaluation has its cause on record, and no later generation descends from it."""
    settings = StrategySettings(name="genetic", arguments={"generations": 4, "pop_size": 6, "num_demes": 1})
    study = Study(space=SPACE, strategy=settings, seed=3, command="train")

    def program(task):
        if number_of(task) in {1, 2, 7}:
            return End(Exited(3), stdout="FoM: -1000\n")
        return End(stdout=f"FoM: {number_of(task)}\n")

    driver = Driver(tmp_path, study, program)
    assert driver.run()
    outcomes = [outcome for _, outcome in history(driver.search)]
    assert [outcomes[number] for number in (1, 2, 7)] == [Failed(Cause.EXIT_CODE, "3")] * 3
    assert (driver.search.failed, driver.search.completed, driver.search.best) == (3, 21, 0)
    parents = {
        parent for suggestion, _ in history(driver.search) if suggestion.generation > 1 for parent in suggestion.parents
    }
    assert parents
    assert parents.isdisjoint({1, 2, 7})


@pytest.mark.parametrize(
    ("end", "failed"),
    [
        (End(Exited(-signal.SIGSEGV)), Failed(Cause.SIGNAL, "SIGSEGV")),
        (End(Exited(0), stdout="FoM: nan"), Failed(Cause.NOT_A_NUMBER, "nan")),
        (
            End(Exited(0), stdout="nothing"),
            Failed(Cause.NO_FOM, "no line with 'FoM: ' and a number on standard output"),
        ),
    ],
)
def test_every_kind_of_failure_leads_on(tmp_path, end, failed):
    """However an evaluation fails, the cause is on record and the search goes on to its end."""
    driver = Driver(tmp_path, study_of("random"), lambda task: end if number_of(task) == 4 else End(stdout="FoM: 1"))
    assert driver.run()
    assert driver.search.record.outcome(4) == failed
    assert driver.search.completed == 23


def test_failures_before_the_first_success_are_told_after_it(tmp_path):
    """Up to four failures at the start are held back, and told as soon as something completes."""
    driver = Driver(
        tmp_path, study_of("random"), lambda task: End(Exited(1)) if number_of(task) < 4 else End(stdout="FoM: 1")
    )
    assert driver.run()
    assert driver.search.failed == 4
    told = [event.number for event in driver.log.events() if isinstance(event, Told)]
    assert told[:5] == [0, 1, 2, 3, 4]


@pytest.mark.fault(
    "the program fails whatever the hyperparameters",
    "the study stops after five, says why, records nothing as failed, and goes on when it is mended",
)
@pytest.mark.parametrize("slots", [1, 8])
def test_a_program_that_always_fails_stops_the_study(tmp_path, slots):
    """After five failures and no success the study stops, says why, tells nothing, and goes on once it is mended."""
    study = study_of("genetic")
    words = "".join(f"line {n}\n" for n in range(100))
    broken = Driver(tmp_path, study, lambda _: End(Exited(1), stderr=words + "no module named torch\n"), slots=slots)
    with pytest.raises(StudyFailed) as caught:
        broken.run()
    broken.launcher.close()
    message = str(caught.value)
    assert "all of the first 5 evaluations failed" in message
    assert "exit code: 1" in message
    assert "train --quick --x=3 --n=2 --kind=" in message
    assert "line 99\nno module named torch" in message
    assert "line 50\n" not in message
    assert not any(isinstance(event, Told) for event in broken.log.events())
    assert len(broken.machine.started) <= 5 + 2 * slots

    mended = Driver(tmp_path, study, log=broken.log)
    assert mended.run()
    assert history(mended.search) == undisturbed(tmp_path, study)


def test_a_short_study_that_only_fails_stops_too(tmp_path):
    """Where fewer than five evaluations are all there is, and all fail, that is told as well."""
    study = Study(
        space=SPACE, strategy=StrategySettings(name="random", arguments={"num_iters": 3}), seed=1, command="train"
    )
    with pytest.raises(StudyFailed, match="all of the first 3 evaluations failed"):
        Driver(tmp_path, study, lambda _: End(Exited(1))).run()


def test_a_mended_program_is_not_judged_by_adopted_failures(tmp_path):
    """Failures that a driver adopted and gave up over do not make the next one, with a mended program, give up."""
    study = study_of("genetic")
    first = Driver(tmp_path, study, lambda _: End(Exited(1)), slots=5)
    first.loop._ask()
    first.loop._launch()
    first.launcher.die()
    assert len(first.machine.running) == 5
    second = Driver(tmp_path, study, log=first.log, machine=first.machine)
    with pytest.raises(StudyFailed, match="all of the first 5"):
        second.loop.run()
    second.launcher.close()
    first.machine.program = train
    third = Driver(tmp_path, study, log=first.log, machine=first.machine)
    assert third.run()
    assert history(third.search) == undisturbed(tmp_path, study)


# Requests to stop


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_first_request_lets_running_ones_finish(tmp_path, strategy):
    """After one request nothing is asked or started any more, what runs is told, and another driver goes on."""
    study = study_of(strategy)

    def stop(event, search):
        if isinstance(event, Told) and search.completed == 3:
            driver.loop.interrupts.count = 1
            driver.started = list(driver.machine.started)

    driver = Driver(tmp_path, study, slots=4, random=Random(5), watcher=Watcher(stop))
    assert not driver.run()
    assert driver.machine.started == driver.started
    numbers = {int(tag.split(":")[1]) for tag in driver.started}
    assert numbers == {event.number for event in driver.watcher.events if isinstance(event, Told)}
    assert driver.watcher.notices == ["stopping: running evaluations may finish; Ctrl-C again ends them"]

    later = Driver(tmp_path, study, log=driver.log, slots=3)
    assert later.run()
    assert history(later.search) == undisturbed(tmp_path, study)


@pytest.mark.fault("Ctrl-C twice", "what runs is ended without an outcome, and run again")
def test_the_second_request_ends_running_ones(tmp_path):
    """After two requests what runs is recorded as cancelled, has no outcome, and is run anew by another driver."""
    study = study_of("genetic")

    def program(task):
        return End(seconds=float("inf")) if number_of(task) >= 3 else train(task)

    def stop(event, search):
        if isinstance(event, Told) and search.completed == 2:
            driver.loop.interrupts.count = 2

    driver = Driver(tmp_path, study, program, slots=4, watcher=Watcher(stop))
    assert not driver.run()
    assert "ending" in driver.watcher.notices[-1]
    assert {event.number for event in driver.log.events() if isinstance(event, Told)} == {0, 1}
    cancelled = [event for event in driver.log.events() if isinstance(event, AttemptFailed)]
    assert {event.number for event in cancelled} == {2, 3, 4, 5}
    assert {event.failed.cause for event in cancelled} == {Cause.CANCELLED}
    assert driver.machine.running == {}

    later = Driver(tmp_path, study, log=driver.log, slots=4)
    assert later.run()
    assert history(later.search) == undisturbed(tmp_path, study)
    assert "study:3:2" in later.machine.started


# A full disk


@pytest.mark.fault("no room for the log", "the study pauses, says so, and goes on by itself")
def test_a_full_disk_is_waited_for(tmp_path):
    """Without room for the log the loop pauses, says so, and goes on by itself; nothing is lost or changed."""
    study = study_of("genetic")
    slept = []
    driver = Driver(tmp_path, study, log=FakeFullLog(refusals=2), sleep=slept.append)
    assert driver.run()
    assert len(slept) >= 2
    assert driver.watcher.notices[0].startswith("paused: no room to write the log")
    assert driver.watcher.notices[-1].startswith("going on")
    assert history(driver.search) == undisturbed(tmp_path, study)
    assert history(Search(study, driver.log)) == history(driver.search)


def test_two_requests_end_the_wait_for_room(tmp_path):
    """A driver that waits for room gives up at the second request to stop."""
    driver = Driver(tmp_path, study_of("random"), log=FakeFullLog(refusals=10**6), sleep=lambda _: press())

    def press():
        driver.loop.interrupts.count += 1

    with pytest.raises(StoreFull):
        driver.run()
    assert driver.machine.started == []


# What is kept


def test_output_of_failed_ones_and_of_the_best_is_kept(tmp_path):
    """Of good evaluations only the best keeps its output; failed ones keep theirs; the rest is removed."""
    foms = {0: 5, 1: 3, 2: 4, 3: None, 4: 1, 5: 2}

    def program(task):
        fom = foms.get(number_of(task), 9)
        return End(Exited(1)) if fom is None else End(stdout=f"FoM: {fom}\n", stderr="words")

    driver = Driver(tmp_path, study_of("random"), program, slots=2, random=Random(1))
    driver.run()
    assert driver.outputs() == ["3.1.err", "3.1.out", "4.1.err", "4.1.out"]


def test_a_better_one_after_a_restart_takes_the_place_of_the_best(tmp_path):
    """The output of the best so far goes when a later driver finds a better one."""

    def stop(event, search):
        if isinstance(event, Told) and search.completed == 2:
            first.loop.interrupts.count = 1

    def program(task):
        return End(stdout=f"FoM: {1 if number_of(task) == 9 else 5}")

    first = Driver(tmp_path, study_of("random"), program, watcher=Watcher(stop))
    first.run()
    assert first.outputs() == ["0.1.err", "0.1.out"]
    later = Driver(tmp_path, study_of("random"), program, log=first.log)
    later.run()
    assert later.outputs() == ["9.1.err", "9.1.out"]


def test_all_output_is_kept_on_request(tmp_path):
    """With `keep_output` every evaluation keeps its output."""
    driver = Driver(tmp_path, study_of("random"), keep_output=True)
    driver.run()
    assert len(driver.outputs()) == 2 * 24


def test_what_an_earlier_driver_left_is_swept_up(tmp_path):
    """A driver removes what one before it had no time to, and leaves alone what it knows nothing of."""
    first = Driver(tmp_path, study_of("random"), keep_output=True)
    first.run()
    best = first.search.best
    for name in ("0.1.exit", "99.1.exit", "99.1.out"):
        (tmp_path / "output" / name).touch()
    later = Driver(tmp_path, study_of("random"), log=first.log)
    assert later.run()
    failed = [n for n in range(24) if isinstance(later.search.record.outcome(n), Failed)]
    kept = {f"{number}.1.{kind}" for number in [best, *failed] for kind in ("out", "err")}
    assert set(later.outputs()) == kept | {"99.1.exit", "99.1.out"}


# Writing down before acting


class Recorder(FakeLauncher):
    """A fake that notes what is submitted and forgotten, between the commits."""

    happened: list

    def submit(self, task):
        """Note, and submit."""
        self.happened.append(("submit", task.tag))
        super().submit(task)

    def forget(self, tags):
        """Note, and forget."""
        self.happened += [("forget", tag) for tag in tags]
        super().forget(tags)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_everything_is_written_down_before_it_is_acted_upon(tmp_path, strategy, slots):
    """Asked and Launched are committed before a task is submitted, Told before the launcher forgets its end."""
    happened = []
    driver = Driver(
        tmp_path, study_of(strategy), slots=slots, random=Random(2), log=FakeFullLog(happened), launcher=Recorder
    )
    driver.launcher.happened = happened
    assert driver.loop.run()
    committed = set()
    for kind, what in happened:
        if kind == "commit":
            committed |= {(type(event), event.number) for event in what}
            continue
        number = int(what.split(":")[1])
        if kind == "submit":
            assert {(Asked, number), (Launched, number)} <= committed
        else:
            assert (Told, number) in committed
    total = len(driver.search.record)
    assert [kind for kind, _ in happened].count("submit") == total
    assert [kind for kind, _ in happened].count("forget") == total


class Killed(BaseException):
    """The driver was killed: nobody catches it, nothing is cleaned up."""


class MortalLog(FakeFullLog):
    """A log whose driver can be killed before and after every commit."""

    def commit(self):
        """Commit, if the driver lives."""
        self.step()
        super().commit()
        self.step()


class MortalLauncher(FakeLauncher):
    """A launcher whose driver can be killed before and after every effect."""

    def submit(self, task):
        """Submit, if the driver lives."""
        self.step()
        super().submit(task)
        self.step()

    def forget(self, tags):
        """Forget, if the driver lives."""
        self.step()
        super().forget(tags)
        self.step()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_driver_may_be_killed_at_any_step(tmp_path, strategy, seeded):
    """Killed before or after any effect, and again and again, a study comes out the same, nothing is run twice."""
    study = study_of(strategy)
    expected = undisturbed(tmp_path, study)

    for most in (12, 25, 60):
        machine, log = FakeMachine(train, slots=3, random=seeded), MortalLog()
        for life in count():
            steps = iter(range(seeded.randint(1, most)))

            def step(steps=steps):
                if next(steps, None) is None:
                    raise Killed

            log.step = step
            driver = Driver(tmp_path / f"{most}", study, log=log, machine=machine, launcher=MortalLauncher)
            driver.launcher.step = step
            try:
                if driver.loop.run():
                    break
            except Killed:
                log.close()
                driver.launcher.die()
            assert life < 2000
        assert history(driver.search) == expected
        assert history(Search(study, log)) == expected
        numbers = [tag.split(":")[1] for tag in machine.started]
        assert sorted(numbers, key=int) == [str(number) for number in range(len(expected))]


def test_what_runs_is_taken_over(tmp_path):
    """A later driver waits for the evaluations that run since the one before, and tells each of them once."""
    study = study_of("random")

    def die(event, _search):
        if event == Launched(6, 1):
            raise Killed

    first = Driver(tmp_path, study, slots=3, watcher=Watcher(die))
    with pytest.raises(Killed):
        first.loop.run()
    first.log.close()
    first.launcher.die()
    running = list(first.machine.running)
    assert running
    later = Driver(tmp_path, study, log=first.log, machine=first.machine)
    assert later.run()
    assert len(set(later.machine.started)) == len(later.machine.started) == 24
    assert set(running) <= set(later.machine.started)
    assert history(later.search) == undisturbed(tmp_path, study)
    assert all(isinstance(outcome, Completed | Failed) for _, outcome in history(later.search))
    assert Gone not in {type(end) for end in later.machine.ends.values()}


def test_what_is_lost_runs_again_a_few_times(tmp_path):
    """An attempt that is dead without an end is made again; one evaluation that is lost thrice is told as lost."""

    def lost(task):
        attempt = int(task.environment["CRAYAI_ATTEMPT"])
        if (number_of(task), attempt) in {(4, 1), (4, 2), (5, 1), (5, 2), (5, 3)}:
            return End(Gone("its keeper is dead"))
        return train(task)

    driver = Driver(tmp_path, study_of("random"), lost, slots=2)
    assert driver.run()
    assert history(driver.search)[4] == undisturbed(tmp_path, study_of("random"))[4]
    assert driver.search.record.outcome(5) == Failed(Cause.LOST, "its keeper is dead")
    assert [tag for tag in driver.machine.started if tag.startswith("study:4:")] == [f"study:4:{n}" for n in (1, 2, 3)]
