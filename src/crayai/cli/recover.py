"""``crayai recover``: a damaged log is built anew from what can be read."""

from collections.abc import Sequence
from pathlib import Path

import click

from crayai.cli.studyfile import KEYS, read_plan
from crayai.hpo.engine import recover as engine

_NUMBERS_SHOWN = 12


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path("run"), metavar="[DIR]")
@click.option("--study", "file", type=click.Path(path_type=Path), metavar="STUDY.toml",
              help="The study file, where the settings in the log are lost.")  # fmt: skip
def recover(directory: Path, file: Path | None) -> None:
    """Build a damaged log anew from what can be read; the damaged one is kept aside."""
    given = None if file is None else read_plan(file, {table: {} for table in KEYS}, (), ()).study
    done = engine.recover(directory, given)
    if done is None:
        click.echo("the log is not damaged; nothing was changed")
        return
    click.echo(f"saved: {done.evaluations} evaluations{_numbers(done.restored, 'asked for anew from the seed')}")
    click.echo(f"       {done.outcomes} outcomes")
    if done.held:
        click.echo(
            f"       {done.held} outcomes of evaluations that follow on lost ones, for when these have run again"
        )
    click.echo(f"no outcome: {len(done.again)}{_numbers(done.again, 'to run, or to run again')}")
    click.echo(f"damaged log: {done.damaged}")
    click.echo("crayai run goes on with the study")


def _numbers(numbers: Sequence[int], what: str) -> str:
    if not numbers:
        return ""
    shown = ", ".join(map(str, numbers[:_NUMBERS_SHOWN]))
    return f" ({what}: {shown}{', …' if len(numbers) > _NUMBERS_SHOWN else ''})"
