"""``crayai run``: start a study, or go on with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from crayai.cli.display import choose_display, standing
from crayai.cli.studyfile import KEYS, Plan, read_plan
from crayai.hpo.engine.checkpoints import Checkpoints
from crayai.hpo.engine.conduct import check_program, conduct
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import with_seed
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.store.base import MemoryLog

_TYPES: dict[str, Any] = {
    "goal": click.Choice(["minimize", "maximize"]),
    **dict.fromkeys(
        ("time_limit_minutes", "max_wall_minutes", "max_node_hours", "target_fom", "grace_seconds", "checkpoint_gib"),
        float,
    ),
    "mutation_rate": float,
    **dict.fromkeys(("crossover_rate", "quantile", "perturbation", "resample_rate"), float),
    "fom": str,
    "src_path": str,
    **dict.fromkeys(("checkpoint", "keep", "exploit", "mode", "alloc_args", "launch_args"), str),
    "poll_seconds": float,
}
_DRY_RUN_COMMANDS = 10

_EPILOG = "\b\nKeys of a study file, each also an option (--pop-size 9; --on-signal for [failures]):\n" + "\n".join(
    f"  [{table}]\n" + "\n".join(f"    {key:<20} {meaning}" for key, meaning in keys.items())
    for table, keys in KEYS.items()
)


def study_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each key of a study file."""
    for table, keys in reversed(list(KEYS.items())):
        for key in reversed(list(keys)):
            if key == "command":
                continue
            name = table if key == "name" else f"on_{key}" if table == "failures" else key
            flag = f"--{name.replace('_', '-')}"
            target = f"{table}__{key}"
            if key == "keep_output":
                function = click.option(flag, target, is_flag=True, default=None, hidden=True)(function)
            elif key == "gpus":
                function = click.option(flag, target, hidden=True, callback=_gpus)(function)
            else:
                kind = str if key == "name" or table == "failures" else _TYPES.get(key, int)
                function = click.option(flag, target, type=kind, hidden=True)(function)
    return function


def _gpus(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [gpu for gpu in value.split(",") if gpu]


@click.command(epilog=_EPILOG)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[STUDY.toml] [-- COMMAND …]")
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path("run"), show_default=True,
              help="Directory of the study; a study that is there is gone on with.")  # fmt: skip
@click.option("--param", "params", multiple=True, metavar="LINE",
              help="A hyperparameter, such as '--lr=1e-5..1e-1 log' or '--act=relu|tanh'; repeatable.")  # fmt: skip
@click.option("--extend", is_flag=True, help="Take a raised budget (generations, num_iters) for the study there.")
@click.option("--dry-run", is_flag=True, help="Print the first commands and run nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but what matters.")
@study_options
def run(
    words: tuple[str, ...],
    directory: Path,
    params: tuple[str, ...],
    extend: bool,
    dry_run: bool,
    quiet: bool,
    **keys: Any,
) -> None:
    """Start the study of a file or of options, or go on with it.

    \b
    crayai run study.toml --dir DIR
    crayai run --strategy genetic --param '--lr=1e-5..1e-1 log' -- python train.py
    """  # noqa: D301 - click wants the character
    plan = plan_of(words, params, keys)
    if dry_run:
        _print_commands(plan, directory)
        return
    console = Console(stderr=True)
    display = choose_display(console, slots=plan.evaluation.capacity, quiet=quiet)
    done = conduct(plan.study, directory, plan.evaluation, [display], budget=plan.budget, extend=extend)
    if done.end_reason:
        console.print(Text(f"stopped: {done.end_reason}; the same command with more goes on"), soft_wrap=True)
    if done.search.is_done or done.end_reason:
        _print_result(done.search)
        return
    console.print(Text(f"stopped; the same command goes on. So far: {standing(done.search)}"))
    raise click.exceptions.Exit(128 + done.signal)


def plan_of(words: tuple[str, ...], params: tuple[str, ...], keys: dict[str, Any]) -> Plan:
    """Return what the words and options of a command line say, those of `study_options` in `keys`."""
    options: dict[str, dict[str, Any]] = {table: {} for table in KEYS}
    for target, value in keys.items():
        table, key = target.split("__")
        options[table][key] = value
    has_file = bool(words) and words[0].endswith(".toml")
    if not has_file and not params:
        raise click.UsageError("give a study file (STUDY.toml), or hyperparameters (--param) and a command behind --")
    file = Path(words[0]) if has_file else None
    return read_plan(file, options, params, words[1:] if has_file else words)


def _print_commands(plan: Plan, directory: Path) -> None:
    """Print the command lines of the first evaluations."""
    check_program(plan.study, plan.evaluation.source)
    search = Search(with_seed(plan.study, 0), MemoryLog())
    paths = StudyDirectory(directory)
    checkpoints = Checkpoints(root=paths.checkpoints(plan.evaluation.checkpoint), search=search)
    tasks = TaskMaker(search=search, directory=paths, study_id="", caller=Path.cwd(), checkpoints=checkpoints)
    for _ in range(_DRY_RUN_COMMANDS):
        asked = search.ask()
        if asked is None:
            break
        click.echo(tasks.line(asked))


def _print_result(search: Search) -> None:
    """Print the best on standard output, ready to paste."""
    evaluation = search.best_evaluation
    if evaluation is None:
        click.echo("no evaluation has completed", err=True)
        return
    facts = [f"evaluation {evaluation.number}", *standing(search).split(", ")[1:]]
    click.echo(f"Best: {evaluation.fom:.8g} ({', '.join(facts)})")
    click.echo(search.study.filled_command.arguments_line(evaluation.values))
