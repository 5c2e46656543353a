"""What a hyperparameter is, and how a value is written as text."""

from typing import Any, Literal, Protocol

from crayai.hpo.records import Value

PassAs = Literal["flag=value", "flag value", "switch", "environment"]
"""How a value reaches the program; ``switch`` is a boolean whose flag is there or not."""


class Hyperparameter(Protocol):
    """A named quantity that the program takes."""

    @property
    def flag(self) -> str:
        """The name, as on the command line."""

    @property
    def default(self) -> Value | None:
        """Where the search starts; None: drawn at random."""

    @property
    def when(self) -> str | None:
        """The condition under which the program takes it; None: always."""

    @property
    def pass_as(self) -> PassAs:
        """How a value reaches the program."""

    @property
    def start(self) -> tuple[float, float] | None:
        """The range that the first generation is drawn from; None: the whole."""

    @property
    def structural(self) -> bool:
        """Whether it is inherited with a model's weights, and never perturbed."""

    @property
    def size(self) -> int | None:
        """The number of distinct values; None: a continuum."""

    @property
    def is_ordered(self) -> bool:
        """Whether neighbouring places hold similar values."""

    def value(self, place: float) -> Value:
        """Return the value at `place` in [0, 1]."""

    def start_place(self, place: float) -> float:
        """Return `place`, which is in the range to start from, as a place in the whole; the same without one."""

    def place(self, value: Value) -> float:
        """Return the place of `value`; one outside the domain has the place of the nearest inside."""

    def grid(self, points: int) -> list[Value]:
        """Return `points` values at equal distances, both ends included; fewer where there are no more."""


def plain(value: Any) -> Any:
    """Return Python's own number, text or truth for a NumPy scalar; anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def eight_digits(value: float) -> float:
    """Return `value` as it reads back from ``%.8g``, the precision that programs receive."""
    return float(f"{value:.8g}")


def as_text(value: Value) -> str:
    """Return `value` as the program receives it: ``%.8g`` for a float, unless that would change it."""
    if isinstance(value, float):
        short = f"{value:.8g}"
        return short if float(short) == value else repr(value)
    return str(value)
