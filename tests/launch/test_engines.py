"""The command lines of container engines, and the lines of the shell around them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from crayai.hpo.launch.containers.binds import Bind
from crayai.hpo.launch.containers.container import Container
from crayai.hpo.launch.containers.engines import ENGINES
from crayai.hpo.launch.wrapping import Wrapping

BINDS = (Bind("/work", "/work"), Bind("/data", "/in", "ro"))
RUN = "--rm --init --entrypoint= --network=host --security-opt=label=disable"
GROUPS = " ".join(f"--group-add={group}" for group in os.getgroups())
DOCKER = f"--user={os.getuid()}:{os.getgid()} {GROUPS} --env=USER --env=LOGNAME --env=HOME=/tmp"
SEEN = "--volume=/work:/work --volume=/data:/in:ro --workdir=/work"
LINES = {
    "apptainer": "apptainer exec --bind=/work:/work --bind=/data:/in:ro --pwd=/work --nv --own image",
    "singularity": "singularity exec --bind=/work:/work --bind=/data:/in:ro --pwd=/work --nv --own image",
    "podman": f"podman run {RUN} --user=0:0 --volume=/dev/shm:/dev/shm {SEEN} --device=nvidia.com/gpu=all --pull=never "
    "--own image",
    "podman-hpc": f"podman-hpc run {RUN} --user=0:0 --volume=/dev/shm:/dev/shm {SEEN} --gpu --pull=never --own image",
    "docker": f"docker run {RUN} --ipc=host {DOCKER} {SEEN} --gpus=all --pull=never --own image",
    "charliecloud": "ch-run --bind=/work:/work --bind=/data:/in --cd=/work --set-env --own image --",
    "shifter": "shifter --image=image --volume=/work:/work --volume=/data:/in:ro --workdir=/work --module=gpu --own --",
    "enroot": "enroot start --mount=/work:/work:rbind,x-create=auto --mount=/data:/in:rbind,x-create=auto,ro "
    "--env=NVIDIA_VISIBLE_DEVICES=all --own image sh -c CD /work",
    "bubblewrap": "bwrap --ro-bind image / --dev /dev --proc /proc --ro-bind /sys /sys "
    "--tmpfs /tmp --bind /work /work --ro-bind /data /in --setenv HOME /tmp --chdir /work "
    "--unshare-pid --new-session --die-with-parent --own",
    "pyxis": "env NVIDIA_VISIBLE_DEVICES=all srun --container-image=image "
    "--container-mounts=/work:/work,/data:/in:ro --container-workdir=/work --container-readonly --own",
}


def wrapping(engine, **how):
    """Return what stands around tasks."""
    container = Container(image="image", engine=engine, engine_args="--own", **how)
    return Wrapping(container=container, binds=BINDS)


@pytest.fixture(autouse=True)
def _home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USER", "me")


@pytest.mark.parametrize("engine", LINES)
def test_a_command_line(engine):
    """It is what the engine's manual asks for: binds, directory, GPU, the user's words, image, program."""
    words = wrapping(engine, gpu="nvidia" in ENGINES[engine].gpus).pasted(
        ["train", "a b"], Path("/work"), {"LR": "0.1"}
    )
    named = {'cd "$0" && exec "$@"': "CD"}
    assert [named.get(word, word) for word in words] == [*LINES[engine].split(), "env", "LR=0.1", "train", "a b"]


@pytest.mark.parametrize("engine", LINES)
def test_what_is_run(engine):
    """It is the same line, with a guard where the engine needs one, which is told of variables by their names."""
    around = wrapping(engine, environment={"OWN": "a b"}).around(["train"], Path("/work"), {"LR": "0.1"}, "study:1:1")
    line = wrapping(engine).pasted(["env", "OWN=a b", "train"], Path("/work"))
    if engine == "pyxis":
        assert list(around) == line[-3:]
        assert wrapping(engine).srun_arguments(Path("/work")) == line[1:-3]
    elif ENGINES[engine].guard:
        shell, c, guard, name, variables, *words = around
        assert [shell, c, guard, name] == ["/bin/sh", "-c", ENGINES[engine].guard, "crayai-study-1-1"]
        assert variables.startswith("LR|")
        assert words == line
    else:
        assert list(around) == line


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("apptainer", "--rocm"),
        ("podman", "--device=/dev/kfd --device=/dev/dri --group-add=keep-groups"),
        ("docker", "--device=/dev/kfd --device=/dev/dri"),
        ("bubblewrap", "--dev-bind /dev /dev"),
    ],
)
def test_gpus_of_amd(engine, words):
    """They need devices; what else they need is in the image, or Apptainer brings it."""
    plain, amd = (wrapping(engine, gpu=gpu).pasted(["train"], Path("/work")) for gpu in (False, "amd"))
    assert " ".join(amd).replace(f" {words}", "", 1) == " ".join(plain)


def test_what_engines_find_in_their_own_environment(monkeypatch):
    """Charliecloud's /tmp is what TMPDIR names; Pyxis brings the driver of GPUs for a variable."""
    monkeypatch.setenv("USER", "me")
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    assert wrapping("charliecloud").variables() == {}
    container = Container(image="image", engine="charliecloud")
    assert Wrapping(container=container, binds=[Bind("/tmp/a", "/tmp/a")]).variables() == {"TMPDIR": "/tmp"}
    assert wrapping("pyxis").variables() == {}
    assert wrapping("pyxis", gpu=True).variables() == {"NVIDIA_VISIBLE_DEVICES": "all"}


ENROOT = """\
#!/usr/bin/env bash
[ "$1" = start ] && shift
while [ "${1#--}" != "$1" ]; do
  case $1 in
    --env=*=*) echo "${1#--env=}" ;;
    --env=*) name=${1#--env=}; echo "$name=${!name}" ;;
    --rc) [ -p "$2" ] && cp -Lp "$2" rc; shift ;;
  esac
  shift
done >environment
shift
exec sh rc "$@"
"""
"""What `enroot start` does with variables and the script of --rc."""

APPTAINER = "#!/bin/sh\nenv -0 >environment\n"


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Return a function that runs a task in a stand-in of an engine, and returns the variables that it was given."""
    monkeypatch.chdir(tmp_path)

    def run(engine, text, variables, *, passed=()):
        (tmp_path / engine).write_text(text)
        (tmp_path / engine).chmod(0o755)
        around = Wrapping(container=Container(image="image", engine=engine, pass_environment=passed))
        words = around.around(["sh", "-c", "echo done $1", "sh", "a  b"], tmp_path, {"LR": "0.1"}, "study:1:1")
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **variables}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        said = (tmp_path / "environment").read_text()
        return done.stdout, dict(line.split("=", 1) for line in said.split("\0" if "\0" in said else "\n") if line)

    return run


@pytest.mark.parametrize("engine", ["apptainer", "singularity"])
def test_variables_that_apptainer_is_to_set(ran, engine):
    """Those of the study, of launchers and of the user, as they are: it reads values as the shell would."""
    odd = """a $HOME `id` "x" 'y' \\n
    end"""
    given = {"LR": odd, "CRAYAI_SEED": "7", "SLURM_PROCID": "0", "WANDB_KEY": "k", "OTHER": "o", "OMP_NUM_THREADS": "2"}
    _, found = ran(engine, APPTAINER, {**given, "APPTAINERENV_OMP_NUM_THREADS": "4"}, passed=["WANDB_*"])
    inside = {name.removeprefix("APPTAINERENV_"): text for name, text in found.items() if name.startswith("APPT")}
    assert re.sub(r"\\([$`\\])", r"\1", inside.pop("LR")) == odd
    assert inside == {"CRAYAI_SEED": "7", "SLURM_PROCID": "0", "WANDB_KEY": "k", "OMP_NUM_THREADS": "4"}
    assert ("SINGULARITYENV_CRAYAI_SEED" in found) == (engine == "singularity")


def test_what_enroot_is_given(ran):
    """Only variables that are set, and a start that runs the program, not the entry point of the image."""
    said, found = ran("enroot", ENROOT, {"LR": "0.1", "CRAYAI_SEED": "7", "WANDB_KEY": "k", "CUDA_DEVICE_ORDER": "x"})
    assert said == "done a b\n"
    assert found == {"LR": "0.1", "CRAYAI_SEED": "7"}


@pytest.mark.parametrize(
    ("engine", "word"),
    [("apptainer", "--writable"), ("charliecloud", "--write"), ("bubblewrap", "--bind"), ("enroot", "--rw")],
)
def test_a_writable_image(engine, word):
    """What is writable has the engine's word for it."""
    plain, writable = (wrapping(engine, writable=yes).pasted(["train"], Path("/work")) for yes in (False, True))
    assert word in writable
    assert writable != plain


def test_users_that_podman_is_told_of():
    """Who says who is who inside is not contradicted."""
    container = Container(image="image", engine="podman", engine_args="--userns=keep-id")
    assert "--user=0:0" not in Wrapping(container=container).pasted(["train"], Path("/work"))


def test_the_home_of_a_program_in_bubblewrap(monkeypatch):
    """It is the user's own if that is seen inside, else in memory."""
    monkeypatch.setenv("HOME", "/work/me")
    assert "--setenv" not in wrapping("bubblewrap").pasted(["train"], Path("/work"))
    monkeypatch.setenv("HOME", "/home/other")
    assert "--setenv HOME /tmp" in " ".join(wrapping("bubblewrap").pasted(["train"], Path("/work")))
