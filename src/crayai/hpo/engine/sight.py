"""What the evaluated program sees where it runs: machine, Python, packages, GPUs.

A few lines of the plain shell are run in the place of the program: inside its container and its environment, and where
its launcher runs it. A driver lets its first evaluation's place be looked at, and what is seen is recorded with the
study. On this machine that is done beside the evaluation; elsewhere by its own task before it begins, for a task of its
own might wait for hours in a queue.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from crayai.hpo.engine.provenance import Fact, python_of
from crayai.hpo.engine.resume import OpenStudy
from crayai.hpo.engine.search import Search
from crayai.hpo.errors import StoreError
from crayai.hpo.launch.wrapping import Wrapping
from crayai.hpo.records import Event, Launched, Told

_LOOK = """\
echo "machine $(uname -n 2>/dev/null || hostname)"
echo "evaluation $CRAYAI_EVALUATION"
for name in "$@"; do
  python=$(command -v "$name") && break
done
if [ "$python" ]; then
  echo "python $python"
  "$python" - <<'END'
import os, sys
print("version", ".".join(map(str, sys.version_info[:3])))
print("prefix", sys.prefix)
try:
    from importlib.metadata import distributions
except ImportError:
    distributions = tuple
found = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
for name in sorted(found, key=str.lower):
    print("package", name, found[name])
END
fi
for file in "${CONDA_PREFIX:-/}"/conda-meta/*-*-*.json; do
  [ -e "$file" ] || continue
  file=${file##*/} file=${file%-*}
  echo "package ${file%-*} ${file##*-}"
done
if command -v nvidia-smi >/dev/null; then
  nvidia-smi -L 2>/dev/null | sed -n 's/^GPU [0-9]*: \\(.*\\) (UUID.*/gpu \\1/p'
else
  for file in /dev/nvidia[0-9]*; do
    [ ! -e "$file" ] || echo "gpu ${file##*/}"
  done
fi
if [ -e /dev/kfd ]; then
  for file in /dev/dri/renderD*; do
    [ ! -e "$file" ] || echo "gpu ${file##*/}"
  done
fi
echo "visible ${CUDA_VISIBLE_DEVICES-${ROCR_VISIBLE_DEVICES-all}}"
echo over
"""
_FIRST = '(set -C; timeout {seconds} {look} >"$0") </dev/null 2>/dev/null\nexec "$@"'
"""Looks around if nobody has as yet, of several evaluations or ranks that begin; then becomes the program."""
_SECONDS = 30
_PATIENCE_SECONDS = 5.0


def looking(argv: Sequence[str]) -> list[str]:
    """Return the command that looks around in the place of `argv`."""
    names = [name for name in (python_of(argv) or _interpreter(argv), "python3", "python") if name]
    return ["/bin/sh", "-c", _LOOK, "sh", *names]


def looking_first(look: Sequence[str], file: Path) -> tuple[str, ...]:
    """Return the words before a command that let it begin with a `look`, written to `file`; none if that is there."""
    return () if file.exists() else ("/bin/sh", "-c", _FIRST.format(seconds=_SECONDS, look=shlex.join(look)), str(file))


def _interpreter(argv: Sequence[str]) -> str:
    """Return the Python in the first line of a script that is run by its path; empty: it is none."""
    try:
        with Path(argv[0]).open("rb") as file:
            line = file.readline(200).decode(errors="replace")
    except OSError:
        return ""
    return python_of([line[2:].strip()]) if line.startswith("#!") else ""


@dataclass(kw_only=True)
class Sight:
    """Records what is seen in the place of the first evaluation of a driver; an observer.

    Args:
        opened: The study.
        wrapping: What stands around evaluations.
        start: Where programs start.
        is_here: Whether they are processes of this machine.
    """

    opened: OpenStudy
    wrapping: Wrapping
    start: Path
    is_here: bool
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _is_over: bool = field(default=False, init=False)

    @property
    def file(self) -> Path:
        """Where it is written."""
        return self.opened.directory.root / "seen"

    def take_in(self) -> None:
        """Record what is there, of an earlier driver too, once it is complete."""
        if self._is_over:
            return
        with suppress(OSError, StoreError):
            facts = facts_in(self.file.read_text(encoding="utf-8", errors="replace"))
            if "over" in facts:
                number = facts.get("evaluation", [""])[0]
                self.opened.record_seen(int(number) if number.isdecimal() else 0, seen_of(facts))
                self._is_over = True

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:  # noqa: ARG002 - not needed
        """Take note that there is another driver, who is to look anew."""
        self.file.unlink(missing_ok=True)
        self._is_over = not search.study.command

    def event(self, event: Event, search: Search) -> None:
        """Look at the first launching, and take in what was seen after a later event."""
        if isinstance(event, Launched) and self.is_here and self._process is None and not self._is_over:
            self._look(search, event.number)
        elif isinstance(event, Told):
            self.take_in()

    def _look(self, search: Search, number: int) -> None:
        """Look around beside the evaluation."""
        command = search.study.filled_command
        environment = {"CRAYAI_EVALUATION": str(number)}
        tag = f"{self.opened.study_id}:look"
        look = self.wrapping.around(looking(command.words or (command.text,)), self.start, environment, tag)
        with suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                [*looking_first(look, self.file), "true"],
                cwd=self.start,
                env={**os.environ, **environment, **self.wrapping.variables()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def notice(self, text: str) -> None:
        """Take no note."""

    def end(self, search: Search) -> None:  # noqa: ARG002 - an observer is told of it
        """Take in what was seen, if that was not done before."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_SECONDS)
        self.take_in()


def facts_in(printed: str) -> dict[str, list[str]]:
    """Return what was seen, by name."""
    facts: dict[str, list[str]] = {}
    for line in printed.splitlines():
        name, _, text = line.partition(" ")
        facts.setdefault(name, []).append(text)
    return facts


def seen_of(facts: Mapping[str, list[str]]) -> dict[str, Fact]:
    """Return what is recorded of what was seen, maybe by several ranks at once."""
    version, path = (facts.get(name, [""])[0] for name in ("version", "python"))
    python = f"{version} ({path})" if version else ""
    seen: dict[str, Fact] = {
        "python": python,
        "packages": sorted(set(facts.get("package", [])), key=str.lower),
        "gpus": facts.get("gpu", []),
    }
    return {name: fact for name, fact in seen.items() if fact}
