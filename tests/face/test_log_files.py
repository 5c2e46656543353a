"""The log files of a genetic search are Cray's, and complete while the search runs."""

import math
from pathlib import Path

import pytest
from face_helpers import gate, kill_at_gate, run_script, table, write_bowl

from crayai import hpo
from crayai.hpo.records import Asked, Cause, Completed, Failed, Suggestion, Told
from crayai.hpo.report.logfiles import LogFiles
from crayai.hpo.strategy.base import Record

SPY = """
BEGIN {
    lines = 0
    while ((getline line < "hpo.log") > 0) lines++
    close("hpo.log")
    demes = 0
    while ((getline line < "Deme1_hpo.log") > 0) demes++
    close("Deme1_hpo.log")
    print ENVIRON["CRAYAI_GENERATION"], lines, demes >> "seen"
    print "FoM: 1"
}
"""


@pytest.fixture
def bowl(tmp_path, monkeypatch) -> hpo.Evaluator:
    """An evaluator of the bowl, in a directory that is the current one."""
    monkeypatch.chdir(tmp_path)
    return hpo.Evaluator(write_bowl(tmp_path), num_parallel_evals=2)


def search(evaluator: hpo.Evaluator, params: list, **arguments) -> hpo.GeneticOptimizer:
    """Run a genetic search that writes hpo.log."""
    optimizer = hpo.GeneticOptimizer(evaluator, **{"log_fn": "hpo.log", "seed": 4, **arguments})
    optimizer.optimize(hpo.Params(params))
    return optimizer


def two_ranges() -> list:
    """Return two ranges with defaults."""
    return [["-a", 0.5, (-1.0, 1.0)], ["-b", 0.9, (-1.0, 1.0)]]


def test_text_of_the_generations_file_is_crays(bowl) -> None:
    """Header, numbers as %e, N/A for checkpoints, single blanks and a blank at the end are Cray's to the letter."""
    optimizer = search(bowl, two_ranges(), generations=1, pop_size=1, num_demes=1)
    assert Path("hpo.log").read_text() == (
        "generation  epoch  best_fom  avg_fom checkpoint_in checkpoint_out -a -b\n"
        f"0 1 {optimizer.best_fom:e} {optimizer.best_fom:e} N/A N/A 0.5 0.9 \n"
    )


def test_text_of_a_demes_file_is_crays(bowl) -> None:
    """Header, tags, numbers as %g, single blanks and a blank at the end are Cray's to the letter."""
    optimizer = search(bowl, two_ranges(), generations=1, pop_size=1, num_demes=1)
    assert Path("Deme1_hpo.log").read_text() == (
        f"generation tag fitness FoM -a -b\n0 deme1_ind0 1 {optimizer.best_fom:g} 0.5 0.9 \n"
    )


def test_generations_hold_best_so_far_and_average(bowl) -> None:
    """`best_fom` is the best so far over all demes, with its hyperparameters; `avg_fom` is the generation's mean."""
    optimizer = search(bowl, two_ranges(), generations=4, pop_size=3, num_demes=2)
    lines = [line.split() for line in Path("hpo.log").read_text().splitlines()[1:]]
    assert [line[0] for line in lines] == ["0", "1", "2", "3"]
    for generation, line in enumerate(lines):
        so_far = [e for e in optimizer.evaluations if e.generation <= generation]
        now = [e.fom for e in so_far if e.generation == generation]
        best = min(so_far, key=lambda e: (e.fom, e.number))
        assert line[2:4] == [f"{best.fom:e}", f"{math.fsum(now) / len(now):e}"]
        assert [float(text) for text in line[6:]] == list(best.values.values())


def test_demes_files_hold_every_individual(bowl) -> None:
    """Each deme's file has a line an individual, in order, with tags that count every individual of the deme."""
    optimizer = search(bowl, two_ranges(), generations=3, pop_size=2, num_demes=3)
    assert sorted(path.name for path in Path().glob("*.log")) == [
        "Deme1_hpo.log",
        "Deme2_hpo.log",
        "Deme3_hpo.log",
        "hpo.log",
    ]
    for deme in range(3):
        frame = table(f"Deme{deme + 1}_hpo.log")
        own = [e for e in optimizer.evaluations if e.deme == deme]
        assert list(frame["tag"]) == [f"deme{deme + 1}_ind{n}" for n in range(6)]
        assert list(frame["generation"]) == [0, 0, 1, 1, 2, 2]
        assert list(frame["FoM"]) == pytest.approx([e.fom for e in own], rel=1e-5)
        assert list(frame["-a"]) == [e.values["-a"] for e in own]


def test_fitness_is_crays_formula(bowl) -> None:
    """Fitness is exp(-10 ((FoM - best) / (worst - best))^2) within a deme and generation, as %g."""
    optimizer = search(bowl, two_ranges(), generations=2, pop_size=5, num_demes=2)
    for deme in range(2):
        lines = [line.split() for line in Path(f"Deme{deme + 1}_hpo.log").read_text().splitlines()[1:]]
        for generation in range(2):
            foms = [e.fom for e in optimizer.evaluations if (e.deme, e.generation) == (deme, generation)]
            best, worst = min(foms), max(foms)
            fitness = [math.exp(-10 * ((fom - best) / (worst - best)) ** 2) for fom in foms]
            assert [line[2] for line in lines if line[0] == str(generation)] == [f"{f:g}" for f in fitness]


def test_epoch_counts_windows_of_generations(bowl) -> None:
    """`epoch` is generation // gens_per_epoch + 1."""
    search(bowl, two_ranges(), generations=5, pop_size=1, num_demes=1, gens_per_epoch=2)
    assert list(table("hpo.log")["epoch"]) == [1, 1, 2, 2, 3]


def test_lines_are_there_when_the_next_generation_begins(tmp_path, monkeypatch) -> None:
    """An evaluation of generation g finds the lines of all generations before it, and no other."""
    monkeypatch.chdir(tmp_path)
    Path("spy.awk").write_text(SPY)
    evaluator = hpo.Evaluator("awk -f spy.awk --", num_parallel_evals=2)
    search(evaluator, two_ranges(), generations=4, pop_size=3, num_demes=2)
    seen = {tuple(map(int, line.split())) for line in Path("seen").read_text().splitlines()}
    assert seen == {(generation, 1 + generation, 1 + 3 * generation) for generation in range(4)}


def test_pandas_reads_all_files(bowl) -> None:
    """`pandas.read_csv` splits both files at blanks into the documented columns; N/A is missing."""
    search(bowl, two_ranges(), generations=3, pop_size=2, num_demes=1)
    frame = table("hpo.log")
    columns = ["generation", "epoch", "best_fom", "avg_fom", "checkpoint_in", "checkpoint_out", "-a", "-b"]
    assert list(frame.columns) == columns
    assert frame["checkpoint_in"].isna().all()
    assert frame["best_fom"].is_monotonic_decreasing
    assert list(table("Deme1_hpo.log").columns) == ["generation", "tag", "fitness", "FoM", "-a", "-b"]


def test_flags_and_values_with_blanks_stay_one_column(bowl) -> None:
    """A flag or a value with blanks stands in double quotes, so that pandas reads it back."""
    params = [["--optimizer lr", 0.5, (0.0, 1.0)], ["--note", "plain", ["plain", "two words", 'say "hi"']]]
    optimizer = search(bowl, params, generations=3, pop_size=4, num_demes=1)
    frame = table("Deme1_hpo.log")
    assert list(frame.columns)[-2:] == ["--optimizer lr", "--note"]
    assert list(frame["--note"]) == [e.values["--note"] for e in optimizer.evaluations]
    assert {"two words", 'say "hi"'} <= set(frame["--note"])


def test_failed_individuals_have_no_fitness(tmp_path, monkeypatch) -> None:
    """A failed individual has fitness 0 and FoM nan, and does not count in the average."""
    monkeypatch.chdir(tmp_path)
    Path("half.sh").write_text('case $1 in -w=bad) exit 3;; esac\necho "FoM: 2.5"\n')
    params = [["-w", "good", ["good", "bad"]], ["-x", 0.5, (0.0, 1.0)]]
    optimizer = search(hpo.Evaluator("sh half.sh"), params, generations=2, pop_size=6, num_demes=1)
    assert any(e.failure for e in optimizer.evaluations)
    lines = [line.split() for line in Path("Deme1_hpo.log").read_text().splitlines()[1:]]
    for evaluation, line in zip(optimizer.evaluations, lines, strict=True):
        assert line[2:4] == (["0", "nan"] if evaluation.failure else ["1", "2.5"])
    assert set(table("hpo.log")["avg_fom"]) == {2.5}


def test_generation_of_failures_has_no_best(tmp_path) -> None:
    """While nothing has completed, best and average are nan, and the hyperparameters are the first individual's."""
    record = Record()
    for number, outcome in enumerate([Failed(Cause.EXIT_CODE), Failed(Cause.NO_FOM), Completed(2.5), Completed(3.5)]):
        record.append(Asked(number, Suggestion({"-x": number})))
        record.append(Told(number, outcome))
    files = LogFiles(path=tmp_path / "hpo.log", flags=["-x"], pop_size=2, num_demes=1)
    files.begin()
    files.update(record)
    lines = (tmp_path / "hpo.log").read_text().splitlines()[1:]
    assert lines == ["0 1 nan nan N/A N/A 0 ", "1 2 2.500000e+00 3.000000e+00 N/A N/A 2 "]


def test_maximised_figures_keep_their_sign(bowl) -> None:
    """With goal='maximize' the files show the figure of merit as printed, and the best is the greatest."""
    bowl.goal = "maximize"
    optimizer = search(bowl, two_ranges(), generations=3, pop_size=3, num_demes=1)
    frame = table("hpo.log")
    assert frame["best_fom"].is_monotonic_increasing
    assert frame["best_fom"].iloc[-1] == pytest.approx(optimizer.best_fom, rel=1e-6)
    individuals = table("Deme1_hpo.log")
    first = individuals[individuals["generation"] == 0]
    assert first.loc[first["FoM"].idxmax(), "fitness"] == 1


def test_repeats_are_one_individual(bowl) -> None:
    """With repeats a line is a point, not an evaluation."""
    optimizer = search(bowl, two_ranges(), generations=2, pop_size=3, num_demes=1, repeats=2)
    assert len(optimizer.evaluations) == 12
    assert len(table("hpo.log")) == 2
    assert len(table("Deme1_hpo.log")) == 6


def test_inactive_hyperparameters_are_not_applicable(bowl) -> None:
    """A hyperparameter whose condition is false stands as N/A."""
    params = [hpo.Choice("-w", ["a", "b"], default="a"), hpo.Float("-x", 0.0, 1.0, when="-w == 'b'")]
    search(bowl, params, generations=1, pop_size=1, num_demes=1)
    assert Path("Deme1_hpo.log").read_text().splitlines()[1].split()[-2:] == ["a", "N/A"]


def test_older_files_are_replaced(bowl) -> None:
    """A new search begins the files anew."""
    for _ in range(2):
        search(bowl, two_ranges(), generations=2, pop_size=1, num_demes=1)
    assert len(table("hpo.log")) == len(table("Deme1_hpo.log")) == 2


def test_killed_search_has_the_same_files(tmp_path) -> None:
    """A search that was killed and has gone on leaves the files of one that was not."""
    text = (
        "from crayai import hpo\n"
        "evaluator = hpo.Evaluator('sh gated.sh', num_parallel_evals=2)\n"
        "budget = {'generations': 4, 'pop_size': 4, 'num_demes': 1}\n"
        "optimizer = hpo.GeneticOptimizer(evaluator, **budget, seed=9, log_fn='hpo.log')\n"
        "optimizer.optimize(hpo.Params([['-x', 0.5, (0.0, 1.0)]]))\n"
    )
    with gate(tmp_path) as barrier:
        kill_at_gate(tmp_path, text, barrier)
        assert len((tmp_path / "hpo.log").read_text().splitlines()) == 2
        barrier.open()
        assert run_script(tmp_path, text).returncode == 0
    files = [(tmp_path / name).read_text() for name in ("hpo.log", "Deme1_hpo.log")]
    run_script(tmp_path, text)
    assert [(tmp_path / name).read_text() for name in ("hpo.log", "Deme1_hpo.log")] == files


def test_directory_of_the_log_is_made(bowl) -> None:
    """A log file in a directory that is not there yet makes it, and the demes' files stand beside it."""
    search(bowl, two_ranges(), generations=1, pop_size=1, num_demes=1, log_fn="logs/deep/hpo.log")
    assert sorted(path.name for path in Path("logs/deep").iterdir()) == ["Deme1_hpo.log", "hpo.log"]
