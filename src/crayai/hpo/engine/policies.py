"""What follows the failure of an attempt, for each cause: try again, there or elsewhere, rank last, stop the study."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from crayai.hpo.engine.study import nearest
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Cause

_PAUSE_SECONDS = 5.0
_MOST_PAUSE_SECONDS = 600.0
_TEXT = re.compile(
    r"(?:retry (?P<retries>\d+)(?: after (?P<pause>\d+(?:\.\d+)?) ?s)?(?P<elsewhere> elsewhere)?(?:,? then )?)?"
    r"(?P<last>rank last|stop)?"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What follows when an attempt fails.

    Attributes:
        retries: How often the evaluation is tried again.
        pause_seconds: Before the first retry; it doubles with each.
        elsewhere: Whether retries keep away from where it failed.
        stops: Whether the study stops when retries are used up; else the evaluation has failed, and ranks last.
    """

    retries: int = 0
    pause_seconds: float = _PAUSE_SECONDS
    elsewhere: bool = False
    stops: bool = False

    def pause_after(self, tried: int) -> float:
        """Return for how many seconds to wait after so many retries."""
        return min(_MOST_PAUSE_SECONDS, self.pause_seconds * float(2**tried))

    def __str__(self) -> str:
        """Return what `parse_policy` reads."""
        last = "stop" if self.stops else "rank last"
        where = " elsewhere" if self.elsewhere else ""
        return f"retry {self.retries} after {self.pause_seconds:g} s{where}, then {last}" if self.retries else last


POLICIES: Mapping[Cause, Policy] = {
    Cause.EXIT_CODE: Policy(),
    Cause.SIGNAL: Policy(retries=1, elsewhere=True),
    Cause.TIME_LIMIT: Policy(),
    Cause.OUT_OF_MEMORY: Policy(retries=1, pause_seconds=10),
    Cause.NO_ROOM: Policy(retries=5, pause_seconds=30, stops=True),
    Cause.NO_FOM: Policy(),
    Cause.NO_CHECKPOINT: Policy(),
    Cause.NOT_A_NUMBER: Policy(),
    Cause.NOT_STARTED: Policy(retries=3, stops=True),
    Cause.LOST: Policy(retries=2, elsewhere=True),
    Cause.NODE_FAILURE: Policy(retries=3, elsewhere=True),
    Cause.PREEMPTED: Policy(retries=100),
    Cause.CANCELLED: Policy(),
}
"""What follows by default; a program that fails by itself would fail again, a machine that fails may not."""


def key_of(cause: Cause) -> str:
    """Return what a cause is called in study files."""
    return cause.name.lower()


KEYS = {key_of(cause): cause for cause in POLICIES}


def parse_policy(text: str) -> Policy:
    """Return the policy that `text` says.

    Raises:
        SettingsError: It says none.
    """
    found = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
    if not found or not found.group():
        raise SettingsError(
            "a policy for failures must be 'rank last', 'stop', 'retry N', or 'retry N after SECONDS s elsewhere, then "
            f"stop' (or a part of it), got {text!r}"
        )
    pause = _PAUSE_SECONDS if found["pause"] is None else float(found["pause"])
    return Policy(int(found["retries"] or 0), pause, bool(found["elsewhere"]), found["last"] == "stop")


def policies_of(texts: Mapping[str, str]) -> dict[Cause, Policy]:
    """Return the policy for each cause: the default one, or that of `texts`, by key.

    Raises:
        SettingsError: There is no such cause or policy.
    """
    for key in texts:
        if key not in KEYS:
            raise SettingsError(f"unknown cause of failure {key!r}{nearest(key, list(KEYS))}")
    return {**POLICIES, **{KEYS[key]: parse_policy(text) for key, text in texts.items()}}
