"""What a study is: the settings that make one search differ from another."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, cast, get_args

from crayai.hpo.errors import SettingsError
from crayai.hpo.space.parse import as_line, from_line, space_from_lines
from crayai.hpo.space.render import Command
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import Strategy
from crayai.hpo.strategy.genetic import Genetic
from crayai.hpo.strategy.grid_search import GridSearch
from crayai.hpo.strategy.population_training import PopulationTraining
from crayai.hpo.strategy.random_search import RandomSearch
from crayai.hpo.strategy.repeats import Repeated
from crayai.hpo.strategy.replay import Replay

Goal = Literal["minimize", "maximize"]

STRATEGIES: Mapping[str, type[RandomSearch | GridSearch | Genetic | PopulationTraining | Replay]] = {
    "random": RandomSearch,
    "grid": GridSearch,
    "genetic": Genetic,
    "pbt": PopulationTraining,
    "replay": Replay,
}
BUDGETS = {"num_iters", "generations", "windows"}
"""Settings of strategies that may be raised later."""


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """Which strategy, and its arguments; those left out have their defaults.

    Raises:
        SettingsError: An unknown name or argument, with the nearest known one.
    """

    name: str = "genetic"
    arguments: Mapping[str, Any]
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.name not in STRATEGIES:
            raise SettingsError(f"unknown strategy {self.name!r}{nearest(self.name, list(STRATEGIES))}")
        if self.repeats != 1 and self.trains_on:
            raise SettingsError(f"repeats must be 1 where evaluations train on from checkpoints, got {self.repeats!r}")
        known = strategy_arguments(self.name)
        for argument in self.arguments:
            if argument not in known:
                hint = nearest(argument, [*known, "repeats"])
                raise SettingsError(f"the strategy {self.name!r} has no argument {argument!r}{hint}")

    @property
    def trains_on(self) -> bool:
        """Whether evaluations go on from the checkpoints of others."""
        return self.name in {"pbt", "replay"} or bool(self.arguments.get("trains_on"))

    def build(self, space: Space) -> Strategy[Any]:
        """Return the strategy for `space`."""
        strategy = STRATEGIES[self.name](space=space, **self.arguments)
        repeated: Repeated[Any] = Repeated(strategy, self.repeats)
        return strategy if self.repeats == 1 else repeated


@dataclass(frozen=True, kw_only=True)
class Study:
    """One search: what is run, what is searched, and how.

    Attributes:
        space: The hyperparameters.
        strategy: Which strategy, with its arguments.
        seed: Decides every random draw; None: drawn when the study starts.
        command: The program of the user, as a shell command; empty where the caller evaluates.
        fom: What stands before the figure of merit on standard output.
        goal: Whether less or more is better.

    Raises:
        SettingsError: A setting that cannot be.
        SpaceError: A placeholder in the command that is no hyperparameter.
    """

    space: Space
    strategy: StrategySettings
    seed: int | None = None
    command: str = ""
    fom: str = "FoM: "
    goal: Goal = "minimize"

    def __post_init__(self) -> None:
        if self.goal not in get_args(Goal):
            raise SettingsError(f"goal must be 'minimize' or 'maximize', got {self.goal!r}")
        if not isinstance(self.command, str):
            raise SettingsError(f"the command must be text, a shell command, got {self.command!r}")
        if not isinstance(self.fom, str) or not self.fom.strip():
            raise SettingsError(f"fom must be the text that stands before the figure of merit, got {self.fom!r}")
        if self.seed is not None and (not isinstance(self.seed, int) or self.seed < 0):
            raise SettingsError(f"seed must be a whole number of at least 0, got {self.seed!r}")
        _ = self.algorithm
        if self.command.strip():
            _check_placeholders(self.command, self.filled_command.facts, trains_on=self.trains_on)

    @cached_property
    def algorithm(self) -> Strategy[Any]:
        """The strategy."""
        return self.strategy.build(self.space)

    @cached_property
    def filled_command(self) -> Command:
        """The command, ready to be filled with values."""
        return Command(self.command, self.space)

    @property
    def trains_on(self) -> bool:
        """Whether evaluations go on from the checkpoints of others."""
        return self.strategy.trains_on

    @cached_property
    def uses_checkpoints(self) -> bool:
        """Whether the program saves checkpoints for us."""
        return bool(self.command and self.filled_command.facts & {"checkpoint", "save"})

    @property
    def windows(self) -> int:
        """How many windows a whole training has."""
        return int(getattr(self.algorithm, "generations" if self.strategy.name == "genetic" else "windows", 1))

    def loss(self, fom: float) -> float:
        """Return the figure of merit turned so that less is better; its own inverse."""
        return fom if self.goal == "minimize" else 0.0 - fom  # never -0

    def settings(self) -> dict[str, Any]:
        """Return what is recorded: all that decides the points and their figures of merit."""
        algorithm = self.algorithm.strategy if isinstance(self.algorithm, Repeated) else self.algorithm
        arguments = {name: getattr(algorithm, name) for name in strategy_arguments(self.strategy.name)}
        return {
            "command": self.command,
            "fom": self.fom,
            "goal": self.goal,
            "seed": self.seed,
            "strategy": {"name": self.strategy.name, **arguments, "repeats": self.strategy.repeats},
            "params": [as_line(h) for h in self.space.hyperparameters],
        }


def _check_placeholders(command: str, facts: set[str], *, trains_on: bool) -> None:
    """Refuse a command that has nowhere to save to, or nothing to load from.

    Raises:
        SettingsError: With what to add.
    """
    if "checkpoint" in facts and facts & {"load", "save"}:
        raise SettingsError(
            f"the command {command!r} has @checkpoint beside @load or @save: take @checkpoint where the program has "
            "one path to load from and save to, @load and @save where it has two"
        )
    if trains_on and not ("checkpoint" in facts or {"load", "save"} <= facts):
        raise SettingsError(
            f"the command {command!r} says nothing of checkpoints, which population based training needs: give the "
            "program --load=@load --save=@save, or one path for both, --checkpoint=@checkpoint"
        )


def study_from_settings(settings: Mapping[str, Any]) -> Study:
    """Return the study whose settings were recorded; the inverse of `Study.settings`."""
    arguments = dict(settings["strategy"])
    name, repeats = arguments.pop("name"), arguments.pop("repeats")
    return Study(
        space=space_from_lines(settings["params"]),
        strategy=StrategySettings(name=name, arguments=arguments, repeats=repeats),
        seed=settings["seed"],
        command=settings["command"],
        fom=settings["fom"],
        goal=cast("Goal", settings["goal"]),
    )


def strategy_arguments(name: str) -> list[str]:
    """Return the names of the arguments of a strategy."""
    return [field.name for field in fields(STRATEGIES[name]) if field.name != "space"]


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return each setting that differs, as (recorded, wanted), by its name; a seed to be drawn equals any."""
    old, new = _flat(recorded), _flat(wanted)
    if new["seed"] is None:
        new["seed"] = old.get("seed")
    return {
        name: (old.get(name), new.get(name))
        for name in [*old, *(set(new) - set(old))]
        if old.get(name) != new.get(name)
    }


def raises_budget(name: str, recorded: Any, wanted: Any) -> bool:
    """Return whether a difference is a budget that grows."""
    key = name.removeprefix("strategy ")
    return key in BUDGETS and isinstance(recorded, int) and isinstance(wanted, int) and wanted > recorded


def with_seed(study: Study, seed: int) -> Study:
    """Return `study` with `seed` if it has none."""
    return study if study.seed is not None else replace(study, seed=seed)


def nearest(name: str, known: list[str]) -> str:
    """Return a hint at the nearest of the `known` names, to be appended to a message."""
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else "; known: " + ", ".join(known)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in settings.items() if name in {"command", "fom", "goal", "seed"}}
    flat.update({f"strategy {name}": value for name, value in settings["strategy"].items()})
    for line in settings["params"]:
        flat[f"params {from_line(line).flag}"] = line
    flat["params order"] = [name for name in flat if name.startswith("params ")]
    return flat
