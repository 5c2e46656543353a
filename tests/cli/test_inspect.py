"""``crayai status``, ``best``, ``show`` and ``export``: questions to a study."""

import csv
import io
import json
import shlex
import subprocess

import pytest

from crayai.hpo.store.sqlite import SqliteLog

HALF = """
echo "epoch 1 of 2"
case "$*" in *-w=bad*) echo "out of luck: $1" >&2; exit 3;; esac
awk -f bowl.awk -- "$@"
"""


@pytest.fixture
def finished(place):
    """A workplace whose study in `run` is finished: 12 evaluations in three generations."""
    done = place.crayai("run", "study.toml", "--quiet")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def halved(place):
    """A workplace whose study in `run` is finished: a grid of 9 evaluations, of which 4 have failed."""
    place.write("half.sh", HALF)
    params = ["--param", "-x=0.0..1.0 default=0.5", "--param", "-w=good|bad default=good"]
    words = ["run", "--quiet", "--strategy", "grid", "--grid-size", "4", "--slots", "2"]
    done = place.crayai(*words, *params, "--", "sh", "half.sh")
    assert done.returncode == 0, done.stderr
    return place


def facts(text: str) -> dict[str, str]:
    """Return the lines of name and text of `status` and `show`."""
    rows = [line.split(None, 1) for line in text.partition("\n\n")[0].splitlines()]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def exported(place, *words: str) -> list[dict]:
    """Return the evaluations that `export` gives as JSON."""
    return json.loads(place.crayai("export", *words, "--format", "json").stdout)["evaluations"]


def fom_of(line: str, place) -> float:
    """Run a line in a shell as a user would paste it; return the figure of merit that the program prints."""
    done = subprocess.run(["sh", "-c", line], cwd=place.directory, capture_output=True, text=True, check=True)
    return float(done.stdout.rpartition("FoM: ")[2])


def test_status_of_a_finished_study(halved) -> None:
    """`status` says that a study is finished, how many evaluations are over and failed and why, and the best."""
    done = halved.crayai("status")
    assert done.returncode == 0
    found = facts(done.stdout)
    assert found["study"] == str(halved.directory / "run")
    assert found["state"] == "finished"
    assert found["over"] == "9 of 9"
    assert found["failed"] == "4 (4 exit code)"
    assert found["best"].startswith("0.091111111 (evaluation ")


def test_status_of_a_running_study(place) -> None:
    """While a driver works, `status` names its process and counts what is under way."""
    with place.start_gated() as process:
        found = facts(place.crayai("status", "gated").stdout)
        place.open_gate()
        process.communicate()
    assert found["state"].startswith(f"running, process {process.pid}")
    assert found["over"].endswith(" of 12")


def test_status_of_a_stopped_study(place) -> None:
    """After the driver was killed `status` says that the study is stopped and how to go on."""
    with place.start_gated() as process:
        process.kill()
    found = facts(place.crayai("status", "gated").stdout)
    assert found["state"] == "stopped; crayai run goes on with it"
    assert int(found["over"].split()[0]) < 12


def test_best_gives_the_same_figure_again(finished) -> None:
    """The line that `best` prints, pasted into a shell, gives the figure of merit of the best evaluation."""
    done = finished.crayai("best")
    (line,) = done.stdout.splitlines()
    best = min(evaluation["fom"] for evaluation in exported(finished))
    assert fom_of(line, finished) == best
    assert f"{best:.8g}" in done.stderr
    assert "better than the default point" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["awk", "-f", "bowl.awk", "--"],
        ["awk -f bowl.awk -- | cat; true"],
        ["awk -f bowl.awk -- -y=@{-x} '-w=@{-w}' | tail -n 1; :"],
        ["awk", "-f", "bowl.awk", "--", "-seed=@seed", "-number=@evaluation"],
    ],
)
def test_best_quotes_whatever_a_shell_would_read(place, command) -> None:
    """Values with blanks, quotation marks and dollar signs, and placeholders, survive the shell."""
    words = """it's "two" $words *"""
    params = ["--param", "-x=0.5|0.25", "--param", f"-w={json.dumps(words)}|{json.dumps(words + ' too')}"]
    run = ["run", "--quiet", "--strategy", "grid", "--slots", "1", *params, "--", *command]
    done = place.crayai(*run)
    assert done.returncode == 0, done.stderr
    (line,) = place.crayai("best").stdout.splitlines()
    number = int(place.crayai("best").stderr.partition("(evaluation ")[2].partition(")")[0].partition(",")[0])
    original = next(row[1:] for row in place.ran() if row[0] == str(number))
    (place.directory / "ran.tsv").unlink()
    fom_of(line, place)
    again = (place.directory / "ran.tsv").read_text().rstrip("\n").split("\t")[1:]
    assert again == original


def test_best_passes_environment_variables(place) -> None:
    """A hyperparameter that is passed in the environment stands before the command."""
    place.write("train.sh", 'echo "FoM: $LR"\n')
    place.write(
        "env.toml",
        '[study]\ncommand = "sh train.sh"\n[strategy]\nname = "grid"\ngrid_size = 3\n'
        '[params]\nLR = { low = 0.25, high = 1.0, default = 0.5, pass_as = "environment" }\n',
    )
    assert place.crayai("run", "env.toml", "--quiet").returncode == 0
    line = place.crayai("best").stdout.strip()
    assert line == "LR=0.25 sh train.sh"
    assert fom_of(line, place) == 0.25


def test_best_before_any_result_is_refused(place) -> None:
    """Where nothing has completed `best` ends with exit code 1 and a hint at `status`."""
    place.write("broken.sh", "exit 4\n")
    words = "run --strategy random --num-iters 9 --param -x=0.0..1.0 -- sh broken.sh"
    place.crayai(*words.split())
    done = place.crayai("best")
    assert done.returncode == 1
    assert done.stderr.startswith("crayai: no evaluation in ")


def test_show_names_values_command_and_ancestors(finished) -> None:
    """`show` gives the result, every value, the command, the time, and parents back to the first generation."""
    evaluations = exported(finished)
    number = 11
    found = facts(finished.crayai("show", number).stdout)
    wanted = evaluations[number]
    assert found["evaluation"] == "11 (generation 2, deme 0, attempt 1)"
    assert found["result"] == f"FoM {wanted['fom']:.8g}"
    assert {flag: float(found[flag]) for flag in ("-x", "-n")} == wanted["values"]
    assert fom_of(found["command"], finished) == wanted["fom"]
    shown = finished.crayai("show", number).stdout
    for parent in wanted["parents"]:
        assert f"parent {parent}" in shown
        assert f"FoM {evaluations[parent]['fom']:.8g}  -x=" in shown
    first = wanted["parents"][0]
    assert all(f"parent {grandparent}" in shown for grandparent in evaluations[first]["parents"][:1])


def test_show_prints_the_output_of_a_failed_evaluation(halved) -> None:
    """`show` of a failed evaluation gives the cause and what the program said on both outputs."""
    failed = next(e for e in exported(halved) if e["failure"])
    done = halved.crayai("show", failed["number"])
    assert done.returncode == 0
    assert facts(done.stdout)["result"] == "failed: exit code: 3"
    assert "out of luck: -x=" in done.stdout
    assert "epoch 1 of 2" in done.stdout
    assert f"output/{failed['number']}.1.err:" in done.stdout


def test_show_of_an_unknown_number_is_refused(finished) -> None:
    """A number that was never asked for is refused with how many there are."""
    done = finished.crayai("show", 99)
    assert done.returncode == 1
    assert "there is no evaluation 99" in done.stderr
    assert "12 were asked for" in done.stderr


def test_csv_parses_back(halved) -> None:
    """The CSV has a line an evaluation, with the figure of merit, the failure and a column a hyperparameter."""
    done = halved.crayai("export")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [int(row["number"]) for row in rows] == list(range(9))
    assert {"generation", "deme", "parents", "attempt", "fom", "failure", "-x", "-w"} <= set(rows[0])
    for row in rows:
        is_bad = row["-w"] == "bad"
        assert (row["failure"] == "exit code: 3") is is_bad
        assert (row["fom"] == "") is is_bad
        assert float(row["asked_at"]) <= float(row["launched_at"]) <= float(row["told_at"])


def test_json_parses_back(finished) -> None:
    """The JSON has the settings and all evaluations, with values as numbers and parents as a list."""
    found = json.loads(finished.crayai("export", "--format", "json").stdout)
    assert found["settings"]["seed"] == 7
    assert found["settings"]["strategy"]["name"] == "genetic"
    evaluations = found["evaluations"]
    assert [e["number"] for e in evaluations] == list(range(12))
    assert evaluations[0]["values"] == {"-x": 0.5, "-n": 3}
    for evaluation in evaluations:
        fom = sum((value - 0.3) ** 2 for value in evaluation["values"].values())
        assert evaluation["fom"] == pytest.approx(fom, rel=1e-6)
        assert (evaluation["parents"] == []) is (evaluation["generation"] == 0)


def test_csv_and_json_agree(halved) -> None:
    """Both formats hold the same evaluations."""
    rows = list(csv.DictReader(io.StringIO(halved.crayai("export", "--format", "csv").stdout)))
    for row, evaluation in zip(rows, exported(halved), strict=True):
        assert row["fom"] == ("" if evaluation["fom"] is None else str(evaluation["fom"]))
        assert {flag: row[flag] for flag in ("-x", "-w")} == {k: str(v) for k, v in evaluation["values"].items()}


def test_export_writes_a_file(finished) -> None:
    """With --output the evaluations go into a file, and nothing to standard output."""
    done = finished.crayai("export", "--format", "json", "--output", "study.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert len(json.loads((finished.directory / "study.json").read_text())["evaluations"]) == 12


def test_maximised_figures_have_their_own_sign(place) -> None:
    """A study that maximises shows and exports figures of merit as they were printed."""
    words = "run --quiet --strategy grid --goal maximize --param -x=0.0..1.0 -- awk -f bowl.awk --"
    place.crayai(*words.split())
    assert max(e["fom"] for e in exported(place)) == pytest.approx(0.49)
    assert facts(place.crayai("status").stdout)["best"].startswith("0.49 ")
    assert shlex.split(place.crayai("best").stdout)[-1] == "-x=1"


@pytest.mark.parametrize("words", [["status"], ["best"], ["show", "0"], ["export"]])
def test_directory_without_a_study_is_refused(place, words) -> None:
    """A directory without a study is refused with its name, and stays as it is."""
    done = place.crayai(*words, "nowhere")
    assert done.returncode == 1
    assert "there is no study in" in done.stderr
    assert "nowhere" in done.stderr
    assert not (place.directory / "nowhere").exists()


@pytest.mark.parametrize("words", [["status"], ["best"], ["show", "0"], ["export"], ["run", "study.toml"]])
def test_damaged_log_is_refused(place, words) -> None:
    """A log that is no database is refused with its name, and is not written to."""
    (place.directory / "run").mkdir()
    damaged = place.write("run/study.db", "this is no database, whatever its name says\n" * 50)
    before = damaged.read_bytes()
    done = place.crayai(*words)
    assert done.returncode == 1
    assert "study.db" in done.stderr
    assert done.stderr.startswith("crayai: ")
    assert damaged.read_bytes() == before


def test_questions_leave_the_study_as_it_is(finished) -> None:
    """No question changes the log."""
    before = (finished.directory / "run" / "study.db").read_bytes()
    for words in (["status"], ["best"], ["show", "3"], ["export"]):
        assert finished.crayai(*words).returncode == 0
    assert (finished.directory / "run" / "study.db").read_bytes() == before


def test_the_mean_of_repeats_decides(place) -> None:
    """`best` and `status` compare the means of repeated points."""
    place.write("noisy.sh", 'echo "FoM: $(echo 10 0 3 3.5 | cut -d" " -f$((CRAYAI_EVALUATION + 1)))"\n')
    words = ["run", "--quiet", "--strategy", "random", "--num-iters", "2", "--repeats", "2", "--param", "-x=0.0..1.0"]
    done = place.crayai(*words, "--", "sh", "noisy.sh")
    assert "Best: 3.25 (evaluation 2" in done.stdout
    assert "3.25 (evaluation 2)" in place.crayai("status").stdout
    assert "3.25 (evaluation 2)" in place.crayai("best").stderr


def test_verify_compares_with_the_seed(finished) -> None:
    """`verify` asks everything anew, is content with what a run has left, and names the first difference."""
    done = finished.crayai("verify")
    assert (done.returncode, done.stdout) == (0, "the log is what the seed says\n")
    with SqliteLog(finished.directory / "run" / "study.db") as log:
        log.record_settings({"seed": 8})  # number 0 is the default point
    done = finished.crayai("verify")
    assert done.returncode == 1
    assert "evaluation 1 is not what the seed says" in done.stderr
    assert "log:  -x=" in done.stderr
