"""The launchers of Slurm keep the rules of launchers, on a real one."""

import os
import shutil
import signal

import pytest

from crayai.hpo.launch.base import Exited, Gone, Loss, NotStarted, Withdrawn
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.launch.batch.slurm import Slurm
from crayai.hpo.launch.steps.allocation import Allocation
from crayai.hpo.launch.steps.launcher import StepLauncher
from crayai.hpo.launch.steps.nodes import Shape
from crayai.hpo.testing.launchers import LauncherConformance, ends_of, make_task, wait_until

POLL_SECONDS = 0.5
RUNS_ON = ["sh", "-c", "sleep 1000"]


def jobs(directory, slots=4, arguments=()):
    """Return a launcher of jobs."""
    return BatchLauncher(directory, "crayai-test", Slurm(), jobs=slots, arguments=arguments, poll_seconds=POLL_SECONDS)


def steps(directory, arguments="", most=1, **shape):
    """Return a launcher of steps."""
    of = Shape(**{"nodes": 1, **shape})
    return StepLauncher(directory, of, lambda: Allocation("crayai-test", of.nodes, arguments), most)


@pytest.mark.usefixtures("slurm")
class TestJobs(LauncherConformance):
    """Each task a job."""

    def launcher(self, directory, slots):
        """Return the one under test, which takes one more than there are slots, as the local one does."""
        return jobs(directory, slots + 1)

    def kill_driver(self, launcher):
        """Hear what it has asked and will not hear."""
        launcher._scheduler.close()


@pytest.mark.usefixtures("slurm")
class TestSteps(LauncherConformance):
    """Each task a step in an allocation."""

    @pytest.fixture(autouse=True)
    def _end_keepers(self):
        self.keepers = []
        yield
        for keeper in self.keepers:
            keeper.wait(timeout=60)

    def launcher(self, directory, slots):
        """Return the one under test."""
        return steps(directory, nodes=slots)

    def kill_driver(self, launcher):
        """Hang up on the keeper of the steps; an allocation that was asked for is granted all the same."""
        if launcher._allocation._call is not None:
            launcher._allocation._call.wait()
        if launcher._local._socket is not None:
            self.keepers.append(hung_up(launcher))


@pytest.fixture(params=["jobs", "steps"])
def launcher(request, tmp_path):
    """Return a launcher of each kind, which is closed at the end."""
    made = jobs(tmp_path) if request.param == "jobs" else steps(tmp_path, nodes=2)
    yield made
    made.close()


def started(launcher, task):
    """Submit a task, and wait until it runs."""
    launcher.submit(task)
    proof = launcher._proofs if isinstance(launcher, StepLauncher) else launcher._spool.proofs
    wait_until(launcher, lambda: proof.owner("0.1"), "the task runs")
    return proof.owner("0.1")


@pytest.mark.fault("a node crashes", "the evaluation runs again on another node")
def test_a_node_that_crashes(own_slurm, launcher, tmp_path):
    """What ran on a node that is set down is lost with its node, though srun ends well."""
    cluster = own_slurm(nodes=2)
    task = make_task(tmp_path, 0, RUNS_ON)
    started(launcher, task)
    node = cluster.run("squeue", "-h", "-o", "%N", "-s" if isinstance(launcher, StepLauncher) else "-r").split()[0]
    cluster.crash(node) if isinstance(launcher, StepLauncher) else None
    cluster.update(node, "down")
    if not isinstance(launcher, StepLauncher):  # Slurm itself has requeued it
        cluster.run("scancel", "--name=crayai-test")
        assert isinstance(ends_of(launcher, [task])[0], Gone)
        return
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Gone | Withdrawn), end


def hung_up(launcher):
    """Let the driver of steps die; return the keeper, which ends by itself."""
    launcher._local._socket.close()
    keeper, launcher._local._keeper, launcher._local._socket = launcher._local._keeper, None, None
    return keeper


@pytest.mark.fault("the allocation ends while there is no driver", "the next driver asks for another one")
def test_an_allocation_that_ends_without_a_driver(slurm, tmp_path):
    """What ran there runs again, in another allocation."""
    first = steps(tmp_path)
    running, later = make_task(tmp_path, 0, RUNS_ON), make_task(tmp_path, 1, ["true"])
    started(first, running)
    keeper = hung_up(first)
    slurm.run("scancel", first._allocation.job)
    keeper.wait(60)
    second = steps(tmp_path)
    if second.find(running):
        assert ends_of(second, [running]) == [Withdrawn()]
    second.submit(later)
    assert ends_of(second, [later]) == [Exited(0)]
    second.close()


@pytest.mark.parametrize("wish", ["wait", "cancel"])
def test_a_step_that_is_told_to_end_while_nobody_answers(own_slurm, tmp_path, monkeypatch, wish):
    """Why it was, is not decided before somebody does, unless nobody wants to know any more."""
    cluster = own_slurm(nodes=1)
    launcher = steps(tmp_path)
    task = make_task(tmp_path, 0, ["sh", "-c", "echo $PPID > script; sleep 1000"])
    started(launcher, task)
    wait_until(launcher, lambda: (tmp_path / "script").exists() and (tmp_path / "script").read_text(), "it runs")
    monkeypatch.setattr("crayai.hpo.launch.calls.TIMEOUT_SECONDS", 1.0)
    cluster.signal_controller(signal.SIGSTOP)
    os.kill(int((tmp_path / "script").read_text()), signal.SIGTERM)
    told = []
    wait_until(
        launcher, lambda: launcher.poll([task.tag]) or told.extend(launcher.notices()) or told, "the user is told"
    )
    assert launcher.poll([task.tag]) == {}
    if wish == "cancel":
        launcher.cancel([task.tag])
        assert ends_of(launcher, [task]) == [Withdrawn()]
        cluster.signal_controller(signal.SIGCONT)
    else:
        cluster.signal_controller(signal.SIGCONT)
        (end,) = ends_of(launcher, [task])
        assert isinstance(end, Gone), end
        assert end.loss is Loss.CANCELLED
    launcher.close()


@pytest.mark.fault("somebody cancels a job", "the evaluation has failed: cancelled")
def test_a_job_that_somebody_cancels(slurm, launcher, tmp_path):
    """A job, or a step, that somebody else has ended is told so."""
    task = make_task(tmp_path, 0, RUNS_ON)
    owner = started(launcher, task)
    slurm.run("scancel", owner)
    (end,) = ends_of(launcher, [task])
    if isinstance(launcher, StepLauncher) and end == Exited(128 + signal.SIGKILL):
        return  # the processes of a step are killed one by one, and its script has lived to see its program killed
    assert isinstance(end, Gone), end
    assert end.loss is Loss.CANCELLED, end


def test_a_job_in_the_queue_that_somebody_cancels(slurm, tmp_path):
    """A job that never began is told to have been cancelled, not to have been lost."""
    launcher = jobs(tmp_path, arguments=["--hold"])
    task = make_task(tmp_path, 0, RUNS_ON)
    launcher.submit(task)
    launcher.wait(0)
    slurm.run("scancel", "--name=crayai-test")
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Gone), end
    assert end.loss is Loss.CANCELLED, end
    launcher.close()


@pytest.mark.fault("a job is requeued by an administrator", "it is waited for, and its second end counts")
def test_a_job_that_is_requeued(slurm, tmp_path):
    """A job that is put back into the queue is alive until it has run again."""
    launcher = jobs(tmp_path)
    count = 'echo again >> times; [ "$(wc -l < times)" = 2 ] || exec sleep 1000; exit 3'
    task = make_task(tmp_path, 0, ["sh", "-c", count])
    owner = started(launcher, task)
    wait_until(launcher, (tmp_path / "times").exists, "the first run")
    slurm.run("scontrol", "requeue", owner)
    job = slurm.run("squeue", "-h", "-r", "-o", "%A", "--states=all", "-j", owner.partition("_")[0])
    slurm.wait(lambda: "PENDING" in slurm.state(job), "it is in the queue again")
    slurm.wait(lambda: {"idle"} == set(slurm.run("sinfo", "-h", "-N", "-o%T").split()), "the first run is cleared away")
    slurm.run("scontrol", "update", f"jobid={job}", "starttime=now")
    (end,) = ends_of(launcher, [task])
    runs = (tmp_path / "times").read_text().count("again")
    if end != Exited(3) or runs != 2:  # started at once, it may get the signals that were meant for the first run
        assert end.loss is Loss.UNKNOWN, end
    launcher.close()


@pytest.mark.fault("the batch system does not answer", "the study waits for it, and nothing has failed")
def test_a_controller_that_does_not_answer(own_slurm, tmp_path, monkeypatch):
    """While the controller is dead, what runs goes on, what ends is known, and what is submitted waits."""
    cluster = own_slurm(nodes=1)
    launcher = jobs(tmp_path)
    (tmp_path / "go").unlink(missing_ok=True)
    first, second = (make_task(tmp_path, n, ["sh", "-c", "while [ ! -e go ]; do sleep 0.1; done"]) for n in (0, 1))
    started(launcher, first)
    cluster.signal_controller(signal.SIGSTOP)
    monkeypatch.setattr("crayai.hpo.launch.calls.TIMEOUT_SECONDS", 1.0)
    (tmp_path / "go").touch()
    assert ends_of(launcher, [first]) == [Exited(0)]
    launcher.submit(second)
    told = []
    wait_until(launcher, lambda: told.extend(launcher.notices()) or told, "the user is told")
    assert "does not answer" in told[0]
    cluster.signal_controller(signal.SIGCONT)
    assert ends_of(launcher, [second]) == [Exited(0)]
    launcher.close()


def test_the_limit_of_an_allocation(slurm, tmp_path):
    """What could not end in the allocation is not launched; a second one is asked for when the first is over."""
    for most, reason in ((1, "the allocation ends in"), (2, "")):
        launcher = steps(tmp_path, "--time=1", most)
        launcher.submit(make_task(tmp_path, 0, ["true"]))
        wait_until(launcher, lambda made=launcher: made.poll([f"{tmp_path}:0:1"]), "the first has ended")
        assert launcher.reason_not_to_launch(1.0) == ""
        assert launcher.reason_not_to_launch(100.0).startswith(reason)
        if most == 2:
            first = launcher._allocation.job
            task = make_task(tmp_path, 1, ["true"])
            launcher.submit(task)
            assert ends_of(launcher, [task]) == [Exited(0)]
            assert launcher._allocation.job != first
        launcher.close()
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")


def test_several_on_a_node(own_slurm, tmp_path):
    """Evaluations that share a node run side by side, each on its own CPUs, also where memory is shared out."""
    own_slurm(nodes=1, cpus=4, memory=True)
    launcher = steps(tmp_path, evals_per_node=2)
    meet = "touch $0; while [ ! -e 0 ] || [ ! -e 1 ]; do sleep 0.05; done; echo $SLURM_CPUS_PER_TASK"
    tasks = [make_task(tmp_path, n, ["sh", "-c", meet, str(n)], seconds=60) for n in (0, 1)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(0), Exited(0)]
    launcher.close()


@pytest.mark.parametrize("kind", ["jobs", "steps"])
def test_several_nodes(kind, slurm, tmp_path):
    """An evaluation on two nodes runs on both; that one of its ranks fails is its end."""
    if kind == "jobs":
        launcher = BatchLauncher(
            tmp_path,
            "crayai-test",
            Slurm(),
            jobs=2,
            arguments=["--nodes=2"],
            prefix=["srun", "-K"],
            poll_seconds=POLL_SECONDS,
        )
    else:
        launcher = steps(tmp_path, nodes=4, nodes_per_eval=2)
    good = make_task(tmp_path, 0, ["sh", "-c", "echo $SLURMD_NODENAME"])
    bad = make_task(tmp_path, 1, ["sh", "-c", '[ "$SLURM_PROCID" = 0 ] || exit 5; sleep 1000'])
    alike = make_task(tmp_path, 2, ["sh", "-c", "exit 6"])
    for task in (good, bad, alike):
        launcher.submit(task)
    ends = ends_of(launcher, [good, bad, alike])
    assert ends[0] == Exited(0)
    assert len(set((tmp_path / "0.1.out").read_text().split())) == 2
    assert ends[1].code in (5, 143), "that of the rank, or srun's account of those that it killed for it"
    assert ends[2].code in (6, 143) if kind == "jobs" else ends[2] == Exited(6)
    launcher.close()
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")


def test_a_directory_that_nodes_do_not_see(slurm, tmp_path):
    """A job that finds nothing of the study says that the compute nodes may not see its directory."""
    launcher = jobs(tmp_path)
    task = make_task(tmp_path, 0, ["true"])
    original = Slurm.submit
    launcher._scheduler.dialect.submit = lambda script, *rest: (
        shutil.move(script.parent / "0", script.parent / "hidden") and original(Slurm(), script, *rest)
    )
    launcher.submit(task)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, NotStarted)
    assert "do the compute nodes see this directory" in end.reason
    launcher.close()
    assert slurm
