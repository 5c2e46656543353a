"""Conda and virtual environments around a program."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.environment import entering, environments, pasting, prefix_of

GCC = """\
#!/bin/bash
function _tc_activation() {
  local act_nature=$1; shift
  local which=() thing
  for thing in "$@"; do which+=("${thing,,}"); done
  [[ $act_nature == activate ]] && export CC="$CONDA_PREFIX/bin/${which[0]}"
}
_CONDA_SCRIPT=$(basename "${BASH_SOURCE[0]}")
_tc_activation activate X86_64-CONDA-LINUX-GNU-CC CPP
export GCC_SCRIPT=$_CONDA_SCRIPT
"""
"""An activation script such as those of Conda's compilers: no plain shell can read it."""

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


def test_activation_scripts_for_bash(home, tmp_path_factory):
    """They run as they would by conda; where there is no bash, they are left out with a word, the others are not."""
    prefix = home / "elsewhere" / "own"
    (prefix / "etc" / "conda" / "activate.d" / "activate-gcc_linux-64.sh").write_text(GCC)
    words = [*entering(str(prefix)), "sh", "-c", "echo $ACTIVATED $CC $GCC_SCRIPT; exit 7"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{prefix} {prefix}/bin/x86_64-conda-linux-gnu-cc activate-gcc_linux-64.sh\n"
    pasted = subprocess.run([*pasting(str(prefix)), *words[-3:]], capture_output=True, text=True, check=False)
    assert (pasted.returncode, pasted.stdout) == (7, done.stdout)
    if shutil.which("dash") is None:
        pytest.skip("there is no shell but bash")
    bare = tmp_path_factory.mktemp("bare")
    for name in ("sh", "hostname"):
        (bare / name).symlink_to(shutil.which("dash" if name == "sh" else name))
    words[0] = str(bare / "sh")
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PATH": str(bare)})
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{prefix}\n"
    assert "activate-gcc_linux-64.sh is left out: it needs bash" in done.stderr


def test_paths_are_compared_as_they_mean(home, monkeypatch):
    """Whoever is in another directory may write the same one in another way."""
    prefix = home / "miniconda3" / "envs" / "deep"
    monkeypatch.chdir(prefix / "bin")
    assert prefix_of("../../deep") == prefix_of(str(prefix)) == str(prefix)
    with pytest.raises(SettingsError, match="did you mean 'deep'"):
        prefix_of("depe")


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


def test_the_commit_of_the_source(home, monkeypatch):
    """It is on record with what differs from it: no study's own files, and a further edit is another difference."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    Path("train.sh").write_text("echo FoM: 1\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    Path("results").mkdir()
    Path("results/study.1").mkdir()
    Path("results/study.1/study.db").touch()

    def source(evaluations):
        words = ["--strategy", "random", "--num-iters", str(evaluations), "--extend", "--seed", "1", "--dir"]
        words += ["results/study", "--param", "--lr=0.01..1", "--", "sh", "train.sh"]
        subprocess.run([*CRAYAI, "run", *words], capture_output=True, check=True)
        last = ["show", str(evaluations - 1), "results/study"]
        shown = subprocess.run([*CRAYAI, *last], capture_output=True, text=True, check=True).stdout
        return next(line for line in shown.splitlines() if line.startswith("source ")).removeprefix("source").strip()

    assert source(1) == f"git {commit}"
    Path("train.sh").write_text("echo FoM: 2\n")
    edited = source(2)
    assert edited.startswith(f"git {commit}, 1 files changed (")
    Path("train.sh").write_text("echo FoM: 3\n")
    assert source(3) not in (edited, f"git {commit}")
    (home / "slow").mkdir()
    (home / "slow" / "git").write_text(f"#!/bin/sh\n[ $3 = rev-parse ] && echo {commit}\n")
    (home / "slow" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/slow:{os.environ['PATH']}")
    assert "nobody knows what differs" in source(4)
