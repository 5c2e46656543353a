"""Numbers and facts as people read them."""

from collections.abc import Mapping
from typing import Any

from crayai.hpo.records import Evaluation

_WORTH_A_FACTOR = 1.5


def improvement(best: float, default: float, *, less_is_better: bool) -> str:
    """Return how much better `best` is than `default`, such as ``3.1x better than the default point``."""
    gain = default - best if less_is_better else best - default
    if gain <= 0:
        return "no better than the default point"
    worse, better = (default, best) if less_is_better else (best, default)
    if better > 0 and worse / better >= _WORTH_A_FACTOR:
        return f"{worse / better:.3g}x better than the default point"
    if default:
        return f"{100 * gain / abs(default):.3g} % better than the default point"
    return f"better by {gain:.4g} than the default point"


def duration(seconds: float) -> str:
    """Return a time span, such as ``1:02:03`` or ``4.2 s``."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def evaluation_line(evaluation: Evaluation, best: Evaluation | None) -> str:
    """Return what became of an evaluation, and the best so far, on one line."""
    result = f"FoM {evaluation.fom:g}" if evaluation.fom is not None else f"failed ({evaluation.failure})"
    known = "" if best is None or best.fom is None else f"   best {best.fom:g} (evaluation {best.number})"
    return f"evaluation {evaluation.number}: {result}{known}"


def settings_block(settings: Mapping[str, Any], directory: str, slots: int) -> str:
    """Return the settings of a study as lines of name and value."""
    strategy = dict(settings["strategy"])
    name = strategy.pop("name")
    arguments = ", ".join(f"{key}={value}" for key, value in strategy.items() if value is not None)
    rows = [
        ("command", settings["command"]),
        ("fom", f"{settings['fom']!r}, {settings['goal']}"),
        ("strategy", f"{name}: {arguments}"),
        ("seed", str(settings["seed"])),
        ("slots", str(slots)),
        ("directory", directory),
        *(("params" if i == 0 else "", line) for i, line in enumerate(settings["params"])),
    ]
    return "\n".join(f"  {name:<10} {value}" for name, value in rows)
