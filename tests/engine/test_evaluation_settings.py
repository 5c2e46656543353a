"""Settings of evaluations that cannot be together are refused before anything runs."""

import pytest

from crayai.hpo.engine.clusters import Cluster
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.container import Container


@pytest.mark.parametrize("cluster", [None, Cluster(manager="pbs")])
def test_pyxis_is_a_part_of_slurm(cluster):
    """The engine pyxis needs Slurm, and no other workload manager will do."""
    container = Container(image="torch.sqsh", engine="pyxis")
    with pytest.raises(SettingsError, match="it needs the launcher 'slurm'"):
        EvaluationSettings(container=container, cluster=cluster)
    EvaluationSettings(container=container, cluster=Cluster())
