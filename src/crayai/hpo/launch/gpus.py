"""Which GPUs there are, and how slots share them."""

import os
from collections.abc import Sequence
from pathlib import Path


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as for ``CUDA_VISIBLE_DEVICES``."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    return sorted((path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")), key=int)


def share_gpus(gpus: Sequence[str], slots: int) -> list[str]:
    """Return ``CUDA_VISIBLE_DEVICES`` for each slot: equal shares, or one GPU for several slots in turn.

    Nothing is bound (an empty list) where there is no GPU, or one slot has them all.
    """
    if not gpus or slots == 1:
        return []
    if len(gpus) < slots:
        return [gpus[slot % len(gpus)] for slot in range(slots)]
    share = len(gpus) // slots
    return [",".join(gpus[slot * share : (slot + 1) * share]) for slot in range(slots)]
