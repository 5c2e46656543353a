"""Budgets, signals of batch systems and policies for failures, as users of the command line see them."""

import os
import re
import signal
import subprocess
import time

import pytest

STUDY = ["run", "study.toml"]


@pytest.mark.fault(
    "SIGTERM or SIGUSR1, evaluations take longer than the grace time",
    "they are ended, the driver ends in time with its own exit code, the same command goes on",
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_batch_systems_signal_ends_the_driver_within_the_grace_time(place, number, code) -> None:
    """What cannot finish in time is ended, no process is left, the exit code says why, and the same command goes on."""
    with place.start_gated("--grace-seconds", "10") as process:
        process.send_signal(number)
        started = time.monotonic()
        said = process.communicate(timeout=60)[1]
        assert time.monotonic() - started < 10
    assert process.returncode == code
    assert re.search("stopping: running evaluations may finish for [0-4] s", said)
    assert "stopped; the same command goes on" in said
    assert place.processes() == []
    assert re.search("[12] cancelled", place.crayai("status", "gated").stdout)
    place.open_gate()
    assert place.crayai(*place.gated).returncode == 0
    assert "12 of 12" in place.crayai("status", "gated").stdout
    assert set(place.numbers_ran()) == set(range(12))


@pytest.mark.fault("SIGTERM, evaluations end within the grace time", "their outcomes are recorded")
def test_what_finishes_within_the_grace_time_is_not_lost(place) -> None:
    """An evaluation that ends in time has its outcome, and is not run again."""
    with place.start_gated("--grace-seconds", "60") as process:
        process.send_signal(signal.SIGTERM)
        assert any("may finish for" in line for line in process.stderr)
        place.open_gate()
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert 6 in place.numbers_ran()
    assert place.crayai(*place.gated).returncode == 0
    assert place.numbers_ran() == list(range(12))


def test_a_budget_is_no_failure(place) -> None:
    """A study that has used its budget says so, gives its best so far, ends well, and goes on with more."""
    done = place.crayai(*STUDY, "--max-evaluations", "5")
    assert done.returncode == 0
    assert "stopped: the max_evaluations of 5 are reached" in done.stderr
    assert done.stdout.startswith("Best: ")
    assert place.numbers_ran() == list(range(5))
    status = place.crayai("status").stdout
    assert "stopped (the max_evaluations of 5 are reached); crayai run goes on with it" in status
    assert "5 of 12" in status
    assert place.crayai(*STUDY).returncode == 0
    assert place.numbers_ran() == list(range(12))
    assert "finished" in place.crayai("status").stdout


def test_limits_in_the_study_file(place) -> None:
    """Budgets and policies stand in the study file; a target ends the study as soon as it is reached."""
    text = (place.directory / "study.toml").read_text()
    place.write(
        "study.toml", text.replace("seed = 7", "seed = 7\ntarget_fom = 1e9") + '\n[failures]\nsignal = "stop"\n'
    )
    done = place.crayai(*STUDY)
    assert done.returncode == 0
    assert "stopped: the target_fom of 1e+09 is reached" in done.stderr
    assert len(place.numbers_ran()) < 12


def test_policies_as_options(place) -> None:
    """What follows a failure can be said on the command line; attempts that were made again are counted by cause."""
    place.write("fails.sh", '[ "$CRAYAI_EVALUATION$CRAYAI_ATTEMPT" = 31 ] && exit 4; echo FoM: 1')
    words = ["run", "--strategy", "random", "--num-iters", "6", "--param", "-x=0.0..1.0"]
    done = place.crayai(*words, "--on-exit-code", "retry 1 after 0 s", "--", "sh", "fails.sh")
    assert done.returncode == 0
    assert "evaluation 3 failed (exit code: 4); next attempt in 0 s" in done.stderr
    status = place.crayai("status").stdout
    assert "tried again  1 (1 exit code)" in status
    assert "failed       0" in status


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-wall-minutes", "0"], "max_wall_minutes must be above 0, got 0.0"),
        (["--on-signal", "perhaps"], "a policy for failures must be 'rank last', 'stop', 'retry N'"),
        (["--grace-seconds", "-1"], "grace_seconds must be above 0, got -1.0"),
    ],
)
def test_bad_limits_are_refused_before_anything_runs(place, words, message) -> None:
    """A limit or policy that cannot be is named with the rule, and nothing is started or written."""
    done = place.crayai(*STUDY, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (place.directory / "run").exists()


@pytest.mark.fault(
    "exit code, signal, time limit, exit 137, CUDA out of memory, no figure of merit, NaN",
    "each is told by its cause, ranks last, and the search goes on",
)
def test_causes_are_told_apart(place) -> None:
    """`status` counts failures by cause: exit code, signal, time limit, memory, no figure of merit, not a number."""
    place.write(
        "fails.sh",
        """case "$CRAYAI_EVALUATION" in
1) exit 3;; 2) kill -SEGV $$;; 3) sleep 100;; 4) exit 137;; 5) exit 0;; 6) echo FoM: nan;;
7) echo "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB" >&2; exit 1;; *) echo FoM: 1;; esac""",
    )
    policies = ["--on-signal", "rank last", "--on-out-of-memory", "rank last", "--time-limit-minutes", "0.1"]
    words = ["run", "--strategy", "random", "--num-iters", "9", "--param", "-x=0.0..1.0", *policies]
    assert place.crayai(*words, "--", "sh", "fails.sh").returncode == 0
    status = place.crayai("status").stdout
    for counted in ("1 exit code", "1 signal", "1 time limit", "2 out of memory", "1 no figure", "1 not a number"):
        assert counted in status
    assert "SIGSEGV" in place.crayai("show", "2").stdout
    assert "CUDA out of memory" in place.crayai("show", "7").stdout


def test_a_script_ends_on_sigterm_too(place) -> None:
    """A Python script whose search SIGTERM stops ends with the signal's exit code, and goes on when run again."""
    place.write(
        "script.py",
        """
from crayai import hpo
evaluator = hpo.Evaluator("sh gated.sh", num_parallel_evals=2, grace_seconds=7)
optimizer = hpo.RandomOptimizer(evaluator, num_iters=12, seed=3)
optimizer.optimize(hpo.Params([["-x", 0.5, (0.0, 1.0)]]), max_evaluations=10)
print(len(optimizer.evaluations))
""",
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with place.start_program("script.py") as process:
        place.await_gate()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    place.open_gate()
    done = subprocess.run(
        place.python("script.py"),
        cwd=place.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "10\n")
    assert "stopped: the max_evaluations of 10 are reached" in done.stderr
