"""Whether trainings along a schedule end better than others."""

import importlib.util
from math import inf

import pytest

from crayai.hpo.errors import SettingsError
from crayai.hpo.report import comparison
from crayai.hpo.report.comparison import check_installed, compare, luck, verdict

LOW, HIGH = (1.0, 2.0, 3.0, 4.0, 5.0), (6.0, 7.0, 8.0, 9.0, 10.0)


@pytest.mark.parametrize(
    ("schedule", "constant", "p", "a12", "words"),
    [
        (LOW, HIGH, 2 / 252, 1.0, "Schedule better: a training along the schedule beats one with constant values"),
        (HIGH, LOW, 2 / 252, 0.0, "Constant better: a training with constant values beats one along the schedule"),
        ((1.0, 4.0, 5.0, 8.0), (2.0, 3.0, 6.0, 7.0), 1.0, 0.5, "Not distinguishable: with 4 seeds"),
        ((1.0,) * 5, (1.0,) * 5, 1.0, 0.5, "Not distinguishable"),
        ((1.0, 2.0), (3.0, 4.0), 1 / 3, 1.0, "fewer than 4 cannot tell them apart"),
        ((1.0,) * 5, (2.0,) * 5, None, 1.0, "Schedule better: trainings with the same values end the same"),
        (LOW, (inf,) * 5, None, 1.0, "Schedule better: a training"),
        ((inf,) * 5, (inf,) * 5, 1.0, 0.5, "Not distinguishable"),
    ],
)
def test_what_is_better_is_said_in_words(schedule, constant, p, a12, words):
    """The exact test decides at five percent, less is better, and failed trainings count as the worst."""
    pytest.importorskip("scipy")
    found = compare(schedule, constant)
    assert found.a12 == a12
    assert p is None or found.p == pytest.approx(p)
    assert words in verdict(found, len(schedule))


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (0.5, "better than all 5 replays: part of it is luck"),
        (1.0, "as good as the best replay"),
        (3.5, "3 of 5 replays end better"),
    ],
)
def test_luck_is_what_replays_do_not_reach(best, words):
    """The best model of a search is lucky where none of the replays is as good."""
    assert words in luck(best, LOW)


def test_a_missing_library_is_named(monkeypatch):
    """Where SciPy is missing the message has the command that installs it."""
    monkeypatch.setattr(comparison, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'crayai\[stats\]'"):
        check_installed()
    monkeypatch.undo()
    if importlib.util.find_spec("scipy"):
        check_installed()
