"""Population based training on the command line: a study file, the best model, and what is refused."""

from pathlib import Path

import pytest

TRAIN = """
# Half the way to nothing, at the learning rate that is asked for.
load=${1#*=} save=${2#*=} lr=${3#*=}
x=1
[ -f "$load" ] && x=$(cat "$load")
awk -v x="$x" -v lr="$lr" -v save="$save" 'BEGIN { x -= lr * x; print x > save; printf "FoM: %.8f\\n", x * x }'
"""
STUDY = """
[study]
command = "sh train.sh --load=@load --save=@save"
seed = 7
[strategy]
name = "pbt"
pop_size = 4
windows = 5
[launcher]
slots = 2
[params]
"--lr" = { low = 0.01, high = 0.5, start = [0.01, 0.1] }
"""


@pytest.fixture
def trainer(place):
    """Write a program that trains on, and its study file."""
    place.write("train.sh", TRAIN)
    place.write("pbt.toml", STUDY)
    return place


def test_a_study_file_trains_a_population(trainer):
    """The best model is there in the end, with its path and its lineage; and the log is what the seed says."""
    done = trainer.crayai("run", "pbt.toml", "--quiet")
    assert done.returncode == 0, done.stderr
    best = trainer.crayai("best")
    path = Path(trainer.crayai("best", "--checkpoint").stdout.strip())
    assert path.is_file()
    assert f"checkpoint: {path}" in best.stderr
    assert best.stderr.count("→") >= 3
    assert f"--save={path}" in best.stdout
    assert trainer.crayai("verify").returncode == 0
    assert [entry.name for entry in path.parent.parent.iterdir()] == [path.parent.name]


def test_a_longer_study_goes_on_from_the_frontier(trainer):
    """With keep = frontier, --extend trains the same population on; without it, the message says what was missing."""
    assert trainer.crayai("run", "pbt.toml", "--quiet", "--keep", "frontier").returncode == 0
    assert trainer.crayai("run", "pbt.toml", "--quiet", "--windows", "7", "--extend").returncode == 0
    again = trainer.crayai("run", "pbt.toml", "--quiet", "--windows", "9", "--extend")
    assert again.returncode == 3
    assert "keep = 'frontier'" in again.stderr


def test_checkpoints_may_be_elsewhere(trainer):
    """A PATH puts them below another directory; another one later is refused with the first."""
    assert trainer.crayai("run", "pbt.toml", "--quiet", "--checkpoint", "elsewhere").returncode == 0
    path = Path(trainer.crayai("best", "--checkpoint").stdout.strip())
    assert path.is_relative_to(trainer.directory.resolve() / "elsewhere")
    other = trainer.crayai("run", "pbt.toml", "--quiet", "--checkpoint", "other")
    assert other.returncode == 1
    assert "elsewhere" in other.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--windows", "0"], "windows must be a whole number of at least 1, got 0"),
        (["--pop-size", "3"], "got quantile=0.25, which is 0 members"),
        (["--keep", "none"], "keep must be 'best', 'frontier' or 'all', got 'none'"),
        (["--checkpoint-gib", "0"], "checkpoint_gib must be above 0"),
        (["--repeats", "2"], "repeats must be 1"),
        (["--checkpoint", "train.sh"], "cannot be written to: Not a directory; choose another with checkpoint = PATH"),
        (["--strategy", "genetic"], "windows belongs to the strategy 'pbt'"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(trainer, options, words):
    """What cannot be is refused with the rule and the value, and nothing has run."""
    done = trainer.crayai("run", "pbt.toml", *options)
    assert done.returncode == 1
    assert words in " ".join(done.stderr.split())


@pytest.mark.fault(
    "a program saves no checkpoint, elsewhere, or an empty one", "the study stops in the first window, and says where"
)
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("echo FoM: 1", "saved nothing at"),
        ("echo 1 > elsewhere; echo FoM: 1", "let it save its model there"),
        (': > "${2#*=}"; echo FoM: 1', "saved nothing at"),
    ],
)
def test_a_program_that_saves_nothing_is_stopped_in_the_first_window(trainer, program, words):
    """A program that saves nothing, elsewhere, or an empty file is named at once; mended, the study goes on."""
    trainer.write("train.sh", program)
    done = trainer.crayai("run", "pbt.toml", "--quiet")
    assert done.returncode == 3
    assert words in " ".join(done.stderr.split())
    trainer.write("train.sh", TRAIN)
    assert trainer.crayai("run", "pbt.toml", "--quiet").returncode == 0


def test_a_dry_run_shows_the_first_window(trainer):
    """The first commands have nothing to load."""
    lines = trainer.crayai("run", "pbt.toml", "--dry-run").stdout.splitlines()
    assert len(lines) >= 4
    assert all("/none/checkpoint" in line for line in lines[:4])
