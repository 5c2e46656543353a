"""What Grid Engine says, and what is said to it; answers are of SGE 8.1.9, shortened."""

from pathlib import Path

import pytest

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch.dialect import Answer, Standing, Trouble
from crayai.hpo.launch.batch.grid_engine import GridEngine
from crayai.hpo.launch.batch.inherited import exports

QUEUE = (Path(__file__).parent / "recorded" / "sge-8.1.9-queue.xml").read_text()
"""``qstat -xml -u root; qstat -xml -j crayai-t1``: three arrays, of which one has only begun."""
NOTHING = "<?xml version='1.0'?>\n<job_info><queue_info/></job_info>\n"
UNKNOWN = "<?xml version='1.0'?>\n<unknown_jobs >\n    <ST_name>crayai-t1</ST_name>\n</unknown_jobs>\n"
LINE = "=" * 62 + "\n"
RUN = (
    "qname        main.q              \nhostname     sge0                \njobname      crayai-t1           \n"
    "jobnumber    15                  \ntaskid       {task}\nfailed       {failed}\nexit_status  {code}\n"
    "ru_wallclock {seconds}s\nmaxvmem      3.395MB\ncategory     {category}\n"
)
KILLED = ("100 : assumedly after job", "137                  (Killed)")
LATE = ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137                  (Killed)")
LOST = ("19  : before writing exit_status", "0")
UNREACHED = (
    "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to send message to qmaster "
    'using port 6444 on host "sge0": got send error\nExiting.'
)


def run(end, task="1", seconds=9, category="NONE"):
    """Return what the accounting keeps of a run."""
    return LINE + RUN.format(task=task, failed=end[0], code=end[1], seconds=seconds, category=category)


def test_arrays_in_the_queue():
    """What runs is listed one by one, what waits as a range."""
    queue = GridEngine().queue(Answer(0, QUEUE, ""))
    assert queue is not None
    standings = [queue.jobs[GridEngine().job("3", place)].standing for place in range(20)]
    assert standings == [Standing.RUNS] * 4 + [Standing.WAITS] * 16
    assert len(queue.jobs) == 24
    assert queue.jobs["1.3"].location == "sge0"
    assert queue.jobs["3.20"].reason == ""


def test_submissions_are_known_by_their_scripts():
    """A submission is known by the script that it runs."""
    queue = GridEngine().queue(Answer(0, QUEUE.replace("/1/submit", "/8/submit", 1), ""))
    assert queue is not None
    assert queue.submitted == {"/study/jobs/8/submit": "1", "/study/jobs/1/submit": "3"}


def test_jobs_of_another_name_are_none_of_ours():
    """Jobs that the second answer does not know are others."""
    queue = GridEngine().queue(Answer(0, QUEUE.partition("<?xml version='1.0'?>\n<detailed")[0] + UNKNOWN, ""))
    assert queue is not None
    assert not queue.jobs
    assert not queue.submitted


@pytest.mark.parametrize(
    ("state", "standing", "reason"),
    [
        ("r", Standing.RUNS, ""),
        ("Rt", Standing.RUNS, ""),
        ("dr", Standing.RUNS, ""),
        ("S", Standing.RUNS, ""),
        ("?", Standing.RUNS, ""),
        ("qw", Standing.WAITS, ""),
        ("Rq", Standing.WAITS, "Rq"),
        ("hqw", Standing.WAITS, "hqw"),
        ("Eqw", Standing.WAITS, "Eqw error: can't open output file"),
    ],
)
def test_states(state, standing, reason):
    """States; what is not understood runs."""
    said = (
        "<?xml version='1.0'?><job_info><job_info><job_list><JB_job_number>9</JB_job_number>"
        f"<state>{state}</state><tasks>2,4-6:2</tasks></job_list></job_info></job_info><?xml version='1.0'?><detailed>"
        "<djob_info><element><JB_job_number>9</JB_job_number><JB_ja_tasks><ulong_sublist><JAT_message_list>"
        "<ulong_sublist><QIM_message>error: can&apos;t open output file</QIM_message></ulong_sublist>"
        "</JAT_message_list></ulong_sublist></JB_ja_tasks></element></djob_info></detailed>"
    )
    said = said if state == "Eqw" else said.replace("error: can&apos;t open output file", "")
    queue = GridEngine().queue(Answer(0, said, ""))
    assert queue is not None
    assert list(queue.jobs) == ["9.2", "9.4", "9.6"]
    assert (queue.jobs["9.4"].standing, queue.jobs["9.4"].reason) == (standing, reason)
    assert GridEngine().is_hopeless(queue.jobs["9.4"].reason) == (state == "Eqw")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(None, "", "no answer"),
        Answer(1, "", UNREACHED),
        Answer(1, NOTHING, UNREACHED),
        Answer(0, NOTHING, ""),
        Answer(0, QUEUE[:-20], ""),
    ],
)
def test_no_answer(answer):
    """Whatever is not whole is no answer."""
    assert GridEngine().queue(answer) is None


@pytest.mark.parametrize(
    ("said", "limit", "loss"),
    [
        (run(("0    ", "3")), None, None),
        (run(("0    ", "1"), category="-l h_rt=2"), None, None),
        (run(KILLED), None, Loss.CANCELLED),
        (run(KILLED, category="-l h_rt=60"), None, Loss.CANCELLED),
        (run(KILLED, category="-l h_rt=9"), Limit.TIME, None),
        (run(LATE, category="-l h_rt=2"), Limit.TIME, None),
        (run(LATE), Limit.TIME, None),
        (run(LATE, category="-l h_rt=60,h_vmem=50M"), Limit.MEMORY, None),
        (run(LOST, seconds=0), None, Loss.NODE_FAILURE),
        (run(("25  : rescheduling", "99")) + run(("0    ", "3")), None, None),
    ],
)
def test_ends_are_told_apart(said, limit, loss):
    """Ends are told apart."""
    (seen,) = [GridEngine().past(Answer(1, said, "error: job id 16 not found"))["15.1"]]
    assert (seen.standing, seen.limit, seen.loss) == (Standing.OVER, limit, loss)
    assert seen.location == "sge0"


def test_what_the_accounting_does_not_know():
    """A job that is queued again has no end, nor has one that was not written down."""
    said = run(("25  : rescheduling", "99")) + run(KILLED, "2") + run(KILLED, "undefined")
    assert list(GridEngine().past(Answer(0, said, ""))) == ["15.2", "15"]
    assert GridEngine().past(Answer(1, "", "error: job id 16 not found")) == {}


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (UNREACHED, Trouble.OUTAGE),
        ("error: unable to read qmaster name: can't open", Trouble.OUTAGE),
        ('error: unable to contact qmaster using port 6444 on host "sge0"', Trouble.OUTAGE),
        (
            "Unable to run job: job rejected: only 2 jobs are allowed per user (current job count: 2)\nExiting.",
            Trouble.FULL,
        ),
        ("Unable to run job: job rejected: only 1 jobs are allowed per cluster\nExiting.", Trouble.FULL),
        (
            "Unable to run job: job rejected: you tried to submit a job with more than 3 tasks\nExiting.",
            Trouble.TOO_LARGE,
        ),
        ('Unable to run job: unknown resource "nosuch"\nExiting.', Trouble.REFUSED),
        ('Unable to run job: can\'t resolve hostname "nosuch"\nExiting.', Trouble.REFUSED),
        ("Unable to run job: error: no suitable queues\nExiting.", Trouble.REFUSED),
        ('denied: job "999" does not exist', Trouble.REFUSED),
    ],
)
def test_why_a_command_was_of_no_use(said, trouble):
    """Why a command was of no use."""
    assert GridEngine().trouble(Answer(1, "", said)) is trouble


def test_the_names_of_what_was_submitted():
    """The names of what was submitted; jobs of an array begin at 1."""
    for said, name in (("1.1-3:1\n", "1"), ("Welcome\n2.1-1:1\n", "2"), ("26\n", "26"), ("", "")):
        assert GridEngine().submission(Answer(0, said, "")) == name
    assert GridEngine().submission(Answer(1, "26\n", "")) == ""
    assert GridEngine().job("26", 0) == "26.1"
    script = Path("/study/jobs/1/submit")
    argv = GridEngine().submit(script, "name", 1, ["-t", "1-9"])
    assert argv[argv.index("-N") - 2 :][:1] == ["1-1"]
    assert argv[-1] == str(script)


def test_sizes_and_limits_unless_they_are_given():
    """Sizes and limits unless they are given."""
    assert GridEngine().nodes(1, []) == []
    assert GridEngine().nodes(2, []) == ["-pe", "mpi", "2"]
    assert GridEngine().nodes(2, ["-pe", "orte", "32"]) == []
    assert GridEngine().launch(2, []) == ["mpiexec", "-n", "2"]
    assert GridEngine().launch(1, ["-v"]) == ["mpiexec", "-v"]
    assert GridEngine().launch(1, []) == []
    assert GridEngine().limit(3600, []) == ["-l", "h_rt=3720"]
    assert GridEngine().limit(3600, ["-l", "h_rt=5"]) == []
    assert GridEngine().limit(None, []) == []


def test_a_refusal_names_the_argument():
    """A refusal names the argument."""
    said = 'Unable to run job: job rejected: the requested parallel environment "mpi" does not exist'
    argv = ["qsub", "-l", "gpu=1", "-pe", "mpi", "2", "script"]
    assert "speaks of: -pe mpi\n" in GridEngine().refusal(Answer(1, "", said), argv)


def test_a_driver_that_is_a_job_hands_on_what_is_not_its_own(monkeypatch):
    """Names that Grid Engine gives to a job are not handed on from one, and from anywhere else they are."""
    monkeypatch.setenv("QUEUE", "mine")
    monkeypatch.delenv("SGE_TASK_ID", raising=False)
    assert "export QUEUE=mine\n" in exports()
    monkeypatch.setenv("SGE_TASK_ID", "undefined")
    assert "QUEUE=" not in exports()
    assert "SGE_" not in exports()


def test_an_accounting_that_does_not_answer():
    """It has said nothing of any job, other than where there is none."""
    assert GridEngine().past(Answer(None, "", "no answer")) is None
    assert GridEngine().past(Answer(127, "", "not found")) == {}
