"""A private Grid Engine for the tests."""

import os

import pytest
from grid_engine_cluster import GridEngine, missing, unpacked


@pytest.fixture(scope="session")
def shared_cell(tmp_path_factory):
    """Return a Grid Engine that all tests share; it must be left as it was found."""
    if problem := missing():
        pytest.skip(problem)
    packages = unpacked(tmp_path_factory.mktemp("packages"))
    if packages is None:
        pytest.skip("Debian's packages of Grid Engine cannot be had here")
    with GridEngine(tmp_path_factory.mktemp("cell"), packages) as cell:
        yield cell


@pytest.fixture
def cell(shared_cell, monkeypatch):
    """Return the shared Grid Engine, whose commands are on PATH in this test."""
    monkeypatch.setenv("PATH", f"{shared_cell.bin}:{os.environ['PATH']}")
    yield shared_cell
    shared_cell.run("qdel", "-u", "root", check=False)
    shared_cell.wait(lambda: not shared_cell.run("qstat"), "no job is left")
