"""The launchers keep the rules of launchers."""

import pytest

from crayai.hpo.launch.base import Exited, NotStarted
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.testing.fakes import End, FakeLauncher, FakeMachine
from crayai.hpo.testing.launchers import LauncherConformance


class TestLocalLauncher(LauncherConformance):
    """Of processes on this machine."""

    @pytest.fixture(autouse=True)
    def _end_keepers(self):
        self.keepers = []
        yield
        for keeper in self.keepers:
            keeper.wait(timeout=60)

    def launcher(self, directory, slots):
        """Return the one under test."""
        return LocalLauncher(directory, slots)

    def kill_driver(self, launcher):
        """Hang up on the keeper."""
        launcher._socket.close()
        self.keepers.append(launcher._keeper)
        launcher._keeper = launcher._socket = None


class TestFakeLauncher(LauncherConformance):
    """Of the fake, so that tests of the loop can trust it."""

    @pytest.fixture(autouse=True)
    def _new_machine(self):
        self.machine = FakeMachine(self.end_of)

    @staticmethod
    def end_of(task):
        """Return what the command of `task` says."""
        match task.argv:
            case ("print", text):
                return End(stdout=text + "\n")
            case ("exit", code):
                return End(Exited(int(code)))
            case ("run on",):
                return End(seconds=float("inf"))
        return End(NotStarted(f"{task.argv[0]}: no such program"))

    def launcher(self, directory, slots):  # noqa: ARG002 - a fake has no files
        """Return one on the machine of this test."""
        self.machine.slots = slots
        return FakeLauncher(self.machine)

    def kill_driver(self, launcher):
        """Let it die."""
        launcher.die()

    def has_started(self, task):  # noqa: ARG002 - at once
        """Return whether a task runs."""
        return True

    def prints(self, text):
        """Return a command of `end_of`."""
        return ("print", text)

    def exits(self, code):
        """Return a command of `end_of`."""
        return ("exit", str(code))

    def runs_on(self):
        """Return a command of `end_of`."""
        return ("run on",)
