"""Whole studies as jobs of a real Grid Engine."""

import subprocess
import sys

from crayai import hpo
from crayai.hpo.engine.clusters import manager_here

PROGRAM = "sh -c 'echo FoM: ${1#*=}' program"
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--n", 4, (1, 16)]]


def searched(tmp_path, **how):
    """Return the best of a search, and all of its points."""
    evaluator = hpo.Evaluator(PROGRAM, run_path=str(tmp_path), poll_seconds=0.3, **how)
    optimizer = hpo.RandomOptimizer(evaluator, num_iters=10, seed=1)
    optimizer.optimize(hpo.Params(SPACE))
    points = subprocess.run(
        [sys.executable, "-m", "crayai", "export", str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    return optimizer.best_fom, optimizer.best_params, points.stdout


def test_the_same_seed_finds_the_same(cell, tmp_path):
    """A study on Grid Engine is the study on this machine."""
    here = searched(tmp_path / "here", launcher="local", num_parallel_evals=2)
    there = searched(tmp_path / "there", launcher="wlm", workload_manager="sge", nodes=4)
    assert here[:2] == there[:2]
    assert cell


def test_it_is_found(cell, monkeypatch):
    """Grid Engine is told apart from those whose command has the same name."""
    monkeypatch.setenv("PATH", f"{cell.bin}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: str(cell.bin / name) if (cell.bin / name).exists() else None)
    assert manager_here(None, "nodes=2") == "sge"
