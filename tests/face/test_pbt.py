"""Population based training of scripts, the historic way and the new one."""

from pathlib import Path

import pytest

from crayai import hpo

PROGRAM = """# One window of a training: half the way from where it is to the learning rate that is asked for.
for word in "$@"; do
    case $word in
        --dir=*) load=${word#*=}/model; save=${word#*=}/model; mkdir -p "${word#*=}" ;;
        --load=*) load=${word#*=} ;;
        --save=*) save=${word#*=} ;;
        --lr=*) lr=${word#*=} ;;
    esac
done
before=1
[ -f "$load" ] && before=$(cat "$load")
awk -v x="$before" -v lr="$lr" -v save="$save" 'BEGIN {
    x = x - lr * x; print x > save; printf "FoM: %.8f\\n", x * x }'
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Go to an empty directory with the program."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.sh").write_text(PROGRAM)
    return tmp_path


def rows(path):
    """Return the lines of a log file, split at blanks."""
    return [line.split() for line in Path(path).read_text().splitlines()]


def test_a_historic_script_trains_on(place) -> None:
    """With checkpoint= and @checkpoint a genetic search trains on, and fills the columns of its log."""
    params = hpo.Params([["--lr", 0.1, (0.01, 0.5)], ["--unused", 3, (1, 5)]])
    evaluator = hpo.Evaluator(
        "sh train.sh --dir=@checkpoint", run_path="run", checkpoint="saved", num_parallel_evals=2, nodes=1
    )
    optimizer = hpo.genetic.Optimizer(
        evaluator, generations=6, pop_size=3, num_demes=2, mutation_rate=0.5, gens_per_epoch=2, log_fn="pbt.log", seed=1
    )
    optimizer.optimize(params)
    header, *lines = rows("pbt.log")
    assert header[4:6] == ["checkpoint_in", "checkpoint_out"]
    assert [line[1] for line in lines] == ["1", "1", "2", "2", "3", "3"]
    assert lines[0][4] == "N/A"
    assert all(line[4].startswith(f"{place}/saved/") for line in lines[1:])
    assert Path(lines[-1][5]) == optimizer.best_checkpoint
    assert float((optimizer.best_checkpoint / "model").read_text()) ** 2 == pytest.approx(optimizer.best_fom, abs=1e-7)
    assert optimizer.best_fom < (1 - 0.5) ** 2, "better than any single window"
    assert len(rows("Deme2_pbt.log")) == 19


@pytest.mark.usefixtures("place")
def test_the_directory_may_be_the_middle_of_a_word() -> None:
    """@checkpoint may be the beginning of a path, as in @checkpoint/model.h5."""
    evaluator = hpo.Evaluator("sh train.sh --load=@checkpoint/m.h5 --save=@checkpoint/m.h5", checkpoint="saved")
    optimizer = hpo.GeneticOptimizer(evaluator, generations=3, pop_size=2, num_demes=1, seed=1)
    optimizer.optimize(hpo.Params([["--lr", 0.1, (0.01, 0.5)]]))
    assert (optimizer.best_checkpoint / "m.h5").is_file()


def test_pbt_learns_in_windows(place) -> None:
    """The new optimizer gives the best model, its values, and where it is; the file is private to the user."""
    evaluator = hpo.Evaluator("sh train.sh --load=@load --save=@save", num_parallel_evals=3)
    optimizer = hpo.PBTOptimizer(evaluator, pop_size=4, windows=5, seed=2)
    optimizer.optimize(hpo.Params([["--lr", 0.1, (0.01, 0.5)]]))
    assert len(optimizer.evaluations) == 20
    assert {e.resume_from is None for e in optimizer.evaluations[:4]} == {True}
    assert float(optimizer.best_checkpoint.read_text()) ** 2 == pytest.approx(optimizer.best_fom, abs=1e-7)
    assert optimizer.best_checkpoint.parent.parent == place / "run" / "checkpoints"
    assert optimizer.best_checkpoint.parent.parent.stat().st_mode & 0o077 == 0
    assert hpo.pbt.Optimizer is hpo.PBTOptimizer


@pytest.mark.usefixtures("place")
def test_slots_do_not_change_the_search() -> None:
    """The same seed gives the same members and models on one slot and on many."""
    found = []
    for slots in (1, 5):
        evaluator = hpo.Evaluator(
            "sh train.sh --load=@load --save=@save", num_parallel_evals=slots, run_path=f"r{slots}"
        )
        optimizer = hpo.PBTOptimizer(evaluator, pop_size=4, windows=4, seed=2)
        optimizer.optimize(hpo.Params([["--lr", 0.1, (0.01, 0.5)]]))
        found.append([(e.values, e.fom, e.resume_from) for e in optimizer.evaluations])
    assert found[0] == found[1]


@pytest.mark.usefixtures("place")
def test_there_is_no_checkpoint_where_none_was_asked_for() -> None:
    """A search without checkpoints says that there are none."""
    optimizer = hpo.RandomOptimizer(hpo.Evaluator("echo FoM: 1 --"), num_iters=2)
    optimizer.optimize(hpo.Params([["--lr", 0.1, (0.01, 0.5)]]))
    with pytest.raises(hpo.SettingsError, match="neither @checkpoint nor @save"):
        _ = optimizer.best_checkpoint


def test_ask_and_tell_say_whose_model_to_go_on_with() -> None:
    """Those who evaluate by themselves learn whose model is to be trained on."""
    search = hpo.Search([["--lr", 0.1, (0.01, 0.5)]], "pbt", seed=1, pop_size=4, windows=3, lag=0)
    sources = {}
    while not search.is_done:
        suggested = search.ask()
        assert suggested is not None
        sources[suggested.number] = suggested.resume_from
        search.tell(suggested.number, float(suggested.number % 5))
    assert [sources[number] for number in range(4)] == [None] * 4
    assert all(source is not None and source // 4 == number // 4 - 1 for number, source in list(sources.items())[4:])
