"""Tasks as processes of this machine: their ends, their surroundings, and that nothing of them is left."""

import contextlib
import os
import select
import signal
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Limit, NotStarted, Withdrawn
from crayai.hpo.launch.gpus import share_gpus, visible_gpus
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.testing.launchers import ends_of, make_task

PATIENCE_SECONDS = 60
CORES = sorted(os.sched_getaffinity(0))


def shell(directory, number, script, *arguments, seconds=None):
    """Return a task that runs a shell script with `arguments` as $1, $2 and so on."""
    return make_task(directory, number, ("/bin/sh", "-c", script, "sh", *map(str, arguments)), seconds)


def run_one(directory, task, **settings):
    """Return how `task` ended and what it printed."""
    with closing(LocalLauncher(directory, 1, **settings)) as launcher:
        launcher.submit(task)
        (end,) = ends_of(launcher, [task])
    return end, Path(task.stdout).read_text()


def processes_of(task):
    """Return the living processes that were started for `task`."""
    mark = f"CRAYAI_TAG={task.tag}".encode()
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
    return found


def is_alive(pid):
    """Return whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def await_death(pid):
    """Wait until the process has ended."""
    try:
        file = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        dead, _, _ = select.select([file], [], [], PATIENCE_SECONDS)
        assert dead, f"process {pid} still runs: {Path(f'/proc/{pid}/cmdline').read_bytes()}"
    finally:
        os.close(file)


def keeper_pids(directory):
    """Return the processes whose names stand in the directory of a study."""
    return [int(path.name.split(".")[-2]) for path in (directory / "keepers").glob("*")]


@pytest.fixture
def drive(tmp_path):
    """Return a function that starts a driver in a process of its own, which submits tasks and then waits for ever."""
    drivers = []
    text = """
import signal, sys
from pathlib import Path
from crayai.hpo.launch.base import Task
from crayai.hpo.launch.local import LocalLauncher
launcher = LocalLauncher(Path(sys.argv[1]), int(sys.argv[2]))
for task in eval(sys.argv[3], {"Task": Task, "PosixPath": Path}):
    launcher.submit(task)
print("submitted", flush=True)
signal.pause()
"""

    def start(slots, *tasks, directory=tmp_path):
        arguments = [sys.executable, "-c", text, str(directory), str(slots), repr(tasks)]
        drivers.append(subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.PIPE))
        assert drivers[-1].stdout.readline() == b"submitted\n"
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()
        driver.communicate()
    for pid in keeper_pids(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill(driver):
    """Kill a driver, at once and without a word."""
    driver.kill()
    driver.wait()


# How a task ends


def test_a_signal_is_a_negative_code(tmp_path):
    """A program that a signal ended has its number, negative."""
    end, _ = run_one(tmp_path, shell(tmp_path, 0, "kill -SEGV $$"))
    assert end == Exited(-signal.SIGSEGV)


def test_an_end_says_where_and_how_long(tmp_path):
    """An end has the place where the task ran, and how long; a later task keeps away from a place if it can."""
    with closing(LocalLauncher(tmp_path, 2)) as launcher:
        for number, avoid, location in (
            (0, (), "slot 0"),
            (1, ("slot 0",), "slot 1"),
            (2, ("slot 0", "slot 1"), "slot 0"),
        ):
            task = replace(shell(tmp_path, number, "exit 3"), avoid=avoid)
            launcher.submit(task)
            (end,) = ends_of(launcher, [task])
            assert end.location == location
            assert 0 < end.seconds < PATIENCE_SECONDS


def test_time_limit_ends_the_whole_group(tmp_path, bell):
    """At its time limit a task ends with all that it started, and this is told."""
    script = 'sh -c "sleep 1000 & echo \\$! > $1; wait" & echo $! > $1; wait'
    end, _ = run_one(tmp_path, shell(tmp_path, 0, script, bell, seconds=3))
    assert isinstance(end, Exited)
    assert end.limit == Limit.TIME
    for pid in (int(bell.hear()), int(bell.hear())):
        await_death(pid)


def test_what_ignores_the_request_to_end_is_killed(tmp_path, bells):
    """A program that ignores SIGTERM is killed some seconds after the request, with its children."""
    started = bells("started")
    task = shell(tmp_path, 0, "trap '' TERM; sleep 1000 & echo $! > $1; while :; do wait; done", started)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        launcher.submit(task)
        child = int(started.hear())
        launcher.cancel([task.tag])
        assert ends_of(launcher, [task]) == [Withdrawn()]
        await_death(child)


def test_the_reason_names_what_is_wrong(tmp_path):
    """What cannot be started is told with the program, or with the directory if that is missing."""
    (tmp_path / "data.txt").write_text("no program")
    not_executable = make_task(tmp_path, 0, ("./data.txt",))
    nowhere = make_task(tmp_path / "nowhere", 1, ("true",))
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        launcher.submit(not_executable)
        launcher.submit(nowhere)
        ends = ends_of(launcher, [not_executable, nowhere])
    assert ends == [
        NotStarted("./data.txt: Permission denied"),
        NotStarted(f"there is no directory {tmp_path / 'nowhere'}"),
    ]


def test_a_script_without_an_interpreter_is_the_shells(tmp_path):
    """An executable text without ``#!`` is run by sh, with its arguments, as from a shell."""
    script = tmp_path / "train"
    script.write_text('echo "got $# arguments: $2"\nexit 4\n')
    script.chmod(0o700)
    end, printed = run_one(tmp_path, make_task(tmp_path, 0, ("./train", "--lr=1", "a b")))
    assert (end, printed) == (Exited(4), "got 2 arguments: a b\n")


# What a task finds and leaves


def test_output_goes_to_two_files_for_the_user_alone(tmp_path):
    """Standard output and standard error are files beside each other that only their user reads; the input is empty."""
    task = shell(tmp_path, 0, "cat; echo out; echo err >&2")
    _, printed = run_one(tmp_path, task)
    assert printed == "out\n"
    assert Path(task.stderr).read_text() == "err\n"
    assert {stat.S_IMODE(Path(path).stat().st_mode) for path in (task.stdout, task.stderr)} == {0o600}
    assert not Path(task.exit_record).exists()


def test_environment_and_directory(tmp_path, monkeypatch):
    """A task has the driver's environment, its own variables and its slot, and starts in its directory."""
    monkeypatch.setenv("CRAYAI_TEST_INHERITED", "gélu=1")
    monkeypatch.setenv("CRAYAI_TEST_REPLACED", "old")
    directory = tmp_path / "somewhere else"
    directory.mkdir()
    text = "import os; print([os.environ[n] for n in ('CRAYAI_TEST_INHERITED', 'CRAYAI_TEST_REPLACED', 'CRAYAI_SLOT')])"
    task = make_task(directory, 0, (sys.executable, "-c", text + "; print(os.getcwd())"))
    task.environment["CRAYAI_TEST_REPLACED"] = "ñew"
    _, printed = run_one(tmp_path, task)
    assert printed == f"['gélu=1', 'ñew', '0']\n{directory}\n"


def test_the_terminal_does_not_reach_a_task(tmp_path, bell):
    """A task is a process group of its own in another session, so that Ctrl-C reaches the driver alone."""
    task = shell(tmp_path, 0, "echo $$ > $1; exec sleep 1000", bell)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        launcher.submit(task)
        pid = int(bell.hear())
        assert os.getpgid(pid) == pid
        assert os.getsid(pid) != os.getsid(0)


def test_slots_are_filled_in_order(tmp_path, bell, bells):
    """As many tasks run at once as there are slots; the next one gets the slot that became free, in order."""
    doors = [bells(f"door{number}") for number in range(5)]
    script = "echo $2 in slot $CRAYAI_SLOT > $1; read line < $3"
    tasks = [shell(tmp_path, number, script, bell, number, door) for number, door in enumerate(doors)]
    with closing(LocalLauncher(tmp_path, 2)) as launcher:
        for task in tasks:
            launcher.submit(task)
        assert sorted([bell.hear(), bell.hear()]) == ["0 in slot 0", "1 in slot 1"]
        heard = []
        for number in (1, 0, 2):
            doors[number].ring()
            heard.append(bell.hear())
        assert heard == ["2 in slot 1", "3 in slot 0", "4 in slot 1"]
        for door in doors[3:]:
            door.ring()
        assert ends_of(launcher, tasks) == [Exited(0)] * 5


@pytest.mark.parametrize("starts", [True, False])
def test_more_is_said_than_a_socket_holds(tmp_path, starts):
    """Hundreds of long commands at once neither fail nor block, nor do the long reasons why they cannot start."""
    argv = ("true", "x" * 10_000) if starts else ("./" + "x" * 10_000,)
    tasks = [make_task(tmp_path, number, argv) for number in range(300)]
    with closing(LocalLauncher(tmp_path, 3)) as launcher:
        for task in tasks:
            launcher.submit(task)
        ends = ends_of(launcher, tasks)
    assert set(ends) == {Exited(0)} if starts else {type(end) for end in ends} == {NotStarted}


@pytest.mark.parametrize("slots", [1, 2])
def test_slots_are_bound_to_cores(tmp_path, slots):
    """With cores per slot each slot has cores of its own."""
    if slots > len(CORES):
        pytest.skip("needs two cores")
    door = shell(tmp_path, 0, "grep Cpus_allowed_list /proc/self/status")
    tasks = [make_task(tmp_path, number, door.argv) for number in range(slots)]
    with closing(LocalLauncher(tmp_path, slots, cores_per_slot=1)) as launcher:
        for task in tasks:
            launcher.submit(task)
        ends_of(launcher, tasks)
    bound = {Path(task.stdout).read_text().split()[1] for task in tasks}
    assert bound <= {str(core) for core in CORES[:slots]}


def test_too_few_cores_are_refused(tmp_path):
    """More cores than there are cannot be bound, and the message counts them."""
    with pytest.raises(LaunchError, match=rf"{len(CORES) + 1} slots of 1 cores .* the {len(CORES)} cores"):
        LocalLauncher(tmp_path, len(CORES) + 1, cores_per_slot=1)


def test_slots_see_their_gpus(tmp_path, bell, bells):
    """The GPUs are shared out: each slot finds its own in CUDA_VISIBLE_DEVICES."""
    door = bells("door")
    script = "echo $CRAYAI_SLOT $CUDA_VISIBLE_DEVICES > $1; read line < $2"
    tasks = [shell(tmp_path, number, script, bell, door) for number in range(2)]
    with closing(LocalLauncher(tmp_path, 2, gpus=["0", "1", "2", "3"])) as launcher:
        for task in tasks:
            launcher.submit(task)
        assert sorted([bell.hear(), bell.hear()]) == ["0 0,1", "1 2,3"]


@pytest.mark.parametrize(
    ("gpus", "slots", "shares"),
    [
        ([], 4, []),
        (["0", "1"], 1, []),
        (["0", "1"], 2, ["0", "1"]),
        (["0", "1", "2"], 2, ["0", "1"]),
        (["GPU-a", "GPU-b"], 5, ["GPU-a", "GPU-b", "GPU-a", "GPU-b", "GPU-a"]),
    ],
)
def test_shares_of_gpus(gpus, slots, shares):
    """Slots have equal shares; where there are more slots than GPUs, one GPU is for several slots in turn."""
    assert share_gpus(gpus, slots) == shares


@pytest.mark.parametrize(("named", "gpus"), [("", []), ("-1", []), ("2, GPU-x ,", ["2", "GPU-x"])])
def test_gpus_that_the_user_named(monkeypatch, named, gpus):
    """CUDA_VISIBLE_DEVICES, as a batch system or the user sets it, says which GPUs there are."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


# That nothing is left


def test_cancel_ends_children_and_grandchildren(tmp_path, bell):
    """With a cancelled task its children and grandchildren end."""
    script = 'sh -c "sleep 1000 & echo \\$! > $1; wait" & echo $! > $1; wait'
    task = shell(tmp_path, 0, script, bell)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        launcher.submit(task)
        family = [int(bell.hear()), int(bell.hear())]
        launcher.cancel([task.tag])
        assert ends_of(launcher, [task]) == [Withdrawn()]
        for pid in family:
            await_death(pid)
        assert processes_of(task) == []


DAEMON = "(setsid sh -c 'echo $$ > $0; exec sleep 1000' $1 &); read line < $2"
"""Leaves a process that tells its number to the bell $1, and ends when the door $2 opens."""


def test_background_processes_end_with_their_task(tmp_path, bell, bells):
    """What a program leaves in the background, in its group or as a daemon, ends soon after it."""
    door = bells("door")
    task = shell(tmp_path, 0, "sleep 1000 & echo $! > $1; " + DAEMON, bell, door)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        launcher.submit(task)
        left = [int(bell.hear()), int(bell.hear())]
        assert [is_alive(pid) for pid in left] == [True, True]
        door.ring()
        assert ends_of(launcher, [task]) == [Exited(0)]
        for pid in left:
            await_death(pid)


def test_a_daemon_of_a_running_task_is_left_alone(tmp_path, bell, bells):
    """A process that left its group belongs to its task as long as that runs, though the daemons of others end."""
    doors = [bells("long"), bells("short")]
    tasks = [shell(tmp_path, number, DAEMON, bell, door) for number, door in enumerate(doors)]
    with closing(LocalLauncher(tmp_path, 2)) as launcher:
        launcher.submit(tasks[0])
        kept = int(bell.hear())
        launcher.submit(tasks[1])
        other = int(bell.hear())
        doors[1].ring()
        await_death(other)
        assert is_alive(kept)
        doors[0].ring()
        assert ends_of(launcher, tasks) == [Exited(0), Exited(0)]
        await_death(kept)


def test_what_tidies_up_after_a_program_is_left_alone(tmp_path, bell, bells):
    """A guard of a container, which says so, outlives its program, and the keeper, until it is done."""
    over, door = bells("over"), bells("door")
    guard = "setsid sh -c 'echo $$ > $1; read line < $2; touch tidied' sh"
    task = shell(tmp_path, 0, f'CRAYAI_TAG=tidies {guard} "$1" "$2" & read line < $3', bell, door, over)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        launcher.submit(task)
        pid = int(bell.hear())
        over.ring()
        assert ends_of(launcher, [task]) == [Exited(0)]
    assert is_alive(pid)
    door.ring()
    await_death(pid)
    assert (tmp_path / "tidied").exists()


def test_close_leaves_no_process(tmp_path, bell):
    """After close neither tasks nor daemons of theirs, nor children that a daemon's thread started, nor keepers run."""
    daemon = """
import os, subprocess, sys, threading
if os.fork():
    sys.exit()
os.setsid()
def work():
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(sys.argv[1], "w") as bell:
        bell.write(f"{child.pid}\\n")
    child.wait()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    over = make_task(tmp_path, 0, (sys.executable, "-c", daemon, str(bell)))
    running = shell(tmp_path, 1, "sleep 1000 & wait")
    waiting = shell(tmp_path, 2, "sleep 1000")
    launcher = LocalLauncher(tmp_path, 1)
    for task in (over, running, waiting):
        launcher.submit(task)
    bell.hear()
    keepers = keeper_pids(tmp_path)
    launcher.close()
    assert [processes_of(task) for task in (over, running, waiting)] == [[], [], []]
    assert [is_alive(pid) for pid in keepers] == [False]
    assert keeper_pids(tmp_path) == []
    assert not Path(running.exit_record).exists()


# After the death of a driver


def test_a_task_survives_its_driver(tmp_path, drive, bell, bells):
    """After kill -9 of the driver its task goes on, leaves its end behind, is adopted, and has run once."""
    door = bells("door")
    script = "echo run >> runs; echo started > $1; read line < $2; echo FoM: 1; exit 7"
    running = shell(tmp_path, 0, script, bell, door)
    waiting = shell(tmp_path, 1, "echo run >> runs")
    driver = drive(1, running, waiting)
    assert bell.hear() == "started"
    kill(driver)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        assert launcher.find(running)
        assert launcher.poll([running.tag]).get(running.tag) is None
        door.ring()
        assert ends_of(launcher, [running]) == [Exited(7)]
        assert Path(running.exit_record).exists()
        assert Path(running.stdout).read_text() == "FoM: 1\n"
        launcher.forget([running.tag])
        assert not Path(running.exit_record).exists()
    assert (tmp_path / "runs").read_text() == "run\n"


def test_what_waited_for_a_slot_is_withdrawn(tmp_path, drive, bell):
    """What had not started when its driver was killed never starts, and the next driver learns that."""
    running = shell(tmp_path, 0, "echo started > $1; exec sleep 1000", bell)
    waiting = shell(tmp_path, 1, "touch should-not-be")
    driver = drive(1, running, waiting)
    bell.hear()
    kill(driver)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        assert launcher.find(waiting)
        assert ends_of(launcher, [waiting]) == [Withdrawn()]
        assert launcher.find(running)
        launcher.cancel([running.tag])
        ends_of(launcher, [running])
    assert not (tmp_path / "should-not-be").exists()


def test_time_limits_outlive_the_driver(tmp_path, drive, bell):
    """A task is ended at its time limit though its driver is dead, and the next driver learns why."""
    task = shell(tmp_path, 0, "echo started > $1; exec sleep 1000", bell, seconds=3)
    driver = drive(1, task)
    bell.hear()
    kill(driver)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        assert launcher.find(task)
        assert ends_of(launcher, [task]) == [Exited(-signal.SIGTERM, Limit.TIME)]


def test_the_keeper_ends_after_its_last_task(tmp_path, drive, bell, bells):
    """Without a driver the keeper ends when the last task has, takes its name down, and leaves no daemons."""
    door = bells("door")
    task = shell(tmp_path, 0, "setsid sleep 1000 & echo $! > $1; read line < $2", bell, door)
    driver = drive(1, task)
    daemon = int(bell.hear())
    (keeper,) = keeper_pids(tmp_path)
    kill(driver)
    door.ring()
    await_death(keeper)
    assert keeper_pids(tmp_path) == []
    await_death(daemon)
    assert Path(task.exit_record).read_text().startswith("code 0\nseconds ")


def test_after_the_death_of_the_keeper_too(tmp_path, drive, bell, bells):
    """If the keeper was killed as well, the task is not found, and whatever still ran of it is dead."""
    script = "setsid sh -c 'echo $$ > $0; read line < $1' $1 $2 & echo $$ > $1; read line < $2"
    driver = drive(1, shell(tmp_path, 0, script, bell, bells("door")))
    left = [int(bell.hear()), int(bell.hear())]
    (keeper,) = keeper_pids(tmp_path)
    os.kill(driver.pid, signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    kill(driver)
    await_death(keeper)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        assert not launcher.find(shell(tmp_path, 0, script))
    for pid in left:
        await_death(pid)


@pytest.mark.fault(
    "kill -9 of driver and keeper at once, after an evaluation has ended",
    "the keeper had noted the end: the next driver finds it, and the evaluation is not run again",
)
def test_an_end_survives_driver_and_keeper(tmp_path):
    """What a keeper has seen end is found by the next driver, though nobody had time to write anything else."""
    first = LocalLauncher(tmp_path, 2)
    tasks = [shell(tmp_path, number, f"exit {number}") for number in (3, 4)]
    for task in tasks:
        first.submit(task)
    ends_of(first, tasks)
    first.forget([tasks[1].tag])
    first.withdraw()  # forgets with the next message
    (keeper,) = keeper_pids(tmp_path)
    others = shell(tmp_path, 5, "exit 5")
    first.submit(others)
    ends_of(first, [others])
    os.kill(keeper, signal.SIGKILL)
    first._socket.close()
    first._keeper.wait()
    with closing(LocalLauncher(tmp_path, 2)) as second:
        assert [second.find(task) for task in (*tasks, others)] == [True, False, True]
        assert ends_of(second, [tasks[0], others]) == [Exited(3), Exited(5)]
        second.forget([tasks[0].tag])
        with closing(LocalLauncher(tmp_path, 2)) as third:
            assert [third.find(task) for task in (*tasks, others)] == [False, False, True]
    assert keeper_pids(tmp_path) == []


def test_the_death_of_the_keeper_is_noticed(tmp_path, bell):
    """A driver whose keeper is killed says so and what to do, and closes in peace; the next one finds nothing."""
    task = shell(tmp_path, 0, "echo $$ > $1; exec sleep 1000", bell)
    launcher = LocalLauncher(tmp_path, 1)
    launcher.submit(task)
    pid = int(bell.hear())
    os.kill(keeper_pids(tmp_path)[0], signal.SIGKILL)
    launcher.wait(PATIENCE_SECONDS)
    with pytest.raises(LaunchError, match=r"keeper .* has died; run the study again"):
        launcher.poll([task.tag])
    launcher.close()
    with closing(LocalLauncher(tmp_path, 1)) as later:
        assert not later.find(task)
    await_death(pid)


def test_a_keeper_on_another_machine(tmp_path):
    """Where the keeper is on another machine nobody can know; the message names the machine and the file to remove."""
    name = tmp_path / "keepers" / "node7.cluster.0a1b2c3d.4711.99"
    name.parent.mkdir()
    name.touch()
    with (
        closing(LocalLauncher(tmp_path, 1)) as launcher,
        pytest.raises(LaunchError, match=rf"may still run on node7\.cluster: .* remove {name}"),
    ):
        launcher.find(shell(tmp_path, 0, "true"))


def test_the_number_of_a_dead_keeper_may_be_used_again(tmp_path):
    """A living process that has the number of a dead keeper is not taken for it, and the name is removed."""
    host, boot = os.uname().nodename, Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    name = tmp_path / "keepers" / f"{host}.{boot}.{os.getpid()}.1"
    name.parent.mkdir()
    name.touch()
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        assert not launcher.find(shell(tmp_path, 0, "true"))
    assert not name.exists()


def test_waiting_for_adopted_tasks_is_no_busy_loop(tmp_path, drive, bell, bells):
    """A driver that has only adopted a task, and has a keeper that waits for work, sleeps while it waits."""
    door = bells("door")
    task = shell(tmp_path, 0, "echo started > $1; read line < $2", bell, door)
    driver = drive(1, task)
    bell.hear()
    kill(driver)
    with closing(LocalLauncher(tmp_path, 1)) as launcher:
        keeper = launcher.start()
        assert launcher.find(task)
        select.select([keeper], [], [], PATIENCE_SECONDS)  # it is ready
        before = os.times()
        for _ in range(3):
            launcher.wait(PATIENCE_SECONDS)
        after = os.times()
        assert after.elapsed - before.elapsed > 0.1
        door.ring()
        assert ends_of(launcher, [task]) == [Exited(0)]


def test_an_adopted_task_that_was_cancelled_has_no_outcome(tmp_path, drive, bell):
    """What was adopted and cancelled is withdrawn for the next driver, even if this one never asked for its end."""
    task = shell(tmp_path, 0, "echo started > $1; exec sleep 1000", bell)
    driver = drive(1, task)
    bell.hear()
    (keeper,) = keeper_pids(tmp_path)
    kill(driver)
    launcher = LocalLauncher(tmp_path, 1)
    assert launcher.find(task)
    launcher.cancel([task.tag])
    launcher.close()
    await_death(keeper)
    with closing(LocalLauncher(tmp_path, 1)) as later:
        assert later.find(task)
        assert ends_of(later, [task]) == [Withdrawn()]
        later.forget([task.tag])
    assert not list(tmp_path.glob("**/*.cancelled"))


def test_a_daemon_without_marks_is_left_to_what_runs(tmp_path, bell, bells):
    """A daemon with an environment of its own lives as long as any task, for it may belong to it."""
    door, other = bells("door"), bells("other")
    daemon = "(env -i setsid sh -c 'echo $$ > $0; exec sleep 1000' $1 &); read line < $2"
    with closing(LocalLauncher(tmp_path, 2)) as launcher:
        launcher.submit(shell(tmp_path, 0, daemon, bell, door))
        kept = int(bell.hear())
        marked = shell(tmp_path, 1, "(setsid sh -c 'echo $$ > $0; exec sleep 1000' $1 &); sleep 1000", other)
        launcher.submit(marked)
        gone = int(other.hear())
        launcher.cancel([marked.tag])
        await_death(gone)
        assert is_alive(kept)
    await_death(kept)


def test_an_exit_record_follows_a_study_that_was_moved(tmp_path, drive, bell, bells):
    """A keeper leaves the end of a task in its study's directory, wherever that has been moved in the meantime."""
    study, moved = tmp_path / "run", tmp_path / "run.1"
    study.mkdir()
    door = bells("door")
    task = shell(study, 0, "echo started > $1; read line < $2; exit 7", bell, door)
    driver = drive(1, task, directory=study)
    bell.hear()
    (keeper,) = keeper_pids(study)
    kill(driver)
    study.rename(moved)
    study.mkdir()
    door.ring()
    await_death(keeper)
    assert [path.read_text().split("\n")[0] for path in moved.glob("**/*.exit")] == ["code 7"]
    assert not list(study.iterdir())
    assert not list((moved / "keepers").iterdir())
