"""Study files: what they mean, and what is refused with the key, the rule and the value."""

from pathlib import Path

import pytest

from crayai import hpo
from crayai.cli.studyfile import KEYS, Plan, read_plan

PARAMS = '[params]\n"-x" = { low = 0.0, high = 1.0 }\n'
NOTHING = {table: {} for table in KEYS}

WHOLE = """
[study]
command = "python train.py --epochs 5"
goal = "maximize"
fom = "accuracy"
seed = 7
repeats = 2
time_limit_minutes = 30
keep_output = true

[strategy]
name = "genetic"
generations = 10
pop_size = 12
num_demes = 2
mutation_rate = 0.1
crossover_rate = 0.5
migration_interval = 3

[launcher]
name = "local"
slots = 1
gpus = [0, 1]
cores_per_eval = 1

[params]
"--lr" = { low = 1e-5, high = 1e-1, log = true, default = 1e-3 }
"--layers" = { low = 1, high = 4 }
"--optimizer" = { choices = ["sgd", "adam"], default = "adam" }
"--momentum" = { low = 0.0, high = 0.99, when = "--optimizer == 'sgd'" }
"--epochs-per-window" = 1
"""


@pytest.fixture
def plan(tmp_path):
    """Reads the text of a study file."""

    def read(text: str, **options) -> Plan:
        file = tmp_path / "study.toml"
        file.write_text(text)
        return read_plan(file, NOTHING | options, (), ())

    return read


def test_every_key_is_read(plan) -> None:
    """A file with every kind of key is the study and the launcher settings that it says."""
    found = plan(WHOLE)
    study, evaluation = found.study, found.evaluation
    assert (study.command, study.goal, study.fom) == ("python train.py --epochs 5", "maximize", "accuracy")
    assert (study.seed, study.strategy.name, study.strategy.repeats) == (7, "genetic", 2)
    assert study.strategy.arguments == {
        "generations": 10,
        "pop_size": 12,
        "num_demes": 2,
        "mutation_rate": 0.1,
        "crossover_rate": 0.5,
        "migration_interval": 3,
    }
    assert (evaluation.slots, evaluation.gpus, evaluation.cores_per_eval) == (1, ["0", "1"], 1)
    assert (evaluation.time_limit_minutes, evaluation.keep_output) == (30, True)
    assert study.space.hyperparameters == (
        hpo.Float("--lr", 1e-5, 1e-1, default=1e-3, log=True),
        hpo.Int("--layers", 1, 4),
        hpo.Choice("--optimizer", ["sgd", "adam"], default="adam"),
        hpo.Float("--momentum", 0.0, 0.99, when="--optimizer == 'sgd'"),
        hpo.Constant("--epochs-per-window", 1),
    )


def test_least_file_has_defaults(plan) -> None:
    """A command and a hyperparameter are enough: the rest has defaults."""
    study = plan('[study]\ncommand = "true"\n' + PARAMS).study
    assert (study.goal, study.fom, study.seed, study.strategy.name) == ("minimize", "FoM: ", None, "genetic")


def test_source_is_relative_to_the_caller(plan, tmp_path, monkeypatch) -> None:
    """src_path is a directory, relative to where the command is given."""
    (tmp_path / "source").mkdir()
    monkeypatch.chdir(tmp_path)
    found = plan('[study]\ncommand = "true"\nsrc_path = "source"\n' + PARAMS)
    assert found.evaluation.source == tmp_path / "source"


def test_options_take_the_place_of_keys(plan) -> None:
    """An option overrides the key of the same name; None leaves it."""
    found = plan(WHOLE, study={"seed": 8, "fom": None}, strategy={"generations": 3}, launcher={"slots": 1})
    assert (found.study.seed, found.study.fom, found.study.strategy.arguments["generations"]) == (8, "accuracy", 3)
    assert found.evaluation.slots == 1


def test_words_are_joined_as_a_shell_would_read_them() -> None:
    """A command of several words keeps its words; one word is a line for the shell."""
    for words, command in ((("sh", "-c", "echo 1"), "sh -c 'echo 1'"), (("echo 1 | cat",), "echo 1 | cat")):
        assert read_plan(None, {t: {} for t in KEYS}, ["-x=1"], words).study.command == command


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[study]\ncomand = "true"\n', ["unknown key 'comand' in [study]", "did you mean 'command'"]),
        ('[study]\ncommand = "true"\ntimeout = 3\n', ["unknown key 'timeout' in [study]", "known: command, goal"]),
        ('[study]\ncommand = "true"\n[stratgy]\n', ["unknown table [stratgy]", "did you mean 'strategy'"]),
        ('[study]\ncommand = "true"\n[strategy]\ngeneration = 3\n', ["'generation'", "did you mean 'generations'"]),
        ('[study]\ncommand = "true"\n[launcher]\nslot = 3\n', ["unknown key 'slot' in [launcher]", "'slots'"]),
        ('command = "true"\n', ["unknown table [command]"]),
        ("study = 3\n", ["[study] must be a table", "3"]),
        ("params = 3\n[study]\n", ["[params] must be a table", "3"]),
        ("[strategy]\nname = 'random'\n", ["there is no command", "[study]"]),
        ("[study]\ncommand = '  '\n", ["there is no command", "[study]"]),
        ("[study]\ncommand = 3\n", ["command in [study] must be text", "3"]),
        ("[study]\ncommand = ['a', 'b']\n", ["command in [study] must be text", "['a', 'b']"]),
        ("[study]\ncommand = 'true'\nfom = 3\n", ["fom in [study] must be text", "3"]),
        ("[study]\ncommand = 'true'\nsrc_path = 3\n", ["src_path in [study] must be text", "3"]),
        ("[study]\ncommand = 'true'\nkeep_output = 'no'\n", ["keep_output in [study] must be true or false", "'no'"]),
        ("[study]\ncommand = 'true'\n[strategy]\nname = 3\n", ["name in [strategy] must be text", "3"]),
        ("[study]\ncommand = 'true'\n[launcher]\ngpus = '0,1'\n", ["gpus in [launcher] must be a list", "'0,1'"]),
        ("[study\n", ["study.toml' is not TOML", "line 1"]),
        ("[study]\ncommand = 'a'\ncommand = 'b'\n", ["study.toml' is not TOML", "line 3"]),
    ],
)
def test_bad_files_are_refused(plan, text, named) -> None:
    """The message names the file and the key or table, with the nearest known one or the rule and the value."""
    with pytest.raises(hpo.SettingsError) as caught:
        plan(text + ("" if "params" in text else PARAMS))
    for words in [*named, "study.toml"]:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("[study]\ngoal = 'max'\n", "goal must be 'minimize' or 'maximize', got 'max'"),
        ("[study]\nfom = ' '\n", "fom must be the text that stands before the figure of merit, got ' '"),
        ("[study]\nseed = -1\n", "seed must be a whole number of at least 0, got -1"),
        ("[study]\nseed = 'x'\n", "seed must be a whole number of at least 0, got 'x'"),
        ("[study]\nrepeats = 0\n", "repeats must be a whole number of at least 1, got 0"),
        ("[study]\ntime_limit_minutes = 'long'\n", "time_limit_minutes must be above 0, got 'long'"),
        ("[study]\nsrc_path = 'nowhere'\n", "src_path must be a directory"),
        ("[launcher]\nslots = 0\n", "slots must be a whole number of at least 1, got 0"),
        ("[launcher]\nslots = true\n", "slots must be a whole number of at least 1, got True"),
        ("[launcher]\ncores_per_eval = 0.5\n", "cores_per_eval must be a whole number of at least 1, got 0.5"),
        ("[strategy]\nname = 'genetics'\n", "unknown strategy 'genetics'; did you mean 'genetic'"),
        ("[strategy]\ngenerations = 0\n", "generations must be a whole number of at least 1, got 0"),
        ("[strategy]\nmutation_rate = 2\n", "mutation_rate must be between 0 and 1, got 2"),
        ("[strategy]\nnum_iters = 5\n", "num_iters belongs to the strategy 'random', this study uses 'genetic'"),
        ("[strategy]\nname = 'grid'\npop_size = 5\n", "pop_size belongs to the strategy 'genetic'"),
        ("[strategy]\nname = 'random'\ngrid_size = 5\n", "grid_size belongs to the strategy 'grid'"),
    ],
)
def test_bad_values_are_refused(plan, lines, named) -> None:
    """The message names the key, the rule and the value; a key of another strategy is told whose it is."""
    table, _, rest = lines.partition("\n")
    text = f"[study]\ncommand = 'true'\n{rest}" if table == "[study]" else f"[study]\ncommand = 'true'\n{lines}"
    with pytest.raises(hpo.SettingsError) as caught:
        plan(text + PARAMS)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('"-x" = { low = 1, hgih = 2 }', "-x: unknown key 'hgih'; did you mean 'high'"),
        ('"-x" = { low = 1 }', "-x: 'high' is missing"),
        ('"-x" = { low = 2, high = 1 }', "-x: low must be below high, got low=2 high=1"),
        ('"-x" = { low = 0, high = 1, log = true }', "-x: a log range needs low > 0, got low=0"),
        ('"-x" = { low = 0.0, high = nan }', "-x: high must be a finite number, got nan"),
        ('"-x" = { choices = ["a"] }', "-x: a list of choices needs at least two values, got ['a']"),
        ('"-x" = { choices = ["a", "b"], log = true }', "-x: unknown key 'log'"),
        ('"-x" = ["a", "b"]', "-x: write { choices = ['a', 'b'] }"),
        ('"-x" = { low = 0, high = 1, when = "-y == 3" }', "-y"),
        ('"-x" = { low = 0, high = 1, pass_as = "file" }', "-x: pass_as must be one of"),
    ],
)
def test_bad_hyperparameters_are_refused(plan, line, named) -> None:
    """The message names the flag, the rule and the value."""
    with pytest.raises(hpo.SpaceError) as caught:
        plan(f"[study]\ncommand = 'true'\n[params]\n{line}\n")
    assert named in str(caught.value)


def test_file_without_hyperparameters_is_refused(plan) -> None:
    """A study needs at least one hyperparameter."""
    with pytest.raises(hpo.SpaceError, match="give at least one hyperparameter"):
        plan("[study]\ncommand = 'true'\n")


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("name = 'slurm'", "launcher 'slurm' needs a workload manager .*: srun not found on PATH"),
        ("name = 'wlm'", "launcher 'wlm' needs a workload manager .*: msub, qsub, srun not found on PATH"),
        ("name = 'slurn'", "launcher must be one of .*, got 'slurn'; did you mean 'slurm'"),
        ("nodes = 4", "nodes belongs to the launcher 'slurm', this study uses 'local'"),
    ],
)
def test_launchers_that_are_not_here_are_refused(plan, launcher, message, monkeypatch) -> None:
    """A launcher that is not here, or that nobody knows, is refused with its name and what there is."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(hpo.CrayaiError, match=message):
        plan(f"[study]\ncommand = 'true'\n[launcher]\n{launcher}\n" + PARAMS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("mode = 'tasks'", "mode must be 'steps' or 'jobs', got 'tasks'"),
        ("nodes = 1\nnodes_per_eval = 2", "nodes_per_eval must be between 1 and nodes, got nodes=1 nodes_per_eval=2"),
        ("nodes = 2\nnodes_per_eval = 2\nevals_per_node = 2", "either share a node or have several"),
        ("mode = 'jobs'\nevals_per_node = 2", "evals_per_node is for evaluations that are steps .*, got 2"),
        ('alloc_args = "-t \'5"', "alloc_args is no list of words"),
    ],
)
def test_settings_of_a_cluster_that_cannot_be(plan, settings, message, monkeypatch, tmp_path) -> None:
    """What cannot be is refused before anything is asked for."""
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(hpo.SettingsError, match=message):
        plan(f"[study]\ncommand = 'true'\n[launcher]\nname = 'slurm'\n{settings}\n" + PARAMS)


def test_unreadable_files_are_refused(tmp_path) -> None:
    """A file that is missing, a directory or no text is refused with its name and the reason."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, reason in (
        (Path("nowhere.toml"), "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (binary, "is not TOML"),
    ):
        with pytest.raises(hpo.SettingsError, match=reason) as caught:
            read_plan(path, NOTHING, (), ())
        assert str(path) in str(caught.value)
