"""What PBS and TORQUE say, and what is said to them; answers are recorded, shortened, unless they name a source."""

import subprocess
from pathlib import Path

import pytest

from crayai.hpo.launch.base import Limit, Loss
from crayai.hpo.launch.batch.dialect import Answer, Standing, Trouble
from crayai.hpo.launch.batch.inherited import exports
from crayai.hpo.launch.batch.pbs import Pbs
from crayai.hpo.launch.batch.torque import Torque

ARRAY = (Path(__file__).parent / "recorded" / "openpbs-23.06-array.json").read_text()
"""Of OpenPBS 23.06.06: ``qstat -x -t -f -F json '4[]'``, without most variables."""
HEAD = '{\n\t"timestamp":\t1795451647,\n\t"pbs_version":\t"23.06.06",\n\t"Jobs":\t{\n'
XML = (
    '<?xml version="1.0"?>\n<Data><Job><Job_Id>0.trq0</Job_Id><Job_Name>one</Job_Name><job_state>R</job_state>'
    "<exec_host>trq0/0</exec_host><Output_Path>trq0:/study/jobs/7/log-0</Output_Path><Resource_List><nodes>1:ppn=1"
    "</nodes><walltime>00:01:00</walltime></Resource_List></Job>{more}</Data>\n"
)
"""Of TORQUE 6: ``qstat -x 0``, shortened."""


def one(facts: str):
    """Return what PBS has said of a single job with these attributes."""
    queue = Pbs().queue(Answer(0, f'{HEAD}\t\t"8.pbs0":\t{{{facts}}}}}}}', ""))
    assert queue is not None
    return queue.jobs["8.pbs0"]


def test_an_array_that_has_ended():
    """An array that has ended."""
    queue = Pbs().queue(Answer(0, ARRAY, ""))
    assert queue is not None
    assert [queue.jobs[Pbs().job("4[].pbs0", place)].standing for place in range(4)] == [Standing.OVER] * 4
    assert queue.jobs["4[3].pbs0"].location == "pbs0"
    assert queue.jobs["4[3].pbs0"].loss is None


def test_a_submission_is_known_by_where_its_output_goes():
    """A submission is known by where its output goes."""
    said = ARRAY.replace("/home/pbsu/arr.o4.", "/study/jobs/3/log.")
    queue = Pbs().queue(Answer(0, said, ""))
    assert queue is not None
    assert queue.submitted == {"/study/jobs/3/submit": "4[].pbs0"}


@pytest.mark.parametrize("broken", ['"X":\t"a"b"', '"X":\t"a\\x"', '"X":\t00{', '"X":\tnan'])
def test_json_that_an_odd_value_has_broken(broken):
    """Json that an odd value has broken."""
    said = ARRAY.replace('"PBS_O_HOST":\t"pbs0"', broken)
    queue = Pbs().queue(Answer(0, said, ""))
    whole = Pbs().queue(Answer(0, ARRAY, ""))
    assert queue == whole


@pytest.mark.parametrize(
    ("facts", "standing", "limit", "loss"),
    [
        ('"job_state":"F","Exit_status":-29', Standing.OVER, Limit.TIME, None),
        ('"job_state":"F","Exit_status":-27', Standing.OVER, Limit.MEMORY, None),
        ('"job_state":"F","Exit_status":-20', Standing.OVER, None, Loss.NODE_FAILURE),
        ('"job_state":"Q","Exit_status":-20', Standing.WAITS, None, None),
        ('"job_state":"F","Exit_status":271', Standing.OVER, None, Loss.CANCELLED),
        ('"job_state":"F","Exit_status":143,"comment":"and terminated by a@b"', Standing.OVER, None, Loss.CANCELLED),
        ('"job_state":"F","Exit_status":137,"comment":"and failed"', Standing.OVER, None, None),
        ('"job_state":"F","Exit_status":271,"comment":"preempted"', Standing.OVER, None, Loss.PREEMPTED),
        ('"job_state":"F","substate":91', Standing.OVER, None, Loss.CANCELLED),
        ('"job_state":"F","Exit_status":3', Standing.OVER, None, None),
        ('"job_state":"X","Exit_status":0', Standing.OVER, None, None),
        ('"job_state":"E","Exit_status":0', Standing.RUNS, None, None),
        ('"job_state":"E","comment":"Job run and terminated by a@b"', Standing.RUNS, None, Loss.CANCELLED),
        ('"job_state":"S"', Standing.RUNS, None, None),
        ('"job_state":"?"', Standing.RUNS, None, None),
    ],
)
def test_ends_are_told_apart(facts, standing, limit, loss):
    """Ends are told apart."""
    seen = one(facts)
    assert (seen.standing, seen.limit, seen.loss) == (standing, limit, loss)


def test_why_a_job_waits_for_ever():
    """Why a job waits for ever."""
    seen = one('"job_state":"Q","comment":"Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)"')
    assert Pbs().is_hopeless(seen.reason)
    assert Pbs().is_hopeless("job held, too many failed attempts to run")
    assert not Pbs().is_hopeless("Not Running: Not enough free nodes available")
    assert one('"job_state":"Q","comment":"Job Array Began at Thu Nov 26 at 15:00"').reason == ""


HEAD_ALONE = '{\n\t"timestamp":\t1,\n\t"pbs_version":\t"23.06.06",\n\t"pbs_server":\t"pbs0"\n}'
NOBODY = "qstat: cannot connect to server pbs0 (errno=15010)"


def test_an_answer_of_which_some_jobs_are_unknown():
    """What is unknown is not there; whatever else qstat complains of, it may have left out what is."""
    unknown = "qstat: Unknown Job Id 999.pbs0"
    queue = Pbs().queue(Answer(153, ARRAY, unknown))
    assert queue is not None
    assert len(queue.jobs) == 5
    no_history = "qstat: PBS is not configured to maintain job history 4[].pbs0"
    for code, said in (
        (153, unknown),
        (153, f"{no_history}\n{unknown}"),
        (35, "qstat: 4[].pbs0 Job has finished, use"),
    ):
        empty = Pbs().queue(Answer(code, HEAD_ALONE, said))
        assert empty is not None
        assert not empty.jobs
    assert Pbs().queue(Answer(153, ARRAY, f"{NOBODY}\n{unknown}")) is None


def test_no_answer():
    """What is no answer about all jobs is none."""
    for code, said, complaint in (
        (None, "", "no answer"),
        (111, "", "qselect: cannot connect to server pbs0 (errno=111)"),
        (255, HEAD_ALONE, f"System call failure.\n{NOBODY}"),
        (0, HEAD_ALONE, ""),
        (0, ARRAY[:1000], ""),
    ):
        assert Pbs().queue(Answer(code, said, complaint)) is None
    gone, nobody = (
        "qstat: Unknown Job Id Error 9.trq0",
        "qstat: cannot connect to server trq0 (errno=111) Connection refused",
    )
    for code, complaint in ((111, nobody), (153, f"{gone}\n{nobody}"), (2, "usage: \n qstat [-f [-1]]")):
        assert Torque().queue(Answer(code, XML.replace("{more}", ""), complaint)) is None


@pytest.mark.parametrize(
    "complaint",
    [
        "qstat: Unknown Job Id Error 9.trq0",
        "qstat: Unknown Array ID MSG=unable to find array 4[].trq0",
        "qstat: Job not found 7.trq0",
    ],
)
def test_what_torque_does_not_know_is_not_there(complaint):
    """What TORQUE does not know is not there; the texts are of its source."""
    queue = Torque().queue(Answer(234, XML.replace("{more}", ""), complaint))
    assert queue is not None
    assert list(queue.jobs) == ["0.trq0"]


@pytest.mark.parametrize(
    ("facts", "loss"),
    [
        ('"job_state":"X","comment":"Subjob finished","Exit_status":1', None),
        ('"job_state":"F","comment":"Subjob terminated","Exit_status":2', Loss.CANCELLED),
    ],
)
def test_a_job_of_which_only_its_array_is_known(facts, loss):
    """The exit status beside it is that of the array: some other job's."""
    seen = one(facts)
    assert (seen.standing, seen.loss, seen.location) == (Standing.OVER, loss, "")
    assert "exit status" not in seen.word


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("qsub: cannot connect to server pbs0 (errno=111)", Trouble.OUTAGE),
        ("Connection refused\nqsub: cannot connect to server pbs0 (errno=15010)", Trouble.OUTAGE),
        ("qsub: would exceed queue workq's per-user limit of jobs in 'Q' state", Trouble.FULL),
        ("qsub: Array job exceeds server or queue size limit", Trouble.TOO_LARGE),
        ("qsub: Maximum number of jobs already in queue", Trouble.FULL),
        (
            "qsub: submit error (Bad Job Array Request MSG=Requested array size too large, limit is 100)",
            Trouble.TOO_LARGE,
        ),
        ("qsub: cannot submit non-rerunable Array Job\nusage: qsub", Trouble.TOO_LARGE),
        ("qsub: Queue is not enabled", Trouble.FULL),
        ("Failed to recv data from background qsub", Trouble.OUTAGE),
        ("qsub: Error (15031) submitting job", Trouble.OUTAGE),
        ("System call failure.\nCouldn't connect to cluster: pbs0", Trouble.OUTAGE),
        ("qsub: submit error (Time out)", Trouble.OUTAGE),
        ("qsub: submit error (Batch protocol error)", Trouble.OUTAGE),
        ("qsub: submit error (Request not allowed: Server shutting down)", Trouble.OUTAGE),
        ("qdel: Server could not connect to MOM 5.pbs0", Trouble.REFUSED),
        ("qdel: Server could not connect to MOM 5.pbs0\nqdel: cannot connect to server pbs0", Trouble.OUTAGE),
        ("qsub: Unknown queue", Trouble.REFUSED),
        ("qsub: Unknown resource Resource_List.nosuch", Trouble.REFUSED),
        ("qsub: Job exceeds queue and/or server resource limits", Trouble.REFUSED),
    ],
)
def test_why_a_command_was_of_no_use(said, trouble):
    """Why a command was of no use."""
    assert Pbs().trouble(Answer(1, "", said)) is trouble
    assert Pbs().trouble(Answer(0, "", "")) is Trouble.OUTAGE  # it may have done what it was asked for


def test_the_names_of_what_was_submitted():
    """The names of what was submitted."""
    for said, name in (
        ("0.pbs0\n", "0.pbs0"),
        ("Welcome\n4[].pbs0\n", "4[].pbs0"),
        ("Connection to server timed out. Trying again5.trq0\n", "5.trq0"),
        ("", ""),
    ):
        assert Pbs().submission(Answer(0, said, "")) == name
    assert Pbs().submission(Answer(166, "0.pbs0", "")) == ""
    assert Pbs().job("4[].pbs0", 3) == "4[3].pbs0"
    assert Pbs().job("0.pbs0", 0) == "0.pbs0"
    assert Pbs().submission_of("4[3].pbs0") == "4[].pbs0"
    assert Pbs().submission_of("0.pbs0") == "0.pbs0"


def test_one_job_is_no_array():
    """One job is no array."""
    script = Path("/study/jobs/1/submit")
    for dialect, option in ((Pbs(), "-J"), (Torque(), "-t")):
        assert option not in dialect.submit(script, "name", 1, [])
        argv = dialect.submit(script, "name", 3, [])
        assert argv[argv.index("-m") + 1] == "n"  # else each job that is ended sends mail
        assert argv[argv.index(option) + 1] == "0-2"
        assert argv[-1] == str(script)


def test_sizes_and_limits_unless_they_are_given():
    """Sizes and limits unless they are given."""
    assert Pbs().nodes(2, []) == ["-l", "select=2", "-l", "place=scatter"]
    assert Pbs().nodes(2, ["-l", "select=1:ncpus=4"]) == []
    assert Torque().nodes(2, []) == ["-l", "nodes=2"]
    assert Torque().nodes(2, ["-l", "nodes=1:ppn=4"]) == []
    assert Pbs().limit(3600, []) == ["-l", "walltime=01:02:00"]
    assert Pbs().limit(3600, ["-l", "walltime=5"]) == []
    assert Pbs().limit(None, []) == []


def test_a_refusal_names_the_argument():
    """A refusal names the argument."""
    argv = ["qsub", "-q", "nosuch", "-l", "select=1", "script"]
    assert "speaks of: -q nosuch" in Pbs().refusal(Answer(170, "", "qsub: Unknown queue"), argv)


def test_the_words_of_a_job_that_was_killed():
    """The words of a job that was killed."""
    assert Pbs().cause_in("=>> PBS: job killed: walltime 12 exceeded limit 3") is Limit.TIME
    assert Pbs().cause_in("=>> PBS: job killed: mem 300kb exceeded limit 200kb") is Limit.MEMORY
    assert Pbs().cause_in("all is well") is None


def test_torque_says_it_in_xml():
    """Torque says it in xml."""
    gone = "<Job><Job_Id>3.trq0</Job_Id><job_state>C</job_state></Job>"
    over = "<Job><Job_Id>4[1].trq0</Job_Id><job_state>C</job_state><exit_status>{code}</exit_status>{used}</Job>"
    times = "<resources_used><walltime>00:01:02</walltime></resources_used>"
    used = f"{times}<Resource_List><walltime>60</walltime></Resource_List>"
    for code, times, limit, loss in (
        (271, "", None, Loss.CANCELLED),
        (271, used, Limit.TIME, None),
        (-11, "", Limit.TIME, None),
        (-10, "", Limit.MEMORY, None),
        (-10, used, Limit.TIME, None),
        (3, "", None, None),
    ):
        said = XML.replace("{more}", gone + over.replace("{code}", str(code)).replace("{used}", times))
        queue = Torque().queue(Answer(153, said, "qstat: Unknown Job Id Error 9.trq0"))
        assert queue is not None
        assert queue.jobs["0.trq0"].standing is Standing.RUNS
        assert queue.submitted == {"/study/jobs/7/submit": "0.trq0"}
        assert queue.jobs["3.trq0"].loss is Loss.CANCELLED
        assert (queue.jobs["4[1].trq0"].limit, queue.jobs["4[1].trq0"].loss) == (limit, loss)
    nothing = Torque().queue(Answer(0, "<Data/>", ""))
    assert nothing is not None
    assert not nothing.jobs


def test_the_environment_of_a_driver_is_handed_on(monkeypatch):
    """The environment of a driver is handed on."""
    monkeypatch.setenv("ODD", "a 'b' \"c\"\n$(d)")
    monkeypatch.setenv("PBS_JOBID", "7.pbs0")
    assert "export ODD='a '\"'\"'b'\"'\"' \"c\"\n$(d)'\n" in exports()
    assert "PBS_JOBID" not in exports()


def test_variables_that_bash_sets_itself(monkeypatch, tmp_path):
    """A shell that lets nobody set them does not end there, whoever has exported them."""
    for name in ("UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "environment").write_text(exports())
    argv = ["bash", "--posix", "-c", ". ./environment; echo on"]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True).stdout == b"on\n"
