"""A command of a stand-in: ``python -m batch_stand_in SPOOL qsub …``."""

import sys
from pathlib import Path

from . import moab, nodes, pbs, runner
from .server import NAME, Server, fail

_UNREACHABLE = {"qstat": 255, "qselect": 162, "qsub": 162, "qdel": 162, "pbsnodes": 1}
"""The exit codes of PBS's commands; TORQUE's is the number of the error."""
_REFUSED = 111


def main(spool: Path, command: str, words: list[str]) -> int:
    """Return the exit code of a command."""
    server = Server(spool)
    if command == "run":
        runner.run(server)
        return 0
    if command in ("pbs_tmrsh", "pbsdsh"):
        return int(getattr(nodes, command)(server, words))
    flavour = moab if server.flavour == "moab" else pbs
    if not (spool / "down").exists():
        return int(getattr(flavour, command)(server, words))
    if flavour is moab:
        return fail(f"ERROR:  cannot connect to server {NAME}:42559 - connection refused", 255)
    if server.flavour == "torque":
        where = f"Cannot connect to default server host '{NAME}' - check pbs_server daemon and/or trqauthd."
        return fail(f"{where}\n{command}: cannot connect to server {NAME} (errno=111) Connection refused", _REFUSED)
    if command == "qstat":
        pbs.say_header()
    what = f"{command}: cannot connect to server {NAME} (errno=15010)"
    return fail(
        "System call failure.\n" + (f"Couldn't connect to cluster: {NAME}" if command == "qdel" else what),
        _UNREACHABLE[command],
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
