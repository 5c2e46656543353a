"""What a study is, and in which settings two of them differ."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crayai.hpo.engine.streams import Streams, program_seed
from crayai.hpo.engine.study import (
    STRATEGIES,
    StrategySettings,
    Study,
    differences,
    raises_budget,
    study_from_settings,
    with_seed,
)
from crayai.hpo.errors import SettingsError, SpaceError
from crayai.hpo.space.hyperparameters import Choice, Constant, Float, Int
from crayai.hpo.space.space import Space

HYPERPARAMETERS = [
    Float("--lr", 1e-5, 1e-1, default=1e-3, log=True),
    Int("--units", 32, 512, step=32),
    Choice("--note", ["a when b", "it's", "1", "ü"], default="it's"),
    Choice("--opt when lr", [True, False], pass_as="switch"),
    Float("--momentum", 0.0, 0.99, when="--note == 'a when b'"),
    Constant("OMP_NUM_THREADS", 4, pass_as="environment"),
]


def study_of(**changes):
    """Return a study with every kind of setting, some changed."""
    settings = {
        "space": Space(HYPERPARAMETERS),
        "strategy": StrategySettings(name="genetic", arguments={"generations": 3}),
        "seed": 7,
        "command": "python train.py --data 'a b'",
        "fom": "loss =",
        "goal": "minimize",
    }
    return Study(**{**settings, **changes})


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("repeats", [1, 3])
def test_recorded_settings_make_the_same_study(name, repeats):
    """Settings that were written down as JSON make a study with the same settings, and no difference is seen."""
    command = "python train.py --load=@load --save=@save --data 'a b'"
    repeats = 1 if name in {"pbt", "replay"} else repeats  # what trains on is not repeated
    arguments = {"arms": [[{"--lr": 0.1 + 0.2}, {"--note": "ü"}]], "numbers": [0, 2]} if name == "replay" else {}
    study = study_of(strategy=StrategySettings(name=name, arguments=arguments, repeats=repeats), command=command)
    recorded = json.loads(json.dumps(study.settings()))
    again = study_from_settings(recorded)
    assert again.settings() == study.settings()
    assert again.space.hyperparameters == study.space.hyperparameters
    assert differences(recorded, again.settings()) == {}


def test_defaults_are_recorded():
    """Arguments that were left out are recorded with their values, for a later version may have other defaults."""
    recorded = study_of().settings()["strategy"]
    assert (recorded["name"], recorded["generations"], recorded["repeats"]) == ("genetic", 3, 1)
    assert {"pop_size", "num_demes", "mutation_rate", "crossover_rate", "migration_interval"} <= set(recorded)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"command": "python other.py"}, {"command"}),
        ({"fom": "FoM:"}, {"fom"}),
        ({"goal": "maximize"}, {"goal"}),
        ({"seed": 8}, {"seed"}),
        ({"seed": None}, set()),
        ({"strategy": StrategySettings(name="genetic", arguments={"generations": 4})}, {"strategy generations"}),
        ({"strategy": StrategySettings(name="genetic", arguments={"generations": 3}, repeats=2)}, {"strategy repeats"}),
        ({"space": Space(HYPERPARAMETERS[:-1])}, {"params OMP_NUM_THREADS", "params order"}),
        ({"space": Space([*HYPERPARAMETERS, Int("--n", 1, 2)])}, {"params --n", "params order"}),
        ({"space": Space([*HYPERPARAMETERS[1:], HYPERPARAMETERS[0]])}, {"params order"}),
        ({"space": Space([Float("--lr", 1e-5, 1e-2, default=1e-3, log=True), *HYPERPARAMETERS[1:]])}, {"params --lr"}),
    ],
)
def test_differences_are_named_one_by_one(changes, names):
    """Each setting that differs is named with both values, and nothing else is; a seed to be drawn equals any."""
    old, new = study_of().settings(), study_of(**changes).settings()
    found = differences(old, new)
    assert set(found) == names
    assert all(recorded != wanted for recorded, wanted in found.values())


def test_another_strategy_differs_in_its_arguments_too():
    """With another strategy the arguments of both are named."""
    found = differences(
        study_of().settings(), study_of(strategy=StrategySettings(name="random", arguments={})).settings()
    )
    assert found["strategy name"] == ("genetic", "random")
    assert found["strategy num_iters"] == (None, 100)
    assert found["strategy pop_size"] == (10, None)


@pytest.mark.parametrize(
    ("name", "recorded", "wanted", "does"),
    [
        ("strategy generations", 3, 4, True),
        ("strategy num_iters", 3, 4, True),
        ("strategy generations", 4, 3, False),
        ("strategy generations", None, 3, False),
        ("strategy pop_size", 3, 4, False),
        ("seed", 3, 4, False),
    ],
)
def test_what_raises_the_budget(name, recorded, wanted, does):
    """More generations and more evaluations raise the budget; nothing else does."""
    assert raises_budget(name, recorded, wanted) is does


def test_a_seed_is_drawn_only_where_there_is_none():
    """A study without a seed takes the one given; one with a seed keeps it, 0 included."""
    assert with_seed(study_of(seed=None), 5).seed == 5
    assert with_seed(study_of(seed=7), 5).seed == 7
    assert with_seed(study_of(seed=0), 5).seed == 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"goal": "minimise"}, SettingsError, r"goal must be 'minimize' or 'maximize', got 'minimise'"),
        ({"fom": "  "}, SettingsError, r"fom must be the text that stands before the figure of merit, got '  '"),
        ({"seed": -1}, SettingsError, r"seed must be a whole number of at least 0, got -1"),
        ({"seed": 1.5}, SettingsError, r"seed must be a whole number of at least 0, got 1\.5"),
    ],
)
def test_settings_that_cannot_be(changes, error, message):
    """What cannot be is refused with the setting, the rule and the value."""
    with pytest.raises(error, match=message):
        study_of(**changes)


def test_a_misspelt_strategy_or_argument_is_guessed():
    """An unknown name comes with the nearest known one."""
    with pytest.raises(SettingsError, match=r"unknown strategy 'genetics'; did you mean 'genetic'\?"):
        StrategySettings(name="genetics", arguments={})
    with pytest.raises(SettingsError, match=r"'genetic' has no argument 'popsize'; did you mean 'pop_size'\?"):
        StrategySettings(name="genetic", arguments={"popsize": 3})
    with pytest.raises(SettingsError, match=r"unknown strategy 'xyz'; known: random, grid, genetic"):
        StrategySettings(name="xyz", arguments={})


def test_a_placeholder_that_is_no_hyperparameter_is_refused():
    """A command is checked when it is first needed, before anything runs."""
    with pytest.raises(SpaceError, match="--ls"):
        _ = study_of(command="train @{--ls}").filled_command


def test_the_loss_is_its_own_inverse():
    """Turning a figure of merit twice gives it back."""
    for goal in ("minimize", "maximize"):
        study = study_of(goal=goal)
        assert study.loss(study.loss(0.25)) == 0.25
    assert study_of(goal="maximize").loss(0.25) == -0.25


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_random_numbers_depend_on_seed_and_number_alone(seed, number):
    """A stream is the same whatever was drawn before, and another one for another number or seed."""
    streams = Streams(seed)
    first = streams.of(number).random(3).tolist()
    streams.of(number + 1).standard_normal(101)
    assert streams.of(number).random(3).tolist() == first
    assert Streams(seed).of(number).random(3).tolist() == first
    assert streams.of(number + 1).random(3).tolist() != first
    assert Streams(seed ^ 1).of(number).random(3).tolist() != first


@given(st.integers(0, 2**64), st.integers(0, 2**40))
def test_seeds_of_programs(seed, number):
    """A program's seed fits into 31 bits, and is the same in every attempt."""
    assert 0 <= program_seed(seed, number) < 2**31
    assert program_seed(seed, number) == program_seed(seed, number)


def test_seeds_of_programs_differ():
    """A thousand evaluations have a thousand seeds."""
    assert len({program_seed(7, number) for number in range(1000)}) == 1000
