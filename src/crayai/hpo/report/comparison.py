"""Whether trainings along a schedule end better than trainings with constant values, or by luck."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from crayai.hpo.errors import SettingsError

_SIGNIFICANT = 0.05
_LEAST_SEEDS = 4


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two samples of losses compared.

    Attributes:
        spread: Whether trainings with the same values end differently, as they do where a program uses its seed.
        u: The statistic of Mann and Whitney.
        p: How likely a difference as great is, in either direction, where there is none.
        a12: How likely a training of the first sample ends better than one of the second (Vargha and Delaney 2000).
    """

    spread: bool
    u: float
    p: float
    a12: float


def check_installed() -> None:
    """Make sure that what `compare` needs is there.

    Raises:
        SettingsError: It is not; with the command that installs it.
    """
    if find_spec("scipy") is None:
        raise SettingsError("the comparison needs SciPy, which is not installed: pip install 'crayai[stats]'")


def compare(schedule: Sequence[float], constant: Sequence[float]) -> Comparison:
    """Compare two samples of losses; an infinite loss is a failed training."""
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 - optional, and a second to import

    wins = math.fsum((a < b) + 0.5 * (a == b) for a in schedule for b in constant)
    a12 = wins / (len(schedule) * len(constant))
    differ = len({*schedule, *constant}) > 1
    p = float(mannwhitneyu(schedule, constant).pvalue) if differ else 1.0
    return Comparison(len({*schedule}) > 1 or len({*constant}) > 1, wins, p, a12)


def verdict(found: Comparison, seeds: int) -> str:
    """Return one sentence that says which is better."""
    if not found.spread:
        which = "Schedule better" if found.a12 == 1 else "Constant better" if found.a12 == 0 else "Not distinguishable"
        return (
            f"{which}: trainings with the same values end the same, whatever CRAYAI_SEED is, so chance plays no part."
        )
    if found.p >= _SIGNIFICANT or seeds < _LEAST_SEEDS:
        few = f"; fewer than {_LEAST_SEEDS} cannot tell them apart" if seeds < _LEAST_SEEDS else ""
        return (
            f"Not distinguishable: with {seeds} seeds no difference shows between trainings along the schedule and "
            f"with constant values (p = {found.p:.2g}{few})."
        )
    better, worse, share = (
        ("Schedule", "with constant values", found.a12)
        if found.a12 > 0.5  # noqa: PLR2004 - an even chance
        else ("Constant", "along the schedule", 1 - found.a12)
    )
    one = "a training along the schedule" if better == "Schedule" else "a training with constant values"
    return f"{better} better: {one} beats one {worse} in {100 * share:.0f} % of the pairs (p = {found.p:.2g})."


def luck(best: float, replays: Sequence[float]) -> str:
    """Return one sentence that says where the best model of the search stands among the replays of its schedule."""
    better = sum(loss < best for loss in replays)
    if better:
        return f"The best model of the search is no exception: {better} of {len(replays)} replays end better."
    if any(loss == best for loss in replays):
        return "The best model of the search is as good as the best replay."
    return f"The best model of the search is better than all {len(replays)} replays: part of it is luck."
