"""What Slurm says of itself is read as it is meant."""

import math

import pytest

from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.sites import slurm as site

# written by hand after sinfo(1) of Slurm 22.05; the second row is of a site with two kinds of nodes in a partition
SINFO = """\
main*|up|1/2/1/4|64|256000|1-00:00:00|2:00:00|(null)
gpu|up|0/8/0/8|128|512000+|12:00:00|n/a|gpu:a100:4(S:0-1),gpu:v100:2
gpu|up|0/2/0/2|32|128000|12:00:00|n/a|gpu:4
old|down|0/0/5/5|8|4000|infinite|n/a|(null)
"""


def test_partitions():
    """Rows, numbers and limits."""
    main, gpu, small, old = site.partitions([Answer(0, SINFO, "")])
    assert (main.name, main.is_default, main.nodes, main.idle, main.cpus) == ("main", True, 4, 2, 64)
    assert (main.most_seconds, main.default_seconds) == (86400, 7200)
    assert (gpu.is_default, gpu.gpus, gpu.memory_mb, gpu.default_seconds) == (False, 6, 512000, 43200)
    assert small.gpus == 4
    assert (old.is_up, old.most_seconds) == (False, math.inf)
    assert site.partitions([Answer(1, "", "slurm_load_partitions: Unable to contact")]) == []


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["-t", "30"], 1800),
        (["-t30"], 1800),
        (["--time=1:30"], 90),
        (["--time", "2:00:00"], 7200),
        (["-t1-12"], 129600),
        (["-t", "1-0:30"], 88200),
        (["-n4"], None),
    ],
)
def test_limits_wanted(words, seconds):
    """The ways in which sbatch takes a limit of time."""
    assert site.seconds_wanted(words) == seconds


def test_partitions_and_gpus_wanted():
    """What else is asked for."""
    assert site.partition_wanted(["-n4", "-p", "gpu"]) == "gpu"
    assert site.partition_wanted(["--partition=gpu"]) == "gpu"
    assert site.partition_wanted(["-n4"]) == ""
    assert site.wants_gpus(["--gres=gpu:1"])
    assert site.wants_gpus(["-G", "4"])
    assert not site.wants_gpus(["-N", "4"])
