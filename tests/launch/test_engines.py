"""The command lines of container engines, and what is refused before anything runs."""

from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.container import Bind, Container, binds_of, container_of, with_engine
from crayai.hpo.launch.engines import GUARD, Place, inside, srun_arguments
from crayai.hpo.launch.images import check_mount_points, identity

BINDS = (Bind("/work", "/work"), Bind("/data", "/in", "ro"))
PODMAN = (
    "--rm --init --entrypoint= --network=host --ipc=host --security-opt=label=disable "
    "--volume=/work:/work --volume=/data:/in:ro --workdir=/work --env=CRAYAI_SEED"
)
LINES = {
    "apptainer": "apptainer exec --bind=/work:/work --bind=/data:/in:ro --pwd=/work --nv --fakeroot image.sif",
    "singularity": "singularity exec --bind=/work:/work --bind=/data:/in:ro --pwd=/work --nv --fakeroot image.sif",
    "podman": f"/bin/sh -c GUARD sh podman name {PODMAN} --device=nvidia.com/gpu=all --fakeroot image.sif",
    "podman-hpc": f"/bin/sh -c GUARD sh podman-hpc name {PODMAN} --gpu --fakeroot image.sif",
    "charliecloud": "ch-run --bind=/work:/work --bind=/data:/in --cd=/work --fakeroot image.sif --",
    "shifter": "shifter --image=image.sif --volume=/work:/work --volume=/data:/in:ro --workdir=/work --module=gpu "
    "--fakeroot --",
    "enroot": "enroot start --mount=/work:/work --mount=/data:/in --env=CRAYAI_SEED --env=NVIDIA_VISIBLE_DEVICES=all "
    "--fakeroot image.sif sh -c CD /work",
    "bubblewrap": "bwrap --ro-bind image.sif / --dev-bind /dev /dev --proc /proc --ro-bind /sys /sys --tmpfs /tmp "
    "--bind /work /work --ro-bind /data /in --chdir /work --unshare-pid --die-with-parent --fakeroot",
    "pyxis": "sh -c CD /work",
}  # fmt: skip


def place(engine, **how):
    """Return where a task runs."""
    container = Container(image="image.sif", engine=engine, engine_args="--fakeroot", gpu=True, **how)
    return Place(container=container, binds=BINDS, directory="/work", variables=["CRAYAI_SEED"], name="name")


@pytest.mark.parametrize("engine", LINES)
def test_a_command_line(engine):
    """It is what the engine's manual asks for: binds, directory, variables, GPU, the user's words, image, program."""
    words = inside(place(engine), ["train", "a b"])
    named = {GUARD: "GUARD", 'cd "$0" && exec "$@"': "CD"}
    assert [named.get(word, word) for word in words] == [*LINES[engine].split(), "train", "a b"]


def test_docker_runs_as_the_user():
    """Files that a daemon writes would belong to root."""
    words = inside(place("docker"), ["train"])
    assert 'run --user="$(id -u):$(id -g)"' in words[2]
    assert words[4] == "docker"
    assert "--gpus=all" in words


def test_slurm_makes_the_container_with_pyxis():
    """Srun is told the image, what it sees and where it starts."""
    assert srun_arguments(place("pyxis").container, BINDS, "/work") == [
        "--container-image=image.sif",
        "--container-mounts=/work:/work,/data:/in:ro",
        "--container-workdir=/work",
        "--container-readonly",
        "--fakeroot",
    ]


@pytest.mark.parametrize(
    ("engine", "word"),
    [("apptainer", "--writable"), ("charliecloud", "--write"), ("bubblewrap", "--bind"), ("enroot", "--rw")],
)
def test_a_writable_image(engine, word):
    """What is writable has the engine's word for it."""
    assert word in inside(place(engine, writable=True), ["train"])


@pytest.mark.parametrize(
    ("text", "engine", "image"),
    [
        ("podman:python:3.11", "podman", "python:3.11"),
        ("ch-run:/images/a", "charliecloud", "/images/a"),
        ("python:3.11", "", "python:3.11"),
        ("docker://alpine", "docker", "//alpine"),
        ({"image": "podman:a", "gpu": True}, "podman", "a"),
        ({"image": "a:b", "engine": "bwrap"}, "bubblewrap", "a:b"),
    ],
)
def test_text_and_tables(text, engine, image):
    """The engine stands before the image, or in a key of its own."""
    made = container_of(text)
    assert (made.engine, made.image) == (engine, image)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("", "must name an image"),
        ({"engine": "podman"}, "must have an image"),
        ({"image": "a", "bind": []}, "did you mean 'binds'"),
        ({"image": "a", "engine": "podmn"}, "did you mean 'podman'"),
        ({"image": "a", "binds": ["relative"]}, "absolute paths"),
        ({"image": "a", "binds": ["/no/such/directory"]}, "there is no /no/such/directory"),
        ({"image": "a", "gpu": "yes"}, "true or false"),
        ({"image": "a", "engine_args": "'"}, "no list of words"),
        ({"image": "a", "engine": "shifter", "writable": True}, "never changes images"),
        (7, "must be text"),
    ],
)
def test_what_is_refused(wanted, words):
    """The message names the thing, the rule, the value."""
    with pytest.raises(SettingsError, match=words):
        container_of(wanted)


def test_the_engine_that_is_here(tmp_path, monkeypatch):
    """One that takes such an image is found; none or several are named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match="none of podman-hpc, podman, docker, shifter is here"):
        with_engine(Container(image="python:3.11"))
    for name in ("podman", "ch-run", "apptainer", "singularity"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert with_engine(Container(image="python:3.11")).engine == "podman"
    assert with_engine(Container(image="my.sif")).engine == "apptainer"
    with pytest.raises(LaunchError, match="apptainer and podman and charliecloud are here: name one"):
        with_engine(Container(image=str(tmp_path)))
    with pytest.raises(LaunchError, match="'bwrap' is not on PATH"):
        with_engine(Container(image=str(tmp_path), engine="bubblewrap"))


def test_images_that_are_not_there(tmp_path, monkeypatch):
    """It is known before anything is submitted, with the command that gets the image."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("podman", "shifterimg", "enroot"):
        (tmp_path / name).write_text("#!/bin/sh\necho no such image >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    for engine, words in {
        "podman": "podman pull a:1",
        "shifter": "shifterimg pull a:1",
        "charliecloud": "ch-image pull a:1",
        "enroot": "enroot create --name a:1",
        "bubblewrap": "no image but a directory",
        "apptainer": "there is no image 'a:1'",
    }.items():
        with pytest.raises(LaunchError, match=words):
            identity(Container(image="a:1", engine=engine))
    with pytest.raises(LaunchError, match="no image that is a directory"):
        identity(Container(image=str(tmp_path), engine="docker"))
    file = tmp_path / "a.sif"
    file.write_bytes(b"image")
    with pytest.raises(LaunchError, match="no image that is a file"):
        identity(Container(image=str(file), engine="podman"))
    first = identity(Container(image=str(file), engine="apptainer"))
    assert "5 bytes" in first
    file.write_bytes(b"other")
    assert identity(Container(image=str(file), engine="apptainer")) != first


def test_what_a_container_sees(tmp_path):
    """Directories under their own names and where their links lead; one inside another once; no odd names."""
    study = tmp_path / "study"
    study.mkdir()
    (tmp_path / "link").symlink_to(study)
    seen = binds_of(Container(image="a", binds=["/usr:/in:ro"]), [tmp_path / "link", study / "below"])
    assert [str(bind) for bind in seen] == [f"{tmp_path}/link:{tmp_path}/link", f"{study}:{study}", "/usr:/in:ro"]
    for odd in (Path("/"), tmp_path / "a:b"):
        with pytest.raises(LaunchError, match="cannot be bound"):
            binds_of(Container(image="a"), [odd])


def test_mount_points_that_the_image_must_have(tmp_path):
    """An engine that makes none needs them in the image."""
    container = Container(image=str(tmp_path), engine="charliecloud")
    with pytest.raises(LaunchError, match=f"mkdir -p {tmp_path}/work"):
        check_mount_points(container, [Bind("/work", "/work")])
    (tmp_path / "work").mkdir()
    check_mount_points(container, [Bind("/work", "/work"), Bind("/tmp/a", "/tmp/a")])
