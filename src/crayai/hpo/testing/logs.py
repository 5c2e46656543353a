"""What every log must do; the tests of a new one subclass `LogConformance`, or `DurableLogConformance` if it lasts.

    class TestMyLog(DurableLogConformance):
        def log(self, directory):
            return MyLog(directory / "my.log")

pytest collects the inherited tests. A broken rule raises AssertionError with what was expected.
"""

from contextlib import closing
from pathlib import Path

from crayai.hpo.records import (
    Asked,
    AttemptFailed,
    Cause,
    Completed,
    Event,
    Failed,
    Launched,
    Outcome,
    Suggestion,
    Told,
    Values,
)
from crayai.hpo.store.base import Log

VALUES: Values = {
    "--lr": 0.00012345678,
    "--tiny": 5e-324,
    "--huge": -1.7976931348623157e308,
    "--whole": 3.0,
    "--layers": -4,
    "--big": 2**62,
    "--nesterov": True,
    "--frozen": False,
    "--activation": "gélu 日本語 \U0001f600",
    "--quoted": 'it\'s "so"\\\n\t{}',
    "--empty": "",
}
"""Values of every kind, with what is hard to write down."""


def all_events() -> list[Event]:
    """Return events of every kind: every cause of failure, no values, parents, a second attempt, ends out of order."""
    failures = [Failed(cause, f"détail {cause} ✗") for cause in Cause]
    outcomes: list[Outcome] = [Completed(0.0), Completed(1e-300), Completed(-12.5), *failures, Failed(Cause.LOST)]
    events: list[Event] = []
    for number in range(len(outcomes)):
        parents = (0, number - 1) if number > 1 else ()
        resume_from = number - 1 if number % 3 == 1 else None
        values = VALUES if number % 2 == 0 else {}
        events += [
            Asked(number, Suggestion(values, number // 4, number % 4, parents, resume_from)),
            Launched(number, 1),
        ]
    events += [
        AttemptFailed(2, 1, Failed(Cause.LOST, "détail"), 0.125, "slot 3"),
        Launched(2, 2),
        AttemptFailed(2, 2, Failed(Cause.SIGNAL, "")),
        Launched(2, 3),
    ]
    events += [Told(number, outcome, number / 8 or None) for number, outcome in reversed(list(enumerate(outcomes)))]
    return events


def expect_events(log: Log, wanted: list[Event], rule: str) -> None:
    """Compare what `log` holds, down to the kinds of the values and the order of the flags.

    Raises:
        AssertionError: It differs.
    """
    found = list(log.events())
    if len(found) != len(wanted):
        raise AssertionError(f"{rule}: wanted {len(wanted)} events, got {len(found)}")
    for event, other in zip(found, wanted, strict=True):
        if event != other or _exactly(event) != _exactly(other):
            raise AssertionError(f"{rule}: wanted {other!r}, got {event!r}")


def _exactly(event: Event) -> list[object]:
    """Return what equality does not tell apart: 1 and True and 1.0, the order of flags."""
    if isinstance(event, Asked):
        return [(flag, type(value), repr(value)) for flag, value in event.suggestion.values.items()]
    return [repr(event)]


class LogConformance:
    """The rules of `crayai.hpo.store.base.Log` for one driver, each as a test."""

    def log(self, directory: Path) -> Log:
        """Return the log of the study in `directory`; it may hold events already."""
        raise NotImplementedError

    def test_a_new_log_is_empty(self, tmp_path: Path) -> None:
        """A log starts without events, and committing nothing adds none."""
        with closing(self.log(tmp_path)) as log:
            expect_events(log, [], "a new log")
            log.commit()
            expect_events(log, [], "after an empty commit")

    def test_events_come_back_as_they_were(self, tmp_path: Path) -> None:
        """Every kind of event comes back equal, values with their kinds, in the order in which it was appended."""
        events = all_events()
        with closing(self.log(tmp_path)) as log:
            for event in events:
                log.append(event)
            log.commit()
            expect_events(log, events, "after one commit")
            expect_events(log, events, "read a second time")

    def test_turns_follow_each_other(self, tmp_path: Path) -> None:
        """Events of many commits are one history."""
        events = all_events()
        with closing(self.log(tmp_path)) as log:
            for count, event in enumerate(events, start=1):
                log.append(event)
                log.commit()
                expect_events(log, events[:count], f"after commit {count}")


class DurableLogConformance(LogConformance):
    """The rules for a log that outlives its driver."""

    def test_a_later_driver_reads_on(self, tmp_path: Path) -> None:
        """What was committed is there for the next driver, who appends behind it."""
        events = all_events()
        for start in range(0, len(events), 5):
            with closing(self.log(tmp_path)) as log:
                expect_events(log, events[:start], "what the drivers before wrote")
                for event in events[start : start + 5]:
                    log.append(event)
                log.commit()
        with closing(self.log(tmp_path)) as log:
            expect_events(log, events, "what all drivers wrote")

    def test_what_is_not_committed_is_not_seen(self, tmp_path: Path) -> None:
        """Events without a commit are neither seen by their own driver nor left to the next one."""
        first, second, *_ = all_events()
        with closing(self.log(tmp_path)) as log:
            log.append(first)
            log.commit()
            log.append(second)
            expect_events(log, [first], "before the second commit")
        with closing(self.log(tmp_path)) as log:
            expect_events(log, [first], "after a close without commit")
