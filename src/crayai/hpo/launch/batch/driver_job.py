"""A driver that is a job: it submits itself again before its limit of time, until the study is over."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.batch.dialect import Dialect, Standing
from crayai.hpo.launch.batch.inherited import exports
from crayai.hpo.launch.calls import ask

AGAIN = 75
"""The exit code of a driver that stopped for want of time alone; sysexits(3) calls it a temporary failure."""

_MOST_SPARE_SECONDS = 120.0
_SPARE_SHARE = 0.25
_KILL_SECONDS = 60
_SCRIPT = """\
#!/bin/sh
# The driver of a crayai study, which submits itself again before its limit of time. By hand: sh {path}
[ ! -r {environment} ] || . {environment}
unset PBS_NODEFILE  # the nodes of this job are the driver's; evaluations have jobs of their own
cd {caller} || exit
began=$(date +%s)
timeout --foreground -s USR1 -k {kill_seconds} {seconds} {command}
code=$?
worked=$(($(date +%s) - began))
case $code in
  124 | 137 | {again}) ;;  # its time is over, or it was killed, or no time was left for another evaluation
  *) exit "$code" ;;
esac
if [ "$worked" -lt {least_seconds} ]; then
  echo "crayai: the driver has ended with exit code $code after $worked s already, and so is not submitted again" >&2
  exit "$code"
fi
for pause in 5 10 20 20 0; do
  next=$({submit}) && echo "crayai: submitted again, as job $next" >&2 && exit
  sleep "$pause"
done
"""


@dataclass(frozen=True, kw_only=True)
class DriverJob:
    """A job that drives a study.

    Attributes:
        directory: Of the study.
        caller: Where the command is to run.
        command: The words of the driver's own command.
        name: Of the job.
        minutes: Its limit of time.
        arguments: Of the command that submits it.
    """

    directory: Path
    caller: Path
    command: Sequence[str]
    name: str
    minutes: int
    arguments: Sequence[str] = ()

    @property
    def path(self) -> Path:
        """The script."""
        return self.directory / "driver" / "job"

    @property
    def log(self) -> Path:
        """What the driver says."""
        return self.directory / "driver" / "log"

    def submit(self, dialect: Dialect) -> list[str]:
        """Return the command that submits it."""
        return dialect.submit_driver(self.path, self.name, self.log, self.minutes, self.arguments)

    def script(self, dialect: Dialect) -> str:
        """Return the script; it leaves off early, and works for a tenth of its time at least before the next one."""
        limit = 60.0 * self.minutes
        return _SCRIPT.format(
            path=shlex.quote(str(self.path)),
            environment=shlex.quote(str(self.path.parent / "environment")),
            caller=shlex.quote(str(self.caller)),
            kill_seconds=_KILL_SECONDS,
            seconds=math.floor(limit - min(_MOST_SPARE_SECONDS, _SPARE_SHARE * limit)),
            command=shlex.join(self.command),
            again=AGAIN,
            least_seconds=math.ceil(limit / 10),
            submit=shlex.join(self.submit(dialect)),
        )

    def start(self, dialect: Dialect) -> str:
        """Write the script and submit it; return the name of the job.

        Raises:
            LaunchError: It is refused, or there is such a job already.
        """
        if (queue := dialect.queue(ask(dialect.ask(self.name, ())))) is not None:
            own = queue.submitted.get(dialect.sign(self.name, self.path))
            jobs = [seen for job, seen in queue.jobs.items() if not dialect.lists_all or job == own]
            if there := [seen.word for seen in jobs if seen.standing is not Standing.OVER]:
                raise LaunchError(f"the study in {self.directory} has a driver that is a job already ({there[0]})")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.write_text(self.script(dialect), encoding="utf-8")
        if not dialect.passes_environment:
            (self.path.parent / "environment").write_text(exports(), encoding="utf-8")
        argv = self.submit(dialect)
        answer = ask(argv)
        if not (name := dialect.submission(answer)):
            raise LaunchError(dialect.refusal(answer, argv))
        return name
