"""Which cluster of Dask, and what an evaluation needs of it."""

import math
from dataclasses import dataclass, field

from crayai.hpo.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Dask:
    """A cluster of Dask.

    Attributes:
        address: Of the scheduler, such as ``tcp://node1:8786``; empty: not by its address.
        scheduler_file: The file that the scheduler has written; empty, as the address: workers on this machine.
        resources: Of a worker, that an evaluation takes, such as ``GPU=1``.
        slots: How many at once; None: as many as the workers have threads, or resources, at the time.
        needs: How much an evaluation takes of each resource.

    Raises:
        SettingsError: A setting that cannot be.
    """

    address: str = ""
    scheduler_file: str = ""
    resources: str = ""
    slots: int | None = None
    needs: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.address and self.scheduler_file:
            raise SettingsError(
                f"dask_address and dask_scheduler_file name one scheduler each, give one of them: got {self.address!r} "
                f"and {self.scheduler_file!r}"
            )
        for part in filter(str.strip, self.resources.split(",")):
            name, _, number = part.partition("=")
            self.needs[name.strip()] = _amount(number, self.resources)

    @property
    def is_local(self) -> bool:
        """Whether the workers are our own."""
        return not (self.address or self.scheduler_file)


def _amount(text: str, resources: str) -> float:
    """Return how much is taken of a resource.

    Raises:
        SettingsError: It is no number, or nothing.
    """
    try:
        amount = float(text)
    except ValueError:
        amount = 0.0
    if not 0 < amount < math.inf:
        raise SettingsError(
            f"dask_resources must be NAME=NUMBER with commas between, numbers above 0, got {resources!r}"
        )
    return amount
