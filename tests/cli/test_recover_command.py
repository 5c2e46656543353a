"""`crayai recover`, and what every command says of a damaged log."""

import pytest

PAGE = 4096


@pytest.fixture
def damaged(place):
    """Return a workplace with a finished study, of whose log a page in the middle was overwritten."""
    place.crayai("run", "study.toml", "--quiet", "--generations", "40")
    log = place.directory / "run" / "study.db"
    content = bytearray(log.read_bytes())
    middle = len(content) // PAGE // 2 * PAGE
    content[middle : middle + PAGE] = bytes(PAGE)
    log.write_bytes(content)
    return place


@pytest.mark.fault("a page of the log is overwritten", "every command says so and names the remedy; nothing is changed")
@pytest.mark.parametrize("words", [["run", "study.toml", "--generations", "40"], ["status"], ["verify"], ["export"]])
def test_a_damaged_log_is_named(damaged, words) -> None:
    """No command is silent about damage that it meets, or ends in a traceback; the remedy is named."""
    log = damaged.directory / "run" / "study.db"
    before = log.read_bytes()[PAGE:]  # but for the counter in its head
    done = damaged.crayai(*words)
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert f"crayai recover {damaged.directory / 'run'}" in done.stderr or "crayai recover run" in done.stderr
    assert "Traceback" not in done.stderr
    assert log.read_bytes()[PAGE:] == before


@pytest.mark.fault(
    "likewise, then crayai recover and crayai run",
    "what can be read is kept, only what was lost runs again, and the study ends as if nothing had happened",
)
def test_a_damaged_log_is_recovered(damaged) -> None:
    """Recovery says what was saved, keeps the damaged log, and the study ends with the same points and best."""
    best = damaged.crayai("best").stdout
    before = damaged.numbers_ran()
    done = damaged.crayai("recover")
    assert done.returncode == 0, done.stderr
    assert "saved: 160 evaluations" in done.stdout
    assert "crayai run goes on" in done.stdout
    assert (damaged.directory / "run" / "study.db.damaged").exists()
    done = damaged.crayai("run", "study.toml", "--quiet", "--generations", "40")
    assert done.returncode == 0, done.stderr
    assert damaged.crayai("verify").returncode == 0
    if best:
        assert damaged.crayai("best").stdout == best
    assert set(damaged.numbers_ran()) == set(before)
    assert len(damaged.numbers_ran()) < 2 * len(before)
    assert damaged.crayai("recover").stdout == "the log is not damaged; nothing was changed\n"


def test_without_a_study_there_is_nothing_to_recover(place) -> None:
    """A directory without a log is named."""
    done = place.crayai("recover", "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
