"""``crayai run``: files and options, going on, what is shown, exit codes and Ctrl-C."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

ESCAPE = "\x1b"


def settings_of(place, directory: str) -> dict:
    """Return the settings of a study, without what names it."""
    settings = json.loads(place.crayai("export", directory, "--format", "json").stdout)["settings"]
    settings.pop("study_id")
    return settings


def random_study(*words: str, iterations: int = 4) -> list[str]:
    """Return the words that run a random study of the bowl."""
    budget = ["--strategy", "random", "--num-iters", str(iterations), "--seed", "3"]
    return ["run", *budget, *words, "--param", "-x=0.0..1.0 default=0.5", "--", "awk", "-f", "bowl.awk", "--"]


def test_file_and_options_give_the_same_study(place) -> None:
    """A study file and the same settings as options run the same evaluations, and record the same settings."""
    assert place.crayai("run", "study.toml", "--dir", "file").returncode == 0
    from_file = place.ran()
    (place.directory / "ran.tsv").unlink()
    options = "--seed 7 --strategy genetic --generations 3 --pop-size 4 --num-demes 1 --slots 1 --launcher local"
    params = ["--param", "-x=0.0..1.0 default=0.5", "--param", "-n=1..9 default=3"]
    done = place.crayai("run", "--dir", "options", *options.split(), *params, "--", "awk -f bowl.awk --")
    assert done.returncode == 0, done.stderr
    assert place.ran() == from_file
    assert settings_of(place, "file") == settings_of(place, "options")


def test_options_override_the_file(place) -> None:
    """An option, --param and a command behind -- take the place of what the file says."""
    words = ["--strategy", "random", "--num-iters", "2", "--param", "-y=4"]
    place.write(
        "study.toml", '[study]\ncommand = "false"\n[strategy]\nname = "random"\nnum_iters = 9\n[params]\n"-x" = 3\n'
    )
    done = place.crayai("run", "study.toml", *words, "--", "awk", "-f", "bowl.awk", "--")
    assert done.returncode == 0, done.stderr
    assert place.ran() == [["0", "-y=4"], ["1", "-y=4"]]


def test_param_lines_are_hyperparameters(place) -> None:
    """--param takes ranges, whole ranges, choices, switches and constants, one line each."""
    params = [
        "--lr=1e-5..1e-1 log default=0.001",
        "--layers=1..4 default=2",
        "--act=relu|tanh default=relu",
        "--nesterov=on|off default=on",
        "--epochs=5",
        "--momentum=0.0..0.99 default=0.9 when --act == 'tanh'",
    ]
    words = [word for line in params for word in ("--param", line)]
    done = place.crayai("run", "--dry-run", *words, "--", "awk -f bowl.awk --")
    assert done.stdout.splitlines()[0] == ("awk -f bowl.awk -- --lr=0.001 --layers=2 --act=relu --nesterov --epochs=5")


def test_command_of_one_word_is_a_shell_command(place) -> None:
    """One word behind -- is a line for the shell; several words are a program with its arguments."""
    line = 'for word in FoM: 4; do printf "%s " $word; done #'
    done = place.crayai("run", "--dir", "one", "--strategy", "random", "--num-iters", 1, "--param", "-x=1", "--", line)
    assert done.stdout.startswith("Best: 4 "), done.stderr
    words = ["sh", "-c", "echo $0; echo FoM: 5", "two words"]
    done = place.crayai(
        *("run", "--dir", "more", "--strategy", "random", "--num-iters", 1, "--param", "-x=1", "--", *words)
    )
    assert done.stdout.startswith("Best: 5 "), done.stderr
    assert (place.directory / "more" / "output" / "0.1.out").read_text() == "two words\nFoM: 5\n"


def test_dry_run_prints_commands_and_leaves_nothing(place) -> None:
    """--dry-run prints the first commands, runs none and makes no directory."""
    before = sorted(place.directory.iterdir())
    done = place.crayai("run", "study.toml", "--dry-run")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "awk -f bowl.awk -- -x=0.5 -n=3"
    assert 1 < len(lines) <= 10
    assert sorted(place.directory.iterdir()) == before


def test_dry_run_shows_what_will_run(place) -> None:
    """The commands of a dry run are those of the run with the same seed."""
    shown = place.crayai(*random_study("--dry-run")).stdout.splitlines()
    place.crayai(*random_study())
    assert shown == ["awk -f bowl.awk -- " + " ".join(line[1:]) for line in place.ran()]


def test_result_is_on_standard_output(place) -> None:
    """Standard output holds the best and its flags, ready to paste, and nothing else."""
    done = place.crayai("run", "study.toml")
    first, second = done.stdout.splitlines()
    assert first.startswith("Best: ")
    assert "better than the default point)" in first
    fom = sum((float(word.partition("=")[2]) - 0.3) ** 2 for word in second.split())
    assert float(first.split()[1]) == pytest.approx(fom, rel=1e-6)


def test_best_that_is_the_default_says_no_more(place) -> None:
    """Where the default point is the best, the result is compared with nothing."""
    done = place.crayai(*random_study(iterations=1))
    assert done.stdout == "Best: 0.04 (evaluation 0)\n-x=0.5\n"


def test_maximum_is_found_when_asked_for(place) -> None:
    """--goal maximize prints the greatest figure of merit."""
    words = "run --strategy grid --grid-size 3 --goal maximize --param -x=0.0..1.0 -- awk -f bowl.awk --"
    done = place.crayai(*words.split())
    assert done.stdout.splitlines()[0].startswith("Best: 0.49 ")
    assert done.stdout.splitlines()[1] == "-x=1"


def test_finished_study_runs_nothing_again(place) -> None:
    """The command of a finished study prints the result again and runs nothing."""
    first = place.crayai("run", "study.toml")
    again = place.crayai("run", "study.toml")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert place.numbers_ran() == list(range(12))


def test_killed_driver_goes_on(place) -> None:
    """After SIGKILL the same command goes on, says so, and runs no evaluation twice that has ended."""
    with place.start_gated() as process:
        process.kill()
    place.open_gate()
    done = place.crayai(*place.gated)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("going on: ")
    assert place.numbers_ran() == list(range(12))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--seed", "8"], "seed: 7 there, 8 now"),
        (["--generations", "2"], "strategy generations: 3 there, 2 now"),
        (["--fom", "loss"], "fom: 'FoM: ' there, 'loss' now"),
        (["--", "awk -f other.awk"], "command: 'awk -f bowl.awk --' there, 'awk -f other.awk' now"),
        (["--param", "-x=0.0..2.0"], "params -x: '-x=0.0..1.0 default=0.5' there, '-x=0.0..2.0' now"),
    ],
)
def test_changed_settings_are_refused(place, words, named) -> None:
    """Other settings in the directory of a study are refused, each named with both values."""
    place.crayai("run", "study.toml", "--generations", "3")
    done = place.crayai("run", "study.toml", *words)
    assert done.returncode == 1
    assert named in done.stderr
    assert str(place.directory / "run") in done.stderr
    assert place.numbers_ran() == list(range(12))


def test_launcher_settings_may_change(place) -> None:
    """How evaluations are run is no setting of the study: it may be another in each run."""
    place.crayai("run", "study.toml")
    assert place.crayai("run", "study.toml", "--slots", 1, "--time-limit-minutes", 5).returncode == 0


def test_extend_raises_the_budget(place) -> None:
    """A raised budget is refused with a hint at --extend, and taken with it; nothing runs twice."""
    place.crayai("run", "study.toml")
    refused = place.crayai("run", "study.toml", "--generations", 5)
    assert refused.returncode == 1
    assert "raise the budget with --extend" in refused.stderr
    extended = place.crayai("run", "study.toml", "--generations", 5, "--extend")
    assert extended.returncode == 0, extended.stderr
    assert place.numbers_ran() == list(range(20))
    assert "20 of 20" in place.crayai("status").stdout


def test_extend_takes_no_other_change(place) -> None:
    """--extend does not take a smaller budget or another setting."""
    place.crayai(*random_study())
    assert place.crayai(*random_study("--extend", iterations=3)).returncode == 1
    done = place.crayai(*random_study("--extend", "--fom", "loss", iterations=6))
    assert done.returncode == 1
    assert "fom: 'FoM: ' there" in done.stderr
    assert place.numbers_ran() == list(range(4))


def test_quiet_shows_the_result_alone(place) -> None:
    """With --quiet nothing is shown but the result."""
    done = place.crayai(*random_study("--quiet"))
    assert done.stderr == ""
    assert done.stdout.startswith("Best: ")


def test_plain_lines_where_there_is_no_terminal(place) -> None:
    """Without a terminal progress is plain lines: the beginning, each new best, the end."""
    done = place.crayai("run", "study.toml")
    lines = done.stderr.splitlines()
    assert lines[0] == "starting: 0 of 12 evaluations are over"
    assert lines[1].startswith("evaluation ")
    assert lines[-1].startswith("12 of 12 evaluations, best ")
    assert ESCAPE not in done.stderr


def test_failures_are_shown_with_their_cause(place) -> None:
    """A failed evaluation is a line with the cause, and counted at the end."""
    place.write("half.sh", 'case $1 in -w=bad) exit 3;; esac\necho "FoM: 1.5"\n')
    params = ["--param", "-w=good|bad default=good", "--param", "-n=1|2"]
    done = place.crayai("run", "--strategy", "grid", *params, "--", "sh", "half.sh")
    assert done.returncode == 0
    assert done.stderr.count("failed (exit code: 3)") == 2
    assert done.stderr.splitlines()[-1].startswith("5 of 5 evaluations, 2 failed, best 1.5")


def read_terminal(place, words: list[str]) -> tuple[int, str]:
    """Run the command line with a terminal for its output; return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160"}
    line = [sys.executable, "-m", "crayai", *words]
    with subprocess.Popen(line, cwd=place.directory, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = bytearray()
        while True:
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
    os.close(ours)
    return process.returncode, shown.decode()


def test_live_display_on_a_terminal(place) -> None:
    """On a terminal a bar is redrawn that shows the best, how much better it is, and how far the study is."""
    code, shown = read_terminal(place, ["run", "study.toml"])
    assert code == 0
    assert ESCAPE in shown
    assert "12/12" in shown
    assert re.search(r"best \d[\d.]*, [\d.]+x better than the default point .* running", shown)


def test_terminal_left_as_it_was(place) -> None:
    """The live display hides the cursor and shows it again, on success and on failure."""
    place.write("broken.sh", "exit 4\n")
    failing = "run --dir other --strategy random --num-iters 9 --param -x=0.0..1.0 -- sh broken.sh"
    for words, expected in ((["run", "study.toml"], 0), (failing.split(), 3)):
        code, shown = read_terminal(place, words)
        assert code == expected
        assert shown.rfind(ESCAPE + "[?25h") >= shown.rfind(ESCAPE + "[?25l")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run"], "STUDY.toml"),
        (["run", "sh", "train.sh"], "STUDY.toml"),
        (["run", "study.toml", "--no-such-option"], "--no-such-option"),
        (["run", "study.toml", "--goal", "max"], "'max'"),
        (["run", "study.toml", "--slots", "two"], "'two'"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_wrong_usage_is_exit_code_2(place, words, named) -> None:
    """Wrong usage ends with exit code 2 and names what was wrong."""
    done = place.crayai(*words)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "study.toml", "--slots", "0"], "slots must be a whole number of at least 1, got 0"),
        (["run", "study.toml", "--generations", "0"], "generations must be a whole number of at least 1, got 0"),
        (["run", "study.toml", "--num-iters", "5"], "num_iters belongs to the strategy 'random'"),
        (["run", "study.toml", "--strategy", "genetics"], "did you mean 'genetic'"),
        (["run", "study.toml", "--launcher", "slurn"], "did you mean 'slurm'"),
        (["run", "study.toml", "--time-limit-minutes", "0"], "time_limit_minutes must be above 0, got 0.0"),
        (["run", "study.toml", "--src-path", "nowhere"], "nowhere"),
        (["run", "study.toml", "--dir", "study.toml/run"], "study.toml/run cannot be written to: Not a directory"),
        (["run", "study.toml", "--", "no-such-program"], "no program 'no-such-program' in PATH"),
        (["run", "study.toml", "--", "echo @{-m}"], "@{-m}"),
        (["run", "nowhere.toml"], "'nowhere.toml' cannot be read: No such file"),
        (["run", "--param", "-x=1..", "--", "true"], "'-x=1..'"),
        (["run", "--param", "-x=5..1", "--", "true"], "low must be below high, got low=5 high=1"),
        (["run", "--param", "-x=0..1 logg", "--", "true"], "unknown key 'logg'; did you mean 'log'"),
        (["run", "--param", "-x", "--", "true"], "'-x'"),
        (["run", "--param", "-x=0..1"], "there is no command"),
    ],
)
def test_refusals_are_exit_code_1(place, words, named) -> None:
    """What is refused ends with exit code 1 and one message that names the thing, the rule and the value."""
    done = place.crayai(*words)
    assert done.returncode == 1
    assert named in done.stderr
    assert done.stderr.startswith("crayai: ")
    assert "Traceback" not in done.stderr
    assert place.ran() == []


def test_program_that_always_fails_is_exit_code_3(place) -> None:
    """A program that fails whatever the hyperparameters ends the study with exit code 3 and its last words."""
    place.write("broken.sh", "echo ran >> count\necho no module named nonsense >&2\nexit 4\n")
    words = "run --strategy random --num-iters 50 --slots 1 --param -x=0.0..1.0 -- sh broken.sh"
    done = place.crayai(*words.split())
    assert done.returncode == 3
    assert "no module named nonsense" in done.stderr
    assert "exit code: 4" in done.stderr
    assert len((place.directory / "count").read_text().splitlines()) < 10


def test_mended_program_goes_on(place) -> None:
    """After the program is mended, the same command goes on with the study that had failed."""
    place.write("train.sh", "exit 4\n")
    words = ["run", "--strategy", "random", "--num-iters", "8", "--param", "-x=0.0..1.0", "--", "sh", "train.sh"]
    assert place.crayai(*words).returncode == 3
    place.write("train.sh", "echo FoM: 2\n")
    done = place.crayai(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Best: 2 ")


def test_interrupted_once_lets_evaluations_finish(place) -> None:
    """Ctrl-C stops asking, running evaluations finish, the exit code is 130, and the same command goes on."""
    with place.start_gated() as process:
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        line = next(line for line in process.stderr if line.startswith("crayai: stopping"))
        assert "Ctrl-C again ends them" in line
        place.open_gate()
        said = process.communicate()[1]
    assert process.returncode == 130
    assert "stopped; the same command goes on" in said
    numbers = place.numbers_ran()
    assert 6 in numbers
    assert len(numbers) < 12
    assert place.processes() == []
    assert place.crayai(*place.gated).returncode == 0
    assert place.numbers_ran() == list(range(12))


def test_interrupted_twice_ends_everything(place) -> None:
    """A second Ctrl-C ends what runs: no process is left, and what was ended runs again when the study goes on."""
    with place.start_gated() as process:
        for said in ("crayai: stopping", "crayai: ending"):
            process.send_signal(signal.SIGINT)
            assert any(line.startswith(said) for line in process.stderr)
        process.communicate()
    assert process.returncode == 130
    assert place.processes() == []
    assert 6 not in place.numbers_ran()
    place.open_gate()
    assert place.crayai(*place.gated).returncode == 0
    numbers = place.numbers_ran()
    assert set(numbers) == set(range(12))
    assert len(numbers) <= 13  # beside evaluation 6 one more may have been ended in its last moment


def test_second_driver_is_refused(place) -> None:
    """While a driver works on a study, another one is refused with the process of the first."""
    with place.start_gated() as process:
        done = place.crayai(*place.gated)
        place.open_gate()
        process.communicate()
    assert done.returncode == 1
    assert f"in use by process {process.pid}" in done.stderr
    assert process.returncode == 0
    assert place.numbers_ran() == list(range(12))


def test_help_lists_every_key_and_the_exit_codes(place) -> None:
    """The help of `run` lists every key of a study file, and that of `crayai` the exit codes."""
    from crayai.cli.studyfile import KEYS

    shown = place.crayai("run", "--help").stdout
    assert all(key in shown for keys in KEYS.values() for key in keys)
    assert "130" in place.crayai("--help").stdout
