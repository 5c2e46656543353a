"""What the doctor says of what the program sees where it runs."""

from collections.abc import Iterator, Mapping, Sequence

from crayai.hpo.engine.doctor.findings import Check, Verdict, some
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.sight import facts_in
from crayai.hpo.launch.gpus import visible_gpus

_NAME = "environment"
_TOLD = ("torch", "tensorflow", "jax", "keras", "scikit-learn", "xgboost", "lightgbm", "numpy", "mpi4py", "horovod")
"""The packages that are worth telling of."""


def check_sight(printed: str, settings: EvaluationSettings) -> Iterator[Check]:
    """Say what was seen there, and whether it is what was asked for."""
    facts = facts_in(printed)
    if "machine" not in facts:
        return
    gpus, environment = facts.get("gpu", []), settings.environment
    visible = facts.get("visible", ["all"])[-1]
    seen_gpus = f"GPUs: {some(gpus)}; visible: {visible or 'none'}" if gpus else "no GPU"
    text = f"on {facts['machine'][0]}: {_python(facts)}; {seen_gpus}"
    prefix = facts.get("prefix", [""])[0]
    if environment and prefix and prefix != environment:
        remedy = f"let the command name {environment}/bin/python, or just python"
        yield Check(_NAME, Verdict.NOTE, f"{text}; this Python is not that of {environment}", remedy)
    else:
        yield Check(_NAME, Verdict.OK, text)
    if not gpus or visible in ("", "-1"):
        yield from _check_no_gpu(settings)


def _check_no_gpu(settings: EvaluationSettings) -> Iterator[Check]:
    """Say that the program sees no GPU, where one was asked for, or where only the container has none."""
    container, here = settings.container, visible_gpus() if settings.is_here else []
    of_container = container is not None and container.gpu
    there = f"; this machine has the GPUs {some(here)}" if here else ""
    if of_container or settings.gpus:
        asked = "gpu of the container" if of_container else "gpus"
        engine = f", and what {container.engine} needs to hand them over" if container is not None else ""
        remedy = f"look at nvidia-smi or rocm-smi where it runs{engine}"
        yield Check("GPUs", Verdict.PROBLEM, f"the program sees none, and {asked} asks for some{there}", remedy)
    elif container is not None and here and settings.gpus is None:
        remedy = "if the program uses them: gpu = true in [launcher.container]; else gpus = []"
        yield Check("GPUs", Verdict.NOTE, f"the program sees none in its container{there}", remedy)


def _python(facts: Mapping[str, Sequence[str]]) -> str:
    if "version" not in facts:
        return "no Python"
    packages = {name: version for name, _, version in (text.partition(" ") for text in facts.get("package", []))}
    told = [f"{name} {packages[name]}" for name in _TOLD if name in packages]
    among = f", with {', '.join(told)}" if told else ""
    return f"Python {facts['version'][0]} ({facts['python'][0]}), {len(packages)} packages{among}"
