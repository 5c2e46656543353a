"""The schedule of a model: which values it was trained with, window by window, and a script to train along it again."""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TextIO

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Completed, Failed, Values
from crayai.hpo.space.render import Command, Rendered, open_mark
from crayai.hpo.store.query import StoredEvaluation

_DIRECTORY = "@crayai-checkpoints@"
"""Stands for the directory of checkpoints while a command is rendered; no character of it needs quoting."""

_EXPANSIONS = {"": '"$checkpoints"', '"': "$checkpoints", "'": "'\"$checkpoints\"'"}
"""What takes its place, by the quotation mark that it stands in."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a schedule.

    Attributes:
        number: Which window of the search it was, as the program was told.
        evaluation: The number of the evaluation.
        fom: The figure of merit that the search saw.
        values: What the program received.
    """

    number: int
    evaluation: int
    fom: float
    values: Values


def lineage(evaluations: Mapping[int, StoredEvaluation], number: int) -> tuple[StoredEvaluation, ...]:
    """Return the evaluations that trained the model of evaluation `number`, the oldest first.

    A failed one is not among them: whoever was to train on from it did so from where it had started.

    Raises:
        SettingsError: The evaluation is unknown, or has not completed, and so has no model.
    """
    if number not in evaluations:
        raise SettingsError(f"there is no evaluation {number}; {len(evaluations)} were asked for")
    if not isinstance(evaluations[number].outcome, Completed):
        raise SettingsError(f"evaluation {number} has not completed, so there is no model and no schedule of it")
    found = [evaluations[number]]
    while (source := source_of(evaluations, found[-1])) is not None:
        found.append(source)
    return tuple(reversed(found))


def source_of(evaluations: Mapping[int, StoredEvaluation], evaluation: StoredEvaluation) -> StoredEvaluation | None:
    """Return the evaluation whose model `evaluation` trains on, the nearest that has not failed; None: from scratch."""
    source = None if evaluation.resume_from is None else evaluations[evaluation.resume_from]
    while source is not None and isinstance(source.outcome, Failed):
        source = None if source.resume_from is None else evaluations[source.resume_from]
    return source


def schedule_of(lineage: Sequence[StoredEvaluation], sign: int) -> tuple[Window, ...]:
    """Return the schedule along a lineage of completed evaluations; `sign` turns a loss into a figure of merit."""
    return tuple(
        Window(e.generation, e.number, sign * e.outcome.loss, e.values)
        for e in lineage
        if isinstance(e.outcome, Completed)
    )


def schedule_csv(schedule: Sequence[Window], flags: Sequence[str], file: TextIO) -> None:
    """Write a line a window; hyperparameters are the last columns, empty where inactive."""
    writer = csv.writer(file)
    writer.writerow(["window", "evaluation", "fom", *flags])
    for w in schedule:
        writer.writerow([w.number, w.evaluation, w.fom, *(w.values.get(flag) for flag in flags)])


def schedule_json(schedule: Sequence[Window], settings: dict[str, Any], file: TextIO) -> None:
    """Write the settings of the study, the lineage, and a list of windows."""
    windows = [
        {"window": w.number, "evaluation": w.evaluation, "fom": w.fom, "values": dict(w.values)} for w in schedule
    ]
    content = {"settings": settings, "lineage": [w.evaluation for w in schedule], "windows": windows}
    json.dump(content, file, indent=1, ensure_ascii=False)
    file.write("\n")


def schedule_script(
    schedule: Sequence[Window], command: Command, windows: int, seed_of: Callable[[int], int], file: TextIO
) -> None:
    """Write a POSIX shell script that needs nothing but the program.

    Args:
        schedule: What to train along.
        command: The program.
        windows: How many windows a whole training has.
        seed_of: The seed of the program's own random numbers, by evaluation.
        file: Where to.
    """
    last = schedule[-1]
    file.write(_HEAD.format(evaluation=last.evaluation, fom=f"{last.fom:.8g}", windows=windows, **_steps(command)))
    before: int | None = None
    for w in schedule:
        seed = seed_of(w.evaluation)
        begin = f"begin {w.number} {w.evaluation} {seed}" + ("" if before is None else f" {before}")
        line = _line(command.render(w.values, _facts(w, windows, seed, before)))
        file.write(f"\n# Window {w.number}, evaluation {w.evaluation}: the search saw {w.fom:.8g}.\n{begin}\n{line}\n")
        before = w.number
    file.write(f'\necho "The checkpoint is $checkpoints/{last.number}/checkpoint" >&2\n')


_HEAD = """\
#!/bin/sh
# Trains a model from scratch along the schedule of evaluation {evaluation}, whose figure of merit was {fom}:
# every window goes on from the checkpoint of the window before, with hyperparameters of its own.
#
#     sh SCRIPT [DIRECTORY]
#
# Start it where the search was started. Checkpoints are saved below DIRECTORY, by default ./checkpoints, which must
# not hold those of another training. It stops at the first failure.
set -eu
checkpoints=${{1:-./checkpoints}}
mkdir -p -- "$checkpoints"
checkpoints=$(CDPATH= cd -- "$checkpoints" && pwd)
export checkpoints
export CRAYAI_WINDOWS={windows}
unset CRAYAI_LOAD

begin() {{  # window, evaluation, seed, and the window before
    mkdir -- "$checkpoints/$1"{make}
    export CRAYAI_WINDOW="$1" CRAYAI_GENERATION="$1" CRAYAI_EVALUATION="$2" CRAYAI_SEED="$3"
    export CRAYAI_CHECKPOINT="$checkpoints/$1/checkpoint"
    [ $# -eq 4 ] || return 0
    export CRAYAI_LOAD="$checkpoints/$4/checkpoint"{bring}
}}
"""


def _steps(command: Command) -> dict[str, str]:
    """Return what else is to be done before a window: make directories, bring the checkpoint of the window before."""
    make = ' "$checkpoints/$1.directory"' if "directory" in command.facts else ""
    if re.search(r"@(checkpoint|save|\{checkpoint\}|\{save\})/", command.text):
        make += ' "$checkpoints/$1/checkpoint"'
    bring = '\n    cp -a -- "$checkpoints/$4/." "$checkpoints/$1"' if "checkpoint" in command.facts else ""
    return {"make": make, "bring": bring}


def _facts(w: Window, windows: int, seed: int, before: int | None) -> dict[str, str]:
    save = f"{_DIRECTORY}/{w.number}/checkpoint"
    return {
        "evaluation": str(w.evaluation),
        "directory": f"{_DIRECTORY}/{w.number}.directory",
        "seed": str(seed),
        "checkpoint": save,
        "save": save,
        "load": f"{_DIRECTORY}/{'none' if before is None else before}/checkpoint",
        "window": str(w.number),
        "windows": str(windows),
    }


def _line(rendered: Rendered) -> str:
    """Return a command as one line of the script; a line for a shell gets one of its own, as in the search."""
    *shell, text = rendered.argv
    if shell == ["/bin/sh", "-c"]:
        return Rendered(("sh", "-c", _expanded(text)), rendered.environment).line
    return _expanded(rendered.line)


def _expanded(line: str) -> str:
    """Return a shell line with the directory of checkpoints in its place."""
    first, *others = line.split(_DIRECTORY)
    text, mark = first, ""
    for before, after in pairwise((first, *others)):
        mark = open_mark(before, mark)
        text += _EXPANSIONS[mark] + after
    return text
