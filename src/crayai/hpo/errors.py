"""Every exception that a caller may catch.

CrayaiError
├── SpaceError       a hyperparameter or a search space that cannot be (also a ValueError)
├── SettingsError    an argument, option or key that cannot be (also a ValueError)
├── LaunchError      evaluations cannot be started as asked for
├── StoreError       the log of a study cannot be read or written
│   └── StoreFull    no room for the log: nothing is lost, try again when there is room
├── StudyLocked      another driver works on this study
├── StudyChanged     the study in this directory has other settings
└── StudyFailed      the program fails whatever the hyperparameters; running on would waste the budget
"""


class CrayaiError(Exception):
    """What every error of this package is."""


class SpaceError(CrayaiError, ValueError):
    """A hyperparameter or a search space that cannot be."""


class SettingsError(CrayaiError, ValueError):
    """An argument, option or key that cannot be."""


class LaunchError(CrayaiError):
    """Evaluations cannot be started as asked for."""


class StoreError(CrayaiError):
    """The log of a study cannot be read or written."""


class StoreFull(StoreError):  # noqa: N818 - a condition that passes, not a fault
    """There is no room for the log; nothing is lost, and the same commit may be tried again."""


class StudyLocked(CrayaiError):  # noqa: N818 - reads as a sentence: the study is locked
    """Another driver works on this study."""


class StudyChanged(CrayaiError):  # noqa: N818 - likewise
    """The study in this directory has other settings."""


class StudyFailed(CrayaiError):  # noqa: N818 - likewise
    """The program fails whatever the hyperparameters."""
