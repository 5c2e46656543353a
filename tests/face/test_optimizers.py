"""Scripts written for the original run unchanged, and what is new beside it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from face_helpers import PATIENCE_SECONDS, gate, kill_at_gate, numbers_ran, ran, run_script, script, write_bowl

from crayai import hpo
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.records import Completed, Launched
from crayai.hpo.store.base import MemoryLog
from crayai.hpo.verbose import Verbose

SIN_PROGRAM = """
import math
import sys

factors = dict(word.split("=") for word in sys.argv[1:])
total = 0.0
for i in range(63):
    x = -math.pi + 0.1 * i
    total += (sum(float(factors["-" + n]) * x**k for k, n in enumerate("abcdefg")) - math.sin(x)) ** 2
print("FoM: %e" % total)
"""

SIN_SCRIPT = """
from crayai import hpo

params = hpo.Params([["-a", 0.5, (-1.0, 1.0)],
                     ["-b", -0.5, (-1.0, 1.0)],
                     ["-c", 0.5, (-1.0, 1.0)],
                     ["-d", -0.5, (-1.0, 1.0)],
                     ["-e", 0.5, (-1.0, 1.0)],
                     ["-f", -0.5, (-1.0, 1.0)],
                     ["-g", 0.5, (-1.0, 1.0)]])
evaluator = hpo.Evaluator('python sin.py', run_path='run', src_path='src', nodes=1, verbose=False)
optimizer = hpo.genetic.Optimizer(evaluator, generations=2, pop_size=3, num_demes=2, mutation_rate=0.6,
                                  verbose=True, log_fn='sin.log')
optimizer.optimize(params)
print("best", optimizer.best_fom)
print("flags", "".join(flag[1:] for flag in optimizer.best_params))
del evaluator
"""

HEAD = """
from crayai import hpo
evaluator = hpo.Evaluator({command!r}, num_parallel_evals=2)
"""

GATED_SCRIPT = """
from crayai import hpo
evaluator = hpo.Evaluator("sh gated.sh", num_parallel_evals=2)
params = hpo.Params([["-x", 0.5, (0.0, 1.0)]])
optimizer = hpo.RandomOptimizer(evaluator, num_iters=12)
optimizer.optimize(params)
print("evaluations", len(optimizer.evaluations))
"""


def seven_ranges(default: float) -> hpo.Params:
    """Return the ranges of the sine demonstration."""
    return hpo.Params([[f"-{name}", default, (-1.0, 1.0)] for name in "abcdefg"])


def one_range() -> hpo.Params:
    """Return a range with its default in the middle."""
    return hpo.Params([["-x", 0.5, (0.0, 1.0)]])


@pytest.fixture
def bowl(tmp_path, monkeypatch) -> hpo.Evaluator:
    """An evaluator of the bowl, in a directory that is the current one."""
    monkeypatch.chdir(tmp_path)
    return hpo.Evaluator(write_bowl(tmp_path), num_parallel_evals=2)


def test_both_spellings_name_the_same_classes() -> None:
    """The older and the newer names are one class each."""
    assert hpo.GeneticOptimizer is hpo.genetic.Optimizer
    assert hpo.RandomOptimizer is hpo.random.Optimizer
    assert hpo.GridOptimizer is hpo.grid.Optimizer
    assert hpo.Params is hpo.params.Params
    assert hpo.Evaluator is hpo.evaluator.Evaluator


def test_sine_demonstration_runs_unchanged(tmp_path) -> None:
    """A historic script with src_path, default launcher, log file and `del evaluator` runs to its end."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "sin.py").write_text(SIN_PROGRAM)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    (binaries / "python").chmod(0o755)
    done = run_script(tmp_path, SIN_SCRIPT, PATH=f"{binaries}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert "flags abcdefg" in done.stdout
    best = float(done.stdout.partition("\nbest ")[2].splitlines()[0])
    generations = (tmp_path / "sin.log").read_text().splitlines()[1:]
    assert len(generations) == 2
    assert best == pytest.approx(float(generations[-1].split()[2]), rel=1e-6)
    assert len(list((tmp_path / "run" / "evaluations").iterdir())) == 12


@pytest.mark.parametrize("spelling", ["num_iters", "numIters"])
def test_random_search_knows_both_spellings_of_its_budget(bowl, tmp_path, spelling) -> None:
    """Random search evaluates as often as told under either name, the default point first."""
    hpo.random.Optimizer(bowl, **{spelling: 7}).optimize(one_range())
    assert numbers_ran(tmp_path) == list(range(7))
    assert ["0", "-x=0.5"] in ran(tmp_path)


def test_both_spellings_together_are_refused(bowl) -> None:
    """The budget given twice is an error that names both spellings."""
    with pytest.raises(hpo.SettingsError, match="num_iters and numIters"):
        hpo.RandomOptimizer(bowl, num_iters=3, numIters=3)


def test_random_search_runs_129_evaluations(bowl, tmp_path) -> None:
    """The historic random run makes 129 evaluations, all different."""
    optimizer = hpo.RandomOptimizer(bowl, num_iters=129, seed=3)
    optimizer.optimize(seven_ranges(0.5))
    assert numbers_ran(tmp_path) == list(range(129))
    assert len({tuple(line[1:]) for line in ran(tmp_path)}) == 129


def test_grid_search_runs_129_evaluations(bowl, tmp_path) -> None:
    """Seven ranges at size 2 are 128 corners and the initial point, even where that is a corner."""
    hpo.grid.Optimizer(bowl, grid_size=2, chunk_size=50).optimize(seven_ranges(-1.0))
    assert numbers_ran(tmp_path) == list(range(129))
    assert len({tuple(line[1:]) for line in ran(tmp_path)}) == 128


@pytest.mark.parametrize(("module", "evaluations"), [("genetic", 400), ("random", 100), ("grid", 4)])
def test_every_argument_has_a_default(tmp_path, module, evaluations) -> None:
    """An optimizer made from an evaluator alone runs."""
    text = HEAD.format(command=write_bowl(tmp_path)) + (
        f"optimizer = hpo.{module}.Optimizer(evaluator, verbose=True)\n"
        "optimizer.optimize(hpo.Params([['-x', 0.5, (0., 1)]]))\n"
    )
    done = run_script(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert numbers_ran(tmp_path) == list(range(evaluations))


def test_best_is_a_float_and_values_as_given(bowl) -> None:
    """`best_fom` is a float; `best_params` holds whole numbers, reals and categories as they were given."""
    optimizer = hpo.GeneticOptimizer(bowl, generations=2, pop_size=4, num_demes=1)
    optimizer.optimize(
        hpo.Params(
            [
                ["--whole", 3, (1, 5)],
                ["--real", 1e-3, (1e-6, 1)],
                ["--word", "relu", ["relu", "tanh"]],
                ["--mixed", "none", ["none", 2, 2.5]],
                ["--few", 32, [16, 32, 64]],
            ]
        )
    )
    best = optimizer.best_params
    assert type(optimizer.best_fom) is float
    assert list(best) == ["--whole", "--real", "--word", "--mixed", "--few"]
    assert type(best["--whole"]) is int
    assert type(best["--real"]) is float
    assert best["--word"] in {"relu", "tanh"}
    assert best["--mixed"] in {"none", 2, 2.5}
    assert type(best["--few"]) is int


def test_spellings_mix_in_one_script(tmp_path) -> None:
    """A script that uses older and newer names one after the other gets both answers."""
    text = HEAD.format(command=write_bowl(tmp_path)) + (
        "params = hpo.params.Params([['-x', 0.5, (0.0, 1.0)]])\n"
        "first = hpo.RandomOptimizer(evaluator, numIters=5)\n"
        "first.optimize(params)\n"
        "second = hpo.genetic.Optimizer(evaluator, generations=2, pop_size=2, num_demes=1)\n"
        "second.optimize(params)\n"
        "third = hpo.GridOptimizer(evaluator, grid_size=2)\n"
        "third.optimize(params)\n"
        "print(len(first.evaluations), len(second.evaluations), len(third.evaluations))\n"
        "del evaluator\n"
    )
    done = run_script(tmp_path, text)
    assert done.stdout.split() == ["5", "4", "3"], done.stderr
    assert sorted(path.name for path in tmp_path.glob("run*")) == ["run", "run.1", "run.2"]


def test_flag_with_a_blank_is_two_words(bowl, tmp_path) -> None:
    """`--optimizer lr` reaches the program as the word `--optimizer` and the word `lr=VALUE`."""
    optimizer = hpo.RandomOptimizer(bowl, num_iters=3)
    optimizer.optimize(hpo.Params([["--optimizer lr", 0.001, (1e-6, 1)]]))
    assert ["0", "--optimizer", "lr=0.001"] in ran(tmp_path)
    assert list(optimizer.best_params) == ["--optimizer lr"]


def test_tuple_of_many_numbers_is_a_list(bowl, tmp_path) -> None:
    """A tuple from `numpy.logspace` is a finite list; the program gets its values and no others."""
    import numpy as np

    powers = tuple(np.logspace(-3, 0, 4))
    hpo.RandomOptimizer(bowl, num_iters=4).optimize(hpo.Params([["--lr", 0.01, powers]]))
    assert {line[1] for line in ran(tmp_path)} == {"--lr=0.001", "--lr=0.01", "--lr=0.1", "--lr=1"}


def test_default_outside_is_where_the_search_starts(tmp_path) -> None:
    """A default outside its range or list is evaluated first, with a warning, and the script goes on."""
    text = HEAD.format(command=write_bowl(tmp_path)) + (
        "params = hpo.Params([['-x', 7.5, (0.0, 1.0)], ['-n', 3, [4, 8, 16]]])\n"
        "optimizer = hpo.RandomOptimizer(evaluator, num_iters=4)\n"
        "optimizer.optimize(params)\n"
    )
    done = run_script(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert "-x: the default 7.5 is outside 0.0..1.0" in done.stderr
    assert "-n: the default 3 is outside 4|8|16" in done.stderr
    assert ["0", "-x=7.5", "-n=3"] in ran(tmp_path)
    assert all(0 <= float(line[1].partition("=")[2]) <= 1 for line in ran(tmp_path) if line[0] != "0")


def test_missing_default_is_drawn(bowl, tmp_path) -> None:
    """Entries without a default start at a random value of their range or list."""
    hpo.RandomOptimizer(bowl, num_iters=1).optimize(hpo.Params([["-x", (2.0, 3.0)], ("-n", [4, 8])]))
    (first,) = ran(tmp_path)
    assert 2 <= float(first[1].partition("=")[2]) <= 3
    assert first[2] in {"-n=4", "-n=8"}


def test_values_have_eight_digits_and_stand_behind_an_equals_sign(bowl, tmp_path) -> None:
    """The command line is `flag=value` with at most eight significant digits, negative values included."""
    hpo.RandomOptimizer(bowl, num_iters=20, seed=1).optimize(seven_ranges(-1 / 3))
    first = next(line for line in ran(tmp_path) if line[0] == "0")
    assert first[1:] == [f"-{name}=-0.33333333" for name in "abcdefg"]
    for line in ran(tmp_path):
        for word in line[1:]:
            text = word.partition("=")[2]
            assert text == f"{float(text):.8g}"


def test_second_run_moves_the_first_aside(tmp_path) -> None:
    """A finished study makes room: run becomes run.1, then run.2, and each script says so."""
    text = HEAD.format(command=write_bowl(tmp_path)) + (
        "hpo.RandomOptimizer(evaluator, num_iters=3).optimize(hpo.Params([['-x', 0.5, (0.0, 1.0)]]))\n"
    )
    for said in ("", "run.1", "run.2"):
        done = run_script(tmp_path, text)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
    assert sorted(path.name for path in tmp_path.glob("run*")) == ["run", "run.1", "run.2"]
    assert numbers_ran(tmp_path) == sorted(3 * [0, 1, 2])


def test_killed_script_goes_on(tmp_path) -> None:
    """After SIGKILL the same script goes on, says so, and runs no evaluation twice that has ended."""
    with gate(tmp_path) as barrier:
        kill_at_gate(tmp_path, GATED_SCRIPT, barrier)
        assert 6 not in numbers_ran(tmp_path)
        barrier.open()
        done = run_script(tmp_path, GATED_SCRIPT)
    assert done.returncode == 0, done.stderr
    assert "going on with the unfinished study in" in done.stderr
    assert done.stdout.split() == ["evaluations", "12"]
    assert numbers_ran(tmp_path) == list(range(12))


def test_evaluation_that_outlives_its_script_is_adopted(tmp_path) -> None:
    """What still runs when the script is run again is waited for, not started a second time."""
    with gate(tmp_path) as barrier:
        kill_at_gate(tmp_path, GATED_SCRIPT, barrier)
        with subprocess.Popen(
            script(GATED_SCRIPT), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as again:
            assert "going on" in again.stderr.readline()
            barrier.open()
            again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0
    assert numbers_ran(tmp_path) == list(range(12))


def test_resume_can_be_refused(tmp_path) -> None:
    """`resume=False` leaves the unfinished study in run.1 and starts anew."""
    with gate(tmp_path) as barrier:
        kill_at_gate(tmp_path, GATED_SCRIPT, barrier)
    (tmp_path / "ran.tsv").unlink()
    done = run_script(tmp_path, GATED_SCRIPT.replace("optimize(params)", "optimize(params, resume=False)"))
    assert done.returncode == 0, done.stderr
    assert "run.1" in done.stderr
    assert "going on" not in done.stderr
    assert set(range(12)) <= set(numbers_ran(tmp_path))


def test_unfinished_study_of_other_settings_is_moved_aside(tmp_path) -> None:
    """A script with other ranges starts anew, and the first one's study is gone on with when that runs again."""
    other = GATED_SCRIPT.replace("(0.0, 1.0)", "(0.0, 2.0)")
    with gate(tmp_path) as barrier:
        kill_at_gate(tmp_path, GATED_SCRIPT, barrier)
        barrier.open()
        done = run_script(tmp_path, other)
        assert "run.1" in done.stderr
        assert "going on" not in done.stderr
        (tmp_path / "ran.tsv").unlink()
        done = run_script(tmp_path, GATED_SCRIPT)
    assert "going on" in done.stderr
    assert len(ran(tmp_path)) < 12


def test_evaluations_lists_all_by_number(bowl) -> None:
    """`evaluations` holds number, values, figure of merit, generation and deme of each, in order."""
    optimizer = hpo.GeneticOptimizer(bowl, generations=2, pop_size=2, num_demes=2, seed=5)
    optimizer.optimize(one_range())
    found = optimizer.evaluations
    assert [e.number for e in found] == list(range(8))
    assert [e.generation for e in found] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [e.deme for e in found] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert all(e.failure == "" and e.fom == pytest.approx((e.values["-x"] - 0.3) ** 2, rel=1e-6) for e in found)
    assert all(parent < 4 for e in found[4:] for parent in e.parents)
    best = min(found, key=lambda e: e.fom)
    assert (optimizer.best_fom, optimizer.best_params) == (best.fom, dict(best.values))


def test_to_dataframe_has_a_row_an_evaluation(bowl) -> None:
    """The data frame has a row an evaluation and a column a hyperparameter."""
    optimizer = hpo.RandomOptimizer(bowl, num_iters=6)
    optimizer.optimize(hpo.Params([["-x", 0.5, (0.0, 1.0)], ["-w", "a", ["a", "b"]]]))
    frame = optimizer.to_dataframe()
    assert list(frame.columns) == ["number", "generation", "deme", "fom", "failure", "-x", "-w"]
    assert list(frame["number"]) == list(range(6))
    assert frame["fom"].min() == optimizer.best_fom


def test_goal_maximize_finds_the_greatest(bowl) -> None:
    """With goal='maximize' the best is the greatest figure of merit, with its own sign."""
    bowl.goal = "maximize"
    optimizer = hpo.RandomOptimizer(bowl, num_iters=10)
    optimizer.optimize(one_range())
    assert optimizer.best_fom == max(e.fom for e in optimizer.evaluations) > 0


def test_repeats_evaluate_each_point_again(bowl, tmp_path) -> None:
    """With repeats=3 the program gets each point three times."""
    hpo.RandomOptimizer(bowl, num_iters=4, repeats=3).optimize(one_range())
    points = [line[1] for line in sorted(ran(tmp_path), key=lambda line: int(line[0]))]
    assert len(points) == 12
    assert all(len(set(points[i : i + 3])) == 1 for i in range(0, 12, 3))
    assert len(set(points)) == 4


def test_same_seed_gives_the_same_points_on_any_number_of_slots(bowl) -> None:
    """A genetic search with a seed asks for the same points, however many evaluations run at once."""
    values = []
    for slots in (1, 3):
        bowl.num_parallel_evals = slots
        optimizer = hpo.GeneticOptimizer(bowl, generations=3, pop_size=4, num_demes=2, seed=11)
        optimizer.optimize(seven_ranges(0.5))
        values.append([e.values for e in optimizer.evaluations])
    assert values[0] == values[1]


def test_verbose_prints_settings_and_best(bowl, capsys) -> None:
    """With verbose an optimizer prints the settings, a line an evaluation, and the best."""
    hpo.RandomOptimizer(bowl, num_iters=3, seed=1, verbose=True).optimize(one_range())
    lines = capsys.readouterr().out.splitlines()
    text = "\n".join(lines)
    assert "command    awk -f bowl.awk --" in text
    assert "strategy   random: num_iters=3" in text
    assert "params     -x=0.0..1.0 default=0.5" in text
    assert sum(line.startswith("evaluation ") for line in lines) == 3
    assert lines[-1].startswith("Best: ")
    assert " -x=" in lines[-1]
    assert "loss 17" not in text


def test_verbose_evaluator_prints_what_programs_print(bowl, capsys) -> None:
    """With verbose an evaluator prints the program's output too."""
    bowl.verbose = True
    hpo.RandomOptimizer(bowl, num_iters=3).optimize(one_range())
    assert capsys.readouterr().out.count("loss 17 after epoch 1\n") == 3


def test_verbose_evaluator_prints_the_attempt_that_it_adopted(tmp_path, capsys) -> None:
    """A driver that takes over a second attempt prints the output of that, and none where there is no file."""
    study = Study(space=one_range().space, strategy=StrategySettings(name="random", arguments={}), seed=1, command="x")
    search = Search(study, MemoryLog())
    for number in (0, 1):
        search.ask()
        search.append(Launched(number, 2))
    StudyDirectory(tmp_path).make()
    Path(StudyDirectory(tmp_path).output(0, 2) + ".out").write_text("second attempt\n")
    verbose = Verbose(tmp_path, EvaluationSettings(), lines=False, output=True, moved_to=None)
    verbose.begin(search, was_resumed=True, checkpoints=tmp_path)
    for number in (0, 1):
        verbose.event(search.tell(number, Completed(1.0)), search)
    assert capsys.readouterr().out.count("second attempt\n") == 1


def test_interrupted_script_stops_and_goes_on(tmp_path) -> None:
    """Ctrl-C lets running evaluations finish and ends the script as an interrupt; run again, it goes on."""
    with gate(tmp_path) as barrier:
        with subprocess.Popen(script(GATED_SCRIPT), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            barrier.wait()
            process.send_signal(signal.SIGINT)
            assert "stopping: running evaluations may finish" in process.stderr.readline()
            barrier.open()
            assert "KeyboardInterrupt" in process.communicate(timeout=PATIENCE_SECONDS)[1]
        assert process.returncode == -signal.SIGINT
        assert 6 in numbers_ran(tmp_path)
        assert len(ran(tmp_path)) < 12
        done = run_script(tmp_path, GATED_SCRIPT)
    assert "going on" in done.stderr
    assert numbers_ran(tmp_path) == list(range(12))


def test_quiet_by_default(bowl, capsys) -> None:
    """Without verbose nothing is printed."""
    hpo.RandomOptimizer(bowl, num_iters=3).optimize(one_range())
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_best_is_refused_before_the_search(bowl) -> None:
    """Asking for the best before optimize() is an error that says so."""
    with pytest.raises(hpo.SettingsError, match=r"before optimize\(\)"):
        _ = hpo.RandomOptimizer(bowl).best_fom


def test_program_that_always_fails_stops_the_study(tmp_path, monkeypatch) -> None:
    """Five failures and no success end the study with the cause, the command and the program's last words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.sh").write_text("echo ran >> count\necho no module named nonsense >&2\nexit 4\n")
    optimizer = hpo.RandomOptimizer(hpo.Evaluator("sh broken.sh", num_parallel_evals=1), num_iters=50)
    with pytest.raises(hpo.StudyFailed, match=r"exit code: 4[\s\S]*sh broken.sh -x=0.5[\s\S]*no module named nonsense"):
        optimizer.optimize(one_range())
    assert len((tmp_path / "count").read_text().splitlines()) <= 10  # five, and what was under way when the fifth ended


def test_failed_evaluations_are_listed_and_passed_over(tmp_path, monkeypatch) -> None:
    """A program that fails for some values leaves failed evaluations, and the best is one that did not fail."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.sh").write_text('case $1 in -w=bad) exit 3;; esac\necho "FoM: 1.5"\n')
    optimizer = hpo.GridOptimizer(hpo.Evaluator("sh half.sh"), grid_size=2)
    optimizer.optimize(hpo.Params([["-w", "good", ["good", "bad"]], ["-x", 0.5, (0.0, 1.0)]]))
    failed = [e for e in optimizer.evaluations if e.failure]
    assert len(failed) == 2
    assert all(e.values["-w"] == "bad" and e.fom is None and e.failure == "exit code: 3" for e in failed)
    assert optimizer.best_params["-w"] == "good"


def test_run_directory_holds_no_output_but_the_best(bowl) -> None:
    """Of evaluations that did not fail only the best one's output is kept."""
    optimizer = hpo.RandomOptimizer(bowl, num_iters=8)
    optimizer.optimize(one_range())
    best = min(optimizer.evaluations, key=lambda e: (e.fom, e.number)).number
    kept = {path.name for path in Path("run", "output").iterdir()}
    assert kept == {f"{best}.1.out", f"{best}.1.err"}


def test_keep_output_keeps_all(bowl) -> None:
    """With keep_output the output of every evaluation is there afterwards."""
    bowl.keep_output = True
    hpo.RandomOptimizer(bowl, num_iters=3).optimize(one_range())
    assert len(list(Path("run", "output").glob("*.out"))) == 3
