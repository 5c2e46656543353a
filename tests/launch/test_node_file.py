"""Steps in a job of PBS or TORQUE, on nodes that a stand-in makes of this machine by other names."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Withdrawn
from crayai.hpo.launch.steps.launcher import StepLauncher
from crayai.hpo.launch.steps.node_file import NodeFile
from crayai.hpo.launch.steps.nodes import Shape
from crayai.hpo.testing.batch_stand_in import StandIn
from crayai.hpo.testing.launchers import LauncherConformance, ends_of, make_task, wait_until

HERE = socket.gethostname()
RUNS_ON = ["sh", "-c", "sleep 1000"]


@pytest.fixture(params=["pbs", "torque", "mpiexec"])
def job(request, tmp_path_factory, monkeypatch):
    """Run in a job that has three nodes, of which the first is this machine."""
    if subprocess.run(["unshare", "--uts", "true"], check=False, capture_output=True).returncode:
        pytest.skip("names of other nodes need the right to make a namespace")
    place = tmp_path_factory.mktemp("batch")
    with StandIn(place, "pbs" if request.param == "pbs" else "torque") as batch:
        if request.param == "mpiexec":
            (batch.bin / "pbsdsh").rename(batch.bin / "other")
            (batch.bin / "mpiexec").write_text('#!/bin/sh\nshift 2\nexec other "$@"\n')
            (batch.bin / "mpiexec").chmod(0o755)
        (place / "nodes").write_text(f"{HERE}\n{HERE}\nnode2\nnode2\nnode3\n")
        monkeypatch.setenv("PATH", f"{batch.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("PBS_JOBID", "0.standin0")
        monkeypatch.setenv("PBS_NODEFILE", str(place / "nodes"))
        yield batch
        (batch._spool / "0.standin0.tasks").unlink(missing_ok=True)


def steps(directory, nodes=3, **how):
    """Return a launcher of steps."""
    shape = Shape(nodes=nodes, **how)
    return StepLauncher(directory, shape, lambda: NodeFile(directory, shape))


@pytest.fixture
def launcher(job, tmp_path):  # noqa: ARG001 - we are in it
    """Return a launcher that is closed at the end."""
    made = steps(tmp_path)
    yield made
    made.close()


@pytest.mark.usefixtures("job")
class TestSteps(LauncherConformance):
    """Each task a step on the nodes of our job."""

    @pytest.fixture(autouse=True)
    def _end_keepers(self):
        self.keepers = []
        yield
        for keeper in self.keepers:
            keeper.wait(timeout=60)

    def launcher(self, directory, slots):
        """Return the one under test."""
        return steps(directory, nodes=min(slots, 3), evals_per_node=-(-slots // 3))

    def kill_driver(self, launcher):
        """Hang up on the keeper of the steps."""
        if launcher._local._socket is None:
            return
        launcher._local._socket.close()
        self.keepers.append(launcher._local._keeper)
        launcher._local._keeper = launcher._local._socket = None


def test_each_on_a_node_of_its_own(launcher, tmp_path):
    """Tasks that run at once are on different nodes, find the file of their own, and leave their output here."""
    says = 'echo "$(hostname) $(cat "$PBS_NODEFILE")" && touch $0 && while [ ! -e go ]; do sleep 0.05; done'
    tasks = [make_task(tmp_path, number, ["sh", "-c", says, f"began{number}"]) for number in range(3)]
    for task in tasks:
        launcher.submit(task)
    wait_until(launcher, lambda: len(list(tmp_path.glob("began*"))) == 3, "all run")
    (tmp_path / "go").touch()
    ends = ends_of(launcher, tasks)
    assert sorted(end.location for end in ends) == sorted([HERE, "node2", "node3"])
    for task, end in zip(tasks, ends, strict=True):
        assert Path(task.stdout).read_text().split() == [end.location] * 2


@pytest.mark.usefixtures("job")
def test_the_environment_of_the_driver(tmp_path, monkeypatch):
    """A step on another node finds what the driver has."""
    monkeypatch.setenv("ODD", odd := "a 'b' \"c\"\n$(d)")
    launcher = steps(tmp_path)
    tasks = [make_task(tmp_path, number, ["sh", "-c", 'printf %s "$ODD"']) for number in range(3)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks)
    assert {Path(task.stdout).read_text() for task in tasks} == {odd}
    launcher.close()


def test_several_nodes_each(job, tmp_path):
    """A program on several nodes is started by mpiexec, which finds those to be used beside all of the job."""
    says = 'echo "$1 $2" $(cat "$HYDRA_HOST_FILE") of $(cat "$PBS_NODEFILE")'
    (job.bin / "mpiexec").write_text(f'#!/bin/sh\n{says}\nshift 2\nexec "$@"\n')
    (job.bin / "mpiexec").chmod(0o755)
    launcher = steps(tmp_path, nodes=3, nodes_per_eval=2)
    task = make_task(tmp_path, 0, ["echo", "ran"])
    launcher.submit(task)
    assert ends_of(launcher, [task])[0].code == 0
    assert Path(task.stdout).read_text().split("\n") == [
        f"-n 2 {HERE} node2 of {HERE} {HERE} node2 node2 node3",
        "ran",
        "",
    ]
    launcher.close()


@pytest.mark.fault("a step in a job of PBS is cancelled", "what it runs on another node ends")
@pytest.mark.parametrize("name", ["study", "a 'study' of $HOME"])
@pytest.mark.usefixtures("job")
def test_a_step_that_is_cancelled(tmp_path, name):
    """What runs on another node ends, too, though nobody hands signals on."""
    tmp_path = tmp_path / name
    tmp_path.mkdir()
    launcher = steps(tmp_path)
    tasks = [
        make_task(tmp_path, n, ["sh", "-c", f"echo $$ > pid{n}~; mv pid{n}~ pid{n}; sleep 1000"]) for n in range(3)
    ]
    for task in tasks:
        launcher.submit(task)
    wait_until(launcher, lambda: len(list(tmp_path.glob("pid?"))) == 3, "all run")
    launcher.cancel([task.tag for task in tasks])
    assert all(isinstance(end, Withdrawn) for end in ends_of(launcher, tasks))
    pids = [int((tmp_path / f"pid{n}").read_text()) for n in range(3)]
    wait_until(launcher, lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids), "all end")
    launcher.close()


@pytest.mark.parametrize("job", ["pbs"], indirect=True)
def test_a_step_that_is_cancelled_on_a_slow_node(job, tmp_path):
    """A node that takes longer to be asked than a command has to end is asked again."""
    (job.bin / "pbs_tmrsh").rename(job.bin / "real")
    slow = f'case "$*" in */jobs/end*) echo asked >> {tmp_path}/asks; sleep 10; echo told >> {tmp_path}/asks;; esac'
    (job.bin / "pbs_tmrsh").write_text(f'#!/bin/sh\n{slow}\nexec real "$@"\n')
    (job.bin / "pbs_tmrsh").chmod(0o755)
    with closing(steps(tmp_path, nodes=2)) as launcher:
        tasks = [make_task(tmp_path, number, ["sh", "-c", f"touch on{number}; exec sleep 1000"]) for number in (0, 1)]
        for task in tasks:
            launcher.submit(task)
        wait_until(launcher, lambda: len(list(tmp_path.glob("on?"))) == 2, "both run")
        launcher.cancel([task.tag for task in tasks])
        assert all(isinstance(end, Withdrawn) for end in ends_of(launcher, tasks))
    assert "told" in (tmp_path / "asks").read_text()


@pytest.mark.usefixtures("job")
def test_a_driver_that_begins_while_a_step_does(tmp_path):
    """The files of steps are replaced, not written over: a shell that reads one reads on in what it has begun."""
    NodeFile(tmp_path, Shape(nodes=3)).look()
    paths = [tmp_path / "jobs" / name for name in ("step", "start", "environment", "nodes/0", "nodes/all")]
    before = [path.stat().st_ino for path in paths]
    files = [path.open() for path in paths]  # the numbers of files that are open are not given anew
    NodeFile(tmp_path, Shape(nodes=3)).look()
    for path, file, number in zip(paths, files, before, strict=True):
        assert path.stat().st_ino != number
        assert file.read() == path.read_text()
        file.close()


@pytest.mark.usefixtures("job")
def test_a_job_that_is_too_small(tmp_path):
    """More nodes than there are: the message names the other way."""
    with pytest.raises(LaunchError, match=r"has 3 nodes, and nodes=4 .* mode='jobs'"):
        steps(tmp_path, nodes=4)


@pytest.mark.usefixtures("job")
def test_nobody_to_ask_another_node(tmp_path, monkeypatch):
    """Without a command for other nodes only this one will do."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if shutil.which("mpiexec"):
        pytest.skip("there is an mpiexec here")
    with pytest.raises(LaunchError, match="pbs_tmrsh, pbsdsh, mpiexec not found on PATH"):
        steps(tmp_path)
    launcher = steps(tmp_path, nodes=1)
    task = make_task(tmp_path, 0, ["true"])
    launcher.submit(task)
    assert isinstance(ends_of(launcher, [task])[0], Exited)
    launcher.close()


@pytest.mark.parametrize(("flavour", "size"), [("pbs", "select=3:mpiprocs=2"), ("torque", "nodes=3:ppn=2")])
def test_a_study_in_a_job(flavour, size, tmp_path, monkeypatch):
    """A driver in a job of several nodes runs its evaluations there, and submits nothing."""
    with StandIn(tmp_path / "batch", flavour) as batch:
        monkeypatch.setenv("PATH", f"{batch.bin}:{os.environ['PATH']}")
        words = f"{sys.executable} -m crayai run -q --dir {tmp_path}/study --launcher {flavour} --nodes 3 --seed 1"
        together = (
            f"hostname > {tmp_path}/host.$$; while [ $(ls {tmp_path} | grep -c host) -lt 3 ]; do sleep 0.05; done"
        )
        script = tmp_path / "job"
        script.write_text(
            f"export PATH={batch.bin}:$PATH\n{words} --strategy random --num-iters 6 --param --lr=0.01..1 "
            f"-- sh -c '{together}; echo FoM: 1' && touch {tmp_path}/done\n"
        )
        subprocess.run(["qsub", "-l", size, "-o", str(tmp_path / "said"), str(script)], check=True)
        while batch.jobs[0]["state"] != "F":
            pass
        assert (tmp_path / "done").exists(), (tmp_path / "said").read_text()
        assert len(batch.jobs) == 1
        assert {path.read_text().strip() for path in tmp_path.glob("host.*")} == {HERE, "node2", "node3"}
