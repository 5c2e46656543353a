"""What the doctor says of what the program sees where it runs."""

from collections.abc import Iterator, Mapping, Sequence

from crayai.hpo.engine.findings import Check, Verdict, some
from crayai.hpo.engine.sight import facts_in

_NAME = "environment"
_TOLD = ("torch", "tensorflow", "jax", "keras", "scikit-learn", "xgboost", "lightgbm", "numpy", "mpi4py", "horovod")
"""The packages that are worth telling of."""


def check_sight(printed: str, environment: str) -> Iterator[Check]:
    """Say what was seen there, and whether it is the `environment` that was asked for."""
    facts = facts_in(printed)
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
