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


ASKING = [["run", "study.toml"], ["status"], ["best"], ["show", "3"], ["export"], ["verify"]]


def cut(content):
    """Cut a log in the middle."""
    return content[: len(content) // 2]


def headless(content):
    """Destroy the head of a log."""
    return b"\xff" * 100 + content[100:]


def another_seed(content):
    """Change one letter of a setting."""
    assert content.count(b"seed7") == 1
    return content.replace(b"seed7", b"seed8")


@pytest.mark.parametrize("damage", [cut, headless, another_seed])
def test_every_command_recognises_every_damage(place, damage) -> None:
    """Whatever was done to the log, each command ends with one message that names the remedy, and exit code 1."""
    assert place.crayai("run", "study.toml", "--quiet").returncode == 0
    log = place.directory / "run" / "study.db"
    log.write_bytes(damage(log.read_bytes()))
    for words in ASKING:
        done = place.crayai(*words)
        assert done.returncode == 1, words
        assert done.stderr.startswith("crayai: "), words
        assert f"crayai recover {log.parent} saves what can be read" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_lost_settings_are_read_from_the_study_file(place) -> None:
    """Where the settings are lost, recovery asks for the study file, and takes no other one."""
    assert place.crayai("run", "study.toml", "--quiet").returncode == 0
    best = place.crayai("best").stdout
    log = place.directory / "run" / "study.db"
    log.write_bytes(another_seed(log.read_bytes()))
    done = place.crayai("recover")
    assert done.returncode == 1
    assert f"crayai recover {log.parent} --study STUDY.toml" in done.stderr
    study = (place.directory / "study.toml").read_text()
    place.write("other.toml", study.replace("seed = 7", "seed = 8"))
    done = place.crayai("recover", "--study", "other.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not what the study file and the seed 8 say" in done.stderr
    place.write("seedless.toml", study.replace("seed = 7", ""))
    assert "write seed = N into its [study]" in place.crayai("recover", "--study", "seedless.toml").stderr
    done = place.crayai("recover", "run", "--study", "study.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "saved: 12 evaluations\n       12 outcomes\nno outcome: 0\n" in done.stdout
    assert place.crayai("verify").returncode == 0
    assert place.crayai("best").stdout == best
    assert place.crayai("run", "study.toml", "--quiet").returncode == 0
    assert len(place.numbers_ran()) == 12


def test_a_running_study_is_not_recovered(place) -> None:
    """While a driver works, recovery is refused with its name, and the driver does not notice."""
    with place.start_gated() as process:
        done = place.crayai("recover", "gated")
        assert done.returncode == 1
        assert f"is in use by process {process.pid}" in done.stderr
        place.open_gate()
        process.communicate()
    assert process.returncode == 0
    assert place.numbers_ran() == list(range(12))


@pytest.mark.fault(
    "kill -9 of the driver, then its write-ahead log is removed by hand",
    "recognised, and nothing begins anew behind the user's back",
)
def test_a_removed_write_ahead_log_is_recognised(place) -> None:
    """If all that was recorded is gone with the write-ahead log, each command says so, and nothing starts anew."""
    with place.start_gated() as process:
        process.kill()
    (place.directory / "gated" / "study.db-wal").unlink()
    (place.directory / "gated" / "study.db-shm").unlink()
    for words in (["status", "gated"], place.gated):
        done = place.crayai(*words)
        assert done.returncode == 1, words
        assert f"crayai recover {place.directory / 'gated'} saves what can be read" in done.stderr
    done = place.crayai("recover", "gated")
    assert done.returncode == 1
    assert "can be read; choose another directory for a new study" in done.stderr
    place.open_gate()


def test_a_study_under_way_is_recovered(place) -> None:
    """After kill -9 of the driver, and damage to what it wrote, the study ends with the numbers that it would have."""
    with place.start_gated() as process:
        process.kill()
    place.open_gate()
    wal = place.directory / "gated" / "study.db-wal"
    content = wal.read_bytes()
    log = place.directory / "gated" / "study.db"
    log.write_bytes(content[len(content) // 2 :] + log.read_bytes()[:100])
    done = place.crayai("recover", "gated")
    assert done.returncode == 0, done.stderr
    done = place.crayai(*place.gated)
    assert done.returncode == 0, done.stderr
    assert set(place.numbers_ran()) == set(range(12))
    assert place.crayai("verify", "gated").returncode == 0
