"""The command ``crayai``."""

import sys

import click
from rich.console import Console
from rich.text import Text

from crayai import __version__
from crayai.cli.doctor import doctor, estimate
from crayai.cli.inspect import best, export, show, status, verify
from crayai.cli.recover import recover
from crayai.cli.replay import replay
from crayai.cli.run import run, tick
from crayai.hpo.errors import CrayaiError, StudyFailed

EXIT_REFUSED = 1
EXIT_STUDY_FAILED = 3

_EPILOG = """
Exit codes: 0 done; 1 refused or impossible, with a message; 2 wrong usage; 3 the program fails whatever the
hyperparameters; 75 the allocation has no time left for more, and 130, 138, 143 stopped by Ctrl-C, SIGUSR1, SIGTERM,
to be gone on with by the same command.
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Hyperparameter search for any training command."""


for command in (run, tick, doctor, estimate, status, best, show, export, replay, verify, recover):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors of this package end in one message and a documented exit code."""
    errors = Console(stderr=True)
    try:
        sys.exit(cli(standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CrayaiError as error:
        errors.print(Text(f"crayai: {error}"), soft_wrap=True)
        sys.exit(EXIT_STUDY_FAILED if isinstance(error, StudyFailed) else EXIT_REFUSED)
