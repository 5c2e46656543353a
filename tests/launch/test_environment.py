"""Conda and virtual environments around a program."""

import subprocess
import sys
from pathlib import Path

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.environment import entering, environments, prefix_of

CRAYAI = [sys.executable, "-m", "crayai"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Return a home directory with a Conda installation, a stand-in that has its files but no packages."""
    for name in ("CONDA_EXE", "CONDA_ENVS_PATH", "CONDA_ENVS_DIRS", "MAMBA_ROOT_PREFIX", "CONDA_ROOT", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for prefix in ("miniconda3", "miniconda3/envs/deep", "elsewhere/own"):
        conda_at(tmp_path / prefix)
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda" / "environments.txt").write_text(f"{tmp_path}/elsewhere/own\n{tmp_path}/gone\n")
    return tmp_path


def conda_at(prefix):
    """Make an environment whose program ``which-one`` says who it is."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "scikit-learn-1.5.2-py311_0.json").write_text("{}")
    (prefix / "etc" / "conda" / "activate.d").mkdir(parents=True)
    (prefix / "etc" / "conda" / "activate.d" / "own.sh").write_text('export ACTIVATED="$CONDA_PREFIX"\n')
    program = prefix / "bin" / "which-one"
    program.write_text('#!/bin/sh\necho "$CONDA_DEFAULT_ENV $ACTIVATED"\necho FoM: 1\n')
    program.chmod(0o755)


def test_names_that_are_known(home):
    """Those of the installation, and those that Conda has written down."""
    assert environments() == {
        "base": home / "miniconda3",
        "deep": home / "miniconda3" / "envs" / "deep",
        "own": home / "elsewhere" / "own",
    }
    assert prefix_of("deep") == str(home / "miniconda3" / "envs" / "deep")
    assert prefix_of("./elsewhere/own") == str(home / "elsewhere" / "own")
    assert prefix_of("") == ""


def test_one_that_is_missing(home):
    """What is known is named."""
    with pytest.raises(SettingsError, match=r"no environment 'dep'.*deep \("):
        prefix_of("dep")
    with pytest.raises(SettingsError, match="there is no Conda or virtual environment in"):
        prefix_of("./nowhere")
    (home / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "pyvenv.cfg").touch()
    with pytest.raises(SettingsError, match="did you mean"):
        prefix_of("venv")


def test_it_is_entered(home):
    """PATH, its variables, and its own activation scripts."""
    done = subprocess.run(
        [*entering(str(home / "elsewhere" / "own")), "which-one"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == f"own {home}/elsewhere/own"
    gone = subprocess.run([*entering(str(home / "gone")), "true"], capture_output=True, text=True, check=False)
    assert gone.returncode == 127
    assert "has no environment" in gone.stderr


def test_a_study_in_an_environment(home):
    """The program is found there, and what it was made with is on record."""
    words = ["--strategy", "random", "--num-iters", "2", "--seed", "1", "--param", "--lr=0.01..1", "--dir", "study"]
    command = [*CRAYAI, "run", *words, "--keep-output", "--conda-env", "deep", "--", "which-one"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    prefix = home / "miniconda3" / "envs" / "deep"
    assert Path("study/output/1.1.out").read_text().startswith(f"deep {prefix}")
    shown = subprocess.run([*CRAYAI, "show", "1", "study"], capture_output=True, text=True, check=True).stdout
    assert f"conda_env   {prefix}" in shown
    assert f"python      {'.'.join(map(str, sys.version_info[:3]))} (" in shown
    listed = subprocess.run([*CRAYAI, "show", "--packages", "1", "study"], capture_output=True, text=True, check=True)
    assert "scikit-learn 1.5.2" in listed.stdout.splitlines()
    command[command.index("deep")] = "base"
    other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "ran in conda_env" in other.stderr


@pytest.mark.usefixtures("home")
def test_the_commit_of_the_source():
    """It is on record with what differs from it."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    Path("train.sh").write_text("echo FoM: 1\n")
    Path(".gitignore").write_text("/*\n!train.sh\n")
    for words in (["init", "-q"], ["add", "train.sh"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    Path("train.sh").write_text("echo FoM: 2\n")
    words = ["--strategy", "random", "--num-iters", "1", "--seed", "1", "--param", "--lr=0.01..1", "--dir", "study"]
    subprocess.run([*CRAYAI, "run", *words, "--", "sh", "train.sh"], capture_output=True, check=True)
    shown = subprocess.run([*CRAYAI, "show", "0", "study"], capture_output=True, text=True, check=True).stdout
    assert f"git {commit}, 1 files changed" in shown
