"""The logs keep the rules of logs."""

from crayai.hpo.store.base import MemoryLog
from crayai.hpo.store.sqlite import SqliteLog
from crayai.hpo.testing.fakes import FakeFullLog
from crayai.hpo.testing.logs import DurableLogConformance, LogConformance


class TestMemoryLog(LogConformance):
    """Of the one in memory."""

    def log(self, directory):  # noqa: ARG002 - in memory
        """Return an empty one."""
        return MemoryLog()


class TestFakeFullLog(LogConformance):
    """Of the fake, so that tests of the loop can trust it."""

    def log(self, directory):  # noqa: ARG002 - in memory
        """Return an empty one."""
        return FakeFullLog()


class TestSqliteLog(DurableLogConformance):
    """Of the one in a file."""

    def log(self, directory):
        """Return the one of the study in `directory`."""
        return SqliteLog(directory / "study.db")
