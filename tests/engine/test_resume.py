"""Opening the directory of a study: a new one, or one to go on with."""

import os

import pytest

from crayai.hpo.engine.resume import choose_directory, open_study, recorded_study
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.errors import SettingsError, StudyChanged, StudyLocked
from crayai.hpo.records import Completed
from crayai.hpo.space.hyperparameters import Float, Int
from crayai.hpo.space.space import Space

SPACE = Space([Float("--x", -4.0, 4.0), Int("--n", 1, 60)])


def study_of(iterations=6, **changes):
    """Return a study."""
    strategy = StrategySettings(name="random", arguments={"num_iters": iterations})
    return Study(**{"space": SPACE, "strategy": strategy, "seed": 5, "command": "train", **changes})


def work(root, study, most=100, **settings):
    """Do up to `most` evaluations of `study` in `root`; return the numbers, the search and the id of the study."""
    done = []
    with open_study(root, study, **settings) as opened:
        search = opened.search
        while len(done) < most and (asked := search.ask()) is not None:
            search.tell(asked.number, Completed(float(asked.suggestion.values["--n"])))
            done.append(asked.number)
        search.commit()
    return done, search, opened


def test_a_study_goes_on_where_it_stopped(tmp_path):
    """A study that is opened again knows what was done, keeps its name, and does the rest."""
    numbers, _, first = work(tmp_path / "run", study_of(), most=4)
    assert (numbers, first.was_resumed) == ([0, 1, 2, 3], False)
    numbers, search, later = work(tmp_path / "run", study_of())
    assert (numbers, later.was_resumed) == ([4, 5], True)
    assert later.study_id == first.study_id
    assert search.is_done
    _, whole, other = work(tmp_path / "other", study_of())
    assert other.study_id != first.study_id
    assert [search.record.suggestion(n) for n in range(6)] == [whole.record.suggestion(n) for n in range(6)]


def test_the_recorded_seed_is_taken(tmp_path):
    """Without a seed one is drawn when the study starts, and taken when it goes on."""
    _, first, _ = work(tmp_path / "a", study_of(seed=None), most=2)
    _, later, _ = work(tmp_path / "a", study_of(seed=None))
    assert later.study.seed == first.study.seed
    _, other, _ = work(tmp_path / "b", study_of(seed=None))
    assert other.study.seed != first.study.seed


def test_changed_settings_are_refused_one_by_one(tmp_path):
    """Each changed setting is named with both values, the unchanged ones are not, and the study is as it was."""
    work(tmp_path, study_of(), most=2)
    changed = study_of(
        command="other", goal="maximize", seed=6, space=Space([Float("--x", -4.0, 5.0), Int("--n", 1, 60)])
    )
    with pytest.raises(StudyChanged) as caught:
        work(tmp_path, changed)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"the study in {tmp_path} has other settings:"
    assert lines[-1] == "choose another directory, or use the settings of the study there"
    assert set(lines[1:-1]) == {
        "  command: 'train' there, 'other' now",
        "  goal: 'minimize' there, 'maximize' now",
        "  seed: 5 there, 6 now",
        "  params --x: '--x=-4.0..4.0' there, '--x=-4.0..5.0' now",
    }
    assert work(tmp_path, study_of())[0] == [2, 3, 4, 5]


def test_a_raised_budget_needs_a_word(tmp_path):
    """A greater budget is refused with the hint at --extend, and taken with it; the points before do not change."""
    _, first, _ = work(tmp_path, study_of(4))
    with pytest.raises(StudyChanged, match=r"strategy num_iters: 4 there, 7 now\nraise the budget with --extend"):
        work(tmp_path, study_of(7))
    numbers, search, _ = work(tmp_path, study_of(7), extend=True)
    assert numbers == [4, 5, 6]
    assert [search.record.suggestion(n) for n in range(4)] == [first.record.suggestion(n) for n in range(4)]
    assert search.is_done
    assert work(tmp_path, study_of(7))[0] == []


def test_generations_can_be_raised(tmp_path):
    """More generations go on from the last one."""

    def genetic(generations):
        arguments = {"generations": generations, "pop_size": 3, "num_demes": 1}
        return study_of(strategy=StrategySettings(name="genetic", arguments=arguments))

    assert work(tmp_path / "a", genetic(2))[0] == list(range(6))
    numbers, search, _ = work(tmp_path / "a", genetic(4), extend=True)
    assert numbers == list(range(6, 12))
    _, whole, _ = work(tmp_path / "b", genetic(4))
    assert [search.record.suggestion(n) for n in range(12)] == [whole.record.suggestion(n) for n in range(12)]


def test_extending_allows_nothing_else(tmp_path):
    """With --extend a lower budget and other settings are refused all the same."""
    work(tmp_path, study_of(6), most=2)
    with pytest.raises(StudyChanged, match=r"num_iters: 6 there, 5 now"):
        work(tmp_path, study_of(5), extend=True)
    with pytest.raises(StudyChanged, match=r"command: 'train' there") as caught:
        work(tmp_path, study_of(9, command="other"), extend=True)
    assert "num_iters" not in str(caught.value)


def test_one_driver_at_a_time(tmp_path):
    """While a driver has a study, others are refused; afterwards it is free, also after an error."""
    with open_study(tmp_path, study_of()), pytest.raises(StudyLocked, match=f"process {os.getpid()}"):
        work(tmp_path, study_of())
    with pytest.raises(ZeroDivisionError), open_study(tmp_path, study_of()):
        raise ZeroDivisionError
    work(tmp_path, study_of())


def test_a_directory_that_cannot_be_is_refused(tmp_path):
    """Where no directory can be made, the message names it."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"file/run cannot be written to"):
        work(tmp_path / "file" / "run", study_of())


def test_what_is_recorded(tmp_path):
    """A directory tells its study and whether it is finished; one without a study tells nothing, and stays empty."""
    assert recorded_study(tmp_path / "nothing") is None
    assert not (tmp_path / "nothing").exists()
    work(tmp_path / "run", study_of(seed=None), most=2)
    study, is_finished = recorded_study(tmp_path / "run")
    assert (study.command, study.seed is None, is_finished) == ("train", False, False)
    work(tmp_path / "run", study_of(seed=None))
    assert recorded_study(tmp_path / "run")[1]


def test_a_new_directory_is_taken(tmp_path):
    """Where there is no study, the directory is taken as it is."""
    assert choose_directory(tmp_path / "run", study_of(), resume=True) == (tmp_path / "run", None)
    (tmp_path / "run").mkdir()
    assert choose_directory(tmp_path / "run", study_of(), resume=False) == (tmp_path / "run", None)


@pytest.mark.parametrize("seed", [5, None])
def test_an_unfinished_study_of_the_same_settings_is_gone_on_with(tmp_path, seed):
    """An unfinished study of the same settings stays where it is, with or without a seed given."""
    work(tmp_path / "run", study_of(), most=2)
    assert choose_directory(tmp_path / "run", study_of(seed=seed), resume=True) == (tmp_path / "run", None)


def test_finished_and_different_studies_are_moved_aside(tmp_path):
    """A finished study, and one of other settings, is moved to the first free of run.1, run.2, with all its files."""
    root = tmp_path / "run"
    work(root, study_of())
    assert choose_directory(root, study_of(), resume=True) == (root, tmp_path / "run.1")
    assert not root.exists()
    work(root, study_of(command="other"), most=1)
    (root / "notes.txt").touch()
    assert choose_directory(root, study_of(), resume=True) == (root, tmp_path / "run.2")
    assert (tmp_path / "run.2" / "notes.txt").exists()
    assert recorded_study(tmp_path / "run.1")[1]
    assert recorded_study(tmp_path / "run.2")[0].command == "other"


def test_without_resume_an_unfinished_study_is_moved_aside(tmp_path):
    """Who does not want to go on gets a new study, and keeps the old one."""
    work(tmp_path / "run", study_of(), most=2)
    assert choose_directory(tmp_path / "run", study_of(), resume=False) == (tmp_path / "run", tmp_path / "run.1")
    assert not recorded_study(tmp_path / "run.1")[1]


def test_a_study_that_was_moved_aside_comes_back(tmp_path):
    """Two studies that take turns in one directory both go on where they stopped."""
    root, ours, theirs = tmp_path / "run", study_of(), study_of(command="other")
    for study, most in ((ours, 2), (theirs, 3), (ours, 1), (theirs, 1)):
        directory, _ = choose_directory(root, study, resume=True)
        assert directory == root
        work(root, study, most=most)
    assert len(list(tmp_path.iterdir())) == 2
    assert work(choose_directory(root, ours, resume=True)[0], ours)[0] == [3, 4, 5]
    assert work(choose_directory(root, theirs, resume=True)[0], theirs)[0] == [4, 5]


def test_the_callers_own_directory_is_never_moved(tmp_path, monkeypatch):
    """Where the directory of the study is the caller's own, or holds it, the study goes into `run` below it."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        root, moved_to = choose_directory(tmp_path, study_of(), resume=True)
        assert (root, moved_to) == (tmp_path / "run", None)
        work(root, study_of(), most=2)
    work(root, study_of())
    assert choose_directory(tmp_path, study_of(), resume=True) == (tmp_path / "run", tmp_path / "run.1")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert choose_directory(tmp_path, study_of(), resume=True)[0] == tmp_path / "run"


def test_a_study_in_use_is_not_moved(tmp_path):
    """While another driver works on the study it is neither moved nor opened."""
    with open_study(tmp_path / "run", study_of()), pytest.raises(StudyLocked):
        choose_directory(tmp_path / "run", study_of(command="other"), resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
