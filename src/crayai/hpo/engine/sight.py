"""What the evaluated program sees where it runs: machine, Python, packages, GPUs.

A few lines of the plain shell are run in the place of the program: by its launcher, inside its container and its
environment.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crayai.hpo.engine.findings import Check, Verdict, some
from crayai.hpo.engine.provenance import python_of

_LOOK = """\
echo "machine $(uname -n 2>/dev/null || hostname)"
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
if command -v nvidia-smi >/dev/null; then
  nvidia-smi -L 2>/dev/null | sed -n 's/^GPU [0-9]*: \\(.*\\) (UUID.*/gpu \\1/p'
fi
echo "visible ${CUDA_VISIBLE_DEVICES-${ROCR_VISIBLE_DEVICES-all}}"
"""
_NAME = "environment"
_TOLD = ("torch", "tensorflow", "jax", "keras", "scikit-learn", "xgboost", "lightgbm", "numpy", "mpi4py", "horovod")
"""The packages that are worth telling of."""


def looking(argv: Sequence[str]) -> list[str]:
    """Return the command that looks around in the place of `argv`."""
    names = [name for name in (python_of(argv) or _interpreter(argv), "python3", "python") if name]
    return ["/bin/sh", "-c", _LOOK, "sh", *names]


def _interpreter(argv: Sequence[str]) -> str:
    """Return the Python in the first line of a script that is run by its path; empty: it is none."""
    try:
        with Path(argv[0]).open("rb") as file:
            line = file.readline(200).decode(errors="replace")
    except OSError:
        return ""
    return python_of([line[2:].strip()]) if line.startswith("#!") else ""


def check_sight(printed: str, environment: str) -> Iterator[Check]:
    """Say what was seen there, and whether it is the `environment` that was asked for."""
    facts: dict[str, list[str]] = {}
    for line in printed.splitlines():
        name, _, text = line.partition(" ")
        facts.setdefault(name, []).append(text)
    if "machine" not in facts:
        return
    gpus = facts.get("gpu", [])
    visible = facts.get("visible", ["all"])[-1]
    seen_gpus = f"GPUs: {some(gpus)}; visible: {visible or 'none'}" if gpus else "no GPU"
    text = f"on {facts['machine'][0]}: {_python(facts)}; {seen_gpus}"
    prefix = facts.get("prefix", [""])[0]
    if environment and prefix and prefix != environment:
        remedy = f"let the command name {environment}/bin/python, or just python"
        yield Check(_NAME, Verdict.NOTE, f"{text}; this Python is not that of {environment}", remedy)
    else:
        yield Check(_NAME, Verdict.OK, text)


def _python(facts: Mapping[str, Sequence[str]]) -> str:
    if "version" not in facts:
        return "no Python"
    packages = dict(text.split(" ", 1) for text in facts.get("package", []))
    told = [f"{name} {packages[name]}" for name in _TOLD if name in packages]
    among = f", with {', '.join(told)}" if told else ""
    return f"Python {facts['version'][0]} ({facts['python'][0]}), {len(packages)} packages{among}"
