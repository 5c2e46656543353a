"""Where the files of a study are."""

import stat

from crayai.hpo.engine.workdir import StudyDirectory


def test_a_study_is_for_its_user_alone(tmp_path):
    """What every study needs is made, with parents, readable for the user alone, and making it twice is no error."""
    directory = StudyDirectory(tmp_path / "a" / "b")
    directory.make()
    directory.make()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory.root, directory.root / "output")} == {0o700}


def test_paths_do_not_depend_on_where_the_driver_goes(tmp_path, monkeypatch):
    """A relative directory is meant from where the driver started, whatever becomes of its working directory."""
    monkeypatch.chdir(tmp_path)
    directory = StudyDirectory(tmp_path.__class__("run"))
    monkeypatch.chdir("/")
    assert directory.root == tmp_path / "run"
    assert directory.output(3, 1) == str(tmp_path / "run/output/3.1")


def test_outputs_are_those_of_one_evaluation(tmp_path):
    """The kept files of an evaluation are its own, those of the latest attempt last."""
    directory = StudyDirectory(tmp_path)
    directory.make()
    for name in ("1.10.out", "1.2.out", "1.2.err", "11.1.out", "1.1.exit"):
        (tmp_path / "output" / name).touch()
    names = [path.name for path in directory.outputs(1)]
    assert sorted(names) == ["1.1.exit", "1.10.out", "1.2.err", "1.2.out"]
    assert (names[0], names[-1]) == ("1.1.exit", "1.10.out")


def test_source_is_linked_into_the_directory_of_an_evaluation(tmp_path):
    """An evaluation finds everything of the source under its name, as links, hidden files and directories too."""
    source = tmp_path / "src"
    (source / "data").mkdir(parents=True)
    (source / "data" / "x.csv").write_text("1")
    (source / "train.py").write_text("print()")
    (source / ".config").touch()
    (source / "dangling").symlink_to("nowhere")
    directory = StudyDirectory(tmp_path / "run")
    directory.make()
    own = directory.make_evaluation(4, source)
    assert own == tmp_path / "run/evaluations/4"
    assert {path.name for path in own.iterdir()} == {"data", "train.py", ".config", "dangling"}
    assert all(path.is_symlink() for path in own.iterdir())
    assert (own / "data" / "x.csv").read_text() == "1"
    (own / "model.bin").touch()
    assert not (source / "model.bin").exists()


def test_what_an_evaluation_made_is_not_replaced(tmp_path):
    """A second attempt keeps what the first one left, and links what is missing."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "log.txt").write_text("source")
    directory = StudyDirectory(tmp_path / "run")
    own = directory.make_evaluation(0, source)
    (own / "log.txt").unlink()
    (own / "log.txt").write_text("own")
    (source / "new.txt").touch()
    assert directory.make_evaluation(0, source) == own
    assert (own / "log.txt").read_text() == "own"
    assert (own / "new.txt").is_symlink()


def test_a_study_inside_its_source_is_not_linked_into_itself(tmp_path):
    """Where the study lies in the source, evaluations find everything but the study."""
    (tmp_path / "train.py").touch()
    directory = StudyDirectory(tmp_path / "run")
    directory.make()
    own = directory.make_evaluation(0, tmp_path)
    assert [path.name for path in own.iterdir()] == ["train.py"]


def test_without_a_source_the_directory_is_empty(tmp_path):
    """A directory that a command asks for is empty, and for its user alone."""
    own = StudyDirectory(tmp_path).make_evaluation(0, None)
    assert list(own.iterdir()) == []
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_a_study_is_set_aside_under_the_first_free_name(tmp_path):
    """Setting aside takes NAME.1, then NAME.2, and overwrites nothing."""
    for number in (1, 2, 3):
        root = tmp_path / "run"
        StudyDirectory(root).make()
        (root / "mark").write_text(str(number))
        assert StudyDirectory(root).set_aside() == tmp_path / f"run.{number}"
        assert not root.exists()
    assert [(tmp_path / f"run.{number}" / "mark").read_text() for number in (1, 2, 3)] == ["1", "2", "3"]
