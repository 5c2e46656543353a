"""The command lines of container engines; settings in, words out.

Sources: the manual pages and ``--help`` of podman-run, docker run, ch-run and bwrap, and the documentation of
Apptainer, Shifter, Podman-HPC, Enroot and Pyxis.

An engine runs a program in the foreground, with its standard output, its exit code and the signals that it is sent.
Where it hands over the environment that it was started in, nothing needs to be said of variables; where it begins with
an empty one, the names of those to take over are, and their values are read on the machine where it runs.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.launch.container import PROGRAMS, Bind, Container

LAUNCHER_VARIABLES = (
    "CRAYAI_SLOT", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MASTER_ADDR", "MASTER_PORT",
    "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS",
    "SLURM_JOB_NUM_NODES", "SLURM_STEP_NODELIST",
)  # fmt: skip
"""What launchers add to the environment of a task when it starts."""

GUARD = """\
# Runs a container of an engine that leaves it to a process elsewhere: which ends when this ends, also if killed.
engine=$1 name=$2.$$
shift 2
pipe=$(mktemp -u) && mkfifo "$pipe" || exit 125
env -u CRAYAI_TAG setsid sh -c 'trap "" TERM INT HUP; read -r over || "$0" kill "$1"' "$engine" "$name" \
  <"$pipe" >/dev/null 2>&1 &
exec 4>"$pipe"
rm -f "$pipe"
timer=
end() {
  trap "" TERM INT
  kill -TERM "$child" 2>/dev/null
  (sleep 3; exec "$engine" kill "$name") >/dev/null 2>&1 4>&- &
  timer=$!
}
setsid "$engine" run --name="$name" "$@" 4>&- &
child=$!
trap end TERM INT
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  code=$?
done
[ -z "$timer" ] || kill "$timer" 2>/dev/null
echo over >&4
exit "$code"
"""
"""The words behind it are the engine, the name of the container, and what follows ``run``."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one task runs inside a container.

    Attributes:
        container: With its engine.
        binds: What it sees of the machine.
        directory: Where the program starts.
        variables: The names of those that it must be given.
        name: For engines that want one for each container that runs.
    """

    container: Container
    binds: Sequence[Bind]
    directory: str
    variables: Sequence[str] = ()
    name: str = "crayai"

    @property
    def image(self) -> str:
        """The image."""
        return self.container.image

    @property
    def words(self) -> list[str]:
        """What the user adds."""
        return shlex.split(self.container.engine_args)


def inside(place: Place, argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` inside a container."""
    return [*_ENGINES[place.container.engine](place), *argv]


def srun_arguments(container: Container, binds: Sequence[Bind], directory: str) -> list[str]:
    """Return the arguments by which srun, with Pyxis, starts its tasks inside a container."""
    return [
        f"--container-image={container.image}",
        f"--container-mounts={','.join(map(str, binds))}",
        f"--container-workdir={directory}",
        "--container-writable" if container.writable else "--container-readonly",
        *shlex.split(container.engine_args),
    ]


def _podman(place: Place) -> list[str]:
    container = place.container
    rootfs = [] if container.writable else ["--read-only"]
    image = [*rootfs, *place.words, "--rootfs", place.image] if container.is_directory else [*place.words, place.image]
    gpu = {"podman": "--device=nvidia.com/gpu=all", "podman-hpc": "--gpu", "docker": "--gpus=all"}[container.engine]
    return [
        "/bin/sh", "-c", GUARD, "sh", PROGRAMS[container.engine], place.name,
        "--rm", "--init", "--entrypoint=", "--network=host", "--ipc=host", "--security-opt=label=disable",
        *(f"--volume={bind}" for bind in place.binds),
        f"--workdir={place.directory}",
        *(f"--env={name}" for name in place.variables),
        *([gpu] if container.gpu else []),
        *image,
    ]  # fmt: skip


def _docker(place: Place) -> list[str]:
    """Add that files belong to the user, whose name the daemon does not know, but the shell of the node does."""
    words = _podman(place)
    guard = words.index(GUARD)
    words[guard] = GUARD.replace('run --name="$name"', 'run --user="$(id -u):$(id -g)" --name="$name"')
    return words


def _apptainer(place: Place) -> list[str]:
    container = place.container
    return [
        container.engine, "exec",
        *(f"--bind={bind}" for bind in place.binds),
        f"--pwd={place.directory}",
        *(["--nv"] if container.gpu else []),
        *(["--writable"] if container.writable else []),
        *place.words, place.image,
    ]  # fmt: skip


def _charliecloud(place: Place) -> list[str]:
    """Mount points must be there in an image that is not writable; GPUs are there with the devices of the machine."""
    has_environment = (Path(place.image) / "ch" / "environment").is_file()
    return [
        "ch-run",
        *(["--write"] if place.container.writable else []),
        *(f"--bind={bind.source}:{bind.destination}" for bind in place.binds),
        f"--cd={place.directory}",
        *(["--set-env"] if has_environment else []),
        *place.words, place.image, "--",
    ]  # fmt: skip


def _bubblewrap(place: Place) -> list[str]:
    container = place.container
    devices = ["--dev-bind", "/dev", "/dev"] if container.gpu else ["--dev", "/dev"]
    return [
        "bwrap", "--bind" if container.writable else "--ro-bind", place.image, "/",
        *devices, "--proc", "/proc", "--ro-bind", "/sys", "/sys", "--tmpfs", "/tmp",  # noqa: S108 - the container's
        *(word for bind in place.binds
          for word in ("--ro-bind" if bind.options == "ro" else "--bind", bind.source, bind.destination)),
        "--chdir", place.directory, "--unshare-pid", "--die-with-parent", *place.words,
    ]  # fmt: skip


def _shifter(place: Place) -> list[str]:
    return [
        "shifter", f"--image={place.image}",
        *(f"--volume={bind}" for bind in place.binds),
        f"--workdir={place.directory}",
        *(["--module=gpu"] if place.container.gpu else []),
        *place.words, "--",
    ]  # fmt: skip


def _enroot(place: Place) -> list[str]:
    """There is no option for the directory: a shell inside goes there."""
    return [
        "enroot", "start",
        *(["--rw"] if place.container.writable else []),
        *(f"--mount={bind.source}:{bind.destination}" for bind in place.binds),
        *(f"--env={name}" for name in place.variables),
        *(["--env=NVIDIA_VISIBLE_DEVICES=all"] if place.container.gpu else []),
        *place.words, place.image, *_go_to(place.directory),
    ]  # fmt: skip


def _pyxis(place: Place) -> list[str]:
    """The engine is started by srun, see `srun_arguments`."""
    return _go_to(place.directory)


def _go_to(directory: str) -> list[str]:
    return ["sh", "-c", 'cd "$0" && exec "$@"', directory]


_ENGINES: Mapping[str, Callable[[Place], list[str]]] = {
    "apptainer": _apptainer,
    "singularity": _apptainer,
    "podman-hpc": _podman,
    "podman": _podman,
    "docker": _docker,
    "charliecloud": _charliecloud,
    "bubblewrap": _bubblewrap,
    "shifter": _shifter,
    "enroot": _enroot,
    "pyxis": _pyxis,
}
