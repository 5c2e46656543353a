"""Studies in containers, with engines that really run them."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from crayai import hpo
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.launch.containers.engines import own_failure
from crayai.hpo.launch.wrapping import wrapping_of
from crayai.hpo.records import Completed
from crayai.hpo.store.query import Reader

PROGRAM = "sh -c 'cat /etc/inside; echo FoM: ${1#*=}' program"
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--n", 4, (1, 16)]]
CRAYAI = [sys.executable, "-m", "crayai"]


@pytest.fixture(autouse=True)
def _start_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _mount_points(tmp_path, image):
    """Give the image a directory on which the test's own is mounted: engines make none in what they only read."""
    (image / str(tmp_path).lstrip("/")).mkdir(parents=True, exist_ok=True)


def searched(command, container=None, **how):
    """Return the best of a search."""
    evaluator = hpo.Evaluator(
        command, run_path="study", num_parallel_evals=2, keep_output=True, container=container, **how
    )
    optimizer = hpo.RandomOptimizer(evaluator, num_iters=5, seed=1)
    optimizer.optimize(hpo.Params(SPACE))
    return optimizer.best_fom, optimizer.best_params


def run(*words, code=0):
    """Run crayai; return what it says."""
    done = subprocess.run([*CRAYAI, *map(str, words)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def end_while_it_runs(container, program):
    """Run a program of the shell, which makes `began`, and end the driver then."""
    Path("train.sh").write_text(program)
    words = ["run", "--strategy", "random", "--num-iters", "1", "--param", "--lr=0.01..1", "--container", container]
    words += ["--grace-seconds", "7", "--dir", "study", "--", "sh", "train.sh"]
    driver = subprocess.Popen([*CRAYAI, *words], stderr=subprocess.DEVNULL)
    while not Path("began").exists():
        assert driver.poll() is None
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 143


def await_end_of(program, seconds):
    """Wait until no process has these words in its command line."""
    deadline = time.monotonic() + seconds
    while subprocess.run(["pgrep", "-f", program], check=False, capture_output=True).returncode == 0:
        assert time.monotonic() < deadline, f"still there: {program}"


def test_the_same_seed_finds_the_same(container):
    """A search inside a container is the search outside."""
    inside = searched(PROGRAM, container)
    assert "the image" in Path("study/output").joinpath("1.1.out").read_text()
    Path("study").rename("before")
    assert searched("sh -c 'echo FoM: ${1#*=}' program") == inside


def test_what_a_program_finds(container, tmp_path, monkeypatch):
    """It finds its directory, the variables of the study and the container's own, and may not change the image."""
    for name, text in (("OMP_NUM_THREADS", "3"), ("PMI_RANK", "0"), ("WANDB_KEY", "a  $b")):
        monkeypatch.setenv(name, text)
    script = "echo at $PWD; echo seed $CRAYAI_SEED; echo own $OWN $OMP_NUM_THREADS; [ -e /etc/new ] || echo kept; "
    script += ">/etc/new; >made; echo passed $PMI_RANK $WANDB_KEY; echo FoM: 1"
    engine, _, image = container.partition(":")
    searched(
        f"sh -c '{script}' x",
        {"engine": engine, "image": image, "environment": {"OWN": "a b"}, "pass_environment": ["WANDB_*"]},
    )
    said = Path("study/output/4.1.out").read_text().splitlines()
    assert f"at {tmp_path}" in said
    assert any(line.startswith("seed ") and line.removeprefix("seed ").isdigit() for line in said)
    assert "own a b 3" in said
    assert "passed 0 a $b" in said
    assert "kept" in said
    assert Path("made").owner() == Path("study").owner()


def ran(container, command, directory, **variables):
    """Return how a command ends inside, which starts in `directory` with more variables."""
    engine, _, image = container.partition(":")
    wrapping = wrapping_of(Container(image=image, engine=engine), "", [directory])
    words = wrapping.around(command, directory, {}, "study:1:1")
    environment = {**os.environ, **variables, **wrapping.variables()}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.mark.parametrize("variable", ["", "OWN=image"])
def test_a_file_that_charliecloud_runs(tmp_path, image, variable):
    """It has the variables of its image, if that has any."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("the command mksquashfs is not here")
    if variable:
        image = shutil.copytree(image, tmp_path / "image", symlinks=True)
        (image / "ch").mkdir()
        (image / "ch" / "environment").write_text(f"{variable}\n")
    file = tmp_path / "image.squashfs"
    subprocess.run(["mksquashfs", image, file, "-quiet", "-no-progress"], capture_output=True, check=True)
    bare = subprocess.run(
        ["ch-run", file, "--", "/bin/ls"], env={"USER": "root", **os.environ}, capture_output=True, check=False
    )
    if bare.returncode:
        pytest.skip(f"charliecloud runs no files on this machine: {bare.stderr}")
    done = ran(f"charliecloud:{file}", ["sh", "-c", "echo OWN=$OWN"], tmp_path)
    assert done.stdout == f"{variable or 'OWN='}\n", done.stderr


def test_a_line_to_paste(container, tmp_path):
    """It is one line, and does what the evaluation did, in its directory."""
    engine, _, image = container.partition(":")
    container = Container(image=image, engine=engine, environment={"OWN": "a  b"})
    wrapping = wrapping_of(container, "", [tmp_path])
    line = shlex.join(wrapping.pasted(["sh", "-c", 'echo "$OWN" "$LR" >here', "x"], tmp_path, {"LR": "0.1"}))
    assert "\n" not in line
    subprocess.run(line, shell=True, check=True, cwd="/", env={**os.environ, **wrapping.variables()})
    assert Path("here").read_text() == "a  b 0.1\n"


def test_a_temporary_directory_that_is_not_there(container, tmp_path):
    """Nodes may lack the one that the driver has, and Charliecloud would show it as /tmp, where this study is."""
    done = ran(container, ["sh", "-c", "echo here >here"], tmp_path, TMPDIR="/no/such/directory")
    assert Path("here").read_text() == "here\n", done.stderr


def test_data_behind_a_link(container, tmp_path, tmp_path_factory, image):
    """A link in src_path that leads somewhere else leads there inside as well."""
    data = tmp_path_factory.mktemp("data")
    (image / str(data).lstrip("/")).mkdir(parents=True, exist_ok=True)
    (data / "set").write_text("far away\n")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data").symlink_to(data)
    searched("sh -c 'cat data/set; echo FoM: 1' x", container, src_path="source")
    assert "far away" in Path("study/output/0.1.out").read_text()


def test_how_a_program_ends(container):
    """Exit codes and signals are those of the program; one that takes too long ends with all that it started."""
    if container.startswith("docker:"):
        pytest.skip("Podman's service does not know the exit codes of containers that it has removed")
    space = ("--param", "--lr=0.01..1", "--num-iters", 1, "--strategy", "random", "--container", container)
    said = run("run", *space, "--dir", "failed", "--", "sh", "-c", "exit 7", "x", code=3)
    assert "exit code: 7" in said
    said = run("run", *space, "--dir", "gone", "--", "no-such-program", code=3)
    assert "no-such-program" in said
    late = ["--dir", "late", "--time-limit-minutes", 0.03]
    program = f"sleep {1_000_000 + os.getpid()}"
    said = run("run", *space, *late, "--", "sh", "-c", program, "x", code=3)
    assert "time limit" in said
    await_end_of(program, 30)


def test_an_engine_that_cannot_run_anything(container, tmp_path):
    """It says so, and the program is not blamed; a program that is not there is its own fault."""
    engine = container.partition(":")[0]
    for where, is_to_blame in ((f"{container}gone", True), (container, False)):
        done = ran(where, ["no-such-program"], tmp_path)
        assert bool(own_failure(engine, done.returncode, done.stderr.splitlines())) == is_to_blame, done.stderr


def test_a_program_that_is_asked_to_end_can_save(container):
    """SIGTERM reaches it, and it has time to save."""
    program = "trap 'sleep 0.5; echo all >saved; exit 3' TERM\necho on >began\nsleep 99 &\nwait\n"
    end_while_it_runs(container, program)
    assert Path("saved").read_text() == "all\n"


def test_a_population_is_trained(container):
    """Checkpoints are saved and loaded inside: each window goes on from the one before."""
    train = "n=0; [ ! -e $1 ] || read n <$1; echo $((n + 1)) >$2; echo FoM: -$((n + 1))"
    options = ["--strategy", "pbt", "--pop-size", 4, "--windows", 3, "--seed", 1, "--slots", 2, "--dir", "study"]
    options += ["--container", container, "--param", "--lr=0.01..1"]
    run("run", *options, "--", "sh", "-c", train, "x", "@load", "@save")
    with Reader(StudyDirectory(Path("study")).log) as reader:
        assert reader.best(1).outcome == Completed(-3.0)


def test_another_image_is_another_study(container):
    """A study goes on in the image in which it began, and says what that was."""
    words = ["run", "--strategy", "random", "--num-iters", 2, "--seed", 1, "--dir", "study", "--param", "--lr=0.01..1"]
    program = ["--", "sh", "-c", "echo FoM: 1", "x"]
    run(*words, "--container", container, *program)
    shown = run("show", 1, "study")
    assert container in shown
    assert "localhost/crayai-test@sha256:" in shown or ":/" in container
    assert "ran in container" in run(*words, *program, code=1)


def test_the_doctor_sees_what_the_program_sees(container):
    """There is no Python in the image."""
    words = ["--container", container, "--param", "--lr=0.01..1", "--", "sh", "-c", "echo FoM: ${1#*=}", "x"]
    assert "no Python; no GPU" in run("doctor", "--quick", *words)


def test_nothing_is_left_of_a_container_that_is_just_being_made(container, seeded):
    """An engine that is interrupted while it makes one leaves the beginning behind: not so here."""
    engine, _, _ = container.partition(":")
    if engine not in ("podman", "docker"):
        pytest.skip(f"{engine} keeps nothing of containers")
    words = [*CRAYAI, "run", "--strategy", "random", "--num-iters", "1", "--param", "--lr=0.01..1"]
    words += ["--container", container]

    def names():
        asked = ["podman", "ps", "--all", "--no-trunc", "--format={{.Names}} {{.Mounts}}", "--filter=name=crayai-"]
        listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
        return [line for line in listed if str(Path.cwd()) in line]  # others may test beside this one

    for number in range(4):
        driver = subprocess.Popen([*words, "--dir", f"study{number}", "--", "sleep", "20"], stderr=subprocess.DEVNULL)
        while not Path(f"study{number}/output/0.1.out").exists():
            assert driver.poll() is None
        with suppress(subprocess.TimeoutExpired):
            driver.wait(seeded.uniform(0.0, 0.3))
        driver.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            driver.wait(0.1)
        driver.send_signal(signal.SIGINT)
        driver.wait(60)
    deadline = time.monotonic() + 30
    while left := names():
        assert time.monotonic() < deadline, left


def test_a_program_that_ignores_its_end(container):
    """It is killed soon, whatever the engine would wait for."""
    program = f"sleep {7_000_000 + os.getpid()}"
    end_while_it_runs(container, f"trap '' TERM\necho on >began\n{program}\n")
    await_end_of(program, 8)
