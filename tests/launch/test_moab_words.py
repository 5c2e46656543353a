"""What Moab says, and what is said to it; answers have the form of those of a Moab 9 in front of TORQUE, shortened."""

from pathlib import Path

import pytest

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch.dialect import Answer, Standing, Trouble
from crayai.hpo.launch.batch.moab import Moab

SCRIPT = Path("/study/jobs/17/submit")
ENDED = (
    '<Data>\n <Object>queue</Object>\n <cluster LocalActiveNodes="0" LocalUpNodes="2" time="1795451647"/>\n'
    ' <queue count="1" option="completed" purgetime="86400">\n  <job AWDuration="{used}" Class="compute" '
    'CompletionCode="{code}" DRMJID="40.mg1" GJID="40" JobID="40" JobName="c1234abcd.16" MasterHost="n4" PAL="torque" '
    'ReqAWDuration="3600" State="{state}"/>\n </queue>\n</Data>\n'
)
ALIVE = (
    '<Data>\n <Object>queue</Object>\n <queue count="1" option="active">\n  <job AWDuration="12" DRMJID="41.mg1" '
    'JobID="Moab.41" JobName="c1234abcd.17" MasterHost="n4" ReqAWDuration="3600" State="Running"/>\n </queue>\n'
    ' <queue count="1" option="eligible"><job JobID="42" JobName="c1234abcd.18" State="Idle"/></queue>\n'
    ' <queue count="1" option="blocked"><job JobID="43" JobName="c1234abcd.19" State="BatchHold"/></queue>\n</Data>\n'
)


def queue_of(text: str):
    """Return what an answer stands for."""
    queue = Moab().queue(Answer(0, text, ""))
    assert queue is not None
    return queue


def test_where_jobs_are():
    """A job is known by Moab's name and by TORQUE's, and a submission by the name of its job."""
    queue = queue_of(ENDED.format(used=20, code=0, state="Completed") + ALIVE)
    assert queue.jobs["40"].standing is Standing.OVER
    assert queue.jobs["41.mg1"] == queue.jobs["Moab.41"]
    assert queue.jobs["Moab.41"].standing is Standing.RUNS
    assert queue.jobs["Moab.41"].location == "n4"
    assert [queue.jobs[name].standing for name in ("42", "43")] == [Standing.WAITS] * 2
    assert [queue.jobs[name].reason for name in ("42", "43")] == ["", "BatchHold"]
    assert queue.submitted[Moab().sign("crayai-1234abcd", SCRIPT)] == "Moab.41"


def test_a_job_that_is_queued_again():
    """What is listed among the ended and among the living lives."""
    queue = queue_of(ENDED.format(used=20, code=271, state="Completed") + ALIVE.replace("Moab.41", "40"))
    assert queue.jobs["40"].standing is Standing.RUNS


@pytest.mark.parametrize(
    ("used", "code", "state", "limit", "loss"),
    [
        (20, "0", "Completed", None, None),
        (20, "3", "Completed", None, None),
        (0, "CNCLD", "Removed", None, Loss.CANCELLED),
        (20, "CNCLD(271)", "Removed", None, Loss.CANCELLED),
        (20, "271", "Completed", None, Loss.CANCELLED),
        (3605, "CNCLD(271)", "Removed", Limit.TIME, None),
        (3605, "CNCLD", "Removed", Limit.TIME, None),
        (20, "-11", "Completed", Limit.TIME, None),
        (20, "-10", "Completed", Limit.MEMORY, None),
        (20, "-1", "Completed", None, Loss.NODE_FAILURE),
        (20, "", "Vacated", None, Loss.PREEMPTED),
        (20, "", "Completed", None, None),
    ],
)
def test_ends_are_told_apart(used, code, state, limit, loss):
    """Ends are told apart."""
    seen = queue_of(ENDED.format(used=used, code=code, state=state)).jobs["40"]
    assert (seen.standing, seen.limit, seen.loss) == (Standing.OVER, limit, loss)


def test_one_job_by_itself():
    """What checkjob says counts like what showq does, and an unknown job is passed over."""
    said = '<Data><job EState="Running" JobID="7" State="Running"/></Data>\n'
    assert Moab().past(Answer(1, f"{said}ERROR:  invalid job specified (8)", ""))["7"].standing is Standing.RUNS
    over = '<Data><job CompletionCode="3" JobID="7" State="Completed"/></Data>'
    assert Moab().past(Answer(0, over, ""))["7"].standing is Standing.OVER
    assert Moab().past(Answer(1, "ERROR:  invalid job specified (8)", "")) == {}
    assert Moab().past(Answer(1, "", "ERROR:  lost connection to server")) is None


def test_no_answer():
    """What is no whole answer is none."""
    for code, said in ((None, ""), (255, "<Data/>"), (0, ""), (0, ALIVE[:90])):
        assert Moab().queue(Answer(code, said, "")) is None


def test_the_names_of_what_was_submitted():
    """Names come with an empty line, with Moab's own prefix, or with TORQUE's server."""
    for said, name in (("\n\n4761849\n", "4761849"), ("\nMoab.12\n", "Moab.12"), ("12.mg1\n", "12.mg1"), ("", "")):
        assert Moab().submission(Answer(0, said, "")) == name
    assert Moab().submission(Answer(1, "", "ERROR:  client timed out after 30 seconds")) == ""


def test_a_name_that_everybody_takes():
    """A job's name has a letter first, and 15 characters at most."""
    sign = Moab().sign("crayai-1234abcd", Path("/study/jobs/99999/submit"))
    assert sign == "c1234abcd.99999"
    argv = Moab().submit(SCRIPT, "crayai-1234abcd", 1, ["-q", "gpu"])
    assert argv[:7] == ["msub", "-m", "n", "-q", "gpu", "-N", "c1234abcd.17"]
    assert argv[-1] == str(SCRIPT)
    assert Moab().submit_driver(SCRIPT, "n", Path("log"), 60, [])[:5] == ["msub", "-r", "y", "-l", "walltime=01:00:00"]


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("ERROR:  client timed out after 30 seconds (hostname:port=mg1:42559)", Trouble.OUTAGE),
        ("ERROR:  lost connection to server", Trouble.OUTAGE),
        ("rm failure, rc: 15046, msg: 'Maximum number of jobs already in queue'", Trouble.FULL),
        ("rm failure, rc: 170, msg: 'Unknown queue MSG=cannot locate queue'", Trouble.REFUSED),
    ],
)
def test_why_a_command_was_of_no_use(said, trouble):
    """It may be said in either output."""
    assert Moab().trouble(Answer(1, "", said)) is trouble
    assert Moab().trouble(Answer(1, said, "")) is trouble
