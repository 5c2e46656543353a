"""Running a second window: does the program go on from what the first has saved, with the flags that it gets?"""

from collections.abc import Sequence
from dataclasses import replace

from crayai.hpo.engine.doctor.bench import Bench, Run
from crayai.hpo.engine.doctor.examination import Examination, Training
from crayai.hpo.engine.doctor.probes import Probe, Prober, Role

_ALONE = 12
"""So many flags are changed alone, those that matter most."""

_CLEARLY = 30
"""An effect so many times what the same seed varies by can be looked for in a single run."""


def train_on(bench: Bench, prober: Prober, seen: Examination, *, quick: bool) -> Training | None:
    """Run second windows that go on from the checkpoint of the first run; None: there is none to go on from.

    Args:
        bench: Runs them.
        prober: Makes the probes.
        seen: What the first windows have shown.
        quick: Whether to change all flags at once rather than one by one.
    """
    first = seen.default
    if not seen.study.trains_on or not first.saved.size.bytes:
        return None
    values = first.probe.values
    windows = [prober.second_window(values, load) for load in (0, 0, None)]
    loaded, again, fresh = bench.run(windows, first.seconds)
    chance = max(
        (abs(run.fom - first.fom) for run in seen.of(Role.AGAIN) if run.fom is not None is not first.fom), default=0
    )
    training = Training(first=first, loaded=loaded, again=again, fresh=fresh, is_fine=seen.is_fine, first_chance=chance)
    if training.chance:
        repeats = bench.run([prober.second_window(values, 0) for _ in range(2)], first.seconds)
        training = replace(training, repeats=tuple(repeats))
    if loaded.fom is not None and not training.is_ignored and not training.is_idle:
        trial = _Trial(bench, prober, seen, training)
        training = trial.together() if quick else trial.one_by_one()
    return replace(training, is_source_changed=bench.saved_by(first.probe).digest != first.saved.digest)


class _Trial:
    """Changes flags in a second window."""

    def __init__(self, bench: Bench, prober: Prober, seen: Examination, training: Training) -> None:
        self._bench = bench
        self._prober = prober
        self._seen = seen
        self._training = training
        self._bases = {0: training.loaded}

    def together(self) -> Training:
        """Change all flags at once; where that makes no difference, from scratch as well."""
        space, first = self._seen.study.space, self._training.first
        flags = [h.flag for h in (space.hyperparameters[i] for i in space.searched) if not h.structural]
        values = self._prober.moved(first.probe, flags)
        if values == first.probe.values:
            return self._training
        runs = self._bench.run([self._prober.second_window(values, 0)], first.seconds)
        if not self._training.differ(self._training.loaded, runs[0]):
            runs += self._bench.run([self._prober.second_window(values, None)], first.seconds)
        return replace(self._training, together=tuple(runs))

    def one_by_one(self) -> Training:
        """Change each flag alone that matters from scratch; look a second time at those that make no difference."""
        flags = self._flags(Role.FLAG)
        at_bound = [flag for flag in self._flags(Role.BOUND) if flag not in flags]
        pairs = self._run(flags[:_ALONE])
        pairs |= self._run(at_bound[: _ALONE - len(pairs)], to_bound=True)
        silent = [flag for flag, (a, b) in pairs.items() if not self._training.differ(a, b)]
        closer = self._run([flag for flag in silent if flag in flags and self._has_bound(flag)], to_bound=True)
        return replace(
            self._training,
            pairs={flag: [pair, *([closer[flag]] if flag in closer else [])] for flag, pair in pairs.items()},
            untried=tuple(flag for flag in (*flags, *at_bound) if flag not in pairs),
        )

    def _flags(self, role: Role) -> list[str]:
        """Return the flags whose change mattered from scratch, beyond chance; the greatest effect first."""
        effects = {
            run.probe.flag: abs(run.fom - base.fom)
            for run, base in ((run, self._seen.runs[run.probe.base]) for run in self._seen.of(role))
            if run.fom is not None is not base.fom
            and base.probe == self._base(run.probe.flag)
            and self._can_go_on(base.probe, run.probe.flag)
        }
        clear = [flag for flag, effect in effects.items() if effect > _CLEARLY * self._training.chance]
        return sorted(clear, key=lambda flag: -effects[flag])

    def _can_go_on(self, base: Probe, flag: str) -> bool:
        """Return whether a flag may change between windows, and the first window's model has the shape of `base`."""
        structural = [h.flag for h in self._seen.study.space.hyperparameters if h.structural]
        values = self._training.first.probe.values
        return flag not in structural and all(base.values.get(s) == values.get(s) for s in structural)

    def _base(self, flag: str) -> Probe:
        number = next(run.probe.base for run in self._seen.of(Role.FLAG) if run.probe.flag == flag)
        return self._seen.runs[number].probe

    def _has_bound(self, flag: str) -> bool:
        """Return whether the bound of a flag is another value than the one that was tried."""
        base = self._base(flag)
        return self._prober.moved(base, {flag}) != self._prober.moved(base, {flag}, to_bound=True)

    def _run(self, flags: Sequence[str], *, to_bound: bool = False) -> dict[str, tuple[Run, Run]]:
        """Run second windows with each of some flags changed alone; return them with what to compare with."""
        bases = {flag: self._base(flag) for flag in flags}
        new = {base.number: base for base in bases.values() if base.number not in self._bases}
        probes = [self._prober.second_window(base.values, 0) for base in new.values()]
        for flag, base in bases.items():
            values = self._prober.moved(base, {flag}, to_bound=to_bound)
            probes.append(self._prober.second_window(values, 0, flag))
        runs = self._bench.run(probes, self._training.first.seconds)
        self._bases.update(zip(new, runs, strict=False))
        return {run.probe.flag: (self._bases[bases[run.probe.flag].number], run) for run in runs if run.probe.flag}
