"""What stands in a study's directory of jobs."""

from crayai.hpo.launch.batch.slurm import Slurm
from crayai.hpo.launch.batch.spool import Spool
from crayai.hpo.testing.launchers import make_task


def test_a_submission_that_is_split(tmp_path):
    """Both parts are known to a later driver, each job once, with its own script, limit and name."""
    tasks = [make_task(tmp_path, number, ["echo", str(number)], seconds=10 + number) for number in range(5)]
    spool = Spool(tmp_path / "jobs")
    first = spool.write(tasks, ["env"], Slurm())
    rest = spool.split(first, 2, Slurm())
    assert (first.count, rest.count) == (2, 3)
    assert (first.limit_seconds, rest.limit_seconds) == (11, 14)
    again = Spool(tmp_path / "jobs")
    for one in (spool, again):
        assert [[job.tag for job in each.jobs] for each in one.submissions] == [
            [task.tag for task in tasks[:2]],
            [task.tag for task in tasks[2:]],
        ]
    for task in tasks:
        job = again.jobs[task.tag]
        text = (job.submission.directory / str(job.place)).read_text()
        assert f"env echo {task.tag.split(':')[-2]}" in text


def test_a_driver_that_dies_while_it_splits(tmp_path):
    """A job that stands in both parts counts in the later one."""
    tasks = [make_task(tmp_path, number, ["true"]) for number in range(3)]
    spool = Spool(tmp_path / "jobs")
    first = spool.write(tasks, [], Slurm())
    rest = spool.write(tasks[1:], [], Slurm())
    again = Spool(tmp_path / "jobs")
    assert [again.jobs[task.tag].submission.directory for task in tasks] == [
        first.directory, rest.directory, rest.directory,
    ]  # fmt: skip
    assert [again.jobs[task.tag].place for task in tasks] == [0, 0, 1]
