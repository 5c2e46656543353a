"""What PBS, TORQUE, Moab and Grid Engine say of themselves is read as it is meant."""

import math

import pytest

from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.sites import grid_engine, moab, pbs

# written by hand after pbs_queue_attributes(7B), pbs_server_attributes(7B) and pbsnodes(8B) of OpenPBS 23.06
QUEUES = """\
Queue: workq
    queue_type = Execution
    max_queued = [u:PBS_GENERIC=200]
    max_queued = [o:PBS_ALL=1000]
    resources_max.walltime = 24:00:00
    resources_default.walltime = 01:00:00
    enabled = True
    started = True

Queue: old
    queue_type = Execution
    comment = a line that is so long that the next one goes on with it, as in
\tqstat -f
    enabled = True
    started = False

"""
SERVER = "Server: pbs0\n    server_state = Active\n    default_queue = workq\n    max_array_size = 10000\n"
NODES = """\
n1
     Mom = n1
     state = free
     pcpus = 64
     resources_available.mem = 263804672kb
     resources_available.ncpus = 64
     resources_available.ngpus = 4

n2
     Mom = n2
     state = job-exclusive
     jobs = 8.pbs0/0
     resources_available.mem = 263804672kb
     resources_available.ncpus = 64
     resources_available.ngpus = 4

n3
     Mom = n3
     state = free
     resources_available.mem = 64gb
     resources_available.ncpus = 16

"""
# of slurm-wlm-torque 22.05, which follows TORQUE's form
TORQUE_NODES = """\
n1
    state = mixed
    np = 4
    ntype = cluster
    status = rectime=1795455407,state=mixed,size=0kb:0kb,ncpus=4,availmem=4000mb,physmem=4096000kb,opsys=linux 6.18

n2
    state = free
    np = 4
    ntype = cluster
    status = rectime=1795455407,state=free,size=0kb:0kb,ncpus=4,availmem=4000mb,physmem=4096000kb,opsys=linux 6.18

"""
# of SGE 8.1.9, shortened
QCONF = "qname                 main.q\nhostlist              sge0\ns_rt                  INFINITY\nh_rt  INFINITY\n\n"
QCONF += "qname                 short.q\nhostlist              sge0\ns_rt                  00:59:00\nh_rt  01:00:00\n"
SLOTS = """\
CLUSTER QUEUE                   CQLOAD   USED    RES  AVAIL  TOTAL aoACDS  cdsuE
--------------------------------------------------------------------------------
main.q                            -NA-      2      0      6      8      0      8
short.q                           0.01      0      0      4      4      0      0
"""


def answers(*texts):
    """Return what commands have answered."""
    return [Answer(0, text, "") for text in texts]


def test_queues_of_pbs():
    """Each queue has a row for each kind of node, and limits of its own."""
    large, small, old, _ = pbs.partitions(answers(QUEUES, SERVER, NODES))
    assert (large.name, large.is_default, large.is_up, large.nodes, large.idle) == ("workq", True, True, 2, 1)
    assert (large.cpus, large.memory_mb, large.gpus) == (64, 257622, 4)
    assert (large.most_seconds, large.default_seconds) == (86400, 3600)
    assert (small.name, small.cpus, small.memory_mb, small.gpus, small.idle) == ("workq", 16, 65536, 0, 1)
    assert (old.name, old.is_default, old.is_up, old.most_seconds) == ("old", False, False, math.inf)
    assert pbs.partitions([Answer(111, "", "Connection refused")] * 3) == []


def test_limits_of_pbs():
    """An array's size is the server's, the number of jobs the queue's."""
    limits = pbs.queue_limits(answers(QUEUES, SERVER, NODES), "workq")
    assert (limits.together, limits.most, limits.whose) == (10000, 200, "one user")
    limits = pbs.queue_limits(answers("Queue: batch\n    max_user_queuable = 50\n", "Server: t\n", ""), "batch")
    assert (limits.together, limits.most) == (0, 50)


def test_nodes_of_torque():
    """TORQUE tells the memory in a list."""
    (one,) = pbs.partitions(answers("Queue: batch\n    started = True\n", "Server: t\n", TORQUE_NODES))
    assert (one.is_default, one.nodes, one.idle, one.cpus, one.memory_mb) == (True, 2, 1, 4, 4000)


@pytest.mark.parametrize(
    ("words", "queue", "seconds"),
    [
        (["-q", "gpu", "-l", "select=1:ncpus=4,walltime=2:00:00"], "gpu", 7200),
        (["-qgpu@server", "-l", "walltime=90"], "gpu", 90),
        (["-l", "select=1"], "", None),
    ],
)
def test_what_is_wanted_of_pbs(words, queue, seconds):
    """The ways in which qsub takes a queue and a limit of time."""
    assert pbs.partition_wanted(words) == queue
    assert pbs.seconds_wanted(words) == seconds


def test_nodes_of_moab():
    """Nodes are counted for all queues."""
    said = '<Data><Object>queue</Object><cluster LocalIdleNodes="7" LocalUpNodes="922" LocalUpProcs="18440"/></Data>'
    (one,) = moab.partitions(answers(said))
    assert (one.is_default, one.nodes, one.idle, one.cpus) == (True, 922, 7, 20)
    assert moab.partitions([Answer(255, "", "ERROR:  cannot connect")]) == []


def test_queues_of_grid_engine():
    """Slots are counted, and the shorter limit counts."""
    main, short = grid_engine.partitions(answers(QCONF, SLOTS))
    assert grid_engine.partitions(answers("qname  bare\nhostlist  @all\n", SLOTS))[0].most_seconds == math.inf
    assert (main.name, main.nodes, main.idle, main.most_seconds) == ("main.q", 8, 6, math.inf)
    assert (short.name, short.nodes, short.idle, short.most_seconds) == ("short.q", 4, 4, 3540)
    words = ["-q", "short.q@node1,main.q", "-l", "h_rt=600"]
    assert grid_engine.partition_wanted(words) == "short.q"
    assert grid_engine.seconds_wanted(words) == 600
