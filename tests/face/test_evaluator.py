"""What cannot be is refused with one clear error before anything runs."""

import shutil
from pathlib import Path

import pytest
from face_helpers import numbers_ran, run_script, write_bowl

from crayai import hpo


@pytest.fixture
def command(tmp_path, monkeypatch) -> str:
    """The command of the bowl; its directory is the current one."""
    monkeypatch.chdir(tmp_path)
    return write_bowl(tmp_path)


@pytest.fixture
def bare_path(tmp_path, monkeypatch) -> Path:
    """A PATH of one directory, which holds a shell and awk and nothing else."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("sh", "awk"):
        (binaries / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(binaries))
    return binaries


def one_range() -> hpo.Params:
    """Return a range with its default in the middle."""
    return hpo.Params([["-x", 0.5, (0.0, 1.0)]])


def optimize(command: str, **arguments) -> None:
    """Run two evaluations with an evaluator of these arguments."""
    hpo.RandomOptimizer(hpo.Evaluator(command, **arguments), num_iters=2).optimize(one_range())


def check_nothing_ran(directory: Path) -> None:
    """Refuse traces of a study."""
    assert numbers_ran(directory) == []
    assert not list(directory.glob("run*/study.db"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"nodes": 32}, ["nodes=32", "needs a workload manager", "launcher='local'"]),
        ({"launcher": "wlm"}, ["launcher='wlm'", "needs a workload manager", "launcher='local'"]),
        ({"launcher": "wlm", "workload_manager": "slurm"}, ["launcher='wlm'", "srun not found"]),
        ({"nodes": 4, "workload_manager": "pbs"}, ["nodes=4", "qsub not found"]),
        ({"launcher": "wlm", "workload_manager": "moab"}, ["launcher='wlm'", "msub not found"]),
        ({"launcher": "urika"}, ["launcher='urika'", "run_training", "PATH"]),
    ],
)
@pytest.mark.usefixtures("bare_path")
def test_missing_systems_are_refused(command, tmp_path, arguments, named) -> None:
    """A launcher whose commands are not on this machine is one error that names what is missing and what to do."""
    with pytest.raises(hpo.LaunchError) as caught:
        optimize(command, **arguments)
    for words in named:
        assert words in str(caught.value)
    check_nothing_ran(tmp_path)


def test_script_on_a_machine_without_a_workload_manager_ends_in_one_error(command, tmp_path, bare_path) -> None:
    """A historic cluster script ends at once, with the error as its last line."""
    text = (
        "from crayai import hpo\n"
        f"evaluator = hpo.Evaluator({command!r}, nodes=32, nodes_per_eval=8, launch_args='-n 8 -u',\n"
        "    alloc_args='-J hpo -C gpu --exclusive -t 8:00:00', alloc_jobid=0)\n"
        "optimizer = hpo.genetic.Optimizer(evaluator, generations=2, num_demes=1, pop_size=4)\n"
        "optimizer.optimize(hpo.Params([['-x', 0.5, (0.0, 1.0)]]))\n"
    )
    done = run_script(tmp_path, text, PATH=str(bare_path))
    assert done.returncode == 1
    assert "nodes=32 needs a workload manager" in done.stderr.splitlines()[-1]
    check_nothing_ran(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"launcher": "slurm"}, ["launcher", "local, wlm, urika, dask", "'slurm'"]),
        ({"workload_manager": "lsf"}, ["workload_manager", "slurm, pbs, moab, torque, sge", "'lsf'"]),
        ({"nodes": 2, "nodes_per_eval": 4}, ["nodes_per_eval", "between 1 and nodes", "nodes=2 nodes_per_eval=4"]),
        ({"nodes_per_eval": 0}, ["nodes_per_eval", "whole number of at least 1", "got 0"]),
        ({"nodes": 0}, ["nodes", "whole number of at least 1", "got 0"]),
        ({"nodes": "4"}, ["nodes", "whole number of at least 1", "got '4'"]),
        ({"num_parallel_evals": 0}, ["num_parallel_evals", "at least 1", "got 0"]),
        ({"num_parallel_evals": 1.5}, ["num_parallel_evals", "whole", "1.5"]),
        ({"num_parallel_evals": "two"}, ["num_parallel_evals", "'two'"]),
        ({"time_limit_minutes": -1}, ["time_limit_minutes", "above 0", "-1"]),
        ({"time_limit_minutes": float("nan")}, ["time_limit_minutes", "above 0", "nan"]),
        ({"cores_per_eval": 0}, ["cores_per_eval", "at least 1", "got 0"]),
        ({"src_path": "nowhere"}, ["src_path", "directory", "nowhere"]),
        ({"src_path": "bowl.awk"}, ["src_path", "directory", "bowl.awk"]),
        ({"goal": "max"}, ["goal", "'minimize' or 'maximize'", "'max'"]),
        ({"fom": " "}, ["fom", "before the figure of merit", "' '"]),
    ],
)
def test_bad_arguments_are_refused(command, tmp_path, arguments, named) -> None:
    """The message names the argument, the rule and the value, and nothing has run."""
    with pytest.raises(hpo.SettingsError) as caught:
        optimize(command, **arguments)
    for words in named:
        assert words in str(caught.value)
    check_nothing_ran(tmp_path)


@pytest.mark.parametrize("name", ["numparallel", "num_parallel_eval", "seed"])
def test_unknown_arguments_are_refused(name) -> None:
    """An argument that is no argument of an evaluator is Python's own error, which names it."""
    with pytest.raises(TypeError, match=name):
        hpo.Evaluator("true", **{name: 3})


@pytest.mark.parametrize(
    ("command_line", "named"),
    [
        ("no-such-program --fast", ["'no-such-program'", "PATH"]),
        ("./missing.sh", ["'./missing.sh'", "no program"]),
        ("bowl.awk", ["'bowl.awk'", "did you mean './bowl.awk'"]),
        ("./bowl.awk", ["'./bowl.awk'", "not executable", "chmod +x"]),
        ("", ["command is empty"]),
        ("   ", ["command is empty"]),
        ("echo 'FoM: 1", ["quotation"]),
        ("echo @{-y}", ["@{-y}", "no hyperparameter", "-x"]),
    ],
)
@pytest.mark.usefixtures("command")
def test_commands_that_cannot_run_are_refused(tmp_path, command_line, named) -> None:
    """A command whose program does not exist, or that cannot be read, is refused with the reason."""
    with pytest.raises(hpo.CrayaiError) as caught:
        optimize(command_line)
    for words in named:
        assert words in str(caught.value)
    check_nothing_ran(tmp_path)


def test_refusal_moves_no_earlier_study(command, tmp_path) -> None:
    """A script that is refused leaves a finished study where it is."""
    optimize(command)
    with pytest.raises(hpo.SettingsError, match="no-such-program"):
        optimize("no-such-program")
    assert [path.name for path in tmp_path.glob("run*")] == ["run"]


def test_directory_that_cannot_be_made_is_refused(command, tmp_path) -> None:
    """A run_path below a regular file is refused with the directory and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(hpo.SettingsError, match=r"file/run cannot be written to: Not a directory"):
        optimize(command, run_path="file/run")
    check_nothing_ran(tmp_path)


def test_run_path_that_is_a_file_is_refused(command, tmp_path) -> None:
    """A run_path that is a regular file is refused with its name, and the file stays."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(hpo.SettingsError, match=r"file cannot be written to"):
        optimize(command, run_path="file")
    assert (tmp_path / "file").read_text() == "mine"
    check_nothing_ran(tmp_path)


def test_log_file_that_cannot_be_made_is_refused(command, tmp_path) -> None:
    """A log file below a regular file is refused with its name, before anything runs."""
    (tmp_path / "file").write_text("")
    optimizer = hpo.GeneticOptimizer(hpo.Evaluator(command), generations=1, pop_size=1, log_fn="file/hpo.log")
    with pytest.raises(hpo.SettingsError, match=r"file/hpo\.log cannot be written"):
        optimizer.optimize(one_range())
    assert numbers_ran(tmp_path) == []


@pytest.mark.parametrize(
    ("module", "arguments", "named"),
    [
        ("genetic", {"generations": 0}, "generations must be a whole number of at least 1, got 0"),
        ("genetic", {"generations": -3}, "generations must be a whole number of at least 1, got -3"),
        ("genetic", {"generations": 2.5}, "generations must be a whole number of at least 1, got 2.5"),
        ("genetic", {"generations": "ten"}, "generations must be a whole number of at least 1, got 'ten'"),
        ("genetic", {"pop_size": 0}, "pop_size must be a whole number of at least 1, got 0"),
        ("genetic", {"num_demes": 0}, "num_demes must be a whole number of at least 1, got 0"),
        ("genetic", {"migration_interval": 0}, "migration_interval must be a whole number of at least 1, got 0"),
        ("genetic", {"gens_per_epoch": 0}, "gens_per_epoch must be at least 1, got 0"),
        ("genetic", {"mutation_rate": 5}, "mutation_rate must be between 0 and 1, got 5"),
        ("genetic", {"crossover_rate": -0.1}, "crossover_rate must be between 0 and 1, got -0.1"),
        ("random", {"num_iters": 0}, "num_iters must be a whole number of at least 1, got 0"),
        ("random", {"numIters": -1}, "num_iters must be a whole number of at least 1, got -1"),
        ("random", {"repeats": 0}, "repeats must be a whole number of at least 1, got 0"),
        ("random", {"seed": -5}, "seed must be a whole number of at least 0, got -5"),
        ("random", {"seed": 1.5}, "seed must be a whole number of at least 0, got 1.5"),
        ("grid", {"grid_size": 0}, "grid_size must be a whole number of at least 1, got 0"),
        ("grid", {"chunk_size": -1}, "chunk_size must be a whole number of at least 1, got -1"),
    ],
)
def test_bad_budgets_and_rates_are_refused(command, tmp_path, module, arguments, named) -> None:
    """A bad argument of an optimizer is refused with the argument, the rule and the value."""
    with pytest.raises(hpo.SettingsError) as caught:
        getattr(hpo, module).Optimizer(hpo.Evaluator(command), **arguments).optimize(one_range())
    assert named in str(caught.value)
    check_nothing_ran(tmp_path)


def test_optimizer_needs_an_evaluator() -> None:
    """A command in the place of an evaluator is refused with a hint at what is needed."""
    with pytest.raises(hpo.SettingsError, match=r"must be an hpo\.Evaluator, got 'python train.py'"):
        hpo.RandomOptimizer("python train.py")


def test_optimize_needs_params(command, tmp_path) -> None:
    """A list in the place of `hpo.Params` is refused with a hint at what is needed."""
    with pytest.raises(hpo.SettingsError, match=r"needs an hpo\.Params, got \[\]"):
        hpo.RandomOptimizer(hpo.Evaluator(command)).optimize([])
    check_nothing_ran(tmp_path)


@pytest.mark.usefixtures("bare_path")
def test_nodes_without_a_workload_manager_run_here_when_told_so(command, tmp_path) -> None:
    """launcher='local' or workload_manager='local' runs a script of many nodes on this machine."""
    optimize(command, nodes=32, launcher="local")
    optimize(command, nodes=32, workload_manager="local")
    assert numbers_ran(tmp_path) == [0, 0, 1, 1]


def test_every_historic_argument_is_taken(command, tmp_path) -> None:
    """An evaluator takes every historic argument at its default value."""
    optimize(
        command,
        run_path="run",
        src_path=None,
        fom="FoM: ",
        nodes=1,
        nodes_per_eval=1,
        launcher=None,
        workload_manager=None,
        alloc_args="",
        alloc_jobid=0,
        launch_args="",
        urika_args="",
        checkpoint="",
        verbose=False,
    )
    assert numbers_ran(tmp_path) == [0, 1]


def test_run_path_may_be_absolute_or_relative(command, tmp_path) -> None:
    """run_path is relative to the script's directory, or absolute; missing parents are made."""
    optimize(command, run_path="runs/first")
    optimize(command, run_path=str(tmp_path / "runs" / "second"))
    assert sorted(path.parent.name for path in tmp_path.glob("runs/*/study.db")) == ["first", "second"]


@pytest.mark.usefixtures("command")
def test_command_is_relative_to_the_callers_directory(tmp_path) -> None:
    """Without src_path a program starts in the directory of the script."""
    (tmp_path / "here.sh").write_text("pwd > where\necho FoM: 1\n")
    optimize("sh here.sh")
    assert Path((tmp_path / "where").read_text().strip()).samefile(tmp_path)


@pytest.mark.usefixtures("command")
def test_source_is_at_hand_in_each_evaluations_directory(tmp_path) -> None:
    """With src_path each program starts in a directory of its own, where everything of the source is."""
    source = tmp_path / "source"
    (source / "data").mkdir(parents=True)
    (source / "data" / "numbers").write_text("4\n")
    (source / "train.sh").write_text('echo mine > result\necho "FoM: $(cat data/numbers)"\n')
    optimizer = hpo.RandomOptimizer(hpo.Evaluator("sh train.sh", src_path="source"), num_iters=3)
    optimizer.optimize(one_range())
    assert optimizer.best_fom == 4
    assert len(list((tmp_path / "run" / "evaluations").glob("*/result"))) == 3
    assert sorted(path.name for path in source.iterdir()) == ["data", "train.sh"]


@pytest.mark.parametrize(
    ("printed", "fom"),
    [
        ("FoM: 1.250000e+00", 1.25),
        ("FoM:1.25", 1.25),
        ("FoM:  np.float64(1.25)", 1.25),
        ("rank 3: FoM: 1.25", 1.25),
        (r"FoM: 9\nFoM: 5\nFoM: 1.25\nbye", 1.25),
        (r"FoM: 9\nFoM: nothing\n", 9),
        ("FoM: -2", -2),
    ],
)
@pytest.mark.usefixtures("command")
def test_figure_of_merit_is_found(printed, fom) -> None:
    """The number behind the last marker counts, as programs print it."""
    optimizer = hpo.RandomOptimizer(hpo.Evaluator(f"printf '{printed}\\n'; true"), num_iters=1)
    optimizer.optimize(one_range())
    assert optimizer.best_fom == fom


@pytest.mark.usefixtures("command")
def test_marker_may_be_another() -> None:
    """`fom` is the marker to look for."""
    optimizer = hpo.RandomOptimizer(hpo.Evaluator("echo FoM: 1 loss = 2.5 #", fom="loss = "), num_iters=1)
    optimizer.optimize(one_range())
    assert optimizer.best_fom == 2.5


@pytest.mark.usefixtures("command")
def test_time_limit_ends_an_evaluation(tmp_path) -> None:
    """An evaluation past its time limit is ended, has failed for that reason, and the study goes on."""
    (tmp_path / "stuck.sh").write_text('[ "$CRAYAI_EVALUATION" = 1 ] && exec sleep 600\necho FoM: 1\n')
    evaluator = hpo.Evaluator("sh stuck.sh", time_limit_minutes=0.05)
    optimizer = hpo.RandomOptimizer(evaluator, num_iters=3)
    optimizer.optimize(one_range())
    assert [e.failure.partition(":")[0] for e in optimizer.evaluations] == ["", "time limit", ""]
