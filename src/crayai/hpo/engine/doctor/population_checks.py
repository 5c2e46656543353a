"""What checkpoints, windows and populations will cost, and whether they can be as they are set."""

import math
from collections.abc import Iterator
from statistics import fmean

from crayai.hpo.engine.checkpoints import Size
from crayai.hpo.engine.doctor.estimate import checkpoints_at_once, size, span
from crayai.hpo.engine.doctor.examination import Examination
from crayai.hpo.engine.doctor.findings import Check, Verdict
from crayai.hpo.engine.doctor.probes import Role
from crayai.hpo.strategy.population_training import PopulationTraining

_GIB = 1 << 30
_START_SHARE, _START_SECONDS = 0.2, 0.1
_FEW_MEMBERS = 8
_OFTEN, _SELDOM_ENOUGH = 0.02, 0.1


def check_population(seen: Examination) -> Iterator[Check]:
    """Return what there is to say of room for checkpoints, of start-up, and of the numbers of members and windows."""
    if seen.study.uses_checkpoints and seen.default.saved.size.bytes:
        yield from _check_room(seen)
    if seen.study.trains_on:
        yield from _check_start(seen)
    if isinstance(seen.study.algorithm, PopulationTraining):
        yield from _check_members(seen.study.algorithm)
        yield from _check_decisions(seen.study.algorithm)


def _check_room(seen: Examination) -> Iterator[Check]:
    """Compare what checkpoints will take with what there is, and what they may."""
    sizes = [run.saved.size for run in seen.runs if run.saved.size.bytes]
    largest = Size(max(s.bytes for s in sizes), max(s.files for s in sizes))
    count = checkpoints_at_once(seen.study, seen.settings.keep, seen.settings.capacity)
    needed = Size(count * largest.bytes, count * largest.files)
    files = f"{largest.files} files and directories" if largest.files > 1 else "one file"
    text = f"{size(largest.bytes)} in {files}; {count} at a time take {size(needed.bytes)}"
    fine = True
    for is_short, what, remedy in (
        (_exceeds(needed.bytes, seen.checkpoint_room), f"{size(seen.checkpoint_room or 0)} are free",
         "choose another place with checkpoint = PATH in [study], let the program save less, or take fewer members"),
        (_exceeds(needed.bytes, _bytes_of(seen.settings.checkpoint_gib)),
         f"checkpoint_gib = {seen.settings.checkpoint_gib:g} allows less" if seen.settings.checkpoint_gib else "",
         f"set checkpoint_gib = {math.ceil(needed.bytes / _GIB * 10) / 10:g}, or members will wait for room"),
        (_exceeds(needed.files, seen.settings.checkpoint_files),
         f"they are {needed.files} files, checkpoint_files = {seen.settings.checkpoint_files} allows less",
         f"set checkpoint_files = {needed.files}, or members will wait for room"),
    ):  # fmt: skip
        if is_short:
            fine = False
            yield Check("checkpoints", Verdict.PROBLEM, f"{text}; {what}", remedy)
    if fine:
        free = "" if seen.checkpoint_room is None else f"; {size(seen.checkpoint_room)} are free"
        yield Check("checkpoints", Verdict.OK, text + free)


def _exceeds(needed: float, most: float | None) -> bool:
    return most is not None and needed > most


def _bytes_of(gib: float | None) -> float | None:
    return None if gib is None else gib * _GIB


def _check_start(seen: Examination) -> Iterator[Check]:
    """Compare how long the program takes to refuse a bad value, which is a part of its start, with a window."""
    starts = [run.seconds for run in seen.of(Role.BAD) if run.cause and run.seconds is not None]
    windows = [run.seconds for run in seen.sound if run.seconds]
    if not starts or not windows:
        return
    start, window = min(starts), fmean(windows)
    share = min(1.0, start / window)
    text = f"{span(start)} of {span(window)} a window, until a bad value was refused"
    if share > _START_SHARE and start > _START_SECONDS:
        factor = math.ceil(share / _START_SHARE * 2)
        remedy = (
            f"let the program train {factor} times as long in each window, and take fewer windows: at least "
            f"{100 * share:.0f} % of the time goes into starting it, and into importing libraries"
        )
        yield Check("start-up", Verdict.NOTE, text, remedy)
    else:
        yield Check("start-up", Verdict.OK, text)


def _check_members(training: PopulationTraining) -> Iterator[Check]:
    """Doubt a population that is too small to find much."""
    if training.pop_size < _FEW_MEMBERS:
        text = f"pop_size = {training.pop_size}: so few members of a deme try few values, and soon all descend from one"
        yield Check("population", Verdict.NOTE, text, f"take {_FEW_MEMBERS} or more, or a random or genetic search")


def _check_decisions(training: PopulationTraining) -> Iterator[Check]:
    """Doubt decisions that come so often that only what pays at once survives, or not at all."""
    windows = training.windows
    if windows < training.lag + 2:
        text = f"windows = {windows} with lag = {training.lag}: the training is over before the first decision"
        yield Check("decisions", Verdict.NOTE, text, f"take {training.lag + 2} windows or more, ten as a rule")
        return
    slowest = training.interval * training.slowdown ** (training.num_demes - 1)
    if slowest / windows < _OFTEN:
        text = f"one after each {100 * slowest / windows:.2g} % of the training: only what pays at once survives"
        remedy = (
            "decisions after every epoch were no better than none: take fewer and longer windows, or interval = "
            f"{math.ceil(_SELDOM_ENOUGH * windows)}"
        )
        yield Check("decisions", Verdict.NOTE, text, remedy)
