"""The picture of a population that trains."""

import re
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from report_helpers import SPACE, best_of, population, stored

from crayai.hpo.records import Completed
from crayai.hpo.report.picture import schedule_picture
from crayai.hpo.report.schedule import lineage
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space

SVG = "{http://www.w3.org/2000/svg}"


def drawn(evaluations, space=SPACE, best=None, sign=1, title="A title", subtitle="below it"):
    """Return the picture as a tree of elements, and as text."""
    number = best_of(evaluations) if best is None else best
    text = schedule_picture(evaluations, number, space, sign, title, subtitle)
    return ET.fromstring(text), text


def texts(root):
    """Return all text that is to be read."""
    return [element.text for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(("members", "windows"), [(4, 5), (16, 20), (64, 40), (1, 1), (2, 1), (1, 7)])
def test_everything_is_inside(members, windows):
    """Whatever the size of the population, every line, dot and text begins inside of the picture."""
    root, text = drawn(population(windows, members))
    width, height = float(root.get("width")), float(root.get("height"))
    points = [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", text)]
    points += [(float(e.get("x")), float(e.get("y"))) for e in root.iter(f"{SVG}text")]
    points += [(float(e.get("cx")), float(e.get("cy"))) for e in root.iter(f"{SVG}circle")]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_every_searched_hyperparameter_has_a_panel():
    """There is a panel for the figure of merit, each searched hyperparameter, and the lineage; constants have none."""
    evaluations = population(5, 4)
    root, _ = drawn(evaluations)
    shown = Counter(texts(root))
    assert shown["window"] == 7
    searched = ["--lr (log)", "--dropout", "--batch-size (log)", "--augment", "--momentum"]
    assert [shown[title] for title in searched] == [1] * 5
    assert not any("--epochs" in text for text in shown)
    assert len(list(root.iter(f"{SVG}rect"))) == 1 + 7


def test_the_best_lineage_tells_its_numbers():
    """Every window of the best lineage has a dot in the tree that tells evaluation and figure of merit."""
    evaluations = population(6, 5)
    root, _ = drawn(evaluations, sign=-1)
    told = Counter(element.text for element in root.iter(f"{SVG}title"))
    for e in lineage(evaluations, best_of(evaluations)):
        assert told[f"window {e.generation}, evaluation {e.number}: {-e.outcome.loss:.6g}"] >= 2


def test_edges_and_crosses():
    """The tree has an edge for each evaluation that trains on, a cross for each failed one, and none from a failed."""
    evaluations = {
        0: stored(0, 1.0, values={"--x": 0.5}),
        1: stored(1, 2.0, values={"--x": 0.2}),
        2: stored(2, 0.9, 0, 1, {"--x": 0.5}),
        3: stored(3, 0.0, 0, 1, {"--x": 0.4}, failed=True),
        4: stored(4, 0.8, 2, 2, {"--x": 0.5}),
        5: stored(5, 0.7, 3, 2, {"--x": 0.1}),
    }
    _, text = drawn(evaluations, Space([Float("--x", 0.0, 1.0)]))
    paths = re.findall(r'<path d="([^"]*)"[^>]*stroke="(#\w+)"[^>]*>', text)
    taken = [d for d, colour in paths if colour == "#0072b2"]
    assert [d.lower().count("c") for d in taken] == [1, 2]  # of the legend; evaluations 3 and 5
    assert sum(d.count("l") for d, colour in paths if colour == "#1f2933") == 2 * (1 + 1)  # of the legend; evaluation 3


def test_choices_are_steps_and_logs_are_logs():
    """A choice has a tick each and steps between them, a log range has its decades at equal distances."""
    space = Space(
        [Float("--lr", 1e-4, 1.0, log=True), Choice("--act", ["relu", "tanh"]), Choice("--on", [True, False])]
    )
    values = [{"--lr": 1e-4, "--act": "relu", "--on": True}, {"--lr": 1.0, "--act": "tanh", "--on": False}]
    root, text = drawn({0: stored(0, 1.0, None, 0, values[0]), 1: stored(1, 0.5, 0, 1, values[1])}, space)
    height = {e.text: float(e.get("y")) for e in root.iter(f"{SVG}text")}
    decades = [height[tick] for tick in ("0.001", "0.01", "0.1")]
    assert decades[0] - decades[1] == pytest.approx(decades[1] - decades[2], abs=0.2)
    assert {"relu", "tanh", "True", "False"} <= set(texts(root))
    assert re.search(r"M[\d.]+ [\d.]+H[\d.]+V[\d.]+H", text)


def test_text_cannot_break_out():
    """Titles, flags and choices are shown as they are, whatever they hold, and nothing is fetched or run."""
    hard = '</text><script>alert("&")</script>'
    space = Space([Choice(hard, ["<a&b>", "'\"]]>"]), Int("--n", 1, 3)])
    evaluations = {0: stored(0, 1.0, values={hard: "<a&b>", "--n": 2})}
    root, text = drawn(evaluations, space, title=hard, subtitle=hard)
    assert texts(root).count(hard) == 3
    assert {"<a&b>", "'\"]]>"} <= set(texts(root))
    assert "<script" not in text
    assert not re.search(r"href|url\(|@import|<style", text)


@pytest.mark.parametrize(
    "foms",
    [
        (0.0, 0.0),
        (-5.0, 5.0),
        (1e-300, 1e300),
        (-1.7e308, 1.7e308),
        (1e-9, 2e-9),
        (5.0, 5.0),
        (-3.0, -3.0),
        (0.0, 1e30),
    ],
)
def test_every_figure_of_merit_can_be_drawn(foms):
    """Equal, negative, tiny and enormous figures of merit have an axis with at least two ticks."""
    space = Space([Int("--n", 1, 2)])
    evaluations = {n: stored(n, fom, n - 1 if n else None, n, {"--n": 1}) for n, fom in enumerate(foms)}
    root, text = drawn(evaluations, space)
    assert "nan" not in text
    assert "inf" not in text
    panel_left = 98
    ticks = [e for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "end" and float(e.get("x")) < panel_left]
    assert len(ticks) >= 3


def test_what_runs_is_drawn_too():
    """Evaluations without an outcome, and those that wait for them, are in the picture."""
    evaluations = population(3, 4)
    number = max(evaluations)
    evaluations[number] = replace(evaluations[number], outcome=None)
    evaluations[number + 1] = replace(stored(number + 1, 1.0, number, 3, evaluations[0].values), outcome=None)
    best = min(n for n, e in evaluations.items() if isinstance(e.outcome, Completed))
    root, _ = drawn(evaluations, best=best)
    assert "3" in texts(root)
