"""A driver of a study whose launcher runs nothing, in virtual time."""

from dataclasses import dataclass, field

from crayai.hpo.engine.budget import Account, Budget
from crayai.hpo.engine.checkpoints import Checkpoints
from crayai.hpo.engine.interrupts import GRACE_SECONDS, Interrupts
from crayai.hpo.engine.loop import Loop
from crayai.hpo.engine.outputs import Outputs
from crayai.hpo.engine.search import Search
from crayai.hpo.engine.study import StrategySettings, Study
from crayai.hpo.engine.tasks import TaskMaker
from crayai.hpo.engine.workdir import StudyDirectory
from crayai.hpo.launch.base import Exited
from crayai.hpo.space.hyperparameters import Choice, Float, Int
from crayai.hpo.space.space import Space
from crayai.hpo.testing.fakes import End, FakeFullLog, FakeLauncher, FakeMachine

SPACE = Space([Float("--x", -4.0, 4.0, default=3.0), Int("--n", 1, 6, default=2), Choice("--kind", ["a", "b"])])
STRATEGIES = {
    "random": StrategySettings(name="random", arguments={"num_iters": 24}),
    "grid": StrategySettings(name="grid", arguments={"grid_size": 3}),
    "genetic": StrategySettings(name="genetic", arguments={"generations": 4, "pop_size": 3, "num_demes": 2}),
    "repeated": StrategySettings(
        name="genetic", arguments={"generations": 3, "pop_size": 3, "num_demes": 1}, repeats=2
    ),
}


def study_of(strategy, **settings):
    """Return a study with one of the strategies."""
    return Study(space=SPACE, strategy=STRATEGIES[strategy], seed=11, command="train --quick", **settings)


def number_of(task):
    """Return the number of the evaluation that `task` is for."""
    return int(task.environment["CRAYAI_EVALUATION"])


def train(task):
    """Print a figure of merit that the hyperparameters decide; some points fail."""
    values = dict(word.split("=") for word in task.argv[2:])
    x, n = float(values["--x"]), int(values["--n"])
    if n == 6:
        return End(Exited(3), stderr="n is too large\n")
    return End(stdout=f"epoch 1\nFoM: {(x - 1) ** 2 + n + (values['--kind'] == 'b'):e}\n")


@dataclass
class Watcher:
    """Collects what it sees; does what the test says at an event."""

    action: object = None
    events: list = field(default_factory=list)
    notices: list = field(default_factory=list)

    def begin(self, search, *, was_resumed, checkpoints):
        """See nothing."""

    def event(self, event, search):
        """See an event."""
        self.events.append(event)
        if self.action:
            self.action(event, search)

    def notice(self, text):
        """See a notice."""
        self.notices.append(text)

    def end(self, search):
        """See nothing."""


class Driver:
    """One driver's work on the study in a directory; `log` and `machine` are those of the driver before."""

    def __init__(self, root, study, program=train, *, slots=1, random=None, log=None, machine=None, **settings):
        self.directory = StudyDirectory(root)
        self.directory.make()
        self.log = FakeFullLog() if log is None else log
        self.search = Search(study, self.log)
        self.machine = machine or FakeMachine(program, slots, random)
        self.launcher = settings.pop("launcher", FakeLauncher)(self.machine)
        checkpoints = Checkpoints(root=root / "checkpoints", search=self.search, **settings.pop("checkpoints", {}))
        tasks = TaskMaker(
            search=self.search, directory=self.directory, study_id="study", caller=root, checkpoints=checkpoints
        )
        self.watcher = settings.pop("watcher", None) or Watcher()
        clock = lambda: self.machine.now  # noqa: E731 - one line, used twice
        settings.setdefault(
            "account", Account(Budget(**settings.pop("budget", {})), self.search, slots=self.machine.slots, clock=clock)
        )
        settings.setdefault("clock", clock)
        settings["interrupts"] = Interrupts(settings.pop("grace_seconds", GRACE_SECONDS), clock)
        outputs = Outputs(self.directory, self.search, keep_all=settings.pop("keep_output", False))
        self.loop = Loop(
            search=self.search,
            launcher=self.launcher,
            tasks=tasks,
            outputs=outputs,
            observer=self.watcher,
            **settings,
        )

    def run(self):
        """Run the loop; return whether the search is over."""
        is_over = self.loop.run()
        self.launcher.close()
        return is_over

    def outputs(self):
        """Return the names of the kept files of the evaluations."""
        return sorted(path.name for path in (self.directory.root / "output").iterdir())


def history(search):
    """Return every suggestion with its outcome."""
    return [(search.record.suggestion(number), search.record.outcome(number)) for number in range(len(search.record))]


def undisturbed(root, study):
    """Return the history of a driver whom nothing disturbs."""
    driver = Driver(root / "undisturbed", study)
    assert driver.run()
    return history(driver.search)
