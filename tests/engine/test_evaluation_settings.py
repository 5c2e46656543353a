"""Settings of evaluations that cannot be together are refused before anything runs."""

import pytest

from crayai.hpo.engine.clusters import Cluster
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.launch.dask.settings import Dask


@pytest.mark.parametrize("cluster", [None, Cluster(manager="pbs")])
def test_pyxis_is_a_part_of_slurm(cluster):
    """The engine pyxis needs Slurm, and no other workload manager will do."""
    container = Container(image="torch.sqsh", engine="pyxis")
    with pytest.raises(SettingsError, match="it needs the launcher 'slurm'"):
        EvaluationSettings(container=container, cluster=cluster)
    EvaluationSettings(container=container, cluster=Cluster())


def test_how_many_run_at_once_on_dask():
    """Nobody knows before on somebody's cluster, unless that is set; a node is a place there."""
    there = Dask(address="tcp://node1:8786")
    assert EvaluationSettings(dask=there).most_at_once > 1000
    assert EvaluationSettings(dask=there).nodes_per_evaluation == 1
    assert EvaluationSettings(dask=there, slots=3).most_at_once == 3
    assert EvaluationSettings(dask=Dask(), slots=4).nodes_per_evaluation == 0.25
