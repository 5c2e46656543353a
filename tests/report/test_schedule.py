"""Lineages, schedules, and the scripts that train along them."""

import ast
import csv
import io
import json
import os
import subprocess

import pytest
from report_helpers import SPACE, best_of, population, stored

from crayai.hpo.errors import SettingsError
from crayai.hpo.report.schedule import lineage, schedule_csv, schedule_json, schedule_of, schedule_script
from crayai.hpo.space.hyperparameters import Choice, Float
from crayai.hpo.space.render import Command
from crayai.hpo.space.space import Space

HARD = """it's "two" $HOME `words` \\ *"""

PROGRAM = """
import os, sys
load, save, *words = sys.argv[1:]
past = open(load).read() if os.path.exists(load) else ""
facts = [os.environ.get("CRAYAI_" + n, "-") for n in ("WINDOW", "WINDOWS", "EVALUATION", "SEED")]
assert save.startswith(os.environ["CRAYAI_CHECKPOINT"])
assert bool(past) == ("CRAYAI_LOAD" in os.environ) and os.environ.get("CRAYAI_LOAD", "") != "left over"
assert load == save or not past or load.startswith(os.environ["CRAYAI_LOAD"])
line = repr([facts, words, os.environ.get("NAME", "-")]) + "\\n"
open(save, "w").write(past + line)
print("FoM: 1")
"""


def test_a_lineage_follows_the_checkpoints():
    """The lineage of an evaluation is the chain along resume_from, the oldest first, without the failed."""
    evaluations = {
        0: stored(0, 1.0),
        1: stored(1, 2.0),
        2: stored(2, 0.5, 1, 1),
        3: stored(3, 0.0, 0, 1, failed=True),
        4: stored(4, 0.4, 3, 2),
    }
    assert [e.number for e in lineage(evaluations, 4)] == [0, 4]
    assert [e.number for e in lineage(evaluations, 2)] == [1, 2]
    assert [e.number for e in lineage(evaluations, 1)] == [1]


@pytest.mark.parametrize(("number", "message"), [(7, "there is no evaluation 7"), (0, "has not completed")])
def test_what_has_no_model_has_no_lineage(number, message):
    """An unknown evaluation, and one that failed, are refused by number."""
    with pytest.raises(SettingsError, match=message):
        lineage({0: stored(0, 0.0, failed=True)}, number)


def test_a_schedule_has_what_the_program_received():
    """A schedule tells each window's evaluation, values, and figure of merit with the sign that the program printed."""
    evaluations = population(5, 4)
    line = lineage(evaluations, best_of(evaluations))
    schedule = schedule_of(line, -1)
    assert [w.evaluation for w in schedule] == [e.number for e in line]
    assert [w.number for w in schedule] == [0, 1, 2, 3, 4]
    assert all(w.values == evaluations[w.evaluation].values for w in schedule)
    assert all(w.fom == -evaluations[w.evaluation].outcome.loss for w in schedule)


def test_csv_and_json_tell_the_same():
    """CSV has a line a window, with empty places for the inactive; JSON has the settings and the lineage too."""
    schedule = schedule_of(lineage(evaluations := population(5, 4), best_of(evaluations)), 1)
    text, content = io.StringIO(newline=""), io.StringIO()
    schedule_csv(schedule, SPACE.flags, text)
    schedule_json(schedule, {"seed": 7}, content)
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    found = json.loads(content.getvalue())
    assert found["settings"] == {"seed": 7}
    assert found["lineage"] == [int(row["evaluation"]) for row in rows] == [w.evaluation for w in schedule]
    for row, window, w in zip(rows, found["windows"], schedule, strict=True):
        assert window["values"] == w.values
        assert [row[flag] for flag in SPACE.flags] == [str(w.values.get(flag, "")) for flag in SPACE.flags]


def trained(tmp_path, text, place="some place's", expected=0):
    """Return the lines that a program saved that was trained along a schedule of three windows by its script."""
    space = Space(
        [Float("--lr", 0.0, 1.0), Choice("--word", [HARD, "x"]), Choice("NAME", [HARD, "y"], pass_as="environment")]
    )
    evaluations = {
        n: stored(n, n / 8, None if n == 3 else n - 2, (n - 3) // 2, {"--lr": n / 16, "--word": HARD, "NAME": HARD})
        for n in (3, 5, 7)
    }
    (tmp_path / "program.py").write_text(PROGRAM)
    file = io.StringIO()
    schedule_script(schedule_of(lineage(evaluations, 7), 1), Command(text, space), 9, lambda n: 100 + n, file)
    (tmp_path / "script.sh").write_text(file.getvalue())
    done = subprocess.run(
        ["sh", "script.sh", *([place] if place else [])],
        cwd=tmp_path,
        env={**os.environ, "CRAYAI_LOAD": "left over"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    saved = [path for path in (tmp_path / (place or "checkpoints")).glob("2/**/*") if path.is_file()]
    return [ast.literal_eval(line) for path in saved for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        "python3 program.py @load @save",
        "python3 program.py @checkpoint @checkpoint",
        "python3 program.py @load/model.pt @save/model.pt",
        "python3 program.py '@{load}/a b.pt' '@{save}/a b.pt'",
        "python3 program.py @checkpoint.pt @checkpoint.pt",
        """true; false; python3 program.py '@load' "@save" --lr=@{--lr} --word="@{--word}" | cat && test "$?" = 0 #""",
        """false; set -- "@checkpoint/it is.pt"; cd @directory; python3 ../../program.py "$1" "$1" """,
    ],
)
@pytest.mark.parametrize("place", ["some place's", ""])
def test_a_script_trains_along_the_schedule(tmp_path, text, place):
    """The script runs each window with its values, seed and number on the checkpoint of the window before."""
    lines = trained(tmp_path, text, place)
    assert [facts for facts, _, _ in lines] == [[str(i), "9", str(n), str(100 + n)] for i, n in enumerate((3, 5, 7))]
    assert [words for _, words, _ in lines] == [[f"--lr={n / 16}", f"--word={HARD}"] for n in (3, 5, 7)]
    assert [name for _, _, name in lines] == [HARD] * 3


def test_a_script_fills_in_what_the_search_would(tmp_path):
    """@window, @windows, @seed and @evaluation are those of the search."""
    lines = trained(tmp_path, "python3 program.py @load @save @window of @windows @seed @evaluation @{--word} @{--lr}")
    assert [words for _, words, _ in lines] == [
        [str(i), "of", "9", str(100 + n), str(n), HARD, str(n / 16)] for i, n in enumerate((3, 5, 7))
    ]


def test_a_script_stops_at_the_first_failure(tmp_path):
    """After a window that fails no other one is trained, and the script fails likewise."""
    trained(tmp_path, "sh -c 'test @window = 0 || exit 5' @load @save", expected=5)
    assert sorted(path.name for path in (tmp_path / "some place's").iterdir()) == ["0", "1"]


def test_a_script_never_goes_on_from_another_training(tmp_path):
    """A directory with the checkpoints of another training is refused, for the model would not be from scratch."""
    assert len(trained(tmp_path, "python3 program.py @checkpoint @checkpoint")) == 3
    assert len(trained(tmp_path, "python3 program.py @checkpoint @checkpoint", expected=1)) == 3


def test_a_script_says_what_the_search_saw(tmp_path):
    """Comments tell the figure of merit that the search saw of each window."""
    trained(tmp_path, "python3 program.py @load @save")
    text = (tmp_path / "script.sh").read_text()
    assert [line for line in text.splitlines() if line.startswith("# Window")] == [
        f"# Window {i}, evaluation {n}: the search saw {n / 8}." for i, n in enumerate((3, 5, 7))
    ]
