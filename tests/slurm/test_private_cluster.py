"""The private cluster that the other tests here rely on."""

import os
import signal
import subprocess
import sys

from slurm_cluster import is_alive, open_files, processes, wait_until


def users_of(directory):
    """Return the processes that have a file of a directory open."""
    return [pid for pid in processes() if any(str(directory) in path for path in open_files(pid))]


def test_steps_and_jobs(slurm):
    """Four nodes run a step together, and a job to its end."""
    assert set(slurm.run("srun", "-N4", "sh", "-c", "echo $SLURMD_NODENAME").split()) == set(slurm.nodes)
    job = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 3")
    slurm.wait(lambda: slurm.state(job) == "FAILED", "the job has failed")


def test_a_crash(own_slurm):
    """A node that crashes takes its job along, and comes back when it is restarted."""
    cluster = own_slurm(nodes=2, extra="")
    job = cluster.run("sbatch", "--parsable", "--no-requeue", "--output=/dev/null", "-wn1", "--wrap=sleep 1000")
    cluster.wait(lambda: cluster.state(job) == "RUNNING", "the job runs")
    cluster.crash("n1")
    cluster.update("n1", "down")
    cluster.wait(lambda: cluster.state(job) == "NODE_FAIL", "the job has failed with its node")
    cluster.restart("n1")
    cluster.update("n1", "resume")
    cluster.wait(lambda: cluster.run("srun", "-N2", "hostname").count("\n") == 1, "both nodes work")


def test_two_side_by_side(slurm, own_slurm):
    """Clusters do not see each other."""
    job = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--hold", "--wrap=true")
    other = own_slurm(nodes=1)
    assert other.run("squeue", "-h") == ""
    assert slurm.run("squeue", "-h", "-o", "%A") == job


def test_nothing_is_left(tmp_path):
    """When whoever started a cluster is killed, all of it ends, and what ran in it."""
    code = (
        "import sys; from slurm_cluster import SlurmCluster\n"
        "with SlurmCluster(sys.argv[1], nodes=1) as c:\n"
        "    c.run('sbatch', '--output=/dev/null', '--wrap=sleep 1000'); print('up', flush=True); sys.stdin.read()\n"
    )
    directory = tmp_path / "cluster"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", code, str(directory)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as starter:
        assert starter.stdout.readline() == b"up\n"
        found = users_of(directory)
        assert found
        os.kill(starter.pid, signal.SIGKILL)
        wait_until(lambda: not any(is_alive(pid) for pid in found), f"{found} have ended")
    assert users_of(directory) == []
