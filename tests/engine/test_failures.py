"""What the end of a job means."""

from pathlib import Path

import pytest

from crayai.hpo.engine.failures import error_of, explain, outcome_of
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.launch.base import Exited, Gone, Limit, NotStarted, Task
from crayai.hpo.records import Cause, Completed, Failed
from crayai.hpo.space.hyperparameters import Float
from crayai.hpo.space.space import Space


@pytest.fixture
def task(tmp_path):
    """Return a task with a time limit."""
    return Task("tag", ("train",), {}, tmp_path, str(tmp_path / "0.1"), time_limit_seconds=90.5)


def study(**settings):
    """Return a study."""
    strategy = StrategySettings(name="random", arguments={})
    return Study(space=Space([Float("--x", 0, 1)]), strategy=strategy, seed=1, command="train", **settings)


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        (NotStarted("train: Permission denied"), Failed(Cause.NOT_STARTED, "train: Permission denied")),
        (Gone("the machine was restarted"), Failed(Cause.LOST, "the machine was restarted")),
        (Exited(-15, Limit.TIME), Failed(Cause.TIME_LIMIT, "ended after 90.5 s")),
        (Exited(0, Limit.TIME), Failed(Cause.TIME_LIMIT, "ended after 90.5 s")),
        (Exited(-9), Failed(Cause.SIGNAL, "SIGKILL")),
        (Exited(-42), Failed(Cause.SIGNAL, "signal 42")),
        (Exited(3), Failed(Cause.EXIT_CODE, "3")),
    ],
)
def test_causes_are_told_apart(task, status, failed):
    """Each way to fail has its cause and its detail, whatever was printed."""
    Path(task.stdout).write_text("FoM: 1\n")
    assert outcome_of(status, task, study()) == failed


@pytest.mark.parametrize(
    ("printed", "outcome"),
    [
        ("FoM: 0.25\n", Completed(0.25)),
        ("FoM: nan\n", Failed(Cause.NOT_A_NUMBER, "nan")),
        ("FoM: inf\n", Failed(Cause.NOT_A_NUMBER, "inf")),
        ("bye\n", Failed(Cause.NO_FOM, "no line with 'FoM: ' and a number on standard output")),
    ],
)
def test_a_good_end_needs_a_finite_figure_of_merit(task, printed, outcome):
    """A program that ends well has completed only if it printed a finite figure of merit."""
    Path(task.stdout).write_text(printed)
    assert outcome_of(Exited(0), task, study()) == outcome


@pytest.mark.parametrize(
    ("engine", "code", "words"),
    [
        ("podman", 125, "Error: acquiring lock 3 for container abc: file exists\n"),
        ("podman", 126, "Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all\n"),
        (
            "docker",
            125,
            "docker: Error response from daemon: no such image: a:1\n\nRun 'docker run --help' for more information\n",
        ),
        ("apptainer", 255, "FATAL:   container creation failed: mount /data->/data error: no such file or directory\n"),
        ("charliecloud", 1, "ch-run[7]: error: can't bind: destination not found: /images/a/data (ch_misc.c:436)\n"),
        ("bubblewrap", 1, "bwrap: Can't mkdir /data: Read-only file system\n"),
        ("enroot", 1, "[ERROR] No such file or directory: /home/me/.local/share/enroot/a\n"),
        (
            "pyxis",
            1,
            "slurmstepd: error: pyxis: child 7 failed with error code: 1\nsrun: error: n1: task 0: Exited\n",
        ),
    ],
)
def test_engines_that_do_not_run_the_program(task, engine, code, words):
    """It has not started, unless it has printed something; elsewhere the same words are the program's own."""
    Path(task.stdout).touch()
    Path(task.stderr).write_text("of an earlier line\n" + words)
    failed = Failed(Cause.EXIT_CODE, str(code))
    assert outcome_of(Exited(code), task, study(), engine) == Failed(Cause.NOT_STARTED, words.splitlines()[0])
    assert outcome_of(Exited(3), task, study(), engine) == Failed(Cause.EXIT_CODE, "3")
    assert outcome_of(Exited(code), task, study()) == failed
    Path(task.stdout).write_text("epoch 1\n")
    assert outcome_of(Exited(code), task, study(), engine) == failed


@pytest.mark.parametrize(
    ("engine", "code", "words"),
    [
        ("podman", 125, "train: 125 is my own\n"),
        ("podman", 1, "Error: no such data set\n"),
        ("charliecloud", 1, "ch-run[7]: error: can't execve(2): train: No such file or directory (ch_core.c:410 2)\n"),
        ("apptainer", 255, 'FATAL:   "train": executable file not found in $PATH\n'),
        ("apptainer", 255, "FATAL:   stat ./train: no such file or directory\n"),
        ("bubblewrap", 1, "bwrap: execvp train: No such file or directory\n"),
    ],
)
def test_engines_that_have_run_the_program(task, engine, code, words):
    """Codes and words that a program may have of itself do not clear it, nor one that is not in the image."""
    Path(task.stdout).touch()
    Path(task.stderr).write_text(words)
    assert outcome_of(Exited(code), task, study(), engine) == Failed(Cause.EXIT_CODE, str(code))


@pytest.mark.parametrize(
    ("status", "words", "failed"),
    [
        (Exited(-9, Limit.MEMORY), "", Failed(Cause.OUT_OF_MEMORY, "the kernel ended it, or a part of it (SIGKILL)")),
        (
            Exited(137),
            "",
            Failed(Cause.OUT_OF_MEMORY, "a part of it was killed, most likely by the kernel (exit code 137)"),
        ),
        (
            Exited(1),
            "torch.OutOfMemoryError: CUDA out of memory.\n",
            Failed(Cause.OUT_OF_MEMORY, "torch.OutOfMemoryError: CUDA out of memory. (exit code 1)"),
        ),
        (Exited(-6), "what():  std::bad_alloc\n", Failed(Cause.OUT_OF_MEMORY, "what():  std::bad_alloc (SIGABRT)")),
        (Exited(1), "MemoryError\n" + "later\n" * 20, Failed(Cause.EXIT_CODE, "1")),
        (
            Exited(2),
            "cp: error writing 'x': No space left on device\n",
            Failed(Cause.NO_ROOM, "cp: error writing 'x': No space left on device (exit code 2)"),
        ),
        (Exited(0), "out of memory, trying a smaller batch\n", Completed(1.0)),
    ],
)
def test_what_was_used_up_is_told_by_the_kernel_or_by_the_last_words(task, status, words, failed):
    """Memory and disk are told apart by the kernel's count, or by what a program that failed said last."""
    Path(task.stdout).write_text("FoM: 1\n")
    Path(task.stderr).write_text(words)
    assert outcome_of(status, task, study()) == failed


def test_the_same_error_has_other_numbers(task):
    """Two failures are the same if they differ in numbers alone: processes, times, addresses."""
    errors = []
    for words in ("[pid 17] no licence\n", "loading\n[pid 4242] no licence\n", "[pid 17] no route\n"):
        Path(task.stderr).write_text(words)
        errors.append(error_of(Failed(Cause.EXIT_CODE, "1"), task))
    assert errors[0] == errors[1] != errors[2]


def test_more_is_better_with_the_goal_to_maximize(task):
    """The loss is the figure of merit turned so that less is better."""
    Path(task.stdout).write_text("acc=0.75\n")
    assert outcome_of(Exited(0), task, study(goal="maximize", fom="acc")) == Completed(-0.75)


def test_an_explanation_has_command_directory_and_last_words(task):
    """People read the cause, the command to repeat, where, and what the program said last; standard error first."""
    failed = Failed(Cause.EXIT_CODE, "1")
    line = "train --x=0.5"
    start = f"exit code: 1\nThe command: {line}\nIts directory: {task.directory}\n"
    assert explain(failed, task, line) == start + "It said nothing."
    Path(task.stdout).write_text("loading\n")
    assert explain(failed, task, line) == start + "Its last words:\nloading"
    Path(task.stderr).write_text("Traceback\nValueError: x\n")
    assert explain(failed, task, line) == start + "Its last words:\nTraceback\nValueError: x"
