"""``crayai replay``: was it the schedule, or lucky weights?"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from crayai.cli.display import choose_display
from crayai.cli.inspect import study_in
from crayai.cli.schedule import schedule_in
from crayai.hpo.engine.conduct import conduct
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.provenance import container_in
from crayai.hpo.engine.streams import program_seed
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.urika import Urika
from crayai.hpo.launch.wrapping import surroundings
from crayai.hpo.report.comparison import check_installed, compare, luck, verdict
from crayai.hpo.report.schedule import Window
from crayai.hpo.strategy.base import History
from crayai.hpo.strategy.replay import Replay, constant_settings

_LINE = "{:<9} {}"


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path("run"), metavar="[DIR]")
@click.option("--seeds", type=click.IntRange(min=2), default=5, show_default=True,
              help="Trainings along the schedule, and with the best constant values.")  # fmt: skip
@click.option("--slots", type=int, help="Evaluations at once; left out: one a core.")
@click.option("--src-path", type=click.Path(path_type=Path), help="As in the search.")
@click.option("--time-limit-minutes", type=float, help="Of one evaluation.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the result.")
def replay(
    directory: Path, seeds: int, slots: int | None, src_path: Path | None, time_limit_minutes: float | None, quiet: bool
) -> None:
    """Train anew along the best schedule, and with constant values: was it the schedule, or lucky weights?

    Start it where the search was started. It runs in the container and the environment of the search, on this machine.
    It is a study of its own in DIR/replay: the same command goes on with it.
    """
    check_installed()
    with study_in(StudyDirectory(directory)) as (reader, study):
        _, schedule = schedule_in(reader, study)
        recorded = reader.settings()
    if not study.command:
        raise SettingsError("the study has no command, for its evaluations were made by the caller")
    container, environment = surroundings(container_in(recorded), recorded.get("conda_env", ""))
    settings = EvaluationSettings(
        slots=slots,
        container=container,
        environment=environment,
        urika=Urika(**{**urika, "alloc_jobid": None}) if (urika := recorded.get("urika")) else None,
        source=src_path and src_path.absolute(),
        time_limit_minutes=time_limit_minutes,
        checkpoint=recorded.get("checkpoint", ""),
    )
    console = Console(stderr=True)
    display = choose_display(console, slots=settings.capacity, quiet=quiet)
    root = directory / "replay"
    strategy = replay_of(study, schedule, seeds)
    done = conduct(_study_of(study, strategy), root, settings, [display])
    if not done.search.is_done:
        console.print(Text("stopped; the same command goes on"))
        raise click.exceptions.Exit(128 + done.signal)
    found = result(strategy, done.search.record, study, schedule)
    (root / "replay.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for line in told(found):
        click.echo(line)


def replay_of(study: Study, schedule: Sequence[Window], seeds: int) -> Replay:
    """Return the replay of a schedule of `study`."""
    values = [dict(w.values) for w in schedule]
    constants = [[constant] * len(values) for constant in constant_settings(study.space, values)]
    return Replay(
        space=study.space, arms=[values, *constants], seeds=seeds, numbers=[w.number for w in schedule],
        windows=study.windows,
    )  # fmt: skip


def _study_of(study: Study, strategy: Replay) -> Study:
    """Return the study that a replay is; its random numbers are others than those of any evaluation of `study`."""
    arguments = {name: getattr(strategy, name) for name in ("arms", "seeds", "numbers", "windows")}
    settings = StrategySettings(name="replay", arguments=arguments)
    return replace(study, strategy=settings, seed=program_seed(study.seed or 0, -1))


def result(strategy: Replay, history: History, study: Study, schedule: Sequence[Window]) -> dict[str, Any]:
    """Return what came out of a replay that is over, for a JSON file."""
    losses = [strategy.losses(history, arm) for arm in range(len(strategy.arms))]
    best, last = strategy.best_constant(history), schedule[-1]
    found: dict[str, Any] = {
        "search": {"evaluation": last.evaluation, "fom": last.fom},
        "schedule": _arm(study, losses[0]),
        "constants": [
            {**_arm(study, losses[arm]), "values": dict(strategy.arms[arm][0]), "is_best": arm == best}
            for arm in range(1, len(losses))
        ],
        "verdict": "The schedule is constant, so there is nothing to compare it with.",
        "luck": luck(study.loss(last.fom), losses[0]),
    }
    if best is not None:
        comparison = compare(losses[0], losses[best])
        found |= {**asdict(comparison), "verdict": verdict(comparison, strategy.seeds)}
    return found


def _arm(study: Study, losses: Sequence[float]) -> dict[str, Any]:
    """Return the figures of merit of an arm, null where a training has failed."""
    foms = [study.loss(loss) if math.isfinite(loss) else None for loss in losses]
    middle = median(losses)
    return {"foms": foms, "median": study.loss(middle) if math.isfinite(middle) else None}


def told(found: dict[str, Any]) -> list[str]:
    """Return the lines that tell a result."""
    lines = [_LINE.format("schedule", _foms(found["schedule"]))]
    for constant in found["constants"]:
        values = " ".join(f"{flag}={value}" for flag, value in constant["values"].items())
        lines.append(_LINE.format("constant", f"{_foms(constant)} with {values}"))
    search = found["search"]
    lines.append(_LINE.format("search", f"{search['fom']:.6g} (evaluation {search['evaluation']})"))
    if "p" in found:
        lines.append(_LINE.format("test", f"U = {found['u']:g}, p = {found['p']:.3g}, A12 = {found['a12']:.3g}"))
    return [*lines, found["verdict"], found["luck"]]


def _foms(arm: dict[str, Any]) -> str:
    texts = ["failed" if fom is None else f"{fom:.6g}" for fom in [*arm["foms"], arm["median"]]]
    return ", ".join(texts[:-1]) + (f" (median {texts[-1]})" if len(arm["foms"]) > 1 else "")
