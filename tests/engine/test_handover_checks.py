"""The doctor of programs that train on: what is found in second windows of good programs, and of each faulty one."""

import dataclasses
import sys
from pathlib import Path

import pytest

from crayai.hpo.engine.doctor import examine as doctor
from crayai.hpo.engine.doctor.checkup import check_up
from crayai.hpo.engine.doctor.examine import examine
from crayai.hpo.engine.doctor.findings import Verdict
from crayai.hpo.engine.doctor.population_checks import check_population
from crayai.hpo.engine.doctor.probes import Role
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space

OK, NOTE, PROBLEM = Verdict.OK, Verdict.NOTE, Verdict.PROBLEM
OURS = {"saving", "loading", "training on", "changed flags", "checkpoints", "population", "decisions"}

LR = Float("--lr", 1e-3, 1.0, log=True, default=0.05)
MOMENTUM = Float("--momentum", 0.0, 0.8, default=0.2)
SPACE = Space([LR, MOMENTUM, Constant("--steps", 20)])
PBT = {"pop_size": 8, "windows": 10}

TRAIN = """
import json, os, random, sys, time
from pathlib import Path

flags = dict(word.split("=", 1) for word in sys.argv[1:])
load, save = Path(flags["--load"]), Path(flags["--save"])
lr, momentum, steps = float(flags["--lr"]), float(flags["--momentum"]), int(flags["--steps"])
model = {"weights": [0.0] * 4, "speed": [0.0] * 4, "optimizer": {"lr": lr, "momentum": momentum}, "steps": 0}
if load.exists():
    model = json.loads(load.read_text())
model["optimizer"] = {"lr": lr, "momentum": momentum}  # the flags count, after loading
begin, end = model["steps"], model["steps"] + steps
random.seed(int(os.environ["CRAYAI_SEED"]))
lr, momentum = model["optimizer"]["lr"], model["optimizer"]["momentum"]
for model["steps"] in range(begin + 1, end + 1):
    for i, weight in enumerate(model["weights"]):
        slope = weight - i - 1 + random.gauss(0, 0.01)
        model["speed"][i] = momentum * model["speed"][i] - lr * slope
        model["weights"][i] += model["speed"][i]
save.write_text(json.dumps(model))
fom = sum((weight - i - 1) ** 2 for i, weight in enumerate(model["weights"]))
print("FoM:", fom)
"""


class Watcher:
    """Sees nothing."""

    def begin(self, runs, at_once, seconds_each):
        """See nothing."""

    def ended(self):
        """See nothing."""

    def notice(self, text):
        """Nothing is expected."""
        raise AssertionError(text)


class Clinic:
    """A directory in which a program is examined."""

    def __init__(self, place):
        self.place = place

    def examine(self, *faults, paths="--load=@load --save=@save", space=SPACE, strategy="pbt", quick=False, **more):
        """Return what the runs of the program show, each fault a text and what stands in its place."""
        text = TRAIN
        for old, new in faults:
            assert old in text
            text = text.replace(old, new)
        (self.place / "train.py").write_text(text)
        arguments = more.pop("arguments", PBT)
        settings = {
            key: more.pop(key) for key in ("checkpoint_gib", "checkpoint_files", "keep", "source") if key in more
        }
        study = Study(
            space=space,
            strategy=StrategySettings(name=strategy, arguments=arguments),
            seed=5,
            command=more.pop("command", f"{sys.executable} -S -E {self.place}/train.py {paths}"),
        )
        evaluation = EvaluationSettings(slots=2, gpus=[], **settings)
        return examine(study, evaluation, self.place / "clinic", Watcher(), quick=quick, **more)


@pytest.fixture
def clinic(tmp_path, monkeypatch):
    """Return a clinic in a directory with an awkward name, which does not wait for the clock to tick."""
    place = tmp_path / "it's a place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr(doctor, "TICK_SECONDS", 0.0)
    return Clinic(Path())


def findings(seen):
    """Return our verdicts by name; a flag's are worse ones first."""
    found = {}
    for check in check_up(seen):
        if check.name in OURS:
            found.setdefault(check.name, check.verdict)
    return found


def the(seen, name):
    """Return the one check of a name."""
    (check,) = [check for check in check_up(seen) if check.name == name]
    return check


GOOD = dict.fromkeys(["saving", "loading", "training on", "changed flags", "checkpoints"], OK)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ("--load=@load --save=@save", "@save"),
        ("--load=@load/model --save=@save/model", "@save/model"),
        ("--load=@load.json --save=@save.json", "@save.json"),
        ("--load=@checkpoint --save=@checkpoint", "@checkpoint"),
        ("--load=@checkpoint/a --save=@checkpoint/a", "@checkpoint/a"),
    ],
)
def test_good_program(clinic, paths, names):
    """A program that saves, loads and heeds its flags has no finding, whatever its path is: file, directory, prefix."""
    seen = clinic.examine(paths=paths)
    assert findings(seen) == GOOD
    assert the(seen, "saving").seen == f"the first window saved {names}"
    assert the(seen, "changed flags").seen == "--lr, --momentum: a new value counts after loading"
    assert seen.training.loaded.fom < seen.default.fom


def test_probes_find_what_windows_find(clinic):
    """The first window has nothing to load and no CRAYAI_LOAD, the second has both, its number, and another seed."""
    seen = clinic.examine(("print(", "print({k: v for k, v in os.environ.items() if k[:6] == 'CRAYAI'}); print("))
    first, second, scratch = (
        eval(Path(run.task.stdout).read_text().splitlines()[0])
        for run in (seen.default, seen.training.loaded, seen.training.fresh)
    )
    assert "CRAYAI_LOAD" not in first | scratch
    assert second["CRAYAI_LOAD"] == first["CRAYAI_CHECKPOINT"] != second["CRAYAI_CHECKPOINT"]
    assert [facts["CRAYAI_WINDOW"] for facts in (first, second, scratch)] == ["0", "1", "1"]
    assert {facts["CRAYAI_WINDOWS"] for facts in (first, second)} == {"10"}
    assert first["CRAYAI_SEED"] != second["CRAYAI_SEED"] == scratch["CRAYAI_SEED"]


def test_only_one_checkpoint_is_kept_meanwhile(clinic):
    """Of all probes only the first one's checkpoint is there at the end, for others load it."""
    clinic.examine()
    assert [path.name for path in (clinic.place / "clinic" / "checkpoints").iterdir()] == ["0"]


# Saving


def test_saves_nothing(clinic):
    """A program that does not save has one problem, and no second window is tried."""
    seen = clinic.examine(("save.write_text(json.dumps(model))", ""))
    assert findings(seen) == {"saving": PROBLEM}
    assert "saved nothing at @save" in the(seen, "saving").seen
    assert seen.training is None


@pytest.mark.parametrize("source", [None, "source"])
def test_saves_elsewhere(clinic, source):
    """A program that saves under a name of its own is told so, with the name, also in a directory of its own."""
    faults = [("save.write_text", 'Path("model.json").write_text')]
    if source:
        (clinic.place / source).mkdir()
    text = TRAIN.replace(*faults[0])
    (clinic.place / "train.py").write_text(text)
    path = (clinic.place / "train.py").absolute()
    command = f'{sys.executable} -S -E "{path}" --load=@load --save=@save'
    seen = clinic.examine(*faults, command=command, source=Path(source).absolute() if source else None)
    assert "saves elsewhere: model.json" in the(seen, "saving").seen
    assert "that all evaluations have in common" in the(seen, "saving").remedy


def test_saves_an_empty_file(clinic):
    """A file without content is no checkpoint."""
    seen = clinic.examine(("save.write_text(json.dumps(model))", "save.write_text('')"))
    assert the(seen, "saving").verdict is PROBLEM
    assert "is empty: @save" in the(seen, "saving").seen


def test_saves_sometimes(clinic):
    """A program that saves only good models is told to save always."""
    seen = clinic.examine(
        ("save.write_text(json.dumps(model))", ""), ("print(", "fom < 5 and save.write_text(json.dumps(model)); print(")
    )
    assert the(seen, "saving").verdict is PROBLEM
    assert "ended well and saved nothing" in the(seen, "saving").seen
    assert "whatever the figure of merit" in the(seen, "saving").remedy


def test_saves_where_it_is_to_load(clinic):
    """A program that saves at the path to load from, in the first window, would hand its model to strangers."""
    seen = clinic.examine(("save.write_text", "load.parent.mkdir(exist_ok=True); load.write_text"))
    first, second = [check for check in check_up(seen) if check.name == "saving"]
    assert "saves at @load, where nothing is" in first.seen
    assert "saved nothing" in second.seen


def test_first_window_without_a_test_for_a_checkpoint(clinic):
    """A program that loads what cannot be there in the first window is told to test for it."""
    seen = clinic.examine(("if load.exists():", "if True:"))
    assert "in the first window there is nothing at @load" in the(seen, "program").remedy


def test_random_search_may_save(clinic):
    """Where nobody trains on, what is saved is looked at, and nothing else."""
    seen = clinic.examine(strategy="random", arguments={"num_iters": 9})
    assert findings(seen) == {"saving": OK, "checkpoints": OK}
    seen = clinic.examine(("save.write_text(json.dumps(model))", ""), strategy="random", arguments={"num_iters": 9})
    assert findings(seen) == {"saving": NOTE}


def test_command_without_checkpoints(clinic):
    """Where the command has no checkpoint, nothing is said of any."""
    arguments = {"num_iters": 9}
    assert findings(clinic.examine(paths="--load=x --save=y", strategy="random", arguments=arguments)) == {}


# Loading


def test_ignored_checkpoint(clinic):
    """A program that never loads gives the same with and without a checkpoint, and its flags are not doubted."""
    seen = clinic.examine(("if load.exists():", "if False:"))
    assert findings(seen) == {"saving": OK, "loading": PROBLEM, "checkpoints": OK}
    assert "the checkpoint is ignored" in the(seen, "loading").seen
    assert "load what is at @load" in the(seen, "loading").remedy


def test_loads_under_another_name(clinic):
    """What was saved is listed where it is not found under the name that it is looked for."""
    seen = clinic.examine(("save.write_text", 'Path(f"{save}.new").write_text'))
    assert the(seen, "loading").verdict is PROBLEM
    assert the(seen, "loading").quote == ("@save.new",)


def test_fails_when_it_loads(clinic):
    """A program that cannot read what it saved is quoted, with its command, quoted for a shell."""
    seen = clinic.examine(("json.loads(load.read_text())", 'sys.exit("no key: weights")'))
    check = the(seen, "loading")
    assert check.verdict is PROBLEM
    assert "fails: exit code 1" in check.seen
    assert check.quote[-1] == "no key: weights"
    assert "'\"'\"'s a place/clinic/checkpoints/0/checkpoint'" in check.quote[0]


def test_writes_to_what_it_loads(clinic):
    """A program that changes the checkpoint of others is found out: by its failure, or as root by the change."""
    seen = clinic.examine(("save.write_text", "load.exists() and load.write_text('{}'); save.write_text"))
    check = the(seen, "loading")
    assert check.verdict is PROBLEM
    assert "@checkpoint, one path for both" in check.remedy


def test_adds_to_what_it_loads(clinic):
    """A new file beside the one that is loaded is a change too."""
    paths = "--load=@load/model --save=@save/model"
    fault = ("save.write_text", "load.exists() and (load.parent / 'seen').write_text('x'); save.write_text")
    seen = clinic.examine(fault, paths=paths)
    assert "changed the checkpoint that it loads" in the(seen, "loading").seen


def test_start_from_scratch_in_a_late_window(clinic):
    """A program that relies on the window rather than on the checkpoint fails where everybody starts anew."""
    seen = clinic.examine(("load.exists()", "os.environ['CRAYAI_WINDOW'] != '0'"))
    assert findings(seen) == {**GOOD, "loading": NOTE}
    assert "not which window it is" in the(seen, "loading").remedy


# Going on


def test_total_number_of_steps(clinic):
    """A loop up to a total that was reached before trains nothing."""
    seen = clinic.examine(('end = model["steps"], model["steps"] + steps', 'end = model["steps"], steps'))
    assert findings(seen) == {"saving": OK, "loading": OK, "training on": PROBLEM, "checkpoints": OK}
    assert "trains nothing" in the(seen, "training on").seen


@pytest.mark.parametrize("paths", ["--load=@load --save=@save", "--load=@checkpoint --save=@checkpoint"])
def test_second_window_is_not_saved(clinic, paths):
    """A program that saves the first window alone is found, also where the copy that it loaded is still there."""
    fault = ("save.write_text(json.dumps(model))", "load.exists() or save.write_text(json.dumps(model))")
    seen = clinic.examine(fault, paths=paths)
    assert the(seen, "training on").verdict is PROBLEM
    assert "a second window saves" in the(seen, "training on").seen


def test_model_is_lost(clinic):
    """Where the weights are missing in what is loaded, the figure of merit falls back, and that is noted."""
    seen = clinic.examine(
        (
            'model["optimizer"] = {"lr"',
            'model["weights"] = [-20.0 if load.exists() else 0.0] * 4\nmodel["optimizer"] = {"lr"',
        )
    )
    assert the(seen, "training on").verdict is NOTE
    assert "what was learned is lost" in the(seen, "training on").seen


def test_going_on_that_brings_nothing(clinic):
    """A second window that is no better than one from scratch is noted: learned out, or not all loaded."""
    space = Space([LR, MOMENTUM, Constant("--steps", 200)])
    noise = ("fom = sum(", "fom = random.random() / 1000 + sum(")
    check = the(clinic.examine(noise, space=space), "training on")
    assert check.verdict is NOTE
    assert "no better than starting anew" in check.seen
    assert "make windows shorter" in check.remedy


def test_fails_the_second_time(clinic):
    """A program that can load a checkpoint only once is found."""
    flaw = "load.exists() and load.with_name('once').mkdir()\nif load.exists():"
    check = the(clinic.examine(("if load.exists():", flaw)), "loading")
    assert check.verdict is PROBLEM
    assert "again from the same checkpoint" in check.seen or "fails: exit code" in check.seen


# Flags

RESTORED = ('model["optimizer"] = {"lr": lr, "momentum": momentum}  # the flags count, after loading\n', "")
LR_RESTORED = ('model["optimizer"] = {"lr": lr,', 'model["optimizer"] = {"lr": model["optimizer"]["lr"],')


def test_old_learning_rate_comes_back(clinic):
    """An optimizer whose state brings the old learning rate back is found, by its flag, and the others are cleared."""
    seen = clinic.examine(LR_RESTORED)
    assert findings(seen) == {**GOOD, "changed flags": PROBLEM}
    check = the(seen, "changed flags")
    assert "brings the old value of --lr back" in check.seen
    assert "--lr=0.05 as with --lr=0.0056234133 and at its bound" in check.seen
    assert check.remedy.startswith("set --lr after loading. PyTorch: group['lr'] = … ")
    assert "optimizer.learning_rate" in check.remedy
    assert len(seen.training.pairs["--lr"]) == 2


def test_all_old_values_come_back(clinic):
    """Each flag that is brought back has a finding of its own."""
    checks = [check for check in check_up(clinic.examine(RESTORED)) if check.name == "changed flags"]
    assert [("--lr" in c.seen, "--momentum" in c.seen) for c in checks] == [(True, False), (False, True)]


def test_quick_changes_all_flags_at_once(clinic):
    """Quickly, flags are changed together in one run; where that makes no difference, from scratch as well."""
    good, bad = clinic.examine(quick=True), clinic.examine(RESTORED, quick=True)
    assert the(good, "changed flags").seen.startswith("of --lr, --momentum, changed at once, one at least")
    assert the(bad, "changed flags").verdict is PROBLEM
    assert "of --lr, --momentum back" in the(bad, "changed flags").seen
    assert (len(good.training.together), len(bad.training.together)) == (1, 2)


def test_flag_without_any_effect_is_reported_once(clinic):
    """A flag that has no effect from scratch either is spoken of once, with the effects."""
    space = Space([*SPACE.hyperparameters, Float("--none", 0, 1, default=0.1)])
    seen = clinic.examine(space=space)
    assert findings(seen) == GOOD
    assert "--none has none" in the(seen, "effect").seen
    assert list(seen.training.pairs) == ["--lr", "--momentum"]


def test_flag_that_matters_at_its_bound_is_changed_to_it(clinic):
    """A flag that makes no difference from scratch but at its bound is tried there."""
    space = Space([*SPACE.hyperparameters, Int("--depth", 1, 9, default=3)])
    seen = clinic.examine(("fom = ", "fom = (flags['--depth'] == '9') + "), space=space)
    assert findings(seen) == GOOD
    ((base, run),) = seen.training.pairs["--depth"]
    assert (base.probe.values["--depth"], run.probe.values["--depth"]) == (3, 9)


def test_many_flags(clinic):
    """So many flags are changed alone, those that matter most, and the others are named."""
    more = [Float(f"--x{i}", 0, 1, default=0.1) for i in range(13)]
    fault = ("fom = ", "fom = sum(float(v) / 2 ** int(k[3:]) for k, v in flags.items() if k[:3] == '--x') + ")
    space = Space([LR, *more, Constant("--steps", 20), Constant("--momentum", 0)])
    seen = clinic.examine(fault, space=space)
    assert list(seen.training.pairs)[:2] == ["--lr", "--x0"]
    assert seen.training.untried == ("--x11", "--x12")
    note, fine = [check for check in check_up(seen) if check.name == "changed flags"]
    assert note.seen == "--x11, --x12: not tried, for others matter more"
    assert fine.seen == "--lr, --x0, --x1, --x2 and 8 more: a new value counts after loading"


def test_structural_flags_stay(clinic):
    """What is structural never changes between windows, and so it is not tried."""
    space = Space([LR, dataclasses.replace(MOMENTUM, structural=True), Constant("--steps", 20)])
    assert list(clinic.examine(LR_RESTORED, space=space).training.pairs) == ["--lr"]
    quick = clinic.examine(space=space, quick=True)
    assert quick.training.together[0].probe.values["--momentum"] == 0.2


def test_flag_that_does_not_fit_the_checkpoint(clinic):
    """A flag whose new value makes loading fail is a problem, and to be structural."""
    space = Space([*SPACE.hyperparameters, Choice("--kind", ["sgd", "adam"], default="sgd")])
    faults = (
        ('"optimizer": {', '"kind": flags["--kind"], "optimizer": {'),
        ("begin, end", "model['kind'] == flags['--kind'] or sys.exit('no such state')\nbegin, end"),
        ("fom = ", "fom = (model['kind'] == 'adam') + "),
    )
    check = the(clinic.examine(*faults, space=space), "changed flags")
    assert check.verdict is PROBLEM
    assert "--kind=adam makes a second window fail that goes on from --kind=sgd" in check.seen
    assert "structural = true" in check.remedy
    assert check.quote[-1] == "no such state"


def test_conditional_flag_is_changed_where_it_is_active(clinic):
    """A flag that is inactive at the default point is compared with a second window in which it is active."""
    space = Space([
        Int("--steps", 10, 40, default=20), LR, Float("--momentum", 0.0, 0.8, default=0.2, when="--steps > 25")
    ])  # fmt: skip
    seen = clinic.examine(('flags["--momentum"]', 'flags.get("--momentum", 0)'), LR_RESTORED, space=space)
    assert set(seen.training.pairs) == {"--steps", "--lr", "--momentum"}
    base, run = seen.training.pairs["--momentum"][0]
    assert base.probe.values["--steps"] == run.probe.values["--steps"] > 25
    assert "--lr" in the(seen, "changed flags").seen


UNSEEDED = ('os.environ["CRAYAI_SEED"]', 'os.environ["CRAYAI_EVALUATION"]')
"""Chance that the seed does not decide, but the same in each test."""


def test_chance_that_is_small_does_not_hide_the_fault(clinic):
    """Without a seed, flags whose effect is far beyond chance are judged all the same."""
    small = (UNSEEDED, ("random.gauss(0, 0.01)", "random.gauss(0, 1e-9)"))
    assert findings(clinic.examine(*small))["changed flags"] is OK
    assert findings(clinic.examine(*small, LR_RESTORED))["changed flags"] is PROBLEM


def test_chance_that_hides_everything(clinic):
    """Where the same seed gives something else each time, it cannot be told, and what would help is said."""
    seen = clinic.examine(UNSEEDED, ("fom = ", "fom = 100 * random.random() + "))
    check = the(seen, "changed flags")
    assert check.verdict is NOTE
    assert "print the values in use after loading" in check.remedy
    assert "@seed" in check.remedy


def test_coarse_figure_of_merit_is_no_proof(clinic):
    """Where figures of merit agree because they are coarse, what is saved tells, and a doubt is no problem."""
    space = Space([dataclasses.replace(LR, default=0.02), MOMENTUM, Constant("--steps", 20)])
    seen = clinic.examine(('print("FoM:", fom)', 'print("FoM:", max(5, round(fom)))'), space=space)
    assert findings(seen) == {**GOOD, "changed flags": NOTE}
    assert "too coarse to tell" in next(check for check in check_up(seen) if check.name == "changed flags").seen
    seen = clinic.examine(('print("FoM:", fom)', 'print("FoM:", max(20, round(fom)))'), space=space)
    assert the(seen, "loading").verdict is NOTE
    assert "too coarse to tell" in the(seen, "loading").seen


# Costs


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"checkpoint_room": 1000}, "1 kB are free"),
        ({"checkpoint_gib": 1e-6}, "checkpoint_gib = 1e-06 allows less"),
        ({"checkpoint_files": 15}, "they are 16 files, checkpoint_files = 15 allows less"),
    ],
)
def test_room_for_checkpoints(clinic, settings, said):
    """Two checkpoints of each member must fit on the disk, and into what they may take."""
    check = the(clinic.examine(quick=True, **settings), "checkpoints")
    assert check.verdict is PROBLEM
    assert "16 at a time take" in check.seen
    assert said in check.seen


def test_all_checkpoints_are_kept(clinic):
    """With keep = 'all' every evaluation's checkpoint counts."""
    assert "80 at a time" in the(clinic.examine(quick=True, keep="all"), "checkpoints").seen


def test_long_start(clinic):
    """A start that takes most of a window is noted, and how much longer windows should be."""
    seen = clinic.examine(("import json", "import time; time.sleep(0.3)\nimport json"), quick=True)
    check = the(seen, "start-up")
    assert check.verdict is NOTE
    assert "times as long in each window" in check.remedy


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"pop_size": 8, "windows": 10}, {}),
        ({"pop_size": 6, "windows": 10}, {"population": "pop_size = 6"}),
        ({"pop_size": 8, "windows": 100}, {"decisions": "each 1 % of the training"}),
        ({"pop_size": 8, "windows": 100, "interval": 3}, {}),
        ({"pop_size": 8, "windows": 100, "num_demes": 2}, {}),
        ({"pop_size": 8, "windows": 2}, {"decisions": "over before the first decision"}),
        ({"pop_size": 8, "windows": 2, "lag": 0}, {}),
    ],
)
def test_populations_that_find_little(clinic, arguments, expected):
    """Few members, decisions too often, and none at all are noted; a slow deme makes up for a fast one."""
    seen = clinic.examine(("if load.exists():", "sys.exit(1)\nif load.exists():"), arguments=arguments)
    checks = {check.name: check for check in check_population(seen) if check.verdict is NOTE}
    assert checks.keys() == expected.keys()
    assert all(words in checks[name].seen for name, words in expected.items())


def test_genetic_search_that_trains_on(clinic):
    """A genetic search that trains on is examined in the same way."""
    arguments = {"generations": 4, "pop_size": 4, "num_demes": 2, "trains_on": True}
    seen = clinic.examine(LR_RESTORED, strategy="genetic", arguments=arguments)
    assert findings(seen) == {**GOOD, "changed flags": PROBLEM}
    assert "16 at a time" in the(seen, "checkpoints").seen
    assert len(seen.of(Role.WINDOW)) == 0
