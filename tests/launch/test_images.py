"""Images and binds of containers: what is found, and what is refused before anything runs."""

from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.containers.binds import Bind, binds_of
from crayai.hpo.launch.containers.container import Container, container_of, with_engine
from crayai.hpo.launch.containers.engines import ENGINES
from crayai.hpo.launch.containers.images import check_image, check_mount_points, identity
from crayai.hpo.launch.containers.storage import charliecloud_has_environment
from crayai.hpo.launch.wrapping import Wrapping, wrapping_of


@pytest.mark.parametrize(
    ("text", "engine", "image"),
    [
        ("podman:python:3.11", "podman", "python:3.11"),
        ("ch-run:/images/a", "charliecloud", "/images/a"),
        ("python:3.11", "", "python:3.11"),
        ("docker://alpine", "", "docker://alpine"),
        ("apptainer:docker://alpine", "apptainer", "docker://alpine"),
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
        ({"image": "a", "gpu": "yes"}, "true, false or 'amd'"),
        ({"image": "a", "gpu": True, "engine": "charliecloud"}, "ch-fromhost --nvidia"),
        ({"image": "a", "gpu": True, "engine": "bubblewrap"}, "--dev-bind /dev /dev"),
        ({"image": "a", "gpu": "amd", "engine": "shifter"}, "cannot be 'amd' with engine 'shifter'.*--module=NAME"),
        ({"image": "a", "writable": 1}, "true or false"),
        ({"image": "a", "pass_environment": "WANDB_*"}, "must be a list of texts"),
        ({"image": "a", "pass_environment": ["A B"]}, "names of variables, with \\* for any letters, got 'A B'"),
        ({"image": "a", "engine_args": "'"}, "no list of words"),
        ({"image": "a", "engine": "shifter", "writable": True}, "never changes images"),
        ({"image": "a", "engine": "charliecloud", "binds": ["/usr:/usr:ro"]}, "must be writable with"),
        ({"image": "a", "engine": "apptainer", "binds": ["/usr:/usr:ro,noexec"]}, "no option but ro"),
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
    monkeypatch.chdir(tmp_path)
    Path("my.sif").touch()
    assert with_engine(Container(image="my.sif")).line == f"apptainer:{tmp_path}/my.sif"
    with pytest.raises(LaunchError, match="apptainer and podman and charliecloud are here: name one"):
        with_engine(Container(image=str(tmp_path)))
    bubblewrap = with_engine(Container(image=str(tmp_path), engine="bubblewrap"))
    with pytest.raises(LaunchError, match="'bwrap' is not on PATH"):
        check_image(bubblewrap, is_elsewhere=False)
    check_image(bubblewrap, is_elsewhere=True)  # nodes may have it


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put commands on PATH that know nothing."""
    monkeypatch.setenv("PATH", f"{tmp_path}/programs:/usr/bin:/bin")
    (tmp_path / "programs").mkdir()
    for name in (*(engine.program for engine in ENGINES.values()), "shifterimg"):
        (tmp_path / "programs" / name).write_text("#!/bin/sh\necho no such image >&2\nexit 1\n")
        (tmp_path / "programs" / name).chmod(0o755)


@pytest.mark.usefixtures("programs")
def test_images_that_are_here(tmp_path, monkeypatch):
    """What is here as a file or a root file system is a path to engines that take it, and a name to the others."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rootfs" / "usr").mkdir(parents=True)
    (tmp_path / "sources").mkdir()
    (tmp_path / "torch.sqsh").touch()
    for engine, image, found in [
        ("bubblewrap", "rootfs", f"{tmp_path}/rootfs"),
        ("podman", "rootfs", f"{tmp_path}/rootfs"),
        ("docker", "rootfs", "rootfs"),
        ("podman", "sources", "sources"),
        ("podman", "./sources", f"{tmp_path}/sources"),
        ("pyxis", "torch.sqsh", f"{tmp_path}/torch.sqsh"),
    ]:
        assert with_engine(Container(image=image, engine=engine)).image == found


@pytest.mark.usefixtures("programs")
def test_images_that_an_engine_does_not_run(tmp_path):
    """The message says what it runs instead."""
    (tmp_path / "a.sif").touch()
    for engine, image, words in [
        ("bubblewrap", "a:1", "there is no image 'a:1': unpack it"),
        ("apptainer", "a:1", "there is no image 'a:1': give the path of a .sif file"),
        ("docker", str(tmp_path), "docker runs no image that is a directory"),
        ("podman", str(tmp_path / "a.sif"), "podman runs no image that is a file"),
        ("podman", "./nowhere", "there is no image './nowhere'"),
        ("", "docker://a/b:1", "apptainer pull b_1.sif docker://a/b:1"),
        ("podman", "oras://a/b:1", "container = podman:a/b:1"),
        ("enroot", "docker://a/b:1", "enroot import --output b_1.sqsh docker://a/b:1"),
        ("pyxis", "a/b:1", "enroot import --output b_1.sqsh docker://a/b:1, .* engine_args = '--container-name=NAME'"),
    ]:
        with pytest.raises(LaunchError, match=words):
            with_engine(Container(image=image, engine=engine))


def test_an_image_that_pyxis_keeps():
    """Each node gets it once, if it is told to."""
    container = with_engine(Container(image="a/b:1", engine="pyxis", engine_args="--container-name=b"))
    assert container.image == "a/b:1"
    check_image(container, is_elsewhere=True)


def test_an_environment_that_the_container_does_not_see(tmp_path):
    """One on this machine must be bound; one in the image need not."""
    prefix = tmp_path / "env"
    prefix.mkdir()
    image = tmp_path / "image"
    (image / "usr").mkdir(parents=True)
    container = Container(image=str(image), engine="podman")
    with pytest.raises(SettingsError, match=f"binds = \\['{prefix}'\\]"):
        wrapping_of(container, str(prefix), [image])
    assert wrapping_of(Container(image=str(image), engine="podman", binds=[str(prefix)]), str(prefix), [image]).prefix
    (image / str(prefix).lstrip("/")).mkdir(parents=True)
    assert wrapping_of(container, str(prefix), [image]).prefix == str(prefix)


def test_images_that_charliecloud_keeps(tmp_path, monkeypatch):
    """It runs those by name, and sets the variables of those that have some."""
    monkeypatch.setenv("CH_IMAGE_STORAGE", str(tmp_path))
    kept = tmp_path / "img" / "a%b+1"
    (kept / "usr").mkdir(parents=True)
    container = with_engine(Container(image=str(kept), engine="charliecloud"))
    assert container.image == "a/b:1"
    assert str(kept) in identity(container, is_elsewhere=False)
    assert "--set-env" not in Wrapping(container=container).pasted(["train"], Path("/work"))
    (kept / "ch").mkdir()
    (kept / "ch" / "environment").touch()
    charliecloud_has_environment.cache_clear()
    assert "--set-env" in Wrapping(container=container).pasted(["train"], Path("/work"))


@pytest.mark.usefixtures("programs")
def test_images_that_are_not_there(tmp_path):
    """It is known before anything is submitted, with the command that gets the image."""
    for engine, words in {
        "podman": "podman pull a:1",
        "shifter": "shifterimg pull a:1",
        "charliecloud": "ch-image pull a:1",
        "enroot": "enroot create --name a:1",
    }.items():
        with pytest.raises(LaunchError, match=words):
            check_image(Container(image="a:1", engine=engine), is_elsewhere=False)
        if ENGINES[engine].keeps_on_node:  # who knows what is there
            check_image(Container(image="a:1", engine=engine), is_elsewhere=True)
            assert identity(Container(image="a:1", engine=engine), is_elsewhere=True) == ""
    file = tmp_path / "a.sif"
    file.write_bytes(b"image")
    first = identity(Container(image=str(file), engine="apptainer"), is_elsewhere=False)
    assert "5 bytes" in first
    file.write_bytes(b"other")
    assert identity(Container(image=str(file), engine="apptainer"), is_elsewhere=False) != first


def test_what_a_container_sees(tmp_path):
    """Directories under their own names and where their links lead; one inside another once; no odd names."""
    study = tmp_path / "study"
    study.mkdir()
    (tmp_path / "link").symlink_to(study)
    seen = binds_of(["/usr:/in:ro"], [tmp_path / "link", study / "below"])
    assert [str(bind) for bind in seen] == ["/usr:/in:ro", f"{tmp_path}/link:{tmp_path}/link", f"{study}:{study}"]
    for odd in (Path("/"), tmp_path / "a:b"):
        with pytest.raises(LaunchError, match="cannot be bound"):
            binds_of([], [odd])
    (tmp_path / "a b").mkdir()
    for own, paths in ([], [tmp_path / "a b"]), ([f"{tmp_path}/a b:/in"], []):
        binds_of(own, paths)
        with pytest.raises(LaunchError, match="cannot be bound"):
            binds_of(own, paths, letters=ENGINES["enroot"].letters)


def test_links_that_lead_out_of_what_is_seen(tmp_path):
    """Where they lead is seen as well: directories, and those of files; not what an image has of its own."""
    source, data, one = tmp_path / "source", tmp_path / "data", tmp_path / "one"
    for directory in (source, data, one):
        directory.mkdir()
    (one / "file").touch()
    (source / "data").symlink_to(data)
    (source / "near").symlink_to("../one/file")
    (source / "python").symlink_to("/usr/bin/python3")
    (source / "inner").symlink_to(source / "data")
    (source / "gone").symlink_to(tmp_path / "gone")
    assert [bind.source for bind in binds_of([], [source])] == [str(data), str(one), str(source)]
    assert [str(bind) for bind in binds_of([f"{tmp_path}:{tmp_path}:ro"], [source])][:2] == [
        f"{tmp_path}:{tmp_path}:ro",
        f"{data}:{data}",
    ]


def test_binds_around_the_study(tmp_path):
    """Inner ones come later, so that a study can be written in what may only be read; each place is bound once."""
    study = tmp_path / "study"
    study.mkdir()
    seen = binds_of([f"{tmp_path}:{tmp_path}:ro"], [study])
    assert [str(bind) for bind in seen] == [f"{tmp_path}:{tmp_path}:ro", f"{study}:{study}"]
    assert [str(bind) for bind in binds_of([str(tmp_path)], [study, tmp_path])] == [f"{tmp_path}:{tmp_path}"]


def test_mount_points_that_the_image_must_have(tmp_path):
    """An engine that makes none needs them in the image."""
    container = Container(image=str(tmp_path), engine="charliecloud")
    with pytest.raises(LaunchError, match=f"mkdir -p {tmp_path}/work"):
        check_mount_points(container, [Bind("/work", "/work")])
    (tmp_path / "work").mkdir()
    check_mount_points(container, [Bind("/work", "/work"), Bind("/work/a", "/work/a"), Bind("/tmp/a", "/tmp/a")])
    with pytest.raises(LaunchError, match=f"mkdir -p {tmp_path}/data && touch {tmp_path}/data/file"):
        check_mount_points(container, [Bind(__file__, "/data/file")])


def test_an_engine_that_is_misspelt():
    """The one that is meant is named; what only looks like an engine is an image."""
    with pytest.raises(SettingsError, match=r"did you mean 'apptainer:/images/x\.sif'"):
        container_of("apptainr:/images/x.sif")
    assert container_of("python:3.11") == Container(image="python:3.11")
    assert container_of("docker://python:3.11") == Container(image="docker://python:3.11")


@pytest.mark.usefixtures("programs")
def test_an_engine_whose_service_is_not_there(tmp_path):
    """Nothing is said of the image, and nobody is told to pull it."""
    said = "Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker daemon running?"
    (tmp_path / "programs" / "docker").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    with pytest.raises(LaunchError, match="docker has nobody to ask about the image 'a:1': start it"):
        identity(Container(image="a:1", engine="docker"), is_elsewhere=False)
