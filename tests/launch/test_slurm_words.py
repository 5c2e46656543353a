"""Slurm's answers are read as they are meant, of every version."""

from pathlib import Path

import pytest

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch.arguments import given
from crayai.hpo.launch.batch.dialect import Answer, Standing, Trouble
from crayai.hpo.launch.batch.slurm import Slurm
from crayai.hpo.launch.steps import slurm as slurm_steps

CANCELLED = "slurmstepd: error: *** STEP 4.0 ON n1 CANCELLED AT 2026-11-23T10:00:00"


def queue(*rows):
    """Return what squeue's rows say."""
    return Slurm().queue(Answer(0, "".join(f"{row}\n" for row in rows), ""))


@pytest.mark.parametrize(
    ("state", "standing", "limit", "loss"),
    [
        ("PENDING", Standing.WAITS, None, None),
        ("REQUEUE_HOLD", Standing.WAITS, None, None),
        ("RUNNING", Standing.RUNS, None, None),
        ("COMPLETING", Standing.RUNS, None, None),
        ("STAGE_OUT", Standing.RUNS, None, None),
        ("A_STATE_OF_SLURM_30", Standing.RUNS, None, None),
        ("COMPLETED", Standing.OVER, None, None),
        ("FAILED", Standing.OVER, None, None),
        ("TIMEOUT", Standing.OVER, Limit.TIME, None),
        ("OUT_OF_MEMORY", Standing.OVER, Limit.MEMORY, None),
        ("NODE_FAIL", Standing.OVER, None, Loss.NODE_FAILURE),
        ("BOOT_FAIL", Standing.OVER, None, Loss.NODE_FAILURE),
        ("PREEMPTED", Standing.OVER, None, Loss.PREEMPTED),
        ("CANCELLED", Standing.OVER, None, Loss.CANCELLED),
        ("CANCELLED by 0", Standing.OVER, None, Loss.CANCELLED),
        ("CANCELLED+", Standing.OVER, None, Loss.CANCELLED),
    ],
)
def test_states(state, standing, limit, loss):
    """Each state is one of three, with what it was ended by; one that nobody knows is not the end."""
    seen = queue(f"7|3|{state}|n1|None|/study/jobs/1/submit").jobs["7_3"]
    assert (seen.standing, seen.limit, seen.loss, seen.location) == (
        standing,
        limit,
        loss,
        "n1" if seen.location else "",
    )


def test_arrays_that_wait_are_one_row():
    """The tasks of an array that wait stand in one row, with their throttle; a job that is no array has place 0."""
    found = queue(
        "7|3-5,9%2|PENDING||Priority|/a/submit", "7|[10-11%2]|PENDING||Priority|/a/submit", "8|N/A|RUNNING|n2|None|/b"
    )
    assert set(found.jobs) == {"7_3", "7_4", "7_5", "7_9", "7_10", "7_11", "8_0"}
    assert found.submitted == {"/a/submit": "7", "/b": "8"}


def test_reasons_with_blanks():
    """A reason may hold blanks and commas, a path bars."""
    found = queue("7|0|PENDING||ReqNodeNotAvail, UnavailableNodes:n4|/a|b/submit")
    assert found.jobs["7_0"].reason == "ReqNodeNotAvail, UnavailableNodes:n4"
    assert found.submitted == {"/a|b/submit": "7"}


def test_no_answer_is_none():
    """What squeue says when it fails says nothing of jobs."""
    assert Slurm().queue(Answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller")) is None
    assert Slurm().queue(Answer(None, "", "no answer")) is None


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            Trouble.OUTAGE,
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", Trouble.OUTAGE),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", Trouble.FULL),
        ("sbatch: error: AssocMaxSubmitJobLimit", Trouble.FULL),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", Trouble.FULL),
        ("sbatch: error: invalid partition specified: nosuch", Trouble.REFUSED),
    ],
)
def test_troubles(said, trouble):
    """It is told apart whether nobody answers, no more is taken, or it would be refused again."""
    assert Slurm().trouble(Answer(1, "", said)) is trouble


def test_submissions():
    """The number of a job is read, behind which the name of a cluster may stand; a failure has none."""
    assert Slurm().submission(Answer(0, "123;cluster\n", "")) == "123"
    assert Slurm().submission(Answer(0, "sbatch: some site's greeting\n124\n", "")) == "124"
    assert Slurm().submission(Answer(1, "", "sbatch: error: no")) == ""


def test_limits():
    """A limit of ours is in minutes, with some more; one of the user's counts."""
    assert Slurm().limit(90, []) == ["--time=4"]
    assert Slurm().limit(None, []) == []
    for own in (["-t", "5"], ["-t5"], ["--time=5"], ["--time", "5"]):
        assert Slurm().limit(90, own) == []


def test_options():
    """An option is found however it is written, and not within another one."""
    assert given(["-N"], ["-N4"]) == "-N4"
    assert given(["-N", "--nodes"], ["-x", "--nodes=4"]) == "--nodes=4"
    assert given(["--nodes"], ["--nodes", "4"]) == "--nodes 4"
    assert given(["--nodes"], ["--nodelist=n4"]) == ""
    assert given(["-n"], ["--ntasks=4"]) == ""


def test_a_script_of_a_path_with_blanks():
    """Whatever is in the path of a study, the script runs the job of its place."""
    script = Slurm().script(Path("/a b/$c"), 3)
    assert "exec /bin/sh '/a b/$c'/\"$_place\"" in script


@pytest.mark.parametrize(
    ("left", "seconds"),
    [("1-02:03:04", 93784), ("2:00:00", 7200), ("59:00", 3540), ("UNLIMITED", float("inf")), ("INVALID", None)],
)
def test_time_left(left, seconds):
    """The time that an allocation has left is read in all its forms."""
    (held,) = slurm_steps.held(Answer(0, f"5|RUNNING|{left}|4|16|n[1-4]|None\n", ""))
    assert (held.seconds_left, held.nodes, held.cpus, held.node_list) == (seconds, 4, 16, "n[1-4]")


def test_an_allocation_that_is_forgotten():
    """A number that Slurm does not know any more is no allocation; no answer is no knowledge."""
    assert slurm_steps.held(Answer(1, "", "slurm_load_jobs error: Invalid job id specified")) == []
    assert slurm_steps.held(Answer(1, "", "Unable to contact slurm controller")) is None


def test_whole_nodes_unless_parts_are_asked_for():
    """An allocation is of whole nodes, unless the user's arguments say how much of them."""
    assert "--exclusive" in slurm_steps.allocate("x", 2, "-p gpu -t 5")
    assert "--exclusive" not in slurm_steps.allocate("x", 2, "-p gpu -c 4")


@pytest.mark.parametrize(
    ("said", "node", "loss"),
    [
        ("srun: error: Node failure on n3", "n3", Loss.NODE_FAILURE),
        (f"{CANCELLED} DUE TO NODE FAILURE, SEE LOG ***", "n1", Loss.NODE_FAILURE),
        (f"{CANCELLED} DUE TO PREEMPTION ***", "n1", Loss.PREEMPTED),
        (f"{CANCELLED} ***", "n1", Loss.CANCELLED),
        ("srun: error: something else", "", Loss.UNKNOWN),
    ],
)
def test_what_srun_says_of_a_step(said, node, loss):
    """By what a step was lost is read from srun's own words."""
    assert slurm_steps.loss_in(said) == (node, loss)


POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
FOUND = [
    # where and when it was seen, what was said, what it means
    (
        "github.com/clicumu/doepipeline/issues/4, 2016",
        f"sbatch: error: Batch job submission failed: {POLICY}",
        Trouble.FULL,
    ),
    (
        "github.com/mlr-org/batchtools/issues/199, 2018",
        f"sbatch: error: Batch job submission failed: {POLICY}",
        Trouble.FULL,
    ),
    (
        "github.com/rwth-i6/sisyphus/issues/241, 2025",
        f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: {POLICY}",
        Trouble.FULL,
    ),
    (
        "github.com/BSC-ES/autosubmit/issues/2854, 2026",
        f"sbatch: error: qosmaxwalldurationperjoblimit\nsbatch: error: batch job submission failed: {POLICY.lower()}",
        Trouble.REFUSED,
    ),
    (
        "github.com/facebookincubator/submitit/issues/1659, 2021",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        Trouble.OUTAGE,
    ),
    (
        "github.com/NCAR/ncar-python-tutorial/issues/13, 2019",
        "slurm_load_jobs error: Socket timed out on send/recv operation",
        Trouble.OUTAGE,
    ),
    (
        "github.com/fls-bioinformatics-core/genomics/pull/245, 2026",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        Trouble.OUTAGE,
    ),
    (
        "Slurm 22.05 on a private cluster: MaxJobCount reached",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        Trouble.FULL,
    ),
]


@pytest.mark.parametrize(("said", "trouble"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
def test_what_users_have_reported(said, trouble):
    """The words of Slurm's of ten years mean what they meant to those who met them."""
    assert Slurm().trouble(Answer(1, "", said)) is trouble


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-11-26T15:00:00 ***", Loss.CANCELLED),
        ("slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-11-26T15:00:00 DUE TO PREEMPTION ***", Loss.PREEMPTED),
        ("*** JOB 12 ON n1 CANCELLED AT 2026-11-26T15:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD ***", Loss.NODE_FAILURE),
        ("*** JOB 12 ON n1 CANCELLED AT 2026-11-26T15:00:00 DUE TO TIME LIMIT ***", Limit.TIME),
        ("*** JOB 12 ON n1 CANCELLED AT 2026-11-26T15:00:00 DUE TO JOB REQUEUE ***", None),
        ("*** STEP 12.0 ON n1 CANCELLED AT 2026-11-26T15:00:00 ***", None),
        ("all is well", None),
    ],
)
def test_the_log_of_a_job(said, cause):
    """Slurm says there why it has ended a job; what a step was ended for is up to the job."""
    assert Slurm().cause_in(said) is cause


def test_an_accounting_that_does_not_answer():
    """It has said nothing of any job, other than where there is none."""
    assert Slurm().past(Answer(None, "", "no answer")) is None
    assert Slurm().past(Answer(127, "", "not found")) == {}
