"""``crayai run``: start a study, or go on with it."""

import shlex
import sys
import tomllib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from crayai.cli.display import choose_display, standing
from crayai.cli.studyfile import KEYS, Plan, read_plan
from crayai.hpo.engine.checkpoints import Checkpoints
from crayai.hpo.engine.clusters import cluster_launcher, driver_job
from crayai.hpo.engine.conduct import check_program, conduct
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import with_seed
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.batch.driver_job import AGAIN
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
    **dict.fromkeys(("checkpoint", "keep", "exploit", "mode", "alloc_args", "launch_args", "job_args"), str),
    **dict.fromkeys(("conda_env", "urika_args"), str),
    **dict.fromkeys(("dask_address", "dask_scheduler_file", "dask_resources"), str),
    "poll_seconds": float,
}
_DRY_RUN_COMMANDS = 10
_NO_STUDY_ID = "00000000"

_EPILOG = "\b\nKeys of a study file, each also an option (--pop-size 9; --on-signal for [failures]):\n" + "\n".join(
    f"  [{table}]\n" + "\n".join(f"    {key:<20} {meaning}" for key, meaning in keys.items())
    for table, keys in KEYS.items()
)


def study_arguments(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command what says which study is meant, with one option for each key of a study file."""
    for add in (
        click.option("-q", "--quiet", is_flag=True, help="Show nothing but what matters."),
        click.option("--param", "params", multiple=True, metavar="LINE",
                     help="A hyperparameter, such as '--lr=1e-5..1e-1 log' or '--act=relu|tanh'; repeatable."),
        click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path("run"), show_default=True,
                     help="Directory of the study; a study that is there is gone on with."),
        click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[STUDY.toml] [-- COMMAND …]"),
    ):  # fmt: skip
        function = add(function)
    for table, keys in reversed(list(KEYS.items())):
        for key in reversed(list(keys)):
            if key == "command":
                continue
            name = table if key == "name" else f"on_{key}" if table == "failures" else key
            flag = f"--{name.replace('_', '-')}"
            target = f"{table}__{key}"
            if key == "keep_output":
                function = click.option(flag, target, is_flag=True, default=None, hidden=True)(function)
            elif key in _CALLBACKS:
                function = click.option(flag, target, hidden=True, callback=_CALLBACKS[key])(function)
            else:
                kind = str if key == "name" or table == "failures" else _TYPES.get(key, int)
                function = click.option(flag, target, type=kind, hidden=True)(function)
    return function


def _gpus(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [gpu for gpu in value.split(",") if gpu]


def _container(_context: click.Context, _option: click.Parameter, value: str | None) -> str | dict[str, Any] | None:
    """Take text in braces for a table, as it would stand in a study file."""
    if value is None or not value.lstrip().startswith("{"):
        return value
    try:
        table: dict[str, Any] = tomllib.loads(f"container = {value}")["container"]
    except tomllib.TOMLDecodeError as error:
        raise click.BadParameter(f"{value!r} is no inline table of TOML: {error}") from error
    return table


_CALLBACKS = {"gpus": _gpus, "container": _container}


@click.command(epilog=_EPILOG)
@study_arguments
@click.option("--extend", is_flag=True, help="Take a raised budget (generations, num_iters) for the study there.")
@click.option("--dry-run", is_flag=True, help="Print what would be run or submitted, and run nothing.")
@click.option("--as-job", is_flag=True, help="Submit this command as a job, which goes on until the study is over.")
def run(
    words: tuple[str, ...],
    directory: Path,
    params: tuple[str, ...],
    extend: bool,
    dry_run: bool,
    as_job: bool,
    quiet: bool,
    **keys: Any,
) -> None:
    """Start the study of a file or of options, or go on with it.

    \b
    crayai run study.toml --dir DIR
    crayai run --strategy genetic --param '--lr=1e-5..1e-1 log' -- python train.py
    """  # noqa: D301 - click wants the character
    plan = plan_of(words, params, keys)
    if as_job:
        _submit(plan, directory, is_dry=dry_run)
        return
    if dry_run:
        _print_commands(plan, directory)
        return
    _drive(plan, directory, quiet=quiet, extend=extend)


@click.command(epilog="Options as of crayai run. With cron: */5 * * * * cd PLACE && crayai tick -q study.toml")
@study_arguments
def tick(words: tuple[str, ...], directory: Path, params: tuple[str, ...], quiet: bool, **keys: Any) -> None:
    """Drive the study of a file or of options a little: take in what has ended, submit what is next, and leave.

    Its evaluations must be jobs of a batch system (--mode jobs), which go on without a driver.
    """
    plan = plan_of(words, params, keys)
    if plan.evaluation.cluster is None or plan.evaluation.cluster.has_steps:
        raise click.UsageError("crayai tick leaves its evaluations alone: they must be jobs of a batch system, as with "
                               "--launcher slurm --mode jobs")  # fmt: skip
    _drive(plan, directory, quiet=quiet, is_brief=True)


def _drive(plan: Plan, directory: Path, *, quiet: bool, extend: bool = False, is_brief: bool = False) -> None:
    """Work on a study, and tell how far it is."""
    console = Console(stderr=True)
    display = choose_display(console, slots=plan.evaluation.most_at_once, quiet=quiet)
    done = conduct(
        plan.study, directory, plan.evaluation, [display], budget=plan.budget, extend=extend, is_brief=is_brief
    )
    if done.end_reason and done.is_out_of_time:
        console.print(Text(f"stopped: {done.end_reason}; the same command goes on"), soft_wrap=True)
        raise click.exceptions.Exit(AGAIN)
    if done.end_reason:
        console.print(Text(f"stopped: {done.end_reason}; the same command with more goes on"), soft_wrap=True)
    if done.search.is_done or done.end_reason:
        _print_result(done.search)
        return
    if is_brief and done.has_left and not done.signal:
        if not quiet:
            console.print(Text(f"evaluations go on without a driver. So far: {standing(done.search)}"))
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


def _submit(plan: Plan, directory: Path, *, is_dry: bool) -> None:
    """Submit the command that we were called by, as a job, or print what would be submitted."""
    check_program(plan.study, plan.evaluation)
    words = sys.argv[1:]
    words.remove("--as-job")
    if is_dry:
        words.remove("--dry-run")
    command = [sys.executable, "-m", "crayai", *words]
    job, dialect = driver_job(plan.evaluation.cluster, directory, command, plan.job_minutes, plan.job_args)
    if is_dry:
        click.echo(f"{shlex.join(job.submit(dialect))}\n\n{job.path}:\n{job.script(dialect)}")
        return
    name = job.start(dialect)
    click.echo(f"submitted the driver as job {name}; what it says is in {job.log}, and crayai status {directory} tells")


def _print_commands(plan: Plan, directory: Path) -> None:
    """Print the command lines of the first evaluations."""
    check_program(plan.study, plan.evaluation)
    search = Search(with_seed(plan.study, 0), MemoryLog())
    paths = StudyDirectory(directory)
    checkpoints = Checkpoints(root=paths.checkpoints(plan.evaluation.checkpoint), search=search)
    wrapping = plan.evaluation.wrapping(directory, checkpoints.root if plan.study.uses_checkpoints else None)
    tasks = TaskMaker(
        search=search,
        directory=paths,
        study_id=_NO_STUDY_ID,
        caller=Path.cwd(),
        checkpoints=checkpoints,
        source=plan.evaluation.source,
        time_limit_seconds=plan.evaluation.time_limit_seconds,
        is_dry=True,
        wrapping=wrapping,
    )
    first = list(islice(iter(search.ask, None), _DRY_RUN_COMMANDS))
    for asked in first:
        click.echo(tasks.line(asked))
    if (cluster := plan.evaluation.cluster_around(wrapping)) is not None:
        launcher = cluster_launcher(cluster, directory, _NO_STUDY_ID, plan.evaluation.capacity)
        together = first[: launcher.capacity]
        click.echo(f"\n{launcher.rehearse([tasks.make(asked, 1) for asked in together])}")


def _print_result(search: Search) -> None:
    """Print the best on standard output, ready to paste."""
    evaluation = search.best_evaluation
    if evaluation is None:
        click.echo("no evaluation has completed", err=True)
        return
    facts = [f"evaluation {evaluation.number}", *standing(search).split(", ")[1:]]
    click.echo(f"Best: {evaluation.fom:.8g} ({', '.join(facts)})")
    click.echo(search.study.filled_command.arguments_line(evaluation.values))
