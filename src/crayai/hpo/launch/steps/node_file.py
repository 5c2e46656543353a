"""The nodes of the job of PBS, TORQUE or Moab that we run in, as the file of ``$PBS_NODEFILE`` names them.

Nobody there finds free nodes for us, as ``srun`` does: each slot of the keeper has its own, in a file of the same form
that the program of an evaluation, and an MPI library, find as their ``$PBS_NODEFILE``. In the study's ``jobs``:

    nodes/3        the nodes of slot 3
    nodes/all      the file of the job, which on other nodes need not be there
    environment    the driver's, for other nodes
    start          what a node is asked to run: sets a step's environment, and runs its script
    step           what the keeper runs: asks the first node of its slot to start, and to end where it is told to
    end            ends a step by its process

A node is asked by ``pbs_tmrsh`` (PBS), ``pbsdsh -h`` (TORQUE), or else ``mpiexec``; our own is not asked at all.
"""

import os
import re
import shlex
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, Task
from crayai.hpo.launch.batch.inherited import exports
from crayai.hpo.launch.batch.pbs import Pbs, limit_in
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.keeper import location_of
from crayai.hpo.launch.notices import Notices
from crayai.hpo.launch.steps.nodes import Shape

_ASKING = {"pbs_tmrsh": ["pbs_tmrsh"], "pbsdsh": ["pbsdsh", "-h"], "mpiexec": ["mpiexec", "-n", "1", "-host"]}
"""How another node is asked to run a command, each by the program that does it; the node's name follows."""
_HOST_FILES = (
    "HYDRA_HOST_FILE", "I_MPI_HYDRA_HOST_FILE", "OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile",
)  # fmt: skip
"""In which variables MPICH, Intel MPI and Open MPI look for a file of the nodes to be used."""
_OUTAGE = re.compile(r"tm_init failed|TM_ENOTCONNECTED|error from tm_")
_START = """\
#!/bin/sh
# Runs a step of a crayai study on this node: start NAME SLOT
. {root}/environment
export CRAYAI_SLOT="$2" PBS_NODEFILE={root}/nodes/"$2" CRAYAI_JOB="$(hostname) $$"
export {host_files}
exec /bin/sh {root}/steps/"$1"
"""
_STEP = """\
#!/bin/sh
# Has a step of a crayai study run on the first node of its slot: step NAME
claim={root}/proofs/"$1".claim
end={root}/end
asked=
trap 'asked=yes; ln -sn driver "$claim" 2>/dev/null || {asking} "$node" /bin/sh "$end" "$(readlink "$claim")"' TERM
read -r node <{root}/nodes/"$CRAYAI_SLOT"
[ "$node" != {here} ] || exec /bin/sh {root}/start "$1" "$CRAYAI_SLOT"
{asking} "$node" /bin/sh {root}/start "$1" "$CRAYAI_SLOT" </dev/null &
wait "$!"
code=$?
[ ! "$asked" ] || wait "$!"
exit "$code"
"""
_END = """\
#!/bin/sh
# Ends a step of a crayai study on this node: end "HOST PID"
set -- $*
for signal in TERM TERM TERM KILL; do
  kill -"$signal" -- -"$2" 2>/dev/null || kill -"$signal" "$2" 2>/dev/null || exit 0
  sleep 1
done
"""


def is_inside() -> bool:
    """Return whether we run in a job that has been given nodes."""
    return bool(os.environ.get("PBS_JOBID")) and Path(os.environ.get("PBS_NODEFILE", "")).is_file()


class NodeFile:
    """The nodes of our job, which end with us.

    Args:
        directory: Of the study.
        shape: How evaluations lie in the nodes.

    Raises:
        LaunchError: There are too few, or nothing by which to ask them.
    """

    runs_everywhere = False
    reason = ""
    is_ready = True

    def __init__(self, directory: Path, shape: Shape) -> None:
        self.notices = Notices()
        self._root, self._shape = directory.absolute() / "jobs", shape
        self._nodes = _nodes_of(Path(os.environ["PBS_NODEFILE"]))
        job = os.environ["PBS_JOBID"]
        if len(self._nodes) < shape.nodes:
            raise LaunchError(
                f"the job {job} has {len(self._nodes)} nodes, and nodes={shape.nodes} were asked for; "
                "mode='jobs' submits each evaluation as a job of its own instead"
            )
        self._here = _own_name(self._nodes)
        self._asking = next((argv for name, argv in _ASKING.items() if shutil.which(name)), [])
        if not self._asking and set(self._nodes[: shape.nodes]) != {self._here}:
            raise LaunchError(
                f"the job {job} has nodes besides {self._here}, and nothing here runs a command on them: "
                f"{', '.join(_ASKING)} not found on PATH"
            )
        self._is_written = False

    def seconds_left(self) -> float:
        """Return that this is not known."""
        return float("inf")

    def look(self) -> None:
        """Write what stands in ``jobs``."""
        if not self._is_written:
            self._write(self._shape)

    def is_there(self) -> bool:
        """Return that it is there as long as we are."""
        return True

    def release(self) -> None:
        """Do nothing: it is not ours."""

    def requests(self) -> list[list[str]]:
        """Return nothing: it is there."""
        return []

    def prefix(self, shape: Shape) -> list[str]:
        """Return the words before a command that runs on several nodes, or has arguments to be launched with.

        By the line of a node in ``$PBS_NODEFILE`` an MPI library tells PBS which one it means, so that must be the file
        of the job; which of its nodes are to be used, other variables say.
        """
        words = Pbs().launch(shape.nodes_per_eval, shlex.split(shape.arguments))
        of_job = ["env", f"PBS_NODEFILE={self._root / 'nodes' / 'all'}"] if shape.nodes_per_eval > 1 else []
        return [*of_job, *words]

    def step(self, task: Task, name: str, shape: Shape, script: Path) -> list[str]:  # noqa: ARG002 - known by its name
        """Return the command that has a step run on the nodes of its slot."""
        return ["/bin/sh", str(self._root / "step"), name]

    def avoid(self, locations: Sequence[str], shape: Shape) -> tuple[str, ...]:
        """Return the slots that have one of these nodes."""
        wanted = [set(locations) & set(self._of_slot(slot, shape)) for slot in range(shape.slots)]
        return tuple(location_of(slot) for slot, found in enumerate(wanted) if found)

    def end_step(self, owner: str) -> None:
        """End a step that nobody keeps any more, on its node."""
        node = owner.partition(" ")[0]
        if node in self._nodes:
            self.look()
            asked = [] if node == self._here else [*self._asking, node]
            ask([*asked, "/bin/sh", str(self._root / "end"), owner])

    def lost(self, said: str) -> Exited | Gone:
        """Return the end of a step of which nobody knows more."""
        if limit := limit_in(said):
            return Exited(-9, limit)
        return Gone(f"its step has left no record of its end: {said}")

    def is_outage(self, said: str) -> bool:
        """Return whether the daemon of a node did not answer."""
        return bool(_OUTAGE.search(said))

    def _of_slot(self, slot: int, shape: Shape) -> list[str]:
        """Return the nodes of a slot; those that share nodes are spread over them."""
        if shape.evals_per_node > 1:
            return [self._nodes[slot % shape.nodes]]
        return self._nodes[slot * shape.nodes_per_eval : (slot + 1) * shape.nodes_per_eval]

    def _write(self, shape: Shape) -> None:
        """Write all files anew, each at once: steps of an earlier driver may just be reading them."""
        quoted = shlex.quote(str(self._root))
        (self._root / "nodes").mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in range(shape.slots):
            _replace(self._root / "nodes" / str(slot), "".join(f"{node}\n" for node in self._of_slot(slot, shape)))
        _replace(self._root / "nodes" / "all", Path(os.environ["PBS_NODEFILE"]).read_text(encoding="utf-8"))
        host_files = " ".join(f'{name}={quoted}/nodes/"$2"' for name in _HOST_FILES)
        words = {"root": quoted, "here": shlex.quote(self._here), "asking": shlex.join(self._asking)}
        texts = {
            "start": _START.format(**words, host_files=host_files),
            "step": _STEP.format(**words),
            "end": _END,
            "environment": exports(),
        }
        for name, text in texts.items():
            _replace(self._root / name, text)
        self._is_written = True


def _replace(path: Path, text: str) -> None:
    """Write a file for its user alone; who reads the old one reads on in that."""
    part = path.with_name(f"{path.name}~")
    part.touch(mode=0o600)
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def _nodes_of(path: Path) -> list[str]:
    """Return the nodes of a file that may name one several times, for its cores or ranks."""
    return list(dict.fromkeys(path.read_text(encoding="utf-8").split()))


def _own_name(nodes: Sequence[str]) -> str:
    """Return by which name our node goes among these; the first part is enough; empty: it is none of them."""
    own = socket.gethostname().partition(".")[0]
    return next((node for node in nodes if node.partition(".")[0] == own), "")
