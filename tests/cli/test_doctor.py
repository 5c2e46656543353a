"""``crayai doctor`` and ``crayai estimate``: what is printed, exit codes, what is left behind, Ctrl-C."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

PARAMS = ["--param", "-x=0.0..1.0 default=0.5", "--param", "-n=1..9 default=3"]
AWKWARD = 'case $1 in *doctor) exit 3;; esac\nawk -f bowl.awk -- "$@"\n'


@pytest.fixture
def temporary(place, monkeypatch) -> Path:
    """The directory for temporary files of the commands that a test runs."""
    path = place.directory / "temporary"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def checks_of(text: str) -> dict[str, str]:
    """Return the verdict of each check of a report, but of the one that a busy machine may add."""
    lines = [line for line in text.split("\n\n", maxsplit=1)[0].splitlines() if line[:1].strip()]
    return {line[8:26].strip(): line[:8].strip() for line in lines if "slots" not in line[:26]}


def test_healthy_program_is_fit(place, temporary) -> None:
    """A program without a problem gets exit code 0, a line a check, an estimate, and leaves nothing behind."""
    place.write("train.sh", AWKWARD)
    done = place.crayai("doctor", "study.toml", "--time-limit-minutes", 1, "--", "sh train.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert checks_of(done.stdout) == dict.fromkeys(
        ["environment", "program", "figure of merit", "other points", "repeatable", "noise", "flags", "effect",
         "exit code", "time", "files"], "ok",
    )  # fmt: skip
    assert "evaluations       12: 3 generations of 4\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Fit to be searched")
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.startswith("crayai: running the default point\ncrayai: 7 more runs, 2 at once, about ")
    assert list(temporary.iterdir()) == []
    assert not (place.directory / "run").exists()


def test_problem_is_exit_code_1_and_keeps_the_output(place, temporary) -> None:
    """A problem gets exit code 1, what to change, and the directory with what the runs printed."""
    done = place.crayai("doctor", *PARAMS, "--", "echo loss 0.5 #")
    assert done.returncode == 1
    assert checks_of(done.stdout) == {"program": "ok", "figure of merit": "problem", "environment": "ok"}
    assert "-> if 'loss' is it: --fom 'loss' (fom in [study])" in done.stdout
    (kept,) = temporary.iterdir()
    assert done.stdout.endswith(f"1 problem. What the runs printed is in {kept}/output\n")
    assert (kept / "output" / "0.1.out").read_text() == "loss 0.5\n"
    assert place.crayai("doctor", *PARAMS, "--quick", "--fom", "loss", "--", "echo loss 0.5 #").returncode == 1


def test_quick_and_quiet(place, temporary) -> None:
    """With --quick no flag is changed alone, and with --quiet nothing is said meanwhile."""
    place.write("train.sh", AWKWARD)
    done = place.crayai("doctor", "study.toml", "--quick", "--quiet", "--", "sh train.sh")
    assert done.returncode == 0
    assert done.stderr == ""
    assert checks_of(done.stdout).keys().isdisjoint({"flags", "effect"})
    assert len(place.ran()) == 5
    assert list(temporary.iterdir()) == []


def test_json_says_the_same(place) -> None:
    """With --json checks and estimate are for programs to read."""
    done = place.crayai("doctor", "study.toml", "--json")
    told = json.loads(done.stdout)
    verdicts = {check["name"]: check["verdict"] for check in told["checks"]}
    assert verdicts["program"] == "ok"
    assert verdicts["exit code"] == "note"
    assert told["estimate"]["evaluations"] == 12
    assert told["kept"] is None


def test_no_such_program_is_refused(place) -> None:
    """A command that cannot be is refused as in a run, with a message, and so is a wrong key."""
    done = place.crayai("doctor", *PARAMS, "--", "no-such-program")
    assert done.returncode == 1
    assert "no program 'no-such-program' in PATH" in done.stderr
    assert place.crayai("doctor", "study.toml", "--goal", "max").returncode == 2
    assert place.crayai("doctor").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["default", "others"])
def test_interrupted(place, temporary, bells, number, moment) -> None:
    """Ctrl-C and SIGTERM end it with exit code 130, and leave no process and no file."""
    reached, gate = bells("here"), bells("wall")
    first = "" if moment == "default" else '[ "$CRAYAI_EVALUATION" = 0 ] && { echo FoM: 1; exit; }\n'
    place.write("train.sh", f"{first}echo here > {reached}\nread line < {gate}\necho FoM: 1\n")
    with place.start("doctor", *PARAMS, "--slots", 2, "--", "sh train.sh") as process:
        assert reached.hear() == "here"
        process.send_signal(number)
        process.communicate()
    assert process.returncode == 130
    assert place.processes() == []
    assert list(temporary.iterdir()) == []


def test_report_fits_the_terminal(place) -> None:
    """On a terminal lines are wrapped at its width, under their column, and coloured."""
    place.write("train.sh", AWKWARD)
    words = [sys.executable, "-m", "crayai", "doctor", "study.toml", "--", "sh train.sh"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "70"}
    with subprocess.Popen(
        words, cwd=place.directory, stdout=theirs, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(theirs)
        shown = bytearray()
        with suppress(OSError):  # the other end is closed
            while data := os.read(ours, 1 << 16):
                shown += data
    os.close(ours)
    assert process.returncode == 0
    assert b"\x1b[32mok" in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert max(map(len, lines)) <= 70
    start = next(i for i, line in enumerate(lines) if line.startswith("note    time"))
    assert lines[start + 1].startswith(" " * 26)


TRAIN = """
for word in "$@"; do
    case $word in --load=*) load=${word#*=};; --save=*) save=${word#*=};; --lr=*) lr=${word#*=};; esac
done
case $lr in *doctor) exit 3;; esac
if [ -f "$load" ]; then read before old < "$load"; else before=1; fi
FAULT
echo "$before $lr $CRAYAI_SEED" |
    awk -v save="$save" '{ x = $1 - $2 * $1 + $3 / 1e15; print x, $2 > save; printf "FoM: %.9g\\n", x * x }'
"""


def population(place, fault="", *options):
    """Return what the doctor says of population based training."""
    place.write("train.sh", TRAIN.replace("FAULT", fault))
    words = ["--strategy", "pbt", "--slots", 2, "--time-limit-minutes", 1, "--param", "--lr=0.01..0.5 log default=0.1"]
    return place.crayai("doctor", *words, *options, "--", "sh train.sh --load=@load/it --save=@save/it")


def test_fit_to_be_trained_on(place, temporary) -> None:
    """A program that trains on gets five lines more, an estimate in windows, and leaves no checkpoint."""
    done = population(place)
    assert done.returncode == 0, done.stdout + done.stderr
    told = checks_of(done.stdout)
    assert [told[name] for name in ("saving", "loading", "training on", "changed flags", "checkpoints")] == ["ok"] * 5
    assert "evaluations       160: 10 windows of 16\n" in done.stdout
    assert "and checkpoints of " in done.stdout
    assert list(temporary.iterdir()) == []


def test_interrupted_in_a_second_window(place, temporary, bells) -> None:
    """Ctrl-C leaves no process and no checkpoint, also where one is being trained on from."""
    reached, gate = bells("here"), bells("wall")
    wait = f'if [ "$CRAYAI_WINDOW" = 1 ]; then echo here > {reached}; read line < {gate}; fi'
    place.write("train.sh", TRAIN.replace("FAULT", wait))
    command = "sh train.sh --load=@checkpoint/it --save=@checkpoint/it"
    with place.start("doctor", "--strategy", "pbt", "--param", "--lr=0.01..0.5 log", "--", command) as process:
        assert reached.hear() == "here"
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert place.processes() == []
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("temporary")
def test_unfit_to_be_trained_on(place) -> None:
    """A checkpoint that brings the old learning rate back is a problem, and so is one too large for its place."""
    done = population(place, "lr=${old:-$lr}", "--checkpoint-gib", 1e-9)
    assert done.returncode == 1
    assert {name for name, verdict in checks_of(done.stdout).items() if verdict == "problem"} == {
        "changed flags", "checkpoints"
    }  # fmt: skip
    assert "-> set --lr after loading. PyTorch: group['lr'] = …" in done.stdout


# The estimate


def test_estimate_with_a_given_time(place) -> None:
    """With --minutes nothing is run."""
    done = place.crayai("estimate", "study.toml", "--minutes", 40)
    assert done.returncode == 0
    assert done.stdout.splitlines()[:3] == [
        "evaluations  12: 3 generations of 4",
        "time         about 4 h with 2 at once, at 40 min an evaluation (as given); about 2 h with 4",
        "node-hours   4",
    ]
    assert place.ran() == []


def test_estimate_from_one_run(place, temporary) -> None:
    """Without a time and without a log the default point is run once."""
    done = place.crayai("estimate", "study.toml")
    assert "(the default point, run once)" in done.stdout
    assert place.ran() == [["0", "-x=0.5", "-n=3"]]
    assert list(temporary.iterdir()) == []


def test_estimate_from_the_log(place) -> None:
    """Where a study is, its times are taken, and nothing is run; the disk holds about what was foretold."""
    place.crayai("run", "study.toml")
    done = place.crayai("estimate", "study.toml")
    assert "(the mean of 12 in run)" in done.stdout
    assert len(place.ran()) == 12


def test_estimate_of_a_program_that_fails(place, temporary) -> None:
    """A program that fails gives no estimate, but its last words and exit code 1."""
    done = place.crayai("estimate", *PARAMS, "--", "echo no data >&2; exit 5 #")
    assert done.returncode == 1
    assert "see crayai doctor" in done.stderr
    assert "no data" in done.stderr
    assert list(temporary.iterdir()) == []
