"""What a task leaves behind where nobody watches it: who ran it, and how it ended.

On a compute node a task runs inside a script of the plain shell, for there need not be anything of ours there. Files
in a directory that all machines see say what became of it:

    <name>.claim   a symbolic link to the job that runs the task, or to ``driver`` where a driver has given it up. To
                   make a link is one step that only the first one takes, so a task never runs twice, whatever a
                   scheduler that was asked twice may start, and what has been given up never runs at all.
    <name>.end     the end, a fact a line, as the keeper of local processes writes it, and ``asked`` where the script
                   was told to end: only the scheduler knows why. A task that is started again removes that one; any
                   other is final. It waits for what a node without its daemon may still run of it, and then does not
                   run if that is on record by now: the script of such a task is removed before its other files.

    <name>.asked   a mark of a script that was told to end, and may not live to write that down in its end.

    <name>.cancelled   a mark of the driver, which wants no outcome of the task, whatever its end says.

A task on several nodes leaves one end a node: ``<name>.end``, ``<name>.1.end``, …
"""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.launch.base import Exited, Limit, Task

DRIVER = "driver"
BY_HAND = "by hand"
"""What claims a task that a person runs."""
NO_DIRECTORY = 121
"""Exit code of a script that does not find its directories: another machine does not see them."""

SIGNALLED = 128
"""Exit codes above it are a shell's account of a signal."""

_PATIENCE_SECONDS = 600
_CLOCK_SECONDS = 0.02
_TERMINATED = 143
"""The exit code of a program that SIGTERM has ended."""
_UNKNOWN = "127 | -1"
"""What shells say of a process that they have told of before, and bash of one whose end it has lost."""
_TIMED_OUT = (124, 137)  # of timeout(1), by SIGTERM and by SIGKILL
_SCRIPT = """\
#!/bin/sh
# Evaluation {number} of a crayai study, written for a compute node. By hand: sh {path}
{exports}
_me="${{CRAYAI_JOB:-${{SLURM_STEP_ID:+$SLURM_JOB_ID.$SLURM_STEP_ID}}}}"
_me="${{_me:-{by_hand}}}"
_node="${{SLURM_NODEID:-0}}"
[ "${{SLURM_LOCALID:-0}}" = 0 ] && _first=yes || _first=  # of the ranks on a node, the first keeps the records
_task={proofs}/{name}
_asked= _again= _child= _keeps= _code={terminated}
read -r _host </proc/sys/kernel/hostname
_told() {{
  _asked=yes
  [ ! "$_keeps" ] || true >"$_task".asked
  {pass_on}
}}
trap _told TERM INT USR1 USR2
cd {proofs} && cd {directory} || {{ echo "crayai: $_host does not see the directory" >&2; exit {missing}; }}
[ ! -e "$_task".cancelled ] || exit 0
[ "$_node" = 0 ] || _task="$_task.$_node"
if [ "$_first" ]; then
  if ! ln -sn "$_me" "$_task".claim 2>/dev/null; then
    [ "$(readlink "$_task".claim)" = "$_me" ] || exit 0  # another one was first
    _again=yes
  fi
{lock}  if [ "$_again" ] &&
    read -r _fact _ended <"$_task".end && [ "$_ended" -lt {signalled} ] && ! grep -q asked "$_task".end
  then exit 0  # it ended by itself, and the job was started again before anybody heard of it
  fi 2>/dev/null
  [ -s "$0" ] || {{ rm -f "$_task".claim; exit 0; }}  # it is on record already, and what is empty, made by us
  [ ! -e "$_task".end ] && [ ! -e "$_task".asked ] || rm -f "$_task".end "$_task".asked
  _keeps=yes
  if ! command -v {program} >/dev/null; then
    echo "error "{program}": there is no such program on $_host" >"$_task".end~ && mv "$_task".end~ "$_task".end
    exit 127
  fi
fi
read -r _began _rest </proc/uptime
{files}
if [ ! "$_asked" ]; then
  {command} &
  _child=$!
  [ ! "$_asked" ] || kill -TERM "$_child" 2>/dev/null
  wait "$_child"
  _code=$?
  while [ "$_asked" ]; do  # a signal ends a wait, though the shell may have heard of the end as well
    kill -0 "$_child" 2>/dev/null && _lives=yes || _lives=
    wait "$_child"
    _now=$?
    case $_now in {unknown}) ;; *) _code=$_now ;; esac
    [ "$_lives" ] || break
  done
fi
read -r _ended _rest </proc/uptime
if [ "$_first" ]; then
  {{
    echo "code $_code"
    echo "began $_began"
    echo "ended $_ended"
    echo "location ${{SLURMD_NODENAME:-$_host}}"
    [ ! "$_asked" ] || echo "asked yes"
  }} >"$_task".end~ && mv "$_task".end~ "$_task".end
fi
exit "$_code"
"""
_PASS_ON = '[ ! "$_child" ] || kill -TERM "$_child" 2>/dev/null'
_LOCK = """\
  if [ "$_node" = 0 ] && command -v flock >/dev/null && [ -w "$0" ]; then
    exec 9>>"$0"
    _tries={patience}
    flock -n 9  # what a node without its daemon still runs, though the job was started again, holds it
    while [ $? = 1 ] && [ ! "$_asked" ]; do
      [ $((_tries -= 1)) -gt 0 ] || {{ echo "crayai: it still runs elsewhere, so not on $_host" >&2; exit 1; }}
      _again=yes
      sleep 1
      flock -n 9
    done
    [ ! "$_again" ] || ls "${{0%/*}}" "${{_task%/*}}" >/dev/null  # a network's file system may be behind
  fi
"""


def script_of(
    task: Task,
    proofs: Path,
    path: Path,
    command: str,
    *,
    writes: bool = True,
    is_restarted: bool = False,
    is_told_alone: bool = True,
) -> str:
    """Return the script, to be at `path`, that runs `command`, in words of the shell, as `task`.

    It keeps its records in `proofs`, and `writes` the files of output, unless somebody else does. If it `is_restarted`,
    the same job may start it once more while it runs elsewhere. Where it `is_told_alone` to end, or may be, it passes
    that on to the program, which may hear of it twice then.
    """
    quote = shlex.quote
    out, err = quote(task.stdout), quote(task.stderr)
    if task.time_limit_seconds is not None:
        command = f"timeout -k 5 {task.time_limit_seconds:g} {command}"
        is_told_alone = True  # timeout(1) leaves the group of the script
    return _SCRIPT.format(
        number=name_of(task).partition(".")[0],
        path=quote(str(path)),
        exports="\n".join(f"export {name}={quote(text)}" for name, text in task.environment.items()),
        name=quote(name_of(task)),
        by_hand=BY_HAND,
        lock=_LOCK.format(patience=_PATIENCE_SECONDS) if is_restarted else "",
        terminated=_TERMINATED,
        pass_on=_PASS_ON if is_told_alone else ":",
        unknown=_UNKNOWN,
        signalled=SIGNALLED,
        program=quote(task.argv[0]),
        proofs=quote(str(proofs)),
        directory=quote(str(task.directory)),
        missing=NO_DIRECTORY,
        files=f"(umask 077 && : >{out} && : >{err})" if writes else "",
        command=f"{command} >>{out} 2>>{err}" if writes else command,
    )


def name_of(task: Task) -> str:
    """Return what names the task among those of its study: the last part of the path of its output."""
    return Path(task.output).name


@dataclass(frozen=True, slots=True)
class End:
    """What a task has said of its end.

    Attributes:
        error: Why nothing was started; empty: something was.
        code: The exit code, as a shell gives it.
        seconds: How long it ran.
        location: The node.
        was_asked: Whether it was told to end.
    """

    error: str = ""
    code: int = 0
    seconds: float = 0.0
    location: str = ""
    was_asked: bool = False

    @property
    def is_terminated(self) -> bool:
        """Whether it was told to end, or its program was, by a signal that its script may not have heard yet."""
        return self.was_asked or self.code == _TERMINATED

    def exited(self, limit_seconds: float | None) -> Exited:
        """Return the end of a task that had a limit of time."""
        limit = float("inf") if limit_seconds is None else limit_seconds
        is_late = self.code in _TIMED_OUT and self.seconds > limit - _CLOCK_SECONDS
        return Exited(self.code, Limit.TIME if is_late else None, self.seconds, self.location)


class Proofs:
    """The records of tasks in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self) -> None:
        """Make the directory, for its user alone."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def ended(self) -> set[str]:
        """Return the names of the tasks that have left an end."""
        with suppress(FileNotFoundError):
            return {
                name.removesuffix(".end")
                for name in os.listdir(self.directory)  # noqa: PTH208 - names are all that is needed
                if name.endswith(".end")
            }
        return set()

    def changed(self) -> int:
        """Return a number that differs after any record was made."""
        with suppress(FileNotFoundError):
            return self.directory.stat().st_mtime_ns
        return 0

    def end(self, name: str) -> End | None:
        """Return what a task has said of its end; None: nothing yet."""
        try:
            text = (self.directory / f"{name}.end").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return _end_in(dict(line.split(" ", 1) for line in text.splitlines()))

    def claim(self, name: str) -> str:
        """Claim a task for the driver, so that nobody runs it any more; return who has it, perhaps another one."""
        self.make()
        path = self.directory / f"{name}.claim"
        with suppress(FileExistsError):
            path.symlink_to(DRIVER)
        return str(path.readlink())

    def take(self, name: str) -> None:
        """Take a task away from whoever has claimed it; who looks at his claim then ends it."""
        part = self.directory / f"{name}.claim~"
        part.unlink(missing_ok=True)
        part.symlink_to(DRIVER)
        part.rename(self.directory / f"{name}.claim")

    def owner(self, name: str) -> str:
        """Return who has claimed a task; empty: nobody."""
        try:
            return str((self.directory / f"{name}.claim").readlink())
        except FileNotFoundError:
            return ""

    def was_asked(self, name: str) -> bool:
        """Return whether a task was told to end that may have left no end."""
        return (self.directory / f"{name}.asked").exists()

    def cancel(self, name: str) -> None:
        """Write down that a task is to have no outcome."""
        (self.directory / f"{name}.cancelled").touch()

    def is_cancelled(self, name: str) -> bool:
        """Return whether a task is to have no outcome."""
        return (self.directory / f"{name}.cancelled").exists()

    def forget(self, name: str, nodes: int = 1) -> None:
        """Remove the records of a task that ran on so many nodes."""
        for one in (name, *(f"{name}.{node}" for node in range(1, nodes))):
            for suffix in ("claim", "end", "asked", "cancelled"):
                (self.directory / f"{one}.{suffix}").unlink(missing_ok=True)


def _end_in(facts: Mapping[str, str]) -> End:
    if "error" in facts:
        return End(facts["error"])
    seconds = float(facts["ended"]) - float(facts["began"])
    return End("", int(facts["code"]), seconds, facts["location"], "asked" in facts)
