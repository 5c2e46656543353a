"""A damaged log is built anew: the study ends as it would have, and nothing that is known runs again."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from crayai.hpo.engine.recover import check_whole, recover
from crayai.hpo.engine.resume import open_study, recorded_study
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.engine.verify import first_difference
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.errors import SettingsError, StoreError, StudyLocked
from crayai.hpo.records import AttemptFailed, Cause, Completed, Failed, Launched, Told
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.store.query import Reader
from crayai.hpo.store.salvage import salvage
from crayai.hpo.store.sqlite import SqliteLog

PAGE = 4096
SPACE = Space([Float("--x", -4.0, 4.0), Int("--n", 1, 60), Choice("--kind", ["a", "b", "c"])])


def study_of(name, repeats=1, **arguments):
    """Return a study."""
    strategy = StrategySettings(name=name, arguments=arguments, repeats=repeats)
    return Study(space=SPACE, strategy=strategy, seed=5, command="train")


STUDIES = {
    "random": study_of("random", num_iters=300),
    "grid": study_of("grid", grid_size=10),
    "genetic": study_of("genetic", generations=8, pop_size=10, num_demes=4, migration_interval=2),
    "repeated": study_of("genetic", repeats=3, generations=6, pop_size=5, num_demes=3, migration_interval=2),
}


def outcome_of(asked):
    """Return what becomes of an evaluation: the same every time, now and then a failure."""
    values = asked.suggestion.values
    if values["--n"] % 9 == 0:
        return Failed(Cause.EXIT_CODE, "3")
    return Completed((values["--x"] - 1) ** 2 + values["--n"] / 7 + asked.number % 3)


def work(root, study, most=10_000, ahead=4, judge=outcome_of):
    """Do up to `most` evaluations, as a driver that asks ahead; return their numbers, with the attempts at them."""
    done = []
    with open_study(root, study) as opened:
        search = opened.search
        waiting = search.unfinished()
        while len(done) < most:
            while len(waiting) < ahead and (asked := search.ask()) is not None:
                waiting.append(asked)
            if not waiting:
                break
            asked = waiting.pop(len(done) % 2 if len(waiting) > 1 else 0)
            attempt = search.next_attempt(asked.number)
            search.append(Launched(asked.number, attempt))
            if asked.number % 20 == 7 and attempt == 1:
                search.append(AttemptFailed(asked.number, 1, Failed(Cause.LOST), 0.5, "here"))
                attempt += 1
                search.append(Launched(asked.number, attempt))
            search.commit()
            search.tell(asked.number, judge(asked), 1.5)
            done.append((asked.number, attempt))
        search.commit()
    return done


def content_of(root):
    """Return the suggestions, the outcomes and the best of a study."""
    with Reader(StudyDirectory(root).log) as reader:
        reader.check()
        found = [(e.number, dict(e.values), e.generation, e.parents, e.outcome) for e in reader.evaluations()]
        return found, reader.best(reader.settings()["strategy"]["repeats"])


def files_of(root, name="study.db"):
    """Return the contents of the files of a log, by what their names end in."""
    suffixes = ("", "-wal", "-journal")
    return {
        suffix: (root / f"{name}{suffix}").read_bytes() for suffix in suffixes if (root / f"{name}{suffix}").exists()
    }


def outcomes_of(root):
    """Return what became of each evaluation that is over."""
    return {number: outcome for number, *_, outcome in content_of(root)[0] if outcome is not None}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a function that gives the directory of a study, finished, or stopped at three quarters."""
    made = {}

    def make(name, *, finished):
        if (name, finished) not in made:
            root = tmp_path_factory.mktemp(name) / "run"
            total = STUDIES[name].algorithm.evaluations
            work(root, STUDIES[name], most=total if finished else total * 3 // 4)
            made[name, finished] = root
        return made[name, finished]

    return make


@pytest.fixture
def stopped(undisturbed, tmp_path):
    """Return a function that gives a fresh copy of a study that was stopped at three quarters."""

    def copy(name):
        shutil.copytree(undisturbed(name, finished=False), tmp_path / "run", dirs_exist_ok=False)
        return tmp_path / "run"

    return copy


def is_what_the_seed_says(root):
    """Return whether `crayai verify` finds no difference."""
    with Reader(StudyDirectory(root).log) as reader:
        return first_difference(recorded_study(root)[0], reader.events()) is None


def expect_as_undisturbed(root, name, undisturbed, damage):
    """Recover a study, do the rest, and compare with one that was not disturbed."""
    original = files_of(root)
    known = {n for n, events in salvage(root / "study.db").events.items() if isinstance(events[-1][1], Told)}
    done = recover(root)
    if done is None:
        assert original == files_of(root), damage
    else:
        assert files_of(root, done.damaged.name) == original, damage
        assert done.outcomes + done.held <= len(known)
    assert is_what_the_seed_says(root), damage
    again = {number for number, _ in work(root, STUDIES[name])}
    assert is_what_the_seed_says(root), damage
    whole = content_of(undisturbed(name, finished=True))
    found = content_of(root)
    assert found[0] == whole[0], damage
    assert (found[1].number, found[1].outcome) == (whole[1].number, whole[1].outcome), damage
    return done, known & again


def test_an_undamaged_log_is_left_alone(stopped):
    """A log without damage is left as it is, to the last byte, also if its driver was killed."""
    root = stopped("genetic")
    before = (root / "study.db").read_bytes()
    assert recover(root) is None
    assert (root / "study.db").read_bytes() == before
    log = SqliteLog(root / "study.db")
    log.record_driver("one that will be killed")
    files = {file.name: file.read_bytes() for file in root.glob("study.db*")}
    log.close()
    for name, content in files.items():
        (root / name).write_bytes(content)
    assert recover(root) is None
    assert (root / "study.db-wal").read_bytes() == files["study.db-wal"]


@pytest.mark.fault(
    "the log is cut off at a random length",
    "recovered: what is left is kept, what is lost is asked for anew from the seed and run again; same end",
)
@pytest.mark.parametrize("name", STUDIES)
def test_truncated_files(name, stopped, undisturbed, seeded):
    """After truncation anywhere the study ends as if nothing had been, and nothing runs again but what was lost."""
    root = stopped(name)
    content = (root / "study.db").read_bytes()
    for length in seeded.sample(range(2 * PAGE, len(content)), 4):
        shutil.rmtree(root)
        stopped(name)
        (root / "study.db").write_bytes(content[:length])
        done, in_vain = expect_as_undisturbed(root, name, undisturbed, length)
        assert done
        assert not in_vain, length


@pytest.mark.fault("each page of the log in turn is overwritten with zeros or noise", "likewise")
@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("filling", ["zeros", "noise"])
def test_a_lost_page(name, filling, stopped, undisturbed, seeded):
    """Whichever page is overwritten, the study ends as if nothing had been, and nothing else runs again."""
    root = stopped(name)
    content = (root / "study.db").read_bytes()
    pages = range(0, len(content), PAGE)
    for start in pages if name == "repeated" else seeded.sample(pages, 4):
        other = bytes(PAGE) if filling == "zeros" else seeded.randbytes(PAGE)
        shutil.rmtree(root)
        stopped(name)
        (root / "study.db").write_bytes(content[:start] + other + content[start + PAGE :])
        if not salvage(root / "study.db").settings:
            with pytest.raises(SettingsError, match=r"the settings of .* were lost"):
                recover(root)
            continue
        done, in_vain = expect_as_undisturbed(root, name, undisturbed, start)
        assert done
        assert not in_vain, start


def test_any_two_pages(stopped, undisturbed, seeded):
    """Of a search whose generations follow on each other two pages are lost: it ends as if nothing had been."""
    root = stopped("repeated")
    content = (root / "study.db").read_bytes()
    for _ in range(12):
        lost = bytearray(content)
        starts = seeded.sample(range(2 * PAGE, len(content), PAGE), 2)
        for start in starts:
            lost[start : start + PAGE] = bytes(PAGE)
        shutil.rmtree(root)
        stopped("repeated")
        (root / "study.db").write_bytes(lost)
        if salvage(root / "study.db").settings:
            assert expect_as_undisturbed(root, "repeated", undisturbed, starts)[0]


@pytest.mark.fault("bits of the log are flipped", "recognised and recovered, likewise")
def test_flipped_bits(stopped, undisturbed, seeded):
    """A flipped bit is either without meaning, or recognised by every reader and mended."""
    root = stopped("genetic")
    content = (root / "study.db").read_bytes()
    settled = content_of(root)
    mended = 0
    for _ in range(40):
        flipped = bytearray(content)
        place = seeded.randrange(len(content))
        flipped[place] ^= 1 << seeded.randrange(8)
        shutil.rmtree(root)
        stopped("genetic")
        (root / "study.db").write_bytes(flipped)
        try:
            assert content_of(root) == settled, place
        except StoreError as error:
            assert f"crayai recover {root} saves what can be read" in str(error), place  # noqa: PT017 - either way
            if mended < 8 and salvage(root / "study.db").settings.keys() >= STUDIES["genetic"].settings().keys():
                mended += 1
                assert expect_as_undisturbed(root, "genetic", undisturbed, place)[0], place
    assert mended


@pytest.mark.fault("the schema of the log is damaged", "likewise")
def test_a_damaged_view(stopped, undisturbed):
    """Where only the text of a view is damaged, every record is there, and still the log is mended."""
    root = stopped("genetic")
    content = (root / "study.db").read_bytes()
    (root / "study.db").write_bytes(content.replace(b"told.number", b"told.numbar", 1))
    with pytest.raises(StoreError, match="crayai recover"):
        content_of(root)
    assert expect_as_undisturbed(root, "genetic", undisturbed, "view")[0]


@pytest.mark.fault("the head of the log is destroyed", "likewise")
def test_a_destroyed_header(stopped, undisturbed):
    """Without the header of the file nothing is lost."""
    root = stopped("grid")
    content = (root / "study.db").read_bytes()
    (root / "study.db").write_bytes(os.urandom(100) + content[100:])
    done, in_vain = expect_as_undisturbed(root, "grid", undisturbed, "header")
    assert (done.restored, done.held, in_vain) == ([], 0, set())


def told_of(root, numbers):
    """Destroy the outcomes of these evaluations."""
    with SqliteLog(root / "study.db") as log:
        for number in numbers:
            log._connection.execute("UPDATE told SET seconds = 99 WHERE number = ?", (number,))


def asked_of(root, numbers):
    """Destroy these suggestions."""
    with SqliteLog(root / "study.db") as log:
        for number in numbers:
            log._connection.execute("UPDATE asked SET deme = 99 WHERE number = ?", (number,))


def test_outcomes_that_follow_on_lost_ones_are_kept(stopped, undisturbed):
    """Where early outcomes are lost, those of later generations wait in the new log, and do not run again."""
    root = stopped("genetic")
    told_of(root, [3, 17, 90])
    done, in_vain = expect_as_undisturbed(root, "genetic", undisturbed, "three outcomes")
    assert (done.evaluations, done.outcomes) == (40, 38)
    assert done.held == 240 - 38 - 3
    assert {3, 17, 90} <= set(done.again)
    assert in_vain == set()


def test_outcomes_whose_suggestions_are_lost_too_are_kept(stopped, undisturbed):
    """An outcome that follows on a lost one, and has lost its suggestion, proves to belong to the one that is drawn."""
    root = stopped("genetic")
    told_of(root, [3])
    asked_of(root, range(100, 200))
    done, in_vain = expect_as_undisturbed(root, "genetic", undisturbed, "suggestions")
    assert (done.held, in_vain) == (200, set())


def test_a_recovered_log_can_be_damaged_again(stopped, undisturbed):
    """What the first recovery held is held by the second one too, whatever has been lost meanwhile."""
    root = stopped("genetic")
    told_of(root, [3])
    assert recover(root).held == 200
    told_of(root, [5])
    done, in_vain = expect_as_undisturbed(root, "genetic", undisturbed, "twice")
    assert (done.held, done.damaged.name, in_vain) == (200, "study.db.damaged.1", set())


def test_a_noisy_program(stopped):
    """If what was lost comes out otherwise, later generations are kept as they were, and verify names the first."""
    root = stopped("genetic")
    before = content_of(root)[0]
    told_of(root, [3])
    recover(root)
    again = work(root, STUDIES["genetic"], judge=lambda asked: Completed(-1000.0 - asked.number))
    assert sorted(number for number, _ in again) == [3, *range(240, 320)]
    after = content_of(root)[0]
    assert [e for e in after[:240] if e[0] != 3] == [e for e in before[:240] if e[0] != 3]
    assert after[3][-1] == Completed(-1003.0)
    assert not is_what_the_seed_says(root)


def test_a_noisy_program_and_lost_suggestions(stopped):
    """If other values are drawn for a lost suggestion, the outcome of the lost ones is not taken for theirs."""
    root = stopped("genetic")
    before = content_of(root)[0]
    told_of(root, [3])
    asked_of(root, range(100, 200))
    recover(root)
    again = {n for n, _ in work(root, STUDIES["genetic"], judge=lambda asked: Completed(-1000.0 - asked.number))}
    after = content_of(root)[0]
    assert set(range(240)) - again > set(range(100)) - {3}
    for number in range(240):
        assert (after[number] == before[number]) is (number not in again)
    assert again & set(range(240)) <= {3, *range(100, 200)}


def test_a_log_that_the_seed_does_not_say(stopped):
    """A lost suggestion that the seed would not give again loses its outcome too; the others are kept as recorded."""
    root = stopped("random")
    with SqliteLog(root / "study.db") as log:
        log.record_settings({"seed": 6})  # so that all was drawn otherwise
    asked_of(root, [20])
    before = content_of_damaged(root)
    done = recover(root)
    assert (done.restored, done.again[0], done.evaluations) == ([20], 20, len(before))
    after = content_of(root)[0]
    assert [e for e in after if e[0] != 20] == [e for e in before if e[0] != 20]
    assert after[20][1] != before[20][1]
    assert after[20][-1] is None


def content_of_damaged(root):
    """Return the evaluations of a log with damaged records, without looking at checksums."""
    with Reader(root / "study.db") as reader:
        return [(e.number, dict(e.values), e.generation, e.parents, e.outcome) for e in reader.evaluations()]


def test_attempts_are_counted_on(stopped, undisturbed):
    """No number of an attempt is used twice: not of a lost record, and not of one that has left files alone."""
    root = stopped("random")
    with SqliteLog(root / "study.db") as log:
        log._connection.execute("UPDATE told SET seconds = 99 WHERE number IN (30, 31, 47, 50)")
        log._connection.execute("UPDATE launched SET at = 99 WHERE number IN (30, 31, 50) OR attempt = 2")
    (root / "output" / "31.4.err").write_text("the fourth one")
    assert recover(root)
    attempts = dict(work(root, STUDIES["random"]))
    assert [attempts[number] for number in (30, 31, 47, 50)] == [2, 5, 2, 2]
    assert outcomes_of(root) == outcomes_of(undisturbed("random", finished=True))


def test_times_are_kept(stopped):
    """Every record that was saved keeps its time, and a restored one stands between its neighbours."""
    root = stopped("random")
    with Reader(root / "study.db") as reader:
        before = list(reader.evaluations())
    with SqliteLog(root / "study.db") as log:
        log._connection.execute("UPDATE asked SET deme = 9 WHERE number IN (0, 20)")
    recover(root)
    with Reader(root / "study.db") as reader:
        after = list(reader.evaluations())
    kept = [e.number for e in before if e.outcome is not None and e.number not in {0, 20}]
    assert [after[number] for number in kept] == [before[number] for number in kept]
    assert before[0].asked_at <= after[20].asked_at <= after[20].launched_at


def without_settings(root):
    """Destroy every setting but the name of the study."""
    with SqliteLog(root / "study.db") as log:
        log._connection.execute("UPDATE setting SET total = 99 WHERE name != 'study_id'")


@pytest.mark.parametrize("name", STUDIES)
def test_lost_settings_are_given(name, stopped, undisturbed):
    """Without its settings a study is recovered if they are given; all else is as it was, its name too."""
    root = stopped(name)
    with Reader(root / "study.db") as reader:
        study_id = reader.settings()["study_id"]
    without_settings(root)
    with pytest.raises(SettingsError, match=rf"the settings of {root} were lost .*crayai recover {root} --study STUDY"):
        recover(root)
    assert recover(root, STUDIES[name]).outcomes == len(outcomes_of(root))
    work(root, STUDIES[name])
    assert content_of(root)[0] == content_of(undisturbed(name, finished=True))[0]
    with Reader(root / "study.db") as reader:
        assert reader.settings()["study_id"] == study_id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": None}, "the seed was lost, and the study file has none"),
        ({"seed": 6}, r"evaluation \d in the log is not what the study file and the seed 6 say"),
        ({"space": Space([Float("--x", -4.0, 5.0), Int("--n", 1, 60)])}, "evaluation 0 in the log is not what"),
    ],
)
def test_settings_of_another_study_are_refused(changes, words, stopped):
    """Given settings that cannot be those of the study are refused, and nothing is changed."""
    root = stopped("genetic")
    without_settings(root)
    before = (root / "study.db").read_bytes()
    with pytest.raises(SettingsError, match=words):
        recover(root, replace(STUDIES["genetic"], **changes))
    assert (root / "study.db").read_bytes() == before
    assert [file.name for file in root.glob("study.db*")] == ["study.db"]


def test_settings_that_contradict_saved_ones_are_refused(stopped):
    """If some settings are left, the given ones must agree with them; each that does not is named."""
    root = stopped("genetic")
    with SqliteLog(root / "study.db") as log:
        log._connection.execute("UPDATE setting SET total = 99 WHERE name = 'params'")
    with pytest.raises(SettingsError, match=r"another study:\n  command: 'train' in the log, 'other' in the file$"):
        recover(root, replace(STUDIES["genetic"], command="other"))
    assert recover(root, replace(STUDIES["genetic"], seed=None)).held == 0  # the seed is one of those that are left


def test_nothing_to_save(stopped, tmp_path):
    """Where nothing can be read, or is, the message says so, and the files stay."""
    root = stopped("random")
    (root / "study.db").write_bytes(b"no database\n" * 1000)
    with pytest.raises(StoreError, match=r"nothing in .*study\.db can be read; choose another directory"):
        recover(root, STUDIES["random"])
    assert (root / "study.db").read_bytes() == b"no database\n" * 1000
    with pytest.raises(StoreError, match=r"there is no study in .*nowhere"):
        recover(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_study_at_work_is_left_alone(stopped):
    """While a driver works on the study nothing is recovered."""
    root = stopped("random")
    with open_study(root, STUDIES["random"]), pytest.raises(StudyLocked, match=f"process {os.getpid()}"):
        recover(root)


@pytest.mark.fault(
    "journal, write-ahead log or the log itself is removed by hand",
    "recognised by the files of attempts that the log does not know",
)
@pytest.mark.parametrize("damage", ["empty", "no wal", "no file but wal"])
def test_a_log_that_does_not_know_its_attempts(damage, stopped):
    """If files of attempts are there that the log does not know, it is refused: a part of it was taken away."""
    root = stopped("random")
    (root / "output" / "3.1.out").write_text("the best so far")
    assert work(root, STUDIES["random"], most=1)
    log = SqliteLog(root / "study.db")
    log.append(Launched(299, 1))
    log.commit()
    (root / "output" / "299.1.out").write_text("not over")
    files = {file.name: file.read_bytes() for file in root.glob("study.db*")}
    log.close()
    kept = {"empty": {"study.db": b""}, "no wal": {"study.db": files["study.db"]}}
    kept["no file but wal"] = {"study.db": b"", "study.db-wal": files["study.db-wal"]}
    for name in files:
        (root / name).unlink(missing_ok=True)
    for name, content in kept[damage].items():
        (root / name).write_bytes(content)
    for ask in (lambda: work(root, STUDIES["random"]), lambda: check_whole(StudyDirectory(root))):
        with pytest.raises(StoreError, match=f"is damaged.*crayai recover {root} saves what can be read"):
            ask()
    if damage == "no wal":
        assert recover(root).evaluations == 300
        assert dict(work(root, STUDIES["random"]))[299] == 2


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from crayai.hpo.engine.recover import recover
left = int(sys.argv[2])
def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate") and sys.argv[1] in str(arguments):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
recover(Path(sys.argv[1]))
"""


@pytest.mark.fault("kill -9 of crayai recover at any instant", "the old log or the new one is there, whole")
def test_a_kill_at_any_instant(stopped, tmp_path):
    """Killed before any of its steps, recovery leaves the damaged log or the new one, and the next ends its work."""
    root = stopped("genetic")
    told_of(root, [3])
    shutil.copytree(root, tmp_path / "damaged")
    original = (root / "study.db").read_bytes()
    for step in range(1000):
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "damaged", root)
        (root / "study.db-wal").write_bytes(b"")
        code = subprocess.run([sys.executable, "-c", KILLED_AT, root, str(step)], check=False).returncode
        logs = [file for file in root.glob("study.db*") if file.suffix != ".part" and file.read_bytes() == original]
        assert len(logs) == 1, step
        with Reader(StudyDirectory(root).readable_log) as reader:
            if logs[0].name == "study.db" and not StudyDirectory(root).recovered.exists():
                with pytest.raises(StoreError, match="the record of evaluation 3 in the table told is damaged"):
                    reader.check()
                assert recover(root).held == 200
            else:
                assert reader.check()
                assert recover(root) is None or code == 0
        assert work(root, STUDIES["genetic"], most=1)[0][0] == 3
        if code == 0:
            assert step > 5
            return
    pytest.fail("it never ends")
