"""Whole studies on a file system without locks."""

import os
import subprocess
import sys

import pytest

from crayai.hpo.store.query import Reader

STUDY = """
[study]
command = "sh program.sh"
seed = 7

[strategy]
name = "random"
num_iters = 12

[launcher]
slots = 2

[params]
"-x" = { low = 0.0, high = 1.0, default = 0.5 }
"""

PROGRAM = """
if [ "$CRAYAI_EVALUATION" = 5 ] && ! [ -e passed ]; then
    echo reached > "$BELL"
    read line < "$DOOR"
fi
echo "FoM: $CRAYAI_EVALUATION"
"""


@pytest.fixture
def crayai(tmp_path, bell, bells, without_locks):
    """Return a function that starts the command line where every lock fails; evaluation 5 rings, and waits."""
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "program.sh").write_text(PROGRAM)
    environment = {**without_locks, "BELL": str(bell), "DOOR": str(bells("door"))}

    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "crayai", *words],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.fault(
    "a whole study where no lock of the system works, a second driver, kill -9",
    "the user is told; the second driver is refused; the study is gone on with",
)
def test_a_study_without_locks(crayai, tmp_path, bell):
    """A study is run, read while it runs, refused to a second driver, killed and gone on with, without any lock."""
    log = tmp_path / "run" / "study.db"
    driver = crayai("run", "study.toml")
    assert bell.hear() == "reached"
    status, _ = crayai("status").communicate(timeout=60)
    assert f"running, process {driver.pid} on {os.uname().nodename}" in status
    assert not log.with_name("study.db-wal").exists()
    second = crayai("run", "study.toml")
    assert f"is in use by process {driver.pid} on " in second.communicate(timeout=60)[1]
    assert second.returncode
    driver.kill()
    driver.wait()
    (tmp_path / "passed").touch()
    (tmp_path / "door.fifo").write_text("\n")
    assert "has no locks that all machines see" in driver.communicate(timeout=60)[1]
    again = crayai("run", "study.toml")
    assert "keep a second driver away" in again.communicate(timeout=60)[1]
    assert again.returncode == 0
    with Reader(log) as reader:
        counts = reader.counts()
        assert (counts.asked, counts.completed) == (12, 12)
        assert reader.check()
    assert {file.name for file in log.parent.glob("study.lock*")} >= {"study.lock.1", "study.lock.2"}
    assert all(file.read_text() == "" for file in log.parent.glob("study.lock*"))
