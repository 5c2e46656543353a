"""A log whose driver was killed while it turned the write-ahead log into one file."""

import sqlite3
import struct

import pytest

from crayai.hpo.store.query import Reader
from crayai.hpo.store.sqlite import SqliteLog


def leave_journal_of_a_close(path):
    """Leave the log as a driver does that is killed while it turns the write-ahead log into one file."""
    connection = sqlite3.connect(path)
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    page = bytearray(path.read_bytes()[:size])
    page[18:20] = b"\2\2"  # what the close was about to change
    head = bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 1, 0, pages, 512, size)
    record = struct.pack(">I", 1) + page + struct.pack(">I", sum(page[size - 200 : 0 : -200]) & 0xFFFFFFFF)
    path.with_name(path.name + "-journal").write_bytes(head.ljust(512, b"\0") + record)


@pytest.mark.fault(
    "kill -9 of the driver while it closes the log",
    "readers and the next driver find the log whole",
)
def test_a_log_whose_driver_was_killed_while_closing_it_can_be_read(tmp_path):
    """A journal that leads back to a write-ahead log stops neither a reader nor the next driver."""
    path = tmp_path / "study.db"
    with SqliteLog(path) as log:
        log.record_settings({"a": 1})
    leave_journal_of_a_close(path)
    with Reader(path) as reader:
        assert reader.settings() == {"a": 1}
    with SqliteLog(path) as log:
        assert log.settings() == {"a": 1}
