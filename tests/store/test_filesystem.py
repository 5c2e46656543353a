"""Which file system a path is on."""

import subprocess
import sys
from pathlib import Path

import pytest

from crayai.hpo.store import filesystem
from crayai.hpo.store.filesystem import file_system_of, has_locks, has_shared_locks, is_network
from crayai.hpo.store.sqlite import SqliteLog


def test_the_type_is_what_the_kernel_says():
    """The file system of /proc is proc, found through any path on it."""
    assert file_system_of(Path("/proc")) == "proc"
    assert file_system_of(Path("/proc/self/status")) == "proc"
    assert not is_network(Path("/proc"))


def test_what_cannot_be_told_is_local(tmp_path):
    """A path that is not there has no file system, and is treated as local."""
    assert file_system_of(tmp_path / "nothing") == ""
    assert not is_network(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("nfs", True),
        ("nfs4", True),
        ("lustre", True),
        ("gpfs", True),
        ("beegfs", True),
        ("fuse.sshfs", True),
        ("ceph", True),
        ("9p", True),
        ("ext4", False),
        ("xfs", False),
        ("tmpfs", False),
        ("overlay", False),
        ("btrfs", False),
    ],
)
def test_network_file_systems(tmp_path, monkeypatch, name, is_one):
    """The file systems of clusters count as network, those of one machine do not."""
    monkeypatch.setattr(filesystem, "file_system_of", lambda _: name)
    assert is_network(tmp_path) is is_one


@pytest.mark.parametrize(("name", "journal"), [("ext4", "wal"), ("nfs4", "delete"), ("lustre", "delete")])
def test_the_journal_suits_the_file_system(tmp_path, monkeypatch, name, journal):
    """A log has a write-ahead log where machines share memory, and a rollback journal with full syncs elsewhere."""
    monkeypatch.setattr(filesystem, "file_system_of", lambda _: name)
    with SqliteLog(tmp_path / "study.db") as log:
        assert log._connection.execute("PRAGMA journal_mode").fetchone() == (journal,)
        assert log._connection.execute("PRAGMA synchronous").fetchone() == (1 if journal == "wal" else 2,)


@pytest.mark.parametrize(
    ("kind", "options", "reach"),
    [
        ("ext4", "rw,relatime", True),
        ("tmpfs", "rw,mode=755", True),
        ("", "", True),
        ("nfs4", "rw,vers=4.2,rsize=1048576,hard,local_lock=none,addr=10.0.0.1", True),
        ("nfs", "rw,vers=3,hard,mountproto=tcp,local_lock=none,addr=10.0.0.1", True),
        ("nfs", "rw,vers=3,hard,nolock,mountproto=tcp,local_lock=all,addr=10.0.0.1", False),
        ("nfs", "rw,vers=3,hard,local_lock=posix", False),
        ("nfs", "rw,vers=3,hard,local_lock=flock", True),
        ("lustre", "rw,flock,lazystatfs", True),
        ("lustre", "rw,checksum,localflock,lazystatfs", False),
        ("lustre", "rw,checksum,noflock,lazystatfs", False),
        ("lustre", "rw,checksum,lazystatfs", False),
        ("gpfs", "rw,relatime", True),
        ("ceph", "rw,name=admin,secret=<hidden>,acl", True),
        ("cifs", "rw,vers=3.1.1,cache=strict", True),
        ("cifs", "rw,vers=3.1.1,nobrl", False),
        ("gfs2", "rw,localflocks", False),
        ("beegfs", "rw,relatime,cfgFile=/etc/beegfs/beegfs-client.conf", False),
        ("fuse.sshfs", "rw,user_id=0,group_id=0", False),
        ("fuse", "", False),
        ("9p", "rw,trans=virtio", False),
        ("dvs", "rw", False),
    ],
)
def test_locks_that_all_machines_see(tmp_path, monkeypatch, kind, options, reach):
    """A lock is relied on where no other machine can write, or where the file system takes it there."""
    monkeypatch.setattr(filesystem, "_mount_of", lambda _: (kind, set(options.split(","))))
    assert has_shared_locks(tmp_path) is reach


def test_the_options_are_what_the_kernel_says():
    """The options of a file system are found with its type."""
    kind, options = filesystem._mount_of(Path("/proc"))
    assert kind == "proc"
    assert "rw" in options or "ro" in options


def test_whether_there_are_locks_is_tried(tmp_path, without_locks):
    """A file system may have no locks though nothing says so; to try leaves nothing behind."""
    text = "import sys; from pathlib import Path; from crayai.hpo.store import filesystem as f; "
    text += "print(f.has_locks(Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", text, tmp_path], env=without_locks, capture_output=True, check=True)
    assert done.stdout == b"False\n"
    assert has_locks(tmp_path)
    assert not list(tmp_path.iterdir())


def test_locks_that_no_other_machine_sees_are_none(tmp_path, monkeypatch):
    """Where locks work, but only on this machine, they do not count."""
    monkeypatch.setattr(filesystem, "_mount_of", lambda _: ("lustre", {"localflock"}))
    assert not has_locks(tmp_path)
