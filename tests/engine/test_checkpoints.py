"""Checkpoints: who trains on from which, what is kept, what is refused; programs are fakes, files are real."""

import subprocess
from pathlib import Path

import pytest
from engine_helpers import Driver

from crayai.hpo.engine.checkpoints import BRING
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import SettingsError, StudyFailed
from crayai.hpo.launch.base import Exited
from crayai.hpo.records import Completed, Failed
from crayai.hpo.space.hyperparameters import Float
from crayai.hpo.space.space import Space
from crayai.hpo.testing.fakes import End

SPACE = Space([Float("--lr", 0.0, 1.0)])


def pbt(command="train --load=@load --save=@save", **arguments):
    """Return a study of population based training: four members, four windows."""
    arguments = {"pop_size": 4, "windows": 4, **arguments}
    return Study(space=SPACE, strategy=StrategySettings(name="pbt", arguments=arguments), seed=3, command=command)


class Trainer:
    """A fake program that adds its window to what it loads, and saves it."""

    def __init__(self, fails=lambda _: False, size=10):
        self.fails, self.size = fails, size
        self.loaded, self.most = {}, 0

    def __call__(self, task):
        """Train one window."""
        number = int(task.environment["CRAYAI_EVALUATION"])
        save = Path(task.environment["CRAYAI_CHECKPOINT"])
        load = task.environment.get("CRAYAI_LOAD")
        before = "" if load is None else Path(load).read_text().strip("x")
        if task.argv[: len(BRING)] == BRING:
            subprocess.run((*task.argv[:5], "true"), check=True)
            before = save.read_text().strip("x")
        assert not save.exists() or task.argv[:3] == BRING
        self.loaded[number] = before
        if self.fails(task):
            save.write_text("half")
            return End(Exited(1), stderr="failed")
        save.write_text(before + f"{number} " + "x" * self.size)
        self.most = max(self.most, len(list(save.parent.parent.iterdir())))
        return End(stdout=f"FoM: {(number * 7919) % 31}\n", seconds=1 + number % 3)


def saved(driver):
    """Return the numbers of the checkpoints that are there."""
    return sorted(int(path.name) for path in (driver.directory.root / "checkpoints").iterdir())


def check_lineages(driver, trainer):
    """Compare what every evaluation loaded with what the log says of its ancestors."""
    record = driver.search.record
    for number, loaded in trainer.loaded.items():
        expected, source = [], record.suggestion(number).resume_from
        while source is not None:
            if isinstance(record.outcome(source), Completed):
                expected.insert(0, source)
            source = record.suggestion(source).resume_from
        assert loaded.split() == [str(n) for n in expected], number


@pytest.mark.parametrize("command", ["train --load=@load --save=@save", "train --dir=@checkpoint"])
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_models_are_handed_over(tmp_path, command, slots):
    """Every evaluation trains on from just the model that the log says, and the best one's is there in the end."""
    trainer = Trainer()
    driver = Driver(tmp_path, pbt(command), trainer, slots=slots)
    assert driver.run()
    check_lineages(driver, trainer)
    assert saved(driver) == [driver.search.best]


@pytest.mark.fault(
    "a member of a population fails",
    "its next window goes on from the nearest ancestor that has a checkpoint; a better one replaces it then",
)
def test_failed_members_leave_no_hole(tmp_path):
    """A child of a failed evaluation goes on from the nearest ancestor that has a checkpoint."""
    trainer = Trainer(fails=lambda task: int(task.environment["CRAYAI_EVALUATION"]) in (5, 6))
    driver = Driver(tmp_path, pbt(windows=6), trainer, slots=3)
    assert driver.run()
    record = driver.search.record
    assert isinstance(record.outcome(5), Failed)
    assert len(trainer.loaded) == 24
    check_lineages(driver, trainer)


def test_disk_use_is_of_the_order_of_the_population(tmp_path):
    """However many windows there are, about two checkpoints a member are there at most."""
    trainer = Trainer()
    assert Driver(tmp_path, pbt(windows=25), trainer, slots=4).run()
    assert trainer.most <= 2.5 * 4 + 8  # and what is being removed: a fake takes no time


@pytest.mark.parametrize(("keep", "wanted"), [("frontier", {12, 13, 14, 15}), ("all", set(range(16)))])
def test_what_is_kept(tmp_path, keep, wanted):
    """The frontier is what a longer study goes on from; all is all that completed; the best is always there."""
    driver = Driver(tmp_path, pbt(), Trainer(), slots=4, checkpoints={"keep": keep})
    assert driver.run()
    assert set(saved(driver)) == wanted | {driver.search.best}


def test_the_parents_files_are_read_only(tmp_path):
    """What a child loads in place cannot be written to, but for one path it is the child's own copy."""
    driver = Driver(tmp_path, pbt(), Trainer(), checkpoints={"keep": "all"})
    assert driver.run()
    assert all(path.stat().st_mode & 0o222 == 0 for path in (tmp_path / "checkpoints").glob("*/checkpoint"))
    other = Driver(tmp_path / "b", pbt("train --dir=@checkpoint"), Trainer(), checkpoints={"keep": "all"})
    assert other.run()
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "b" / "checkpoints").glob("*/checkpoint"))


def test_a_program_that_saves_nothing_is_stopped_at_once(tmp_path):
    """The first evaluation without a checkpoint ends the study, with the path and what to do."""
    trainer = lambda _task: End(stdout="FoM: 1\n")  # noqa: E731 - one line, used once
    with pytest.raises(StudyFailed, match=r"saved nothing at .*/checkpoints/\d/checkpoint") as error:
        Driver(tmp_path, pbt(), trainer, slots=2).run()
    assert "let it save its model there" in str(error.value)


def test_an_empty_file_is_no_checkpoint(tmp_path):
    """A file without a byte was not saved."""

    def trainer(task):
        Path(task.environment["CRAYAI_CHECKPOINT"]).touch()
        return End(stdout="FoM: 1\n")

    with pytest.raises(StudyFailed, match="saved nothing"):
        Driver(tmp_path, pbt(), trainer).run()


def test_bytes_have_a_budget(tmp_path):
    """Evaluations wait until there is room in the budget of checkpoints; one that can never do says so."""
    gib = 1 << 30
    trainer = Trainer(size=1000)
    driver = Driver(tmp_path, pbt(), trainer, slots=4, checkpoints={"most_gib": 6.2 * 1100 / gib})
    assert driver.run()
    with pytest.raises(StudyFailed, match="raise checkpoint_gib, or take fewer members"):
        Driver(tmp_path / "b", pbt(), Trainer(size=1000), slots=4, checkpoints={"most_gib": 3.2 * 1100 / gib}).run()


def test_files_have_a_budget(tmp_path):
    """The number of files and directories is kept as well."""
    with pytest.raises(StudyFailed, match="raise checkpoint_files"):
        Driver(tmp_path, pbt(), Trainer(), slots=4, checkpoints={"most_files": 3}).run()


def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path):
    """A directory of checkpoints that cannot be made is refused before anything runs."""
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(SettingsError, match="cannot be written to"):
        Driver(tmp_path, pbt(), Trainer()).run()


@pytest.mark.fault(
    "a checkpoint that is needed was removed by somebody", "the study stops with its path; put back, it goes on"
)
def test_a_lost_checkpoint_is_named(tmp_path):
    """A checkpoint that is needed and gone ends the study with its path; put back, the study goes on."""
    driver = Driver(tmp_path / "undisturbed", pbt(), Trainer(), slots=1)
    assert driver.run()
    source = str(driver.search.record.suggestion(10).resume_from)
    trainer = Trainer()

    def forgetful(task):
        if task.environment["CRAYAI_EVALUATION"] == "9":
            (tmp_path / "checkpoints" / source).rename(tmp_path / "aside")
        return trainer(task)

    driver = Driver(tmp_path, pbt(), forgetful, slots=1)
    with pytest.raises(StudyFailed, match=rf"which is not at .*/checkpoints/{source}/checkpoint any more: put it back"):
        driver.run()
    (tmp_path / "aside").rename(tmp_path / "checkpoints" / source)
    assert Driver(tmp_path, pbt(), trainer, log=driver.log, slots=1).run()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", "says nothing of checkpoints"),
        ("train --load=@load", "says nothing of checkpoints"),
        ("train --save=@save", "says nothing of checkpoints"),
        ("train --dir=@checkpoint --load=@load", "has @checkpoint beside @load or @save"),
    ],
)
def test_a_command_without_checkpoints_is_refused(command, words):
    """A command that cannot train on is refused, with what to add."""
    with pytest.raises(SettingsError, match=words):
        pbt(command)


def test_directories_exist_where_the_command_speaks_of_what_is_in_them(tmp_path):
    """For @save/model.pt the directory is there; for @save nothing is."""

    def trainer(task):
        save = Path(task.environment["CRAYAI_CHECKPOINT"])
        assert save.is_dir()
        (save / "model.pt").write_text("model")
        return End(stdout="FoM: 1\n")

    assert Driver(tmp_path, pbt("train --load=@load/model.pt --save=@save/model.pt"), trainer, slots=2).run()


def test_any_strategy_keeps_the_best_model(tmp_path):
    """A random search whose program saves keeps the model of its best evaluation."""
    random = StrategySettings(name="random", arguments={"num_iters": 9})
    driver = Driver(tmp_path, Study(space=SPACE, strategy=random, seed=1, command="train --save=@save"), Trainer())
    assert driver.run()
    assert saved(driver) == [driver.search.best]


def test_a_genetic_search_trains_on(tmp_path):
    """Children of a genetic search have two parents for the values and train on from a third one's model."""
    arguments = {"generations": 5, "pop_size": 4, "num_demes": 2, "trains_on": True}
    genetic = StrategySettings(name="genetic", arguments=arguments)
    study = Study(space=SPACE, strategy=genetic, seed=1, command="train --dir=@checkpoint")
    trainer = Trainer()
    driver = Driver(tmp_path, study, trainer, slots=3)
    assert driver.run()
    check_lineages(driver, trainer)
    later = [driver.search.record.suggestion(number) for number in range(8, 40)]
    assert all(s.resume_from is not None and len(s.parents) == 2 for s in later)
    assert any(s.resume_from not in s.parents for s in later)
    assert saved(driver) == [driver.search.best]


def test_repeats_are_refused():
    """What trains on is not repeated."""
    with pytest.raises(SettingsError, match="repeats must be 1"):
        StrategySettings(name="pbt", arguments={}, repeats=2)
