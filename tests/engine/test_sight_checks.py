"""What the doctor says of what the program sees where it runs."""

import pytest

from crayai.hpo.engine.doctor.findings import Verdict
from crayai.hpo.engine.doctor.sight_checks import check_sight
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.launch.containers.container import Container

BARE = "machine node1\nevaluation \npython /usr/bin/python3\nversion 3.11.2\nprefix /usr\npackage numpy 1.26\n"
PLAIN = Container(image="/i.sif", engine="apptainer")
WITH_GPU = Container(image="/i.sif", engine="apptainer", gpu=True)


def found(printed, **settings):
    """Return the checks by name."""
    return {check.name: check for check in check_sight(printed, EvaluationSettings(slots=1, **settings))}


def test_what_is_seen(monkeypatch):
    """Machine, Python, packages and GPUs are told, and nothing else is said where that is as it should be."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (check,) = found(BARE + "visible all\nover").values()
    assert check.verdict is Verdict.OK
    assert check.seen == "on node1: Python 3.11.2 (/usr/bin/python3), 1 packages, with numpy 1.26; no GPU"
    assert list(found(BARE + "gpu NVIDIA A100\nvisible 0\nover", container=WITH_GPU)) == ["environment"]
    assert found("sh: not found") == {}


def test_another_python():
    """One that is not the environment's is worth a note."""
    assert found(BARE, environment="/envs/deep")["environment"].verdict is Verdict.NOTE


@pytest.mark.parametrize("printed", [BARE + "visible all", BARE + "gpu NVIDIA A100\nvisible "])
def test_a_gpu_that_is_not_there(printed):
    """Where one was asked for, it is a problem that the program sees none."""
    for settings, said in (({"container": WITH_GPU}, "gpu of the container"), ({"gpus": ["0"]}, "gpus")):
        check = found(printed, **settings)["GPUs"]
        assert check.verdict is Verdict.PROBLEM
        assert f"the program sees none, and {said} asks for some" in check.seen


def test_gpus_that_the_container_hides(monkeypatch):
    """Those of this machine are worth a note, unless nobody wants them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    check = found(BARE + "visible all", container=PLAIN)["GPUs"]
    assert (check.verdict, check.seen) == (
        Verdict.NOTE,
        "the program sees none in its container; this machine has the GPUs 0, 1",
    )
    assert "GPUs" not in found(BARE + "visible all", container=PLAIN, gpus=[])
    assert "GPUs" not in found(BARE + "visible all")
