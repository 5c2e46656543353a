"""What is recorded, shown and replayed of the container and the environment around evaluations."""

import os
import re
import subprocess

import pytest

from crayai.hpo.engine.provenance import SETTING
from crayai.hpo.engine.resume import AT_REST
from crayai.hpo.store.sqlite import SqliteLog

APPTAINER = """\
#!/bin/sh
# A stand-in for apptainer: it runs the command on this machine, and tells it the image.
[ "$1" != --version ] || { echo apptainer version 1.3.0; exit; }
shift
while :; do
  case $1 in
    --pwd=*) cd "${1#*=}" || exit; shift ;;
    --*) shift ;;
    *) break ;;
  esac
done
image=$1
shift
INSIDE=$image exec "$@"
"""
CONTAINER = '{ image = "./torch.sif", engine = "apptainer", binds = ["/etc:/data:ro"], environment = { OWN = "1" } }'
STUDY = f"""
[study]
command = "sh train.sh @load @save"
seed = 3
keep = "frontier"

[strategy]
name = "pbt"
pop_size = 4
windows = 2

[launcher]
slots = 2
container = {CONTAINER}

[params]
"--lr" = {{ low = 0.0, high = 1.0 }}
"""


@pytest.fixture
def inside(place, monkeypatch):
    """Return a workplace with an engine, an image, and a program that runs nowhere but inside."""
    engine = place.write("apptainer", APPTAINER)
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.directory}:{os.environ['PATH']}")
    place.write("torch.sif", "an image\n")
    place.write("train.sh", 'test "${INSIDE##*/}" = torch.sif && test "$OWN" && echo saved >"$2"; echo FoM: ${3#*=}\n')
    place.write("study.toml", STUDY)
    done = place.crayai("run", "study.toml", "--quiet")
    assert done.returncode == 0, done.stderr
    return place


def recorded(place, name="run"):
    """Return the settings of a study."""
    with SqliteLog(place.directory / name / "study.db") as log:
        return log.settings()


def test_what_is_on_record(inside):
    """The container as a table, its engine's version, and what the program sees: its Python and packages."""
    settings = recorded(inside)
    assert settings["container"]["binds"] == ["/etc:/data:ro"]
    (entry,) = settings[SETTING]
    assert entry["facts"]["engine"] == "apptainer version 1.3.0"
    assert entry["seen"]["python"].startswith("3.")
    assert any(package.startswith("pytest ") for package in entry["seen"]["packages"])
    shown = inside.crayai("show", "1").stdout
    assert "apptainer version 1.3.0" in shown
    assert inside.crayai("show", "1", "--packages").stdout.splitlines() == entry["seen"]["packages"]


def test_a_container_is_mended_before_anything_has_completed(inside):
    """As long as every evaluation has failed, the container may be at fault; what is recorded is the last one."""
    program = inside.directory.joinpath("train.sh").read_text()
    inside.write("train.sh", "exit 3\n")
    inside.write("study.toml", STUDY.replace('OWN = "1"', 'OWN = "2"'))
    assert inside.crayai("run", "study.toml", "--dir", "mended").returncode == 3
    inside.write("train.sh", program)
    inside.write("study.toml", STUDY)
    assert inside.crayai("run", "study.toml", "--dir", "mended").returncode == 0
    assert recorded(inside, "mended")["container"]["environment"] == {"OWN": "1"}


def test_a_container_is_not_changed_while_something_may_run(inside):
    """What a driver that was killed has started may still complete, in the container in which it began."""
    inside.write("train.sh", "exit 3\n")
    assert inside.crayai("run", "study.toml", "--dir", "killed").returncode == 3
    with SqliteLog(inside.directory / "killed" / "study.db") as log:
        log.record_settings({AT_REST: False})
    inside.write("study.toml", STUDY.replace('OWN = "1"', 'OWN = "2"'))
    done = inside.crayai("run", "study.toml", "--dir", "killed")
    assert "ran in container environment" in done.stderr


def test_a_doctor_that_cannot_write(inside):
    """It says where, as a study does."""
    done = inside.crayai("doctor", "study.toml", "--quick", "--dir", "train.sh/study")
    assert done.returncode == 1
    assert "train.sh/study cannot be written to: Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_study_goes_on_in_its_container_alone(inside):
    """Each setting that differs is named, with what it was."""
    for old, new, said in (
        ('OWN = "1"', 'OWN = "2"', "container environment = {'OWN': '1'}, and not in {'OWN': '2'}"),
        ("/etc:/data:ro", "/etc:/data", "container binds = ['/etc:/data:ro'], and not in ['/etc:/data']"),
        (f"container = {CONTAINER}", "", "container image"),
    ):
        inside.write("study.toml", STUDY.replace(old, new).replace("windows = 2", "windows = 3"))
        done = inside.crayai("run", "study.toml", "--extend")
        assert done.returncode == 1
        assert f"ran in {said}" in done.stderr
    inside.write("study.toml", STUDY.replace("windows = 2", "windows = 3"))
    assert inside.crayai("run", "study.toml", "--extend").returncode == 0


def test_what_has_changed_is_recorded_from_then_on(inside, monkeypatch):
    """Packages that come between two drivers are those of the evaluations after them."""
    info = inside.directory / "more" / "newest-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: newest\nVersion: 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(info.parent))
    inside.write("study.toml", STUDY.replace("windows = 2", "windows = 3"))
    assert inside.crayai("run", "study.toml", "--extend").returncode == 0
    assert "newest 1.0" not in inside.crayai("show", "3", "--packages").stdout
    assert "newest 1.0" in inside.crayai("show", "9", "--packages").stdout


@pytest.mark.parametrize("end", ["over\n", ""])
def test_what_a_driver_that_was_killed_left(inside, end):
    """The next one records what is complete, and looks anew."""
    with SqliteLog(inside.directory / "run" / "study.db") as log:
        (entry,) = log.settings()[SETTING]
        seen = entry.pop("seen")
        log.record_settings({SETTING: [entry]})
    inside.write("run/seen", f"machine node1\nevaluation 2\npython /p\nversion 9.9\n{end}")
    inside.write("study.toml", STUDY.replace("windows = 2", "windows = 3"))
    assert inside.crayai("run", "study.toml", "--extend").returncode == 0
    entries = recorded(inside)[SETTING]
    assert [entry["from_evaluation"] for entry in entries] == [0, 8]
    assert [entry.get("seen", {}).get("python") for entry in entries] == ["9.9 (/p)" if end else None, seen["python"]]


def test_a_replay_is_in_the_container_of_the_search(inside):
    """Outside of it the program saves nothing, and every training would fail."""
    pytest.importorskip("scipy")
    done = inside.crayai("replay", "--seeds", "2", "--slots", "2", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout
    assert recorded(inside, "run/replay")["container"] == recorded(inside)["container"]


def test_a_table_on_the_command_line(inside):
    """What is in braces says all that a study file can say: the study of the file goes on with it."""
    inside.write("study.toml", STUDY.replace(f"container = {CONTAINER}", "").replace("windows = 2", "windows = 3"))
    done = inside.crayai("run", "study.toml", "--extend", "--container", CONTAINER)
    assert done.returncode == 0, done.stderr
    done = inside.crayai("run", "study.toml", "--container", "{ image = ")
    assert done.returncode == 2
    assert "no inline table of TOML" in done.stderr


def test_lines_to_paste(inside):
    """They run the program inside, from anywhere: the best, one that is shown, what would be run, what has failed."""
    shown = next(line for line in inside.crayai("show", "0").stdout.splitlines() if line.startswith("command"))
    rehearsed = inside.crayai("run", "study.toml", "--dir", "none", "--dry-run").stdout.splitlines()
    lines = [
        inside.crayai("best").stdout,
        shown.removeprefix("command"),
        rehearsed[0],
    ]
    for line in lines:
        assert line.strip().startswith("apptainer exec ")
        said = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, cwd="/").stdout
        assert said.startswith("FoM: 0."), line
    inside.write("train.sh", "exit 7\n")
    for words in (["doctor", "--quick"], ["run", "--dir", "failed"]):
        done = inside.crayai(*words, "study.toml")
        line = re.search(r"(?:\$|The command:) (apptainer exec .*)", done.stdout + done.stderr)[1]
        assert subprocess.run(line, shell=True, check=False, cwd="/").returncode == 7


def test_the_doctor_is_where_the_container_sees_it(inside):
    """Its runs are in the study's directory, always under one name; what failed is left there, else nothing is."""
    inside.write("bowl.sh", 'case $1 in *doctor) exit 3;; esac\nawk -f bowl.awk -- "$@"\n')
    words = [
        "doctor",
        "--quick",
        "--dir",
        "elsewhere/study",
        "--container",
        "apptainer:./torch.sif",
        "--param",
        "-x=0..1",
    ]
    place = inside.directory / "elsewhere" / "study"
    done = inside.crayai(*words, "--", "sh bowl.sh")
    assert done.returncode == 0, done.stdout
    assert not place.exists()
    for _ in range(2):
        done = inside.crayai(*words, "--", "echo none; exit 4 #")
        assert done.returncode == 1
        assert f"in {place}/doctor/output" in done.stdout
        assert sorted(path.name for path in (place / "doctor" / "output").glob("*.err")) == ["0.1.err", "look.1.err"]


def test_an_environment_that_is_not_inside(place, monkeypatch):
    """Nothing is evaluated: one look inside tells, or why nobody can look."""
    engine = place.write("apptainer", APPTAINER)
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.directory}:{os.environ['PATH']}")
    place.write("torch.sif", "an image\n")
    words = ["study.toml", "--container", "apptainer:./torch.sif", "--conda-env"]
    for command in ("run", "doctor"):
        done = place.crayai(command, *words, "/none/deep")
        assert done.returncode == 1
        assert "conda_env: there is no environment /none/deep inside apptainer:" in done.stderr
    engine.write_text("#!/bin/sh\necho FATAL: no user namespaces >&2; exit 255\n")
    done = place.crayai("run", *words, "/usr")
    assert done.returncode == 1
    assert "runs nothing here:\nFATAL: no user namespaces" in done.stderr
    assert not (place.directory / "ran.tsv").exists()


def test_logs_of_earlier_versions(inside):
    """They have the image and the engine as text, and packages in one line: they can be shown and gone on with."""
    with SqliteLog(inside.directory / "run" / "study.db") as log:
        image = log.settings()["container"]["image"]
        facts = {"container": f"apptainer:{image}", "packages": "numpy 1.26, torch 2.4"}
        log.record_settings({"container": image, SETTING: [{"from_evaluation": 0, "facts": facts}]})
    assert inside.crayai("show", "1", "--packages").stdout == "numpy 1.26\ntorch 2.4\n"
    inside.write("study.toml", STUDY.replace("windows = 2", "windows = 3").replace('OWN = "1"', 'OWN = "2"'))
    done = inside.crayai("run", "study.toml", "--extend")
    assert done.returncode == 0, done.stderr


def test_a_task_of_its_own_is_not_needed(place, monkeypatch):
    """Where evaluations do not run on this machine, the first one's task looks around before it begins."""
    monkeypatch.setenv("PATH", f"{place.directory}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    program = place.write("run_training", '#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexec /bin/sh -c "$1"\n')
    program.chmod(0o755)
    done = place.crayai("run", "study.toml", "--launcher", "urika", "--nodes", "3", "--slots", "3")
    assert done.returncode == 0, done.stderr
    (entry,) = recorded(place)[SETTING]
    assert entry["facts"]["urika"] == "run_training -N 1"
    assert entry["seen"]["packages"]
