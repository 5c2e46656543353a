"""``crayai export --schedule`` and ``crayai replay``: what a model was trained with, and whether that was luck."""

import csv
import io
import json
import subprocess
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from crayai.cli.main import cli
from crayai.hpo.report import comparison

TRAIN = """
BEGIN {
    if ((getline x < ARGV[1]) < 0) x = 1
    split(ARGV[3], lr, "=")
    srand(ENVIRON["CRAYAI_SEED"] + 0)
    wanted = 0.9 - 0.2 * ENVIRON["CRAYAI_WINDOW"]
    x = x * (0.3 + (lr[2] - wanted) ^ 2) * (1 + 0.02 * rand())
    printf "%.17g\\n", x > ARGV[2]
    printf "FoM: %.9e\\n", x
}
"""

STUDY = """
[study]
command = "awk -f train.awk -- @load @save"
seed = 3

[strategy]
name = "pbt"
pop_size = 8
windows = 5
perturbation = 0.2

[launcher]
slots = 2

[params]
"--lr" = { low = 0.0, high = 1.0 }
"-epochs" = 5
"""


@pytest.fixture
def trained(place):
    """A workplace whose study in `run` is a population that has trained; its best learning rate falls with time."""
    place.write("train.awk", TRAIN)
    place.write("study.toml", STUDY)
    done = place.crayai("run", "study.toml", "--quiet")
    assert done.returncode == 0, done.stderr
    return place


def schedule(place, *words):
    """Return the schedule that `export` gives as JSON."""
    done = place.crayai("export", "--schedule", "--format", "json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_schedule_of_the_best_is_exported(trained) -> None:
    """CSV and JSON give the lineage of the best evaluation, or of another one, with the values that were asked for."""
    everything = json.loads(trained.crayai("export", "--format", "json").stdout)["evaluations"]
    best = min(everything, key=lambda evaluation: evaluation["fom"])
    found = schedule(trained)
    assert found["lineage"][-1] == best["number"]
    assert found["settings"]["strategy"]["name"] == "pbt"
    assert [window["window"] for window in found["windows"]] == list(range(len(found["lineage"])))
    assert all(window["values"] == everything[window["evaluation"]]["values"] for window in found["windows"])
    rows = list(csv.DictReader(io.StringIO(trained.crayai("export", "--schedule").stdout)))
    assert [int(row["evaluation"]) for row in rows] == found["lineage"]
    assert [float(row["--lr"]) for row in rows] == [window["values"]["--lr"] for window in found["windows"]]
    assert schedule(trained, "--evaluation", "9")["lineage"][-1] == 9


def test_the_script_trains_the_best_model_again(trained) -> None:
    """The script ends, without crayai, at the very figure of merit of the best evaluation, and leaves the model."""
    done = trained.crayai("export", "--schedule", "--format", "sh", "-o", "again.sh")
    assert done.returncode == 0, done.stderr
    script = subprocess.run(
        ["sh", "again.sh", "there"], cwd=trained.directory, capture_output=True, text=True, check=True
    )
    windows = schedule(trained)["windows"]
    assert [float(line[5:]) for line in script.stdout.splitlines()] == [window["fom"] for window in windows]
    last = trained.directory / "there" / str(windows[-1]["window"]) / "checkpoint"
    assert float(last.read_text()) == pytest.approx(windows[-1]["fom"])
    assert str(last) in script.stderr


def test_the_picture_is_drawn(trained) -> None:
    """SVG is one well-formed file that names the best figure of merit."""
    done = trained.crayai("export", "--schedule", "--format", "svg", "-o", "picture.svg")
    assert done.returncode == 0, done.stderr
    text = (trained.directory / "picture.svg").read_text()
    ET.fromstring(text)
    assert f"{schedule(trained)['windows'][-1]['fom']:.6g}" in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--format", "sh"], 2, "need --schedule"),
        (["--evaluation", "3"], 2, "need --schedule"),
        (["--schedule", "--evaluation", "300"], 1, "there is no evaluation 300"),
    ],
)
def test_what_cannot_be_exported_is_refused(trained, words, code, message) -> None:
    """Wrong usage and unknown evaluations are refused with a message."""
    done = trained.crayai("export", *words)
    assert done.returncode == code
    assert message in done.stderr


def test_a_search_without_checkpoints_has_no_schedule(place) -> None:
    """Where evaluations do not train on there is no schedule, and nothing to be replayed."""
    pytest.importorskip("scipy")
    assert place.crayai("run", "study.toml", "--quiet").returncode == 0
    for words in (["export", "--schedule"], ["replay"]):
        done = place.crayai(*words)
        assert done.returncode == 1
        assert "there is no schedule" in done.stderr


def test_a_replay_says_what_won(trained) -> None:
    """A replay trains schedule and constant values as promised, and tells what came out, also in a file."""
    pytest.importorskip("scipy")
    done = trained.crayai("replay", "--seeds", "4", "--slots", "2", "--quiet")
    assert done.returncode == 0, done.stderr
    found = json.loads((trained.directory / "run" / "replay" / "replay.json").read_text())
    windows = len(schedule(trained)["lineage"])
    status = trained.crayai("status", "run/replay").stdout
    assert f"{(4 + 3 + 3) * windows} of {(4 + 3 + 3) * windows}" in status
    assert [len(constant["foms"]) for constant in found["constants"] if constant["is_best"]] == [4]
    assert len(found["schedule"]["foms"]) == 4
    assert found["verdict"].startswith("Schedule better")
    assert (found["u"], found["a12"]) == (16, 1.0)
    assert found["verdict"] in done.stdout
    assert found["luck"] in done.stdout


def test_a_replay_is_gone_on_with(trained) -> None:
    """A replay that was stopped goes on with the same command, and one that is over is told again without training."""
    pytest.importorskip("scipy")
    words = ("replay", "--seeds", "3", "--slots", "1")
    with trained.start(*words) as process:
        assert any("FoM" in line for line in process.stderr)
        process.kill()
    first = trained.crayai(*words)
    assert first.returncode == 0, first.stderr
    asked = json.loads(trained.crayai("export", "run/replay", "--format", "json").stdout)["evaluations"]
    second = trained.crayai(*words)
    assert second.stdout == first.stdout
    again = json.loads(trained.crayai("export", "run/replay", "--format", "json").stdout)["evaluations"]
    assert again == asked


def test_a_missing_library_is_said_first(trained, monkeypatch) -> None:
    """Without SciPy nothing is trained: the command that installs it is told instead."""
    monkeypatch.setattr(comparison, "find_spec", lambda _: None)
    done = CliRunner().invoke(cli, ["replay", str(trained.directory / "run")])
    assert "pip install 'crayai[stats]'" in str(done.exception)
    assert not (trained.directory / "run" / "replay").exists()
