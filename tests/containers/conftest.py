"""A root file system and the engines that run it, which are installed where they can be."""

import os
import shutil
import subprocess
import time

import pytest
from debian import install, refusal
from rootfs import make_rootfs

ENGINES = {"podman": "podman", "charliecloud": "ch-run", "bubblewrap": "bwrap"}
_PACKAGES = ("podman", "runc", "catatonit", "charliecloud", "bubblewrap")
_SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
"""
"""What Podman needs where nobody may raise limits, and there is no init system."""


@pytest.fixture(scope="session", autouse=True)
def _engines_are_here(tmp_path_factory):
    if not all(map(shutil.which, [*ENGINES.values(), "runc", "catatonit"])):
        if problem := refusal(_PACKAGES):
            pytest.skip(f"not all container engines are here: {problem}")
        assert install(_PACKAGES)
    settings = tmp_path_factory.mktemp("podman") / "containers.conf"
    settings.write_text(_SETTINGS)
    os.environ["CONTAINERS_CONF"] = str(settings)
    yield
    del os.environ["CONTAINERS_CONF"]


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """Return a directory with a root file system; /etc/inside tells a program that it is there."""
    return make_rootfs(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture(scope="session")
def named_image(image):
    """Return the name of an image in Podman's storage, in which programs belong to somebody else."""
    name = f"localhost/crayai-test:{os.getpid()}"  # other sessions may test beside this one
    packed = subprocess.run(["tar", "-C", image, "-c", "."], capture_output=True, check=True)
    how = ["--change", "USER 1000", "--change", 'ENTRYPOINT ["/bin/false"]', "--change", "ENV OWN=image"]
    subprocess.run(["podman", "import", *how, "-", name], input=packed.stdout, capture_output=True, check=True)
    yield name
    subprocess.run(["podman", "rmi", "--force", name], capture_output=True, check=True)


@pytest.fixture(scope="session")
def docker(named_image, tmp_path_factory):
    """Return an image for Docker's command, which speaks to a service of Podman's: there need be no daemon."""
    if shutil.which("docker") is None:
        pytest.skip("the command docker is not here")
    socket = tmp_path_factory.mktemp("docker") / "socket"
    service = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"])
    os.environ["DOCKER_HOST"] = f"unix://{socket}"
    deadline = time.monotonic() + 30
    while subprocess.run(["docker", "ps"], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "the service of Podman does not answer"
    yield f"docker:{named_image}"
    del os.environ["DOCKER_HOST"]
    service.terminate()
    service.wait()


_BARE = {
    "podman": "podman run --rm --init --rootfs {} /bin/ls /",
    "charliecloud": "ch-run {} -- /bin/ls /",
    "apptainer": "apptainer exec {} /bin/ls /",
    "bubblewrap": "bwrap --ro-bind {} / --dev /dev --proc /proc --unshare-pid /bin/ls /",
}


@pytest.fixture(scope="session", params=[*ENGINES, "podman by name", "docker", "apptainer"])
def container(request, image):
    """Return the image with each of the engines that can run anything at all on this machine."""
    if request.param == "docker":
        return request.getfixturevalue("docker")
    if request.param == "podman by name":
        return f"podman:{request.getfixturevalue('named_image')}"
    if request.param == "apptainer" and shutil.which("apptainer") is None:
        pytest.skip("the command apptainer is not here")
    bare = _BARE[request.param].format(image).split()
    environment = {"USER": "root", **os.environ}
    done = subprocess.run(bare, capture_output=True, text=True, timeout=60, check=False, env=environment)
    if done.returncode:
        pytest.skip(f"{request.param} runs nothing on this machine: {done.stderr.strip()}")
    return f"{request.param}:{image}"
