"""Processes told from every other, and the proof that one has ended."""

import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from crayai.hpo import processes
from crayai.hpo.processes import Process, own_job

NAME_AND_WAIT = """
import sys
from crayai.hpo.processes import Process
print(Process.own().record, flush=True)
sys.stdin.read()
"""

ELSEWHERE = Process("node7", "0a1b2c3d-0000-4000-8000-000000000000", 4711, "99", "1")
SLURM = replace(ELSEWHERE, job="slurm alps 77 0")
PBS = replace(ELSEWHERE, job="pbs 12.pbs0")
SGE = replace(ELSEWHERE, job="sge /opt/sge:default 7")

BATCH_VARIABLES = [
    *("SLURM_JOB_ID", "SLURM_CLUSTER_NAME", "SLURMD_NODENAME", "SLURM_RESTART_COUNT", "SLURM_CLUSTERS", "PBS_JOBID"),
    *("SGE_TASK_ID", "JOB_ID", "SGE_ROOT", "SGE_CELL", "RESTARTED"),
]


@pytest.fixture(autouse=True)
def _outside_of_jobs(monkeypatch):
    for name in BATCH_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start():
    """Return a function that starts a process that names itself and waits; an argument is a command before it."""
    started = []

    def run(*prefix, text=NAME_AND_WAIT):
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, Process.parse(process.stdout.readline())

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that makes a fake of a batch system's command; each call of it is noted in ``calls``."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def make(name, output="", error="", code=0):
        path = tmp_path / name
        path.write_text(
            f"#!/bin/sh\n# A fake {name}, which always gives one answer.\n"
            f'echo "{name} $*" >> {tmp_path}/calls\n'
            f"cat <<'END'\n{output}\nEND\ncat >&2 <<'END'\n{error}\nEND\nexit {code}\n"
        )
        path.chmod(0o755)

    return make


def cluster_answers(command, name="alps"):
    """Make the fake that says the name of the cluster, among much else."""
    command(
        "scontrol",
        f"Configuration data as of 2026-11-23\nAccountingStorageHost   = x\nClusterName             = {name}",
    )


def test_a_process_knows_itself():
    """This process is found again in its own record, has not ended, and reads well."""
    own = Process.own()
    assert Process.parse(own.record) == own
    assert own.has_ended() is False
    assert str(own) == own.with_job == f"process {os.getpid()} on {socket.gethostname()}"


@pytest.mark.parametrize(
    "text", ["", "process 12 on node7", "process x on y boot=z start=1 namespace=2 job=", "garbage"]
)
def test_what_is_no_record(text):
    """Any other text names no process."""
    assert Process.parse(text) is None


def test_a_process_that_lives_has_not_ended(start):
    """Another process of this machine has not ended until it has; a dead one that nobody waited for has."""
    process, named = start()
    assert named.pid == process.pid
    assert named.has_ended() is False
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert named.has_ended() is True
    process.wait()
    assert named.has_ended() is True


def test_a_process_whose_first_thread_has_ended(start):
    """A process lives as long as one of its threads does."""
    end_first_thread = "import ctypes, threading\nthreading.Thread(target=sys.stdin.read).start()\n"
    process, named = start(
        text=NAME_AND_WAIT.replace("sys.stdin.read()", end_first_thread + "ctypes.CDLL(None).pthread_exit(None)")
    )
    while "Z" not in Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1]:
        assert process.poll() is None
    assert named.has_ended() is False
    process.communicate()
    assert named.has_ended() is True


def test_a_number_that_is_used_again():
    """A living process with the number of another, but a start of its own, is not taken for it."""
    assert replace(Process.own(), start="1").has_ended() is True


def test_an_earlier_life_of_this_machine():
    """What ran before this machine was started again has ended."""
    assert replace(Process.own(), boot=ELSEWHERE.boot).has_ended() is True


def test_a_name_that_many_machines_have(monkeypatch):
    """That a machine is called localhost too proves nothing."""
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost.localdomain")
    assert replace(ELSEWHERE, host="localhost.localdomain").has_ended() is None


def test_another_machine():
    """Of a process of another machine nobody here can know, unless it ran in a job."""
    assert ELSEWHERE.has_ended() is None


def test_a_machine_that_was_renamed():
    """A machine is told by its boot, not by its name; the beginning of the boot is enough."""
    own = Process.own()
    assert replace(own, host="node8").has_ended() is False
    assert replace(own, host="node8", start="1", boot=own.boot[:8]).has_ended() is True


def test_a_container_that_counts_for_itself(start):
    """A process that counts processes in its own way is not judged by the numbers here, where it is another's."""
    prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    _, named = start(*prefix)
    assert named.host == socket.gethostname()
    assert named.has_ended() is None
    assert replace(named, namespace="").has_ended() is True  # what would be said of its number


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, ""),
        (
            {"SLURM_JOB_ID": "77", "SLURM_CLUSTER_NAME": "alps", "SLURMD_NODENAME": "n1"},
            "slurm alps 77 0",
        ),
        (
            {"SLURM_JOB_ID": "77", "SLURM_CLUSTER_NAME": "alps", "SLURMD_NODENAME": "n1", "SLURM_RESTART_COUNT": "2"},
            "slurm alps 77 2",
        ),
        ({"SLURM_JOB_ID": "77", "SLURM_CLUSTER_NAME": "alps"}, ""),  # the command of salloc
        ({"PBS_JOBID": "4[3].pbs0"}, "pbs 4[3].pbs0"),
        (
            {"SGE_TASK_ID": "undefined", "JOB_ID": "7", "SGE_ROOT": "/opt/sge", "SGE_CELL": "default"},
            "sge /opt/sge:default 7",
        ),
    ],
)
def test_the_job_that_a_process_ends_with(monkeypatch, variables, job):
    """A process names the batch job that takes it along when it ends, and no other."""
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert own_job() == job
    assert Process.parse(Process.own().record).job == job


def test_jobs_for_people():
    """People are told the job as their batch system calls it."""
    assert SLURM.with_job == "process 4711 on node7, in Slurm job 77 of alps"
    assert PBS.with_job == "process 4711 on node7, in PBS job 12.pbs0"
    assert SGE.with_job == "process 4711 on node7, in Grid Engine job 7"


@pytest.mark.parametrize(
    ("output", "error", "has_ended"),
    [
        ("RUNNING", "", None),
        ("COMPLETING", "", None),
        ("SUSPENDED", "", None),
        ("STAGE_OUT", "", None),
        ("A_STATE_OF_LATER_YEARS", "", None),
        ("COMPLETED", "", True),
        ("TIMEOUT", "", True),
        ("NODE_FAIL", "", True),
        ("PENDING", "", True),
        ("COMPLETED\nRUNNING", "", None),  # the number of an array is that of one of its tasks
        ("COMPLETED\nFAILED", "", True),
        ("", "", None),
        ("", "slurm_load_jobs error: Invalid job id specified", True),
        ("", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", None),
        ("", "squeue: error: Munge encode failed: Failed to access socket", None),
    ],
)
def test_what_slurm_says(command, tmp_path, output, error, has_ended):
    """A process of another machine has ended if its Slurm job has, for certain."""
    cluster_answers(command)
    command("squeue", output, error, code=1 if error else 0)
    assert SLURM.has_ended() is has_ended
    assert "squeue --noheader --jobs=77 --states=all --format=%T\n" in (tmp_path / "calls").read_text()


def test_a_job_of_another_cluster(command, tmp_path):
    """That one cluster does not know a job says nothing if the job is another cluster's; it is not even asked."""
    cluster_answers(command, "jura")
    command("squeue", "", "slurm_load_jobs error: Invalid job id specified", code=1)
    assert SLURM.has_ended() is None
    assert (tmp_path / "calls").read_text() == "scontrol show config\n"


def test_a_job_that_runs_again(command, monkeypatch):
    """In the second run of a requeued job, its first run is over, though the job runs; a sister process is not."""
    cluster_answers(command)
    command("squeue", "RUNNING")
    for name, text in {"SLURM_JOB_ID": "77", "SLURM_CLUSTER_NAME": "alps", "SLURMD_NODENAME": "n1"}.items():
        monkeypatch.setenv(name, text)
    assert SLURM.has_ended() is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert SLURM.has_ended() is True
    assert replace(SLURM, job="slurm alps 78 0").has_ended() is None


@pytest.mark.parametrize(
    ("output", "error", "has_ended"),
    [
        ("Job Id: 12.pbs0\n    Job_Name = one\n    job_state = R\n    comment = job_state = F", "", None),
        ("Job Id: 12.pbs0\n    job_state = E", "", None),
        ("Job Id: 12.pbs0\n    job_state = S", "", None),
        ("Job Id: 12.pbs0\n    job_state = Q\n    Exit_status = -20", "", True),
        ("Job Id: 12.trq0\n    job_state = C\n    exit_status = 3", "", True),
        ("Job Id:\t1\n\tJob_Name = one\n\tjob_state = R", "", None),
        ("", "qstat: Unknown Job Id 12.pbs0", True),
        ("", "qstat: Unknown Job Id Error 12.trq0", True),
        ("", "qstat: 12.pbs0 Job has finished, use -x or -H to obtain historical job information", True),
        ("", "Connection refused\nqstat: cannot connect to server pbs0 (errno=15010)", None),
        ("", "", None),
    ],
)
def test_what_pbs_says(command, tmp_path, output, error, has_ended):
    """A process of another machine has ended if its PBS or Torque job has, for certain; the answers are real ones."""
    command("qstat", output, error, code=153 if error else 0)
    assert PBS.has_ended() is has_ended
    assert (tmp_path / "calls").read_text() == "qstat -f 12.pbs0\n"


@pytest.mark.parametrize(
    ("output", "cell", "has_ended"),
    [
        ("Following jobs do not exist or permissions are not sufficient: \n7", "default", True),
        ("Following jobs do not exist or permissions are not sufficient: \n7", "other", None),
        ("job_number:                 7\nowner:                      ada", "default", None),
        ('error: unable to send message to qmaster using port 6444 on host "sge0"', "default", None),
    ],
)
def test_what_grid_engine_says(command, monkeypatch, output, cell, has_ended):
    """A process of another machine has ended if its own Grid Engine does not know its job any more."""
    monkeypatch.setenv("SGE_ROOT", "/opt/sge")
    monkeypatch.setenv("SGE_CELL", cell)
    command("qstat", error=output, code=1)
    assert SGE.has_ended() is has_ended


def test_a_job_of_grid_engine_that_runs_again(command, monkeypatch):
    """In its second run, on another node, its first one is over, though the job is there."""
    command("qstat", "job_number:                 7")
    for name, text in {"SGE_ROOT": "/opt/sge", "SGE_TASK_ID": "undefined", "JOB_ID": "7", "RESTARTED": "0"}.items():
        monkeypatch.setenv(name, text)
    assert SGE.has_ended() is None
    monkeypatch.setenv("RESTARTED", "1")
    assert SGE.has_ended() is True


@pytest.mark.parametrize("process", [SLURM, PBS, SGE])
def test_without_a_batch_system(monkeypatch, tmp_path, process):
    """Where there is no command to ask, nobody knows."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.has_ended() is None


def test_a_batch_system_that_does_not_answer(command, tmp_path, monkeypatch):
    """A command that hangs is given up."""
    monkeypatch.setattr(processes, "_ASK_SECONDS", 0.05)
    os.mkfifo(tmp_path / "for-ever")
    command("qstat")
    (tmp_path / "qstat").write_text(f"#!/bin/sh\n# A fake qstat, which hangs.\nread line < {tmp_path}/for-ever\n")
    assert PBS.has_ended() is None


def test_another_cluster_is_not_asked_by_a_setting(command, tmp_path, monkeypatch):
    """SLURM_CLUSTERS, which sends questions to other clusters, does not reach the commands."""
    monkeypatch.setenv("SLURM_CLUSTERS", "jura")
    cluster_answers(command)
    command("squeue")
    (tmp_path / "squeue").write_text('#!/bin/sh\n# A fake squeue, which obeys.\necho "${SLURM_CLUSTERS-COMPLETED}"\n')
    assert SLURM.has_ended() is True


def test_the_form_of_a_record():
    """The record begins with what people are told."""
    assert re.match(r"process \d+ on \S+ boot=", Process.own().record)
