"""A command of a stand-in: ``python -m batch_stand_in SPOOL qsub …``."""

import sys
from pathlib import Path

from . import moab, nodes, pbs, runner
from .server import NAME, Server, fail

_UNREACHABLE = 111


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
    return fail(f"Connection refused\n{command}: cannot connect to server {NAME} (errno=111)", _UNREACHABLE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
