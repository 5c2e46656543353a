"""A picture of a population that trains, as SVG: the hyperparameters of all members, how good they were, whose heirs.

It stands for itself: no script, no font and no style sheet from elsewhere.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby, pairwise
from typing import TypeVar

from crayai.hpo.records import Completed, Failed
from crayai.hpo.report.schedule import lineage, source_of
from crayai.hpo.space.base import Hyperparameter, as_text
from crayai.hpo.space.hyperparameters import Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.store.query import StoredEvaluation

_WIDTH, _MARGIN, _HEAD = 1080, 24, 104
_PANEL_HEIGHT, _AXIS_LEFT, _AXIS_BOTTOM, _PANEL_TOP = 210, 74, 44, 34
_TREE_HEIGHT, _PITCHES = 560, (9, 26)
_FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_INK, _SOFT, _GRID, _MEMBERS, _NODES = "#1f2933", "#52606d", "#eceef1", "#b9c1c9", "#8f9aa6"
_BEST, _TAKEN = "#d55e00", "#0072b2"  # told apart by colour-blind people too (Okabe and Ito)
_TICKS = 6
_CHOICES = 9
_LOG_FROM = 30  # figures of merit that differ by this factor are shown on a log axis
_HUGE = 1e300  # beyond it differences are infinite
_LETTERS = 9  # of the text at a tick

T = TypeVar("T")

Edge = tuple[StoredEvaluation, StoredEvaluation]
"""An evaluation, after the one whose model it trains on."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What is upright in a panel: a title, where in [0, 1] an evaluation is (None: nowhere), and the ticks."""

    title: str
    place: Callable[[StoredEvaluation], float | None]
    ticks: Sequence[tuple[float, str]]
    has_steps: bool = False


@dataclass(frozen=True)
class Panel:
    """A rectangle of the picture with axes; `windows` are the first and the last one."""

    axis: Axis
    left: float
    top: float
    width: float
    height: float
    windows: tuple[int, int]
    inset: float = 12

    def x(self, window: int) -> float:
        """Return where a window is; a single one is in the middle."""
        first, last = self.windows
        share = (window - first) / (last - first) if last > first else 0.5
        return self.left + self.inset + share * (self.width - 2 * self.inset)

    @property
    def room(self) -> float:
        """How far it is from a window to the next."""
        return (self.width - 2 * self.inset) / max(1, self.windows[1] - self.windows[0])

    def y(self, place: float) -> float:
        """Return where a place of the axis is, 0 at the bottom."""
        return self.top + self.height - place * self.height

    def at(self, evaluation: StoredEvaluation) -> tuple[float, float] | None:
        """Return where an evaluation is; None: nowhere."""
        place = self.axis.place(evaluation)
        return None if place is None else (self.x(evaluation.generation), self.y(place))

    def line(self, edges: Iterable[Edge], style: str, *, is_curved: bool = False) -> str:
        """Return a path along `edges`: straight, in steps, or curved."""
        parts: list[str] = []
        for edge in edges:
            ends = [point for point in map(self.at, edge) if point is not None]
            if len(ends) == len(edge):
                (x, y), (to_x, to_y) = ends
                middle = (x + to_x) / 2
                parts.append(f"M{x:.1f} {y:.1f}")
                if is_curved:
                    parts.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
                else:
                    parts.append(
                        f"H{middle:.1f}V{to_y:.1f}H{to_x:.1f}" if self.axis.has_steps else f"L{to_x:.1f} {to_y:.1f}"
                    )
        return f'<path d="{"".join(parts)}" fill="none" {style}/>\n' if parts else ""

    def dots(self, evaluations: Iterable[StoredEvaluation], style: str) -> str:
        """Return a dot for each evaluation, all in one path."""
        points = [point for point in map(self.at, evaluations) if point is not None]
        text = "".join(f"M{x:.1f} {y:.1f}h0.01" for x, y in points)
        return f'<path d="{text}" fill="none" stroke-linecap="round" {style}/>\n' if text else ""

    def crosses(self, evaluations: Iterable[StoredEvaluation], size: float, style: str) -> str:
        """Return a cross for each evaluation, all in one path."""
        points = [point for point in map(self.at, evaluations) if point is not None]
        down, up = f"l{2 * size:.1f} {2 * size:.1f}", f"m0 {-2 * size:.1f}l{-2 * size:.1f} {2 * size:.1f}"
        text = "".join(f"M{x - size:.1f} {y - size:.1f}{down}{up}" for x, y in points)
        return f'<path d="{text}" fill="none" {style}/>\n' if text else ""

    def frame(self) -> str:
        """Return the box, the title, ticks with their texts, and the name of the lower axis."""
        right, bottom = self.left + self.width, self.top + self.height
        parts = [_text(self.left, self.top - 11, self.axis.title, 'font-weight="600"', letters=int(self.width / 7.5))]
        for place, text in self.axis.ticks:
            y = self.y(place)
            parts.append(f'<path d="M{self.left:.1f} {y:.1f}H{right:.1f}" stroke="{_GRID}"/>\n')
            parts.append(_text(self.left - 7, y + 4, text, f'text-anchor="end" fill="{_SOFT}"', letters=_LETTERS))
        for window in _thinned(range(self.windows[0], self.windows[1] + 1), int(self.width / 34)):
            x = self.x(window)
            parts.append(f'<path d="M{x:.1f} {bottom:.1f}v4" stroke="{_SOFT}"/>\n')
            parts.append(_text(x, bottom + 17, str(window), f'text-anchor="middle" fill="{_SOFT}"'))
        middle = (self.left + right) / 2
        parts.append(_text(middle, bottom + 34, "window", f'text-anchor="middle" fill="{_SOFT}"'))
        box = f'x="{self.left:.1f}" y="{self.top:.1f}" width="{self.width:.1f}" height="{self.height:.1f}"'
        return "".join([*parts, f'<rect {box} fill="none" stroke="{_SOFT}" stroke-width="0.8"/>\n'])


@dataclass(frozen=True)
class Family:
    """The evaluations of a study with what is drawn of them.

    Attributes:
        evaluations: All, by number.
        best: The lineage of the best one, the oldest first.
        members: Which member each is: its place in its window.
        edges: Every evaluation that trains on, with the one that it goes on from.
    """

    evaluations: Mapping[int, StoredEvaluation]
    best: Sequence[StoredEvaluation]
    members: Mapping[int, int] = field(init=False)
    edges: Sequence[Edge] = field(init=False)

    def __post_init__(self) -> None:
        by_window = groupby(
            sorted(self.evaluations.values(), key=lambda e: (e.generation, e.number)), lambda e: e.generation
        )
        members = {e.number: member for _, group in by_window for member, e in enumerate(group)}
        sources = ((source_of(self.evaluations, e), e) for e in self.evaluations.values())
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "edges", [(source, e) for source, e in sources if source is not None])

    @property
    def windows(self) -> tuple[int, int]:
        """The first and the last window."""
        windows = [e.generation for e in self.evaluations.values()]
        return min(windows), max(windows)

    @property
    def size(self) -> int:
        """How many members there are."""
        return max(self.members.values()) + 1

    @property
    def thickness(self) -> float:
        """How thick the lines of all members are: the more there are, the thinner."""
        return min(max(4.8 / math.sqrt(self.size), 0.6), 1.5)

    @property
    def failed(self) -> list[StoredEvaluation]:
        """Those that have failed."""
        return [e for e in self.evaluations.values() if isinstance(e.outcome, Failed)]

    def edges_between(self, *, others: bool) -> list[Edge]:
        """Return the edges from one member to another, or from each to itself."""
        return [(a, b) for a, b in self.edges if (self.members[a.number] != self.members[b.number]) == others]


def schedule_picture(
    evaluations: Mapping[int, StoredEvaluation], best: int, space: Space, sign: int, title: str, subtitle: str
) -> str:
    """Return the picture.

    Args:
        evaluations: Of a study, by number.
        best: Whose lineage is to stand out.
        space: The hyperparameters; each that is searched has a panel.
        sign: Turns a loss into a figure of merit.
        title: Above all.
        subtitle: Below the title.
    """
    family = Family(evaluations, lineage(evaluations, best))
    axes = [_fom_axis(evaluations.values(), sign), *(_axis(space.hyperparameters[i]) for i in space.searched)]
    columns = len(axes) if len(axes) <= 3 else 2 if len(axes) == 4 else 3  # noqa: PLR2004 - what leaves no gap
    column = (_WIDTH - 2 * _MARGIN) / columns
    parts: list[str] = []
    for i, axis in enumerate(axes):
        left, top = _MARGIN + _AXIS_LEFT + i % columns * column, _HEAD + _PANEL_TOP + i // columns * _PANEL_HEIGHT
        size = column - _AXIS_LEFT - 10, _PANEL_HEIGHT - _PANEL_TOP - _AXIS_BOTTOM - 8
        parts.append(_schedules(Panel(axis, left, top, *size, family.windows), family, sign))
    below = _HEAD + _PANEL_TOP + math.ceil(len(axes) / columns) * _PANEL_HEIGHT
    pitch = min(max(_TREE_HEIGHT / family.size, _PITCHES[0]), _PITCHES[1])
    spread = _WIDTH - 2 * _MARGIN - _AXIS_LEFT - 10, pitch * family.size
    tree = Panel(_member_axis(family), _MARGIN + _AXIS_LEFT, below, *spread, family.windows, inset=18)
    parts.append(_tree(tree, family, sign, pitch))
    height = below + tree.height + _AXIS_BOTTOM + 12
    return "".join([*_head(height, title, subtitle, best), *parts, "</g>\n</svg>\n"])


def _head(height: float, title: str, subtitle: str, best: int) -> Iterator[str]:
    """Yield the beginning of the file, the titles and the legend."""
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" role="img">\n<title>{escape(title)}</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n<g font-family="{_FONT}" font-size="12" fill="{_INK}">\n'
    )
    yield _text(_MARGIN, 36, title, 'font-size="19" font-weight="600"', letters=95)
    yield _text(_MARGIN, 57, subtitle, f'font-size="13" fill="{_SOFT}"', letters=140)
    x: float = _MARGIN
    for text, sample in (
        ("all members", f'h26" stroke="{_MEMBERS}" stroke-width="1.6"/>\n'),
        (f"lineage of evaluation {best}", f'h26" stroke="{_BEST}" stroke-width="3"/>\n'),
        ("taken over from another member", f'm0 4c13 0 13 -8 26 -8" fill="none" stroke="{_TAKEN}"/>\n'),
        ("failed", f'm9 -4l8 8m0 -8l-8 8" stroke="{_INK}" stroke-width="1.5"/>\n'),
    ):
        yield f'<path d="M{x:.1f} 84.0{sample}' + _text(x + 33, 88, text)
        x += 33 + 6.7 * len(text) + 26


def _schedules(panel: Panel, family: Family, sign: int) -> str:
    """Return a panel with the schedules of all members, and that of the best."""
    thick = family.thickness
    parts = [
        panel.frame(),
        panel.line(family.edges, f'stroke="{_MEMBERS}" stroke-width="{thick:.1f}" stroke-linejoin="round"'),
        panel.dots(family.evaluations.values(), f'stroke="{_MEMBERS}" stroke-width="{2 * thick + 0.6:.1f}"'),
        panel.line(pairwise(family.best), f'stroke="{_BEST}" stroke-width="2.6" stroke-linecap="round"'),
        *_best_nodes(panel, family, min(3.0, 0.32 * panel.room), sign),
    ]
    return "".join(parts)


def _tree(panel: Panel, family: Family, sign: int, pitch: float) -> str:
    """Return who trained on whose model."""
    radius = min(4.0, 0.28 * pitch, 0.28 * panel.room)
    best = {e.number for e in family.best}
    alive = (e for e in family.evaluations.values() if not isinstance(e.outcome, Failed) and e.number not in best)
    taken = f'stroke="{_TAKEN}" stroke-width="{0.9 * family.thickness:.1f}" stroke-opacity="0.75"'
    parts = [
        panel.frame(),
        panel.line(family.edges_between(others=False), f'stroke="{_MEMBERS}"'),
        panel.line(family.edges_between(others=True), taken, is_curved=True),
        panel.dots(alive, f'stroke="{_NODES}" stroke-width="{2 * radius:.1f}"'),
        panel.line(pairwise(family.best), f'stroke="{_BEST}" stroke-width="3" stroke-linecap="round"', is_curved=True),
        *_best_nodes(panel, family, radius + 1, sign),
        panel.crosses(family.failed, radius, f'stroke="{_INK}" stroke-width="1.5"'),
    ]
    return "".join(parts)


def _best_nodes(panel: Panel, family: Family, radius: float, sign: int) -> Iterator[str]:
    """Yield a dot for each window of the best, which tells what it is to whoever points at it."""
    rim = 'stroke="#ffffff" stroke-width="0.8"' if radius > 3 else ""  # noqa: PLR2004 - smaller ones would be lost in it
    for e in family.best:
        point = panel.at(e)
        if point is not None and isinstance(e.outcome, Completed):
            told = f"window {e.generation}, evaluation {e.number}: {sign * e.outcome.loss:.6g}"
            circle = f'cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{radius:.1f}" fill="{_BEST}" {rim}'
            yield f"<circle {circle}><title>{told}</title></circle>\n"


def _axis(hyperparameter: Hyperparameter) -> Axis:
    """Return the axis of a hyperparameter: a place of the axis is a place of the unit interval."""
    h = hyperparameter

    def place(evaluation: StoredEvaluation) -> float | None:
        return h.place(evaluation.values[h.flag]) if h.flag in evaluation.values else None

    if isinstance(h, Float | Int):
        ticks = [
            (h.place(tick), _number(tick))
            for tick in _nice(h.low, h.high, log=h.log)
            if isinstance(h, Float) or tick % 1 == 0
        ]
        return Axis(h.flag + (" (log)" if h.log else ""), place, ticks)
    choices = list(dict.fromkeys(h.grid(h.size or 1)))
    return Axis(h.flag, place, [(h.place(c), as_text(c)) for c in _thinned(choices, _CHOICES)], has_steps=True)


def _fom_axis(evaluations: Collection[StoredEvaluation], sign: int) -> Axis:
    """Return the axis of the figure of merit, from the least to the greatest there is."""
    foms = [sign * e.outcome.loss for e in evaluations if isinstance(e.outcome, Completed)]
    low, high = max(min(foms), -_HUGE), min(max(foms), _HUGE)
    log = low > 0 and _LOG_FROM < high / low < _HUGE
    room = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    low, high = (low / 1.1, high * 1.1) if log else (low - room, high + room)
    scale = Float("fom", low, high, log=log)

    def place(evaluation: StoredEvaluation) -> float | None:
        outcome = evaluation.outcome
        return scale.place(sign * outcome.loss) if isinstance(outcome, Completed) else None

    ticks = [(scale.place(tick), _number(tick)) for tick in _nice(low, high, log=log)]
    return Axis("figure of merit" + (" (log)" if log else ""), place, ticks)


def _member_axis(family: Family) -> Axis:
    """Return the axis of the members, the first one at the top."""

    def place(member: int) -> float:
        return 1 - (member + 0.5) / family.size

    ticks = [(place(member), str(member)) for member in _thinned(range(family.size), 33)]
    return Axis("member, and whose model it trains on", lambda e: place(family.members[e.number]), ticks)


def _nice(low: float, high: float, *, log: bool) -> list[float]:
    """Return round numbers between `low` and `high`: powers of ten on a log axis, where there are enough of them."""
    if not log:
        rough = (high - low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5)):
        found = [d * 10.0**decade for decade in decades for d in digits]
        found = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(found) > 2:  # noqa: PLR2004 - the eye wants three to see a scale
            break
    return found if len(found) <= _TICKS + 2 else _thinned(found, _TICKS)


def _thinned(items: Sequence[T], most: int) -> list[T]:
    """Return every n-th of `items`, so that there are at most so many."""
    return list(items[:: max(1, -(-len(items) // most))])


def _number(value: float) -> str:
    """Return a number as short as it goes, such as ``1e-5``."""
    text = f"{value:.6g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def _text(x: float, y: float, text: str, style: str = "", letters: int = 200) -> str:
    """Return text, cut where it would be too long."""
    shown = text if len(text) <= letters else text[: letters - 1] + "…"
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(shown)}</text>\n'
