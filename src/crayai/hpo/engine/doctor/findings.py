"""What a check of the doctor says."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from crayai.hpo.engine.doctor.bench import Run
from crayai.hpo.space.base import as_text

SHOWN = 4
"""So many names are worth listing."""


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is about.
        verdict: How it ended.
        seen: What the runs have shown.
        remedy: What to change; empty: nothing.
        quote: Lines of the program, as they are.
    """

    name: str
    verdict: Verdict
    seen: str
    remedy: str = ""
    quote: tuple[str, ...] = ()


def given(run: Run, flag: str) -> str:
    """Return a flag with the value that a run had."""
    return f"{flag}={as_text(run.probe.values[flag])}"


def some(names: Sequence[str]) -> str:
    """Return the first of some names."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
