"""What the doctor's runs say about checkpoints: are they saved, loaded, gone on from, and do changed flags count?"""

import re
from collections.abc import Iterator, Sequence

from crayai.hpo.engine.checkpoints import NOWHERE
from crayai.hpo.engine.doctor.bench import Run
from crayai.hpo.engine.doctor.examination import Examination, Training
from crayai.hpo.engine.doctor.findings import Check, Verdict, given, some
from crayai.hpo.engine.study import Study
from crayai.hpo.records import Cause

_MARKED = 0.1
_NO_WRITING = re.compile(r"permission denied|read-only|EACCES|EROFS|PermissionError", re.IGNORECASE)
_ONE_PATH = "take @checkpoint, one path for both, where each finds a copy"
_SAVE_ALWAYS = "save after training, whatever the figure of merit, before the program ends"


def check_handover(seen: Examination) -> Iterator[Check]:
    """Return what there is to say of saving, loading, going on, and of flags that change between two windows."""
    if not seen.study.uses_checkpoints:
        return
    yield from _check_saving(seen)
    training = seen.training
    if training is None:
        return
    yield from _check_loading(seen.study, training)
    if training.loaded.fom is None or training.is_source_changed:
        return
    if training.chance or not training.is_ignored:
        yield from _check_going_on(seen, training)
        if not training.is_idle:
            yield from _check_changed_flags(training)


def advice_without_checkpoint(run: Run, study: Study) -> str:
    """Return what to change in a program that fails over a checkpoint that cannot be there; empty: it did not."""
    if not study.uses_checkpoints or not any(f"/{NOWHERE}/checkpoint" in line for line in run.last_words):
        return ""
    return "in the first window there is nothing at @load: let the program test whether there is, and else start anew"


# Saving


def _check_saving(seen: Examination) -> Iterator[Check]:
    """Say what the first windows left at the place of their checkpoints."""
    place, saved = _place(seen.study), seen.default.saved
    bad = Verdict.PROBLEM if seen.study.trains_on else Verdict.NOTE
    if seen.saved_at_load:
        text = "the first window saves at @load, where nothing is: other members would load it"
        remedy = "save at @save alone: another path in each window"
        yield Check("saving", Verdict.PROBLEM, text, remedy, tuple(_words("@load", seen.saved_at_load)))
    if not saved.size.bytes:
        yield _missing(seen, place, bad)
        return
    runs = seen.sound
    empty = [run for run in runs if not run.saved.size.bytes]
    if empty:
        text = f"{len(empty)} of {len(runs)} runs ended well and saved nothing at {place}"
        yield Check("saving", bad, text, _SAVE_ALWAYS, (f"$ {empty[0].line}",))
    elif not seen.saved_at_load:
        yield Check("saving", Verdict.OK, f"the first window saved {some(_words(place, saved.names))}")


def _missing(seen: Examination, place: str, verdict: Verdict) -> Check:
    """Say what there is instead of a checkpoint."""
    saved = seen.default.saved
    if saved.names:
        text = f"the program ended well, but what it saved is empty: {some(_words(place, saved.names))}"
        remedy = "close the file before the program ends; is what is to be saved written in another process?"
        return Check("saving", verdict, text, remedy)
    text = f"the program ended well and saved nothing at {place}"
    remedy = f"save the model at the path that {place} stands for: {_SAVE_ALWAYS}"
    if elsewhere := (*seen.strays, *seen.litter.files):
        text += f"; it saves elsewhere: {some(elsewhere)}"
        remedy = f"save at the path that {place} stands for, not under a name that all evaluations have in common"
    return Check("saving", verdict, text, remedy)


# Loading


def _check_loading(study: Study, training: Training) -> Iterator[Check]:
    """Compare second windows with and without something to load."""
    loaded, fresh = training.loaded, training.fresh
    if training.is_source_changed:
        text = "a second window changed the checkpoint that it loads, which other members load too"
        yield Check("loading", Verdict.PROBLEM, text, f"save at @save alone, or {_ONE_PATH}", _quoted(loaded))
        return
    if loaded.fom is None:
        yield _failure("loading", "a second window, which loads what the first one saved, fails", loaded, study)
        return
    if training.again.fom is None:
        yield _failure("loading", "a second window, run again from the same checkpoint, fails", training.again, study)
        return
    if fresh.fom is None and fresh.cause is not Cause.NOT_A_NUMBER:
        text = f"a second window with nothing to load fails: {fresh.why}; a member starts anew where all others failed"
        remedy = "let the program test whether something is at the path to load from, not which window it is"
        yield Check("loading", Verdict.NOTE, text, remedy, _quoted(fresh))
    elif training.is_ignored:
        yield _ignored(study, training)
    else:
        text = f"it matters what is loaded: a second window gives {_fom(loaded)} with it, {_fom(fresh)} without"
        yield Check("loading", Verdict.OK, text)


def _ignored(study: Study, training: Training) -> Check:
    """Say that it makes no difference what there is to load."""
    loaded, fresh = training.loaded, training.fresh
    place = _place(study)
    remedy = f"load what is at {_load(study)} before training, under the name that it was saved with"
    if training.chance:
        text = f"whether it matters cannot be told from chance: {_fom(loaded)} with it, {_fom(fresh)} without"
        return Check(
            "loading", Verdict.NOTE, text, f"seed all random numbers from CRAYAI_SEED, and ask again; {remedy}"
        )
    text = f"the checkpoint is ignored: a second window gives {_fom(loaded)} with it and without it"
    if not training.are_alike(loaded, fresh):
        text = f"{text}, though it saves something else; the figure of merit may be too coarse to tell"
        return Check("loading", Verdict.NOTE, text, f"print more digits; {remedy}")
    return Check("loading", Verdict.PROBLEM, text, remedy, tuple(_words(place, training.first.saved.names)[:6]))


def _failure(name: str, what: str, run: Run, study: Study) -> Check:
    remedy = {
        Cause.TIME_LIMIT: "raise time_limit_minutes: loading takes time as well",
        Cause.OUT_OF_MEMORY: "let the program free what it has loaded, or take fewer slots",
        Cause.NOT_A_NUMBER: "the model diverges where it goes on: save and load the state of the optimizer too",
        Cause.NO_FOM: "print the figure of merit in every window",
    }.get(run.cause or Cause.LOST, "the names and shapes that are loaded must be those that were saved")
    if any(_NO_WRITING.search(line) for line in run.last_words) and "checkpoint" not in study.filled_command.facts:
        remedy = f"what is loaded is read-only, for other members load it too: save at @save alone, or {_ONE_PATH}"
    return Check(name, Verdict.PROBLEM, f"{what}: {run.why}", remedy, _quoted(run))


# Going on


def _check_going_on(seen: Examination, training: Training) -> Iterator[Check]:
    """Compare the figures of merit before and after loading."""
    first, loaded, fresh = training.first, training.loaded, training.fresh
    text = f"{_fom(first)} after the first window, {_fom(loaded)} after a second that goes on from it"
    if training.is_idle:
        remedy = (
            "train as long in each window as in the first: a loop up to a total number of epochs is over at once when "
            "the number of the last epoch is loaded; or count to a total that grows with @window"
        )
        yield Check("training on", Verdict.PROBLEM, f"the second window trains nothing: {text}", remedy)
        return
    if not loaded.saved.size.bytes or loaded.saved.digest == first.saved.digest:
        what = "what it loaded, unchanged" if loaded.saved.size.bytes else "nothing"
        yield Check("training on", Verdict.PROBLEM, f"a second window saves {what}: {text}", _SAVE_ALWAYS)
        return
    text += f", {_fom(fresh)} after one from scratch" if fresh.fom is not None else ""
    remedy = (
        "the checkpoint may lack the state of the optimizer, of the schedule, or a part of the model: save and load "
        "all that training needs"
    )
    is_lost, is_gain = _lost_and_gained(seen, training)
    if is_lost:
        yield Check("training on", Verdict.NOTE, f"what was learned is lost: {text}", remedy)
    elif not is_gain:
        text = f"going on is no better than starting anew, beyond chance: {text}"
        remedy = f"if one window teaches the model all that it can learn, make windows shorter; if not, {remedy}"
        yield Check("training on", Verdict.NOTE, text, remedy)
    else:
        yield Check("training on", Verdict.OK, text)


def _lost_and_gained(seen: Examination, training: Training) -> tuple[bool, bool]:
    """Return whether a second window is far worse than the first and no better than from scratch; whether better."""
    losses = [
        seen.study.loss(run.fom) for run in (training.first, training.loaded, training.fresh) if run.fom is not None
    ]
    if len(losses) < 3:  # noqa: PLR2004 - one failed
        return False, True
    before, after, scratch = losses
    marked = max(2 * seen.noise, _MARKED * seen.spread)
    return after - before > marked and after > scratch - marked, after < scratch - seen.noise


# Flags


def _check_changed_flags(training: Training) -> Iterator[Check]:
    """Say whether flags that change between two windows count, or a checkpoint brings the old values back."""
    if training.together:
        yield _changed_together(training)
        return
    fine = True
    for flag, pairs in training.pairs.items():
        base, run = pairs[0]
        if run.fom is None and run.cause is not Cause.NOT_A_NUMBER and base.fom is not None:
            fine = False
            what = f"{given(run, flag)} makes a second window fail that goes on from {given(base, flag)}"
            yield _unfit(flag, what, run)
        elif not any(training.differ(a, b) for a, b in pairs):
            fine = False
            yield _restored(flag, training, pairs)
    if training.untried:
        text = f"{some(training.untried)}: not tried, for others matter more"
        yield Check("changed flags", Verdict.NOTE, text, "see to it that they are set after loading")
    if fine and training.pairs:
        text = f"{some(list(training.pairs))}: a new value counts after loading"
        yield Check("changed flags", Verdict.OK, text)
    elif not training.pairs and training.chance:
        text = (
            f"whether new values count after loading cannot be told: the same second window with the same seed gave "
            f"{_fom(training.loaded)} and {_fom(training.again)}"
        )
        remedy = (
            "seed all random numbers from CRAYAI_SEED (or @seed), and ask again; or let the program print the values "
            "in use after loading, such as the optimizer's learning rate"
        )
        yield Check("changed flags", Verdict.NOTE, text, remedy)


def _unfit(flag: str, what: str, run: Run) -> Check:
    remedy = (
        f"mark {flag} as structural = true if it decides the shape of the model or of the optimizer's state; else let "
        "the program load what fits"
    )
    return Check("changed flags", Verdict.PROBLEM, f"{what}: {run.why}", remedy, _quoted(run))


def _restored(flag: str, training: Training, pairs: Sequence[tuple[Run, Run]]) -> Check:
    """Say that a changed flag makes no difference after loading, though it does from scratch."""
    base, run = pairs[0]
    text = (
        f"the checkpoint brings the old value of {flag} back: after loading {_fom(run)} with {given(base, flag)} as "
        f"with {given(run, flag)}{' and at its bound' if len(pairs) > 1 else ''}, though from scratch it matters"
    )
    verdict = Verdict.PROBLEM
    if not all(training.are_alike(a, b) for a, b in pairs):
        verdict = Verdict.NOTE
        text += "; what is saved differs, so the figure of merit may only be too coarse to tell"
    return Check("changed flags", verdict, text, _remedy(f"set {flag}"))


def _remedy(what: str) -> str:
    return (
        f"{what} after loading. PyTorch: group['lr'] = … for each group of optimizer.param_groups, after "
        "load_state_dict (likewise weight_decay, momentum); Keras: optimizer.learning_rate = … after load_model"
    )


def _changed_together(training: Training) -> Check:
    """Say whether all flags, changed at once, count after loading."""
    run, *scratch = training.together
    flags = [flag for flag, value in run.probe.values.items() if training.first.probe.values.get(flag) != value]
    if run.fom is None and run.cause is not Cause.NOT_A_NUMBER:
        return _unfit("the one that does it", f"{some(flags)}, changed together after loading, make it fail", run)
    if not scratch:
        text = f"of {some(flags)}, changed at once, one at least counts after loading; which, is seen without --quick"
        return Check("changed flags", Verdict.OK, text)
    if training.differ(scratch[0], training.fresh):
        text = f"the checkpoint brings the old values of {some(flags)} back: changed together they make no difference"
        return Check("changed flags", Verdict.PROBLEM, text, _remedy("set them"))
    return Check("changed flags", Verdict.OK, f"{some(flags)}: make no difference, from scratch neither")


# Words


def _place(study: Study) -> str:
    return "@checkpoint" if "checkpoint" in study.filled_command.facts else "@save"


def _load(study: Study) -> str:
    return "@checkpoint" if "checkpoint" in study.filled_command.facts else "@load"


def _words(place: str, names: Sequence[str]) -> list[str]:
    """Return names of files with the placeholder that their beginning stands for."""
    return [place + name.removeprefix("checkpoint") if name.startswith("checkpoint") else name for name in names]


def _fom(run: Run) -> str:
    return "nothing" if run.fom is None else f"{run.fom:.8g}"


def _quoted(run: Run) -> tuple[str, ...]:
    return (f"$ {run.line}", *run.last_words)
