"""What follows a failure, as people write it."""

from pathlib import Path

import pytest

from crayai.hpo.engine.policies import KEYS, POLICIES, Policy, key_of, parse_policy, policies_of
from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Cause


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rank last", Policy()),
        ("stop", Policy(stops=True)),
        ("retry 2", Policy(2)),
        ("retry 2 elsewhere", Policy(2, elsewhere=True)),
        ("retry 1 after 2.5 s", Policy(1, 2.5)),
        ("retry 3 after 60s elsewhere, then stop", Policy(3, 60, elsewhere=True, stops=True)),
        ("retry 3 then rank last", Policy(3)),
    ],
)
def test_a_policy_is_read(text, policy):
    """Retries, pause, place and what follows them are read; what is left out has its default."""
    assert parse_policy(text) == policy
    assert parse_policy(str(policy)) == policy


@pytest.mark.parametrize(
    "text", ["", "retry", "retry -1", "retry 2 after", "sometimes", "rank", "stop, then retry 2", 3]
)
def test_what_is_no_policy_is_refused(text):
    """Anything else is refused with the value and what could be written."""
    with pytest.raises(SettingsError, match=r"must be 'rank last', 'stop', 'retry N'"):
        parse_policy(text)


def test_every_cause_of_an_attempt_has_a_policy():
    """Each cause has a default that can be written down, but for failures that the caller reports."""
    assert set(POLICIES) == set(Cause) - {Cause.REPORTED}
    assert all(parse_policy(str(policy)) == policy for policy in POLICIES.values())


def test_policies_by_key():
    """Written policies take the place of the defaults of their causes; an unknown cause is named with the nearest."""
    policies = policies_of({"exit_code": "retry 1", "time_limit": "stop"})
    assert policies == {**POLICIES, Cause.EXIT_CODE: Policy(1), Cause.TIME_LIMIT: Policy(stops=True)}
    assert KEYS["out_of_memory"] == Cause.OUT_OF_MEMORY
    with pytest.raises(SettingsError, match="unknown cause of failure 'exitcode'; did you mean 'exit_code'"):
        policies_of({"exitcode": "stop"})


@pytest.mark.parametrize("cause", POLICIES)
def test_the_defaults_are_documented(cause):
    """The table in docs/running.md has a row for each cause, which ends with its default policy."""
    rows = (Path(__file__).parents[2] / "docs" / "running.md").read_text().splitlines()
    (row,) = (row for row in rows if row.startswith(f"| {cause} | `{key_of(cause)}` |"))
    assert row.endswith(f"| {POLICIES[cause]} |")
