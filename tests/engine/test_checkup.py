"""The doctor: which points are run, what is found in programs that have a fault, and what is advised."""

import re
from pathlib import Path

import pytest

from crayai.hpo.engine.checkpoints import Checkpoints
from crayai.hpo.engine.doctor import examine as doctor
from crayai.hpo.engine.doctor.checkup import Verdict, check_up, estimate_from, similar_marker, suggested_repeats
from crayai.hpo.engine.doctor.estimate import Rounds
from crayai.hpo.engine.doctor.examine import examine, run_default_point, snapshot
from crayai.hpo.engine.doctor.probes import BAD_VALUE, Prober, Role, far_value
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.records import Cause
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.store.base import MemoryLog

OK, NOTE, PROBLEM = Verdict.OK, Verdict.NOTE, Verdict.PROBLEM

SPACE = Space([Float("-x", 0.0, 1.0, default=0.5), Int("-n", 1, 9, default=3)])
CONDITIONAL = Space(
    [
        Float("--momentum", 0.0, 1.0, default=0.5, when="--solver == 'sgd'"),
        Choice("--solver", ["adam", "sgd"], default="adam"),
        Constant("--epochs", 3),
    ]
)

BOWL = """
BEGIN {
    for (i = 1; i < ARGC; i++) {
        split(ARGV[i], part, "=")
        if (part[2] !~ /^[-+.0-9e]+$/) { print "bad value: " ARGV[i] > "/dev/stderr"; exit 2 }
        given[part[1]] = part[2]
    }
    fom = (given["-x"] - 0.3) ^ 2 + given["-n"] / 100
    FAULT
    print "FoM: " fom
}
"""


class Watcher:
    """Takes note of what begins and ends."""

    def __init__(self):
        self.begun = []
        self.over = 0

    def begin(self, runs, at_once, seconds_each):
        """Note it."""
        self.begun.append((runs, at_once, seconds_each is not None))

    def ended(self):
        """Count."""
        self.over += 1

    def notice(self, text):
        """Nothing is expected."""
        raise AssertionError(text)


def study_of(command="train", space=SPACE, repeats=1, **settings):
    """Return a study of 20 evaluations."""
    strategy = StrategySettings(name="random", arguments={"num_iters": 20}, repeats=repeats)
    return Study(space=space, strategy=strategy, seed=5, command=command, **settings)


class Clinic:
    """A directory with programs to be examined."""

    def __init__(self, place):
        self.place = place
        self.watcher = Watcher()

    def examine(self, command, *, quick=False, room=None, slots=2, minutes=None, source=None, **settings):
        """Return what the runs of a command show."""
        evaluation = EvaluationSettings(slots=slots, gpus=[], time_limit_minutes=minutes, source=source)
        study = study_of(command, **settings)
        return examine(study, evaluation, self.place / "clinic", self.watcher, quick=quick, room=room)

    def bowl(self, fault="", **settings):
        """Return what the runs of the bowl show, with a fault in awk."""
        (self.place / "bowl.awk").write_text(BOWL.replace("FAULT", fault))
        return self.examine("awk -f bowl.awk --", **settings)


@pytest.fixture
def clinic(tmp_path, monkeypatch):
    """Return a clinic in the current directory, which does not wait for the clock to tick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "TICK_SECONDS", 0.0)
    return Clinic(tmp_path)


def found(seen, name):
    """Return the checks of a name."""
    return [check for check in check_up(seen) if check.name == name]


def the(seen, name):
    """Return the one check of a name."""
    (check,) = found(seen, name)
    return check


def verdicts(seen):
    """Return the verdicts that are not ok, by the names of their checks; how busy this machine is does not matter."""
    return {c.name: c.verdict for c in check_up(seen) if c.verdict is not OK and c.name != "slots"}


# Which points


def test_default_point_is_that_of_the_study():
    """The first probe is the evaluation 0 of the study, drawn values included."""
    study = study_of(space=Space([Float("-x", 0.0, 1.0), Int("-n", 1, 9, default=3)]))
    probe = Prober(study).default()
    asked = Search(study, MemoryLog()).ask()
    assert probe.values == asked.suggestion.values


def test_probes_of_a_plain_space():
    """After the default point come it again, with another seed, two others, each flag alone, and a bad value."""
    prober = Prober(study_of())
    default, probes = prober.default(), prober.others(quick=False)
    assert [p.role for p in probes] == [
        Role.AGAIN, Role.SEED, Role.POINT, Role.POINT, Role.FLAG, Role.FLAG, Role.BAD,
    ]  # fmt: skip
    again, other_seed, _, _, x, n, bad = probes
    assert again.values == other_seed.values == default.values
    assert [p.seed == default.seed for p in probes] == [p.role is not Role.SEED for p in probes]
    assert [p.number for p in (default, *probes)] == list(range(8))
    assert (x.values, n.values) == ({"-x": 0.25, "-n": 3}, {"-x": 0.5, "-n": 7})
    assert bad.values == {"-x": BAD_VALUE, "-n": 3}


def test_quick_probes_leave_the_flags_out():
    """Quick runs change no flag alone."""
    prober = Prober(study_of())
    prober.default()
    assert [p.role for p in prober.others(quick=True)] == [Role.AGAIN, Role.SEED, Role.POINT, Role.POINT, Role.BAD]


def test_each_flag_changes_where_it_is_active():
    """A flag that is inactive at the default point is changed where it is active, and alone."""
    prober = Prober(study_of(space=CONDITIONAL))
    made = [prober.default(), *prober.others(quick=False)]
    flags = {probe.flag: probe for probe in made if probe.role is Role.FLAG}
    assert set(flags) == {"--solver", "--momentum"}
    assert made[flags["--solver"].base].role is Role.DEFAULT
    for flag, probe in flags.items():
        base = made[probe.base]
        assert flag in base.values
        assert probe.values[flag] != base.values[flag]
        assert all(base.values.get(other, value) == value for other, value in probe.values.items() if other != flag)


def test_flag_that_needs_a_base_of_its_own_gets_one():
    """Where no probe has a flag active, one is added that has."""
    narrow = Space(
        [Float("-y", 0, 1, default=0.5, when="-x > 0.99 and -n == 3"), *SPACE.hyperparameters],
    )
    prober = Prober(study_of(space=narrow))
    prober.default()
    made = {probe.role: probe for probe in prober.others(quick=False)}
    assert made[Role.BASE].values == {"-y": 0.5, "-x": 1.0, "-n": 3}
    assert prober.never_active == []


def test_flag_that_is_never_active_is_named():
    """A flag whose condition is never true is left out and named."""
    never = Space([Float("-y", 0, 1, default=0.5, when="-x > 2"), *SPACE.hyperparameters])
    prober = Prober(study_of(space=never))
    prober.default()
    assert "-y" not in {probe.flag for probe in prober.others(quick=False)}
    assert prober.never_active == ["-y"]


@pytest.mark.parametrize(
    ("hyperparameter", "default", "far", "bound"),
    [
        (Float("-x", 0, 1), 0.1, 0.75, 1.0),
        (Float("-x", 0, 1), 0.5, 0.25, 0.0),
        (Float("-x", 1e-4, 1.0, log=True), 1e-3, 0.1, 1.0),
        (Int("-x", 1, 2), 2, 1, 1),
        (Choice("-x", ["a", "b"]), "a", "b", "b"),
        (Choice("-x", ["a", "b", "c"]), "b", "a", "a"),
        (Choice("-x", [True, False]), True, False, False),
    ],
)
def test_far_value_differs(hyperparameter, default, far, bound):
    """The far value is a quarter from the farther bound, and never the one that it is far from."""
    assert far_value(hyperparameter, default) == far
    assert far_value(hyperparameter, default, to_bound=True) == bound


@pytest.mark.parametrize(
    ("space", "spoilt"),
    [
        (Space([Choice("--act", ["a", "b"]), Float("--lr", 0, 1), Int("-n", 1, 3)]), "--lr"),
        (Space([Choice("--act", ["a", "b"]), Constant("--epochs", 5)]), "--epochs"),
        (Space([Choice("--act", ["a", "b"]), Choice("--nesterov", [True, False], pass_as="switch")]), "--act"),
        (Space([Choice("--nesterov", [True, False], pass_as="switch")]), None),
    ],
)
def test_flag_to_spoil_is_a_number_if_there_is_one(space, spoilt):
    """The bad value goes to a number that is searched, then to any number, then to a word, and never to a switch."""
    prober = Prober(study_of(space=space))
    prober.default()
    bad = [probe for probe in prober.others(quick=True) if probe.role is Role.BAD]
    assert [probe.flag for probe in bad] == ([spoilt] if spoilt else [])


# How they are run


def test_runs_are_like_evaluations(clinic):
    """The program finds the same variables as in a study, and its own number, seed and directory."""
    seen = clinic.examine("env > @directory/env; echo FoM: 1 @seed; true", quick=True)
    directory = StudyDirectory(clinic.place / "clinic")
    search = Search(study_of(), MemoryLog())
    checkpoints = Checkpoints(root=directory.checkpoints(), search=search)
    tasks = TaskMaker(search=search, directory=directory, study_id="x", caller=Path.cwd(), checkpoints=checkpoints)
    expected = tasks.make(tasks.search.ask(), 1).environment
    for run in seen.runs:
        lines = (Path(directory.evaluation(run.probe.number)) / "env").read_text().splitlines()
        given = dict(line.split("=", 1) for line in lines if line.startswith("CRAYAI_"))
        assert given.keys() - {"CRAYAI_SLOT"} == expected.keys()
        assert given["CRAYAI_EVALUATION"] == str(run.probe.number)
        assert given["CRAYAI_SEED"] == str(run.probe.seed) == Path(run.task.stdout).read_text().split()[2]
    assert seen.default.probe.seed == int(expected["CRAYAI_SEED"])
    assert all(run.directory_bytes > 100 for run in seen.runs)


def test_watcher_is_told(clinic):
    """The watcher hears of every run, and what the first one took, before the others begin."""
    seen = clinic.bowl()
    assert clinic.watcher.begun == [(1, 1, False), (7, 2, True)]
    assert clinic.watcher.over == len(seen.runs) == 8


def test_failing_default_point_ends_it(clinic):
    """Where the default point fails, nothing else is run."""
    assert len(clinic.examine("false").runs) == clinic.watcher.over == 1


def test_default_point_alone(clinic):
    """The default point can be run alone, for its time."""
    run = run_default_point(study_of("echo FoM: 4"), EvaluationSettings(slots=2, gpus=[]), clinic.place, Watcher())
    assert run.fom == 4
    assert run.seconds > 0


# What is found


def test_healthy_program(clinic):
    """A program without a fault has no problem, and no note but on the missing time limit."""
    seen = clinic.bowl()
    assert verdicts(seen) == {"time": NOTE}
    assert "time_limit_minutes = 1" in the(seen, "time").remedy
    assert the(seen, "figure of merit").seen == '0.07, on the line "FoM: 0.07"'
    assert the(seen, "repeatable").seen == "the same seed gave the same figure of merit"
    assert the(seen, "noise").seen == "none: another seed gave the same figure of merit"
    assert the(seen, "flags").seen == "-x, -n: taken when changed alone"
    assert the(seen, "effect").seen == "-x, -n: the figure of merit changes with each"
    assert the(seen, "exit code").seen == "a failure shows: -x=crayai-doctor ended with exit code 2"
    assert the(seen, "files").seen == "none are written where the program starts"


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        ("echo no module named x >&2; exit 3 #", "program", ["fails at the default point: exit code 3"]),
        ("./train.sh", "program", ["could not start", "mend the command"]),
        ("kill -TERM $$; true", "program", ["signal: SIGTERM"]),
        ("echo training; true", "figure of merit", ["no line with 'FoM: '", "print a line with 'FoM: '"]),
        ("echo epoch 3 val_loss: 0.25; true", "figure of merit", ["--fom 'val_loss:'"]),
        ("echo FoM: 3 >&2; true", "figure of merit", ["standard error", "2>&1"]),
        ("echo FoM: nan; true", "figure of merit", ["nan at the default point", "choose defaults that work"]),
    ],
)
def test_faults_at_the_default_point(clinic, command, name, said):
    """A program that gives nothing at the default point has one problem, with what it was and what to change."""
    seen = clinic.examine(command)
    assert verdicts(seen) == {name: PROBLEM}
    check = the(seen, name)
    assert all(words in f"{check.seen} {check.remedy}" for words in said), check


def test_last_words_and_command_are_quoted(clinic):
    """What a program said before it failed is quoted, without colours, behind the command to paste."""
    seen = clinic.examine("printf 'one\\n\\033[31mtwo\\033[0m\\n' >&2; exit 3 #")
    assert the(seen, "program").quote[0].endswith("exit 3 # -x=0.5 -n=3")
    assert the(seen, "program").quote[1:] == ("one", "two")


def test_default_point_beyond_the_time_limit(clinic):
    """A program that takes longer than the time limit is told apart from one that fails."""
    seen = clinic.examine("sh -c 'exec tail -f /dev/null'", minutes=0.2 / 60)
    assert seen.default.cause is Cause.TIME_LIMIT
    assert "raise time_limit_minutes" in the(seen, "program").remedy


CHANCE = 'n = ENVIRON["CRAYAI_EVALUATION"] * 7 % 11 / 11; '
"""Stands for chance: a number in [0, 1) that neither the seed nor the point decides, but the same in each test."""


def test_unseeded_random_numbers(clinic):
    """A program whose random numbers have no seed is not repeatable."""
    check = the(clinic.bowl(CHANCE + "fom += n"), "repeatable")
    assert check.verdict is PROBLEM
    assert "CRAYAI_SEED" in check.remedy


def test_random_numbers_seeded_with_the_time(clinic, monkeypatch):
    """A program that takes its seed from a clock of seconds is not repeatable, however fast it is."""
    monkeypatch.undo()
    monkeypatch.chdir(clinic.place)
    seen = clinic.bowl('"date +%s" | getline n; fom += n % 60')
    assert the(seen, "repeatable").verdict is PROBLEM


def test_rounding_of_sums_in_any_order_is_no_problem(clinic):
    """A difference far smaller than what there is to find is noted."""
    seen = clinic.bowl(CHANCE + 'fom += n / 1e5; OFMT = CONVFMT = "%.12g"')
    assert the(seen, "repeatable").verdict is NOTE
    assert the(seen, "noise").verdict is OK


NOISE = 'fom += SIZE * (ENVIRON["CRAYAI_SEED"] % 997) / 997'


def test_noise_of_seeds(clinic):
    """Noise between seeds is measured with four seeds, and is weighed against what there is to find."""
    seen = clinic.bowl(NOISE.replace("SIZE", "0.01"))
    assert len(seen.of(Role.SEED)) == 3
    assert the(seen, "repeatable").verdict is OK
    assert the(seen, "noise").verdict is OK
    assert "repeats = 1 is enough" in the(seen, "noise").seen


def test_noise_that_repeats_can_average(clinic):
    """Noise that may mislead the search asks for repeats, and not once they are set."""
    fault = NOISE.replace("SIZE", "0.06")
    check = the(clinic.bowl(fault), "noise")
    assert check.verdict is NOTE
    (number,) = re.findall(r"set repeats = (\d+) in", check.remedy)
    assert the(clinic.bowl(fault, repeats=int(number)), "noise").verdict is OK


def test_drowning_noise(clinic):
    """Noise greater than the differences between points asks for a better figure of merit."""
    check = the(clinic.bowl("fom /= 1000; " + NOISE.replace("SIZE", "9")), "noise")
    assert check.verdict is NOTE
    assert "chance drowns" in check.seen


@pytest.mark.parametrize(
    ("noise", "spread", "repeats"), [(0.0, 1.0, 1), (0.4, 1.0, 1), (0.5, 1.0, 2), (0.7, 1.0, 4), (1.0, 1.0, None)]
)
def test_suggested_repeats(noise, spread, repeats):
    """So many repeats are suggested that four fifths of what the means differ by are the points' doing."""
    assert suggested_repeats(noise, spread) == repeats
    if repeats:
        signal = spread**2 - noise**2
        assert signal / (signal + noise**2 / repeats) >= 0.8


def test_ignored_flag(clinic):
    """A flag without effect is named after a second look at its bound and at another point."""
    seen = clinic.bowl('fom -= given["-n"] / 100')
    assert verdicts(seen) == {"effect": PROBLEM, "time": NOTE}
    assert "-n has none: 0.04 both with -n=3 and with -n=7" in the(seen, "effect").seen
    assert "is -n read" in the(seen, "effect").remedy
    assert len(seen.of(Role.BOUND)) == 2


def test_flag_that_matters_at_its_bound(clinic):
    """A flag that only matters near its bound has an effect."""
    seen = clinic.bowl('fom -= given["-n"] / 100; if (given["-n"] > 8) fom += 1')
    assert the(seen, "effect").verdict is OK


def test_program_without_flags(clinic):
    """A program that uses no flag has one problem, not one a flag."""
    seen = clinic.bowl("fom = 7")
    assert "uses no flag" in the(seen, "effect").seen


def test_constants_need_no_effect(clinic):
    """Where nothing is searched, the same figure of merit everywhere is no fault."""
    seen = clinic.examine("awk 'BEGIN { print \"FoM: 1\" }' --", space=Space([Constant("-n", 3)]), quick=True)
    assert found(seen, "effect") == []


def test_effect_that_chance_hides(clinic):
    """Where the same seed gives other figures of merit, a small effect is not told from none."""
    seen = clinic.bowl(CHANCE + "fom = 1e-6 * fom + n")
    assert the(seen, "effect").verdict is NOTE
    assert "cannot be told from chance" in the(seen, "effect").seen


def test_rejected_flag(clinic):
    """A flag that makes the program fail is a problem, with the command and what it said."""
    seen = clinic.bowl('if (given["-n"] > 6) { print "n is too large" > "/dev/stderr"; exit 1 }')
    check = the(seen, "flags")
    assert check.verdict is PROBLEM
    assert check.seen == "-n=7, all else as it was, makes the program fail: exit code 1"
    assert check.quote == ("$ awk -f bowl.awk -- -x=0.5 -n=7", "n is too large")


def test_values_that_diverge_are_noted(clinic):
    """A value that gives no finite figure of merit is noted: the search lives with it."""
    seen = clinic.bowl('if (given["-n"] == 7) fom = "nan"')
    assert the(seen, "flags").verdict is NOTE
    assert "gives nan" in the(seen, "flags").seen


def test_flag_that_is_never_active(clinic):
    """A flag whose condition never came true is noted, with the condition."""
    seen = clinic.bowl(space=Space([Float("-y", 0, 1, default=0.5, when="-x > 2"), *SPACE.hyperparameters]))
    assert [check.verdict for check in found(seen, "flags")] == [NOTE, OK]
    assert "-x > 2" in found(seen, "flags")[0].remedy


@pytest.mark.parametrize(
    ("command", "verdict", "said"),
    [
        ("awk -f bowl.awk -- @{-x} -n=@{-n}", OK, "exit code 2"),
        ("awk -f bowl.awk -- -x=@{-x} -n=@{-n} || true", PROBLEM, "no figure of merit"),
        ("awk -f bowl.awk -- -x=@{-x} -n=@{-n} || echo FoM: 99", PROBLEM, "the figure of merit 99"),
        ("awk -f bowl.awk -- -x=@{-x} -n=@{-n} | cat", PROBLEM, "leave the pipe out"),
        ("awk -f bowl.awk -- -x=@{-x} -n=@{-n} 2> /dev/null || true", NOTE, "no complaint"),
    ],
)
def test_hidden_failures(clinic, command, verdict, said):
    """A failure must show in the exit code; a shell may hide it, and a pipe does."""
    (clinic.place / "bowl.awk").write_text(BOWL.replace("FAULT", ""))
    if verdict is OK:
        command = "awk -f bowl.awk --"
    check = the(clinic.examine(command, quick=True), "exit code")
    assert check.verdict is verdict
    assert said in f"{check.seen} {check.remedy}"


def test_log_lines_are_no_complaint(clinic):
    """Lines that differ from the default point's in numbers alone are no complaint."""
    line = 'printf "%s %s\\n" "epoch 1 error" $(echo "$*" | cksum) >&2; echo FoM: 1'
    check = the(clinic.examine(f"sh -c '{line}' sh", quick=True), "exit code")
    assert check.verdict is NOTE


def test_points_beyond_the_time_limit(clinic):
    """Points that take longer than the time limit are a problem of the limit, and of no flag."""
    seen = clinic.bowl(
        'if (given["-n"] != 3) system("exec tail -f /dev/null")',
        minutes=3 / 60,
    )
    assert the(seen, "time").verdict is PROBLEM
    assert "were ended by the limit of 3 s" in the(seen, "time").seen
    assert the(seen, "flags").seen == "-x: taken when changed alone"


def test_evaluations_that_slow_each_other_down(clinic):
    """Where a run takes longer beside others than alone, fewer slots or cores of its own are advised."""
    busy = 'if (ENVIRON["CRAYAI_EVALUATION"] > 0) system("exec sleep 2")'
    check = the(clinic.bowl(busy, quick=True), "slots")
    assert check.verdict is NOTE
    assert "2 running at once" in check.seen
    assert "fewer slots" in check.remedy
    assert found(clinic.bowl(busy, quick=True, slots=1), "slots") == []


def test_overwritten_file(clinic):
    """A file that every evaluation writes anew is a problem where several run at once, else a note."""
    write = 'print fom > "model.txt"'
    check = the(clinic.bowl(write), "files")
    assert check.verdict is PROBLEM
    assert "model.txt" in check.seen
    assert "@directory" in check.remedy
    assert the(clinic.bowl(write, slots=1), "files").verdict is NOTE


@pytest.mark.parametrize("name", ['"model" ENVIRON["CRAYAI_EVALUATION"]', '"lr" given["-x"] given["-n"]'])
def test_files_of_different_names(clinic, name):
    """Files that each evaluation names for itself are no problem."""
    assert the(clinic.bowl(f"print fom > ({name})"), "files").verdict is OK


def test_file_that_only_grows(clinic):
    """A file that every evaluation adds a line to is no problem."""
    check = the(clinic.bowl('print fom >> "log.txt"'), "files")
    assert check.verdict is OK
    assert check.seen == "the first run wrote log.txt, which no other overwrote"


def test_directory_of_its_own_is_no_litter(clinic):
    """With a source directory each run has a directory of its own, and what it writes there is its own."""
    source = clinic.place / "source"
    source.mkdir()
    (source / "bowl.awk").write_text(BOWL.replace("FAULT", 'print fom > "model.txt"'))
    seen = clinic.examine("awk -f bowl.awk --", source=source)
    assert the(seen, "files").seen == "none are written where the program starts"
    assert estimate_from(seen).directory_bytes > 0


def test_snapshot_leaves_out_what_is_not_the_program_s(tmp_path):
    """Hidden files, Python's caches and other studies are not looked at."""
    for name in (
        "seen",
        "sub/seen",
        ".git/config",
        "__pycache__/x.pyc",
        "run/study.db",
        "run/output/0.1.out",
        "ours/x",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    assert {str(path.relative_to(tmp_path)) for path in snapshot(tmp_path, tmp_path / "ours")} == {"seen", "sub/seen"}


@pytest.mark.parametrize(
    ("goal", "line", "other"),
    [
        ("minimize", "accuracy FoM: 0.9", "maximize"),
        ("maximize", "test loss, FoM: 0.9", "minimize"),
        ("minimize", "FoM: 0.9", None),
        ("minimize", "error, not accuracy: FoM: 0.9", None),
    ],
)
def test_goal_that_the_line_contradicts(clinic, goal, line, other):
    """A goal that does not go with the words beside the number is noted."""
    seen = clinic.examine(f"echo '{line}' #", goal=goal, quick=True)
    assert [check.remedy for check in found(seen, "goal")] == (
        [f"set goal = {other!r} if that is better"] if other else []
    )


def test_too_little_room(clinic):
    """A study that would write more than there is room for is a problem."""
    seen = clinic.examine("head -c 100000 /dev/zero > @directory/model; echo FoM: 1; true", quick=True, room=10_000)
    assert the(seen, "room").verdict is PROBLEM
    assert "about 2" in the(seen, "room").seen


def test_estimate_of_an_examination(clinic):
    """The estimate takes the times of the runs that ran side by side, without that of the bad value."""
    seen = clinic.bowl()
    estimate = estimate_from(seen)
    assert estimate.rounds == Rounds(1, 20)
    assert len(estimate.seconds) == len(seen.runs) - 2
    assert estimate_from(seen, at_most=7).rounds == Rounds(1, 7)


@pytest.mark.parametrize(
    ("lines", "marker"),
    [
        (["epoch 2 loss 0.5", "epoch 3 validation loss = 0.25"], "validation loss ="),
        (["fom: 3"], "fom:"),
        (["Accuracy: 0.9", "time: 12 s"], "Accuracy:"),
        (["result 12"], "result"),
        (["nothing", ""], ""),
    ],
)
def test_similar_markers(lines, marker):
    """What stands before the last number that sounds like a figure of merit is suggested."""
    assert similar_marker(lines) == marker
