"""What the doctor's runs say about a program, and what to change in it."""

import math
import re
import statistics
from collections.abc import Iterator, Sequence
from textwrap import shorten

from crayai.hpo.engine.doctor.bench import QUOTED_LINES, Run, lines_of
from crayai.hpo.engine.doctor.estimate import Estimate, checkpoint_bytes, log_bytes, nodes_of, rounds_of, size, span
from crayai.hpo.engine.doctor.examination import Examination
from crayai.hpo.engine.doctor.findings import Check, Verdict, given, some
from crayai.hpo.engine.doctor.handover_checks import advice_without_checkpoint, check_handover
from crayai.hpo.engine.doctor.population_checks import check_population
from crayai.hpo.engine.doctor.probes import BAD_VALUE, Role
from crayai.hpo.engine.doctor.sight_checks import check_sight
from crayai.hpo.engine.fom import last_fom
from crayai.hpo.engine.study import Study
from crayai.hpo.records import Cause

_RELIABILITY = 4
_MANY_REPEATS = 10
_STEADIER = (
    "let the figure of merit vary less: more validation data, a mean over the last epochs, one seed for what need not "
    "be random"
)
_SLIGHT = 0.1
_BEYOND_CHANCE = 3
_SLOWER, _SLOWER_SECONDS = 1.5, 0.2
_NEAR_LIMIT = 0.5
_MUCH_OUTPUT = 10_000_000
_SHOWN = 4
_LINE_WIDTH = 100

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[ed][-+]?\d+)?|\.\d+|inf|nan)"
_SOME_NUMBER = re.compile(_NUMBER, re.IGNORECASE)
_NAMED_NUMBER = re.compile(rf"([A-Za-z][\w /()%.-]{{0,40}}?)(\s*[:=]\s*|\s+){_NUMBER}(?![\w.])", re.IGNORECASE)
_TELLING = re.compile(r"fom|merit|loss|error|objective|score|acc|valid|val_|test|rmse|mse|mae|auc", re.IGNORECASE)
_MORE_IS_BETTER = re.compile(r"accuracy|\bacc\b|score|reward|\bauc\b|\bf1\b|precision|recall", re.IGNORECASE)
_LESS_IS_BETTER = re.compile(r"loss|error|\bmse\b|rmse|\bmae\b|\bcost\b|perplexity", re.IGNORECASE)
_COMPLAINT = re.compile(
    r"error|exception|traceback|fatal|usage|invalid|illegal|unknown|unrecogni|cannot|can't|could not|unable|fail|abort",
    re.IGNORECASE,
)
_PIPE = re.compile(r"(?<!\|)\|(?!\|)")


def check_up(seen: Examination) -> list[Check]:
    """Return every check that the runs allow; where the default point fails, why is all that can be said."""
    sights = list(check_sight(seen.surroundings, seen.settings))
    if seen.default.fom is None:
        return [*_check_failure(seen), *sights]
    checks = (
        _check_program, _check_fom, _check_goal, _check_points, _check_repeatable, _check_noise, _check_accepted,
        _check_effect, _check_exit_code, check_handover, _check_time, _check_slots, check_population, _check_files,
        _check_room,
    )  # fmt: skip
    return [*sights, *(check for function in checks for check in function(seen))]


def estimate_from(seen: Examination, at_most: int | None = None) -> Estimate:
    """Return what the study will take, by the runs that were as many at once as the study's evaluations will be.

    Args:
        seen: The runs.
        at_most: How many evaluations the budget allows.
    """
    sound = [run for run in seen.runs if run in seen.sound or run.cause is Cause.TIME_LIMIT]
    together = sound[1:] or sound
    rounds = rounds_of(seen.study, at_most)
    held, each = nodes_of(seen.settings)
    return Estimate(
        nodes_held=held,
        nodes_each=each,
        rounds=rounds,
        slots=seen.settings.capacity,
        seconds=[run.seconds or 0.0 for run in together],
        log_bytes=log_bytes(seen.default.probe.values, rounds.evaluations),
        output_bytes=statistics.fmean(run.printed_bytes for run in sound) if seen.settings.keep_output else 0.0,
        directory_bytes=statistics.fmean(run.directory_bytes for run in sound),
        checkpoint_bytes=checkpoint_bytes(seen.study, seen.settings, [run.saved.size.bytes for run in sound]),
    )


# The default point


def _check_failure(seen: Examination) -> Iterator[Check]:
    """Say why the default point has no figure of merit."""
    run = seen.default
    if run.cause is Cause.NO_FOM:
        yield from _check_program(seen)
        yield _missing_fom(run, seen.study)
    elif run.cause is Cause.NOT_A_NUMBER:
        yield from _check_program(seen)
        remedy = "choose defaults that work: the study starts from them, and compares what it finds with them"
        text = f"{run.detail} at the default point: such evaluations count as failed"
        yield Check("figure of merit", Verdict.PROBLEM, text, remedy, _line_of(run, seen.study))
    else:
        remedy = advice_without_checkpoint(run, seen.study) or {
            Cause.TIME_LIMIT: "raise time_limit_minutes, or let the program do less",
            Cause.NOT_STARTED: "mend the command",
            Cause.OUT_OF_MEMORY: "let the program need less memory, or take fewer slots",
        }.get(run.cause or Cause.LOST, "paste the command into a shell, and mend what it complains of")
        quote = (f"$ {run.line}", *(run.last_words or ("(it said nothing)",)))
        yield Check("program", Verdict.PROBLEM, f"fails at the default point: {run.why}", remedy, quote)


def _check_program(seen: Examination) -> Iterator[Check]:
    run = seen.default
    yield Check("program", Verdict.OK, f"runs at the default point: exit code 0 after {span(run.seconds or 0.0)}")


def _missing_fom(run: Run, study: Study) -> Check:
    """Say where a figure of merit may be hidden."""
    wanted = f"line with {study.fom!r} and a number"
    if last_fom(run.task.stderr, study.fom) is not None:
        return Check(
            "figure of merit",
            Verdict.PROBLEM,
            f"there is a {wanted}, but on standard error",
            "print it on standard output, or put 2>&1 into the command",
        )
    remedy = f"print a {wanted} when the program ends"
    if similar := similar_marker([*lines_of(run.task.stdout), *lines_of(run.task.stderr)]):
        remedy = f"if {similar!r} is it: --fom {similar!r} (fom in [study]); else {remedy}"
    text = f"no {wanted} on standard output"
    return Check("figure of merit", Verdict.PROBLEM, text, remedy, run.last_words or ("(it said nothing)",))


def similar_marker(lines: Sequence[str]) -> str:
    """Return what stands before the last number that may be a figure of merit; empty: there is none."""
    found = [match for line in lines for match in _NAMED_NUMBER.finditer(line)]
    markers = [(match[1] + match[2].rstrip()).strip() for match in found]
    return ([marker for marker in markers if _TELLING.search(marker)] or ["", *markers])[-1]


def _check_fom(seen: Examination) -> Iterator[Check]:
    line = _line_of(seen.default, seen.study)
    where = f', on the line "{line[0]}"' if line else ""
    yield Check("figure of merit", Verdict.OK, f"{seen.default.fom:.8g}{where}")


def _check_goal(seen: Examination) -> Iterator[Check]:
    """Doubt a goal that the words beside the figure of merit contradict."""
    line = " ".join(_line_of(seen.default, seen.study))
    more, less = _MORE_IS_BETTER.search(line), _LESS_IS_BETTER.search(line)
    other = "maximize" if seen.study.goal == "minimize" else "minimize"
    word = more if other == "maximize" else less
    if word and not (more and less):
        text = f"{seen.study.goal}, though the line says {word[0]!r}"
        yield Check("goal", Verdict.NOTE, text, f"set goal = {other!r} if that is better")


def _check_points(seen: Examination) -> Iterator[Check]:
    """Say what two random points gave; those that took too long are spoken of with the time."""
    runs = seen.of(Role.POINT)
    results = " and ".join(f"{run.fom:.6g}" if run.fom is not None else f"failed ({run.why})" for run in runs)
    text = f"two random ones: {results}"
    failed = [run for run in runs if run.cause not in (None, Cause.TIME_LIMIT)]
    if not failed:
        yield Check("other points", Verdict.OK, text)
        return
    verdict = Verdict.NOTE if len(failed) < len(runs) else Verdict.PROBLEM
    remedy = "narrow the ranges, or keep bad combinations out by conditions: what fails teaches the search little"
    yield Check("other points", verdict, text, remedy, (f"$ {failed[0].line}", *failed[0].last_words))


# Chance


def _check_repeatable(seen: Examination) -> Iterator[Check]:
    """Compare two runs with the same seed."""
    again = seen.of(Role.AGAIN)[0]
    if again.fom is None:
        text = f"the default point, run again with the same seed, failed: {again.why}"
        remedy = "find out what differs: time, memory, files of the run before"
        yield Check("repeatable", Verdict.PROBLEM, text, remedy, again.last_words)
    elif again.fom == seen.default.fom:
        yield Check("repeatable", Verdict.OK, "the same seed gave the same figure of merit")
    else:
        difference = abs(again.fom - (seen.default.fom or 0.0))
        verdict = Verdict.NOTE if difference <= _SLIGHT * seen.spread else Verdict.PROBLEM
        text = f"the same point with the same seed gave {seen.default.fom:.8g} and {again.fom:.8g}"
        remedy = (
            "seed all random numbers from the environment variable CRAYAI_SEED (or @seed in the command), else the "
            "same study finds another best each time; repeats only averages what is left, such as a GPU's rounding"
        )
        yield Check("repeatable", verdict, text, remedy)


def _check_noise(seen: Examination) -> Iterator[Check]:
    """Compare chance with what there is to find, and suggest repeats."""
    values = seen.at_default
    if len(set(values)) <= 1:
        if seen.of(Role.SEED)[0].fom is not None:
            yield Check("noise", Verdict.OK, "none: another seed gave the same figure of merit")
        return
    noise, spread = seen.noise, seen.spread
    repeats, now = suggested_repeats(noise, spread), seen.study.strategy.repeats
    text = f"{noise:.2g} (standard deviation from run to run), against {spread:.2g} between the points tried"
    if repeats is None or repeats > _MANY_REPEATS:
        more = f"; or set repeats = {_MANY_REPEATS}, and expect a best that is good by luck"
        remedy = _STEADIER + ("" if seen.study.trains_on else more)
        yield Check("noise", Verdict.NOTE, f"{text}: chance drowns what there is to find", remedy)
    elif repeats > now:
        remedy = f"set repeats = {repeats} in [study], or let the figure of merit vary less"
        if seen.study.trains_on:
            remedy = _STEADIER
        yield Check("noise", Verdict.NOTE, f"{text}: some of what looks better will be luck", remedy)
    else:
        yield Check("noise", Verdict.OK, f"{text}: repeats = {now} is enough")


def suggested_repeats(noise: float, spread: float) -> int | None:
    """Return how often to evaluate each point; None: no number will do.

    The figures of merit of the points tried vary by `spread`, of which `noise` is chance: signal^2 = spread^2 -
    noise^2. The mean of r repeats still varies by noise^2 / r. A ranking is worth its price where four fifths of the
    variance among the means are due to the points: signal^2 / (signal^2 + noise^2 / r) >= 0.8, the usual demand on
    the reliability of a measurement (Spearman 1910, Brown 1910), so that r >= 4 noise^2 / signal^2.
    """
    signal = spread**2 - noise**2
    return max(1, math.ceil(_RELIABILITY * noise**2 / signal)) if signal > 0 else None


# Flags


def _check_accepted(seen: Examination) -> Iterator[Check]:
    """Say which flags make the program fail."""
    fine = True
    for flag, pairs in seen.flags.items():
        base, run = pairs[0]
        if base.fom is None or run.fom is not None or run.cause is Cause.TIME_LIMIT:
            continue
        fine = False
        what = given(run, flag)
        if run.cause is Cause.NOT_A_NUMBER:
            text = f"{what}, all else as it was, gives {run.detail}: such points count as failed"
            yield Check("flags", Verdict.NOTE, text, f"narrow the range of {flag} if many of its values do")
            continue
        text = f"{what}, all else as it was, makes the program fail: {run.why}"
        remedy = f"let the program take {flag}, or narrow its range to what works"
        yield Check("flags", Verdict.PROBLEM, text, remedy, (f"$ {run.line}", *run.last_words))
    for flag in seen.never_active:
        text = f"{flag} was active at no point that was tried"
        yield Check("flags", Verdict.NOTE, text, f"look at its condition: {seen.study.space[flag].when}")
    taken = [flag for flag, pairs in seen.flags.items() if pairs[0][1].fom is not None]
    if fine and taken:
        yield Check("flags", Verdict.OK, f"{some(taken)}: taken when changed alone")


def _check_effect(seen: Examination) -> Iterator[Check]:
    """Say which flags change nothing, or no more than chance does."""
    if len({run.fom for run in seen.points}) == 1 < len({str(run.probe.values) for run in seen.points}):
        text = f"every point has the same figure of merit, {seen.default.fom:.8g}: the program uses no flag"
        remedy = "are the flags read, and not overwritten later, by a configuration file or a default?"
        yield Check("effect", Verdict.PROBLEM, text, remedy)
        return
    for flag in seen.without_effect:
        base, run = seen.flags[flag][0]
        text = f"{flag} has none: {run.fom:.8g} both with {given(base, flag)} and with {given(run, flag)}"
        if len(seen.flags[flag]) > 1:
            text += ", and no change at its bound or at another point"
        remedy = (
            f"is {flag} read, and not overwritten later, by a configuration file or a default? If only some settings "
            "use it, say so with a condition (when); if none does, leave it out"
        )
        yield Check("effect", Verdict.PROBLEM, text, remedy)
    changes = {
        flag: max((abs(a.fom - b.fom) for a, b in pairs if a.fom is not None is not b.fom), default=0.0)
        for flag, pairs in seen.flags.items() if flag not in seen.without_effect
    }  # fmt: skip
    chance = 0.0 if seen.is_repeatable else _BEYOND_CHANCE * seen.noise
    if lost := [flag for flag, change in changes.items() if 0 < change <= chance]:
        text = f"that of {some(lost)} cannot be told from chance"
        yield Check("effect", Verdict.NOTE, text, "seed all random numbers from CRAYAI_SEED, and ask again")
    elif any(changes.values()) and not seen.without_effect:
        flags = [flag for flag, change in changes.items() if change]
        yield Check("effect", Verdict.OK, f"{some(flags)}: the figure of merit changes with each")


def _check_exit_code(seen: Examination) -> Iterator[Check]:
    """Say whether a failure shows in the exit code."""
    for run in seen.of(Role.BAD):
        given = f"{run.probe.flag}={BAD_VALUE}"
        if run.cause not in (None, Cause.NO_FOM, Cause.NOT_A_NUMBER):
            yield Check("exit code", Verdict.OK, f"a failure shows: {given} ended with {run.why}")
            continue
        is_piped = seen.study.filled_command.words is None and bool(_PIPE.search(seen.study.command))
        fom = "no figure of merit" if run.fom is None else f"the figure of merit {run.fom:.6g}"
        remedy = "let the program end with another exit code than 0 whenever it fails"
        if is_piped:
            remedy = (
                "leave the pipe out (keep_output keeps what the program prints), or hand the line to "
                "bash -o pipefail -c '…': the exit code of a pipe is that of its last program"
            )
        known = {_SOME_NUMBER.sub("#", line) for line in lines_of(seen.default.task.stderr)}
        words = [line for line in lines_of(run.task.stderr) if _SOME_NUMBER.sub("#", line) not in known]
        if words and (not known or any(_COMPLAINT.search(line) for line in words)):
            text = f"a failure is hidden: {given} made it complain, yet it ended with exit code 0 and {fom}"
            if run.fom is None:
                text += "; one that comes after the first figure of merit would count as a success"
            yield Check("exit code", Verdict.PROBLEM, text, remedy, tuple(words[-QUOTED_LINES:]))
        else:
            text = f"{given} ended with exit code 0, {fom} and no complaint: whether failures show is not known"
            yield Check("exit code", Verdict.NOTE, text, f"better refuse bad values; {remedy}")


# Costs


def _check_time(seen: Examination) -> Iterator[Check]:
    """Compare how long evaluations take with the time limit."""
    limit = 60 * (seen.settings.time_limit_minutes or 0)
    ended = [run for run in seen.runs if run.cause is Cause.TIME_LIMIT]
    if ended:
        text = f"{len(ended)} of {len(seen.runs)} runs were ended by the limit of {span(limit)}"
        remedy = "raise time_limit_minutes, or narrow the ranges that cost time"
        yield Check("time", Verdict.PROBLEM, text, remedy, tuple(f"$ {run.line}" for run in ended[:_SHOWN]))
        return
    seconds = [run.seconds or 0.0 for run in seen.sound]
    text = f"{span(statistics.fmean(seconds))} an evaluation, from {span(min(seconds))} to {span(max(seconds))}"
    slowest = max(seconds)
    if not limit:
        minutes = max(1, math.ceil(5 * slowest / 60))
        remedy = f"set time_limit_minutes = {minutes}: what hangs without a limit holds its slot for ever"
        yield Check("time", Verdict.NOTE, f"{text}; no time limit", remedy)
    elif slowest > _NEAR_LIMIT * limit:
        remedy = f"raise time_limit_minutes to {math.ceil(3 * slowest / 60)}, for other points may take longer"
        yield Check("time", Verdict.NOTE, f"{text}: near the limit of {span(limit)}", remedy)
    else:
        yield Check("time", Verdict.OK, f"{text}; the limit is {span(limit)}")


def _check_slots(seen: Examination) -> Iterator[Check]:
    """Compare one run alone with the same among others."""
    together = min(seen.settings.capacity, len(seen.runs) - 1)
    seconds = [run.seconds for run in seen.of(Role.AGAIN) if run.seconds and run.fom is not None]
    alone = seen.default.seconds
    if together < 2 or not seconds or not alone:  # noqa: PLR2004 - nothing ran beside another
        return
    slower = statistics.fmean(seconds)
    if slower > _SLOWER * alone and slower - alone > _SLOWER_SECONDS:
        text = f"the default point took {span(alone)} alone and {span(slower)} with {together} running at once"
        remedy = (
            "evaluations take each other's cores or memory: let each use its share alone (OMP_NUM_THREADS=1 and the "
            "like, or cores_per_eval), or take fewer slots"
        )
        yield Check("slots", Verdict.NOTE, text, remedy)


def _check_files(seen: Examination) -> Iterator[Check]:
    """Say which files evaluations have in common."""
    litter = seen.litter
    if litter.overwritten:
        names = some(litter.overwritten)
        verdict = Verdict.PROBLEM if seen.settings.capacity > 1 else Verdict.NOTE
        text = f"every evaluation writes {names} anew, so that several at once spoil each other's"
        remedy = (
            "write below @directory, which is each evaluation's own (in the command: --out=@directory); or set "
            f'src_path = ".", but remove {names} first, for what is there is shared'
        )
        yield Check("files", verdict, text, remedy)
    elif litter.files:
        yield Check("files", Verdict.OK, f"the first run wrote {some(litter.files)}, which no other overwrote")
    else:
        yield Check("files", Verdict.OK, "none are written where the program starts")


def _check_room(seen: Examination) -> Iterator[Check]:
    """Say whether the program prints or writes too much."""
    printed = statistics.fmean(run.printed_bytes for run in seen.runs)
    if printed > _MUCH_OUTPUT:
        text = f"the program prints {size(printed)} an evaluation"
        yield Check("output", Verdict.NOTE, text, "let it print less: no progress bars where there is no terminal")
    if seen.room is None or seen.study.algorithm.evaluations is None:
        return
    needed = estimate_from(seen).bytes
    if needed > seen.room:
        text = f"the study will write about {size(needed)}, and there is room for {size(seen.room)}"
        yield Check("room", Verdict.PROBLEM, text, "choose another --dir, or let each evaluation leave less")


# Words


def _line_of(run: Run, study: Study) -> tuple[str, ...]:
    """Return the last line with the marker and a number; none where it is far from the end."""
    marker = re.compile(re.escape(study.fom.strip()) + r".*\w")
    found = [line.strip() for line in lines_of(run.task.stdout) if marker.search(line)]
    return (shorten(found[-1], _LINE_WIDTH, placeholder=" …"),) if found else ()
