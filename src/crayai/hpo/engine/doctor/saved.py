"""What a program has saved at the place of a checkpoint."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.engine.checkpoints import Size


@dataclass(frozen=True, slots=True)
class Saved:
    """What is at the place of a checkpoint.

    Attributes:
        size: What it takes of the file system.
        names: Of the files, below the place.
        digest: The same for the same names with the same contents; empty: not asked for.
    """

    size: Size
    names: tuple[str, ...]
    digest: str


def saved_at(place: Path, *, with_digest: bool = True) -> Saved:
    """Return what is below `place`; a link counts as what it says, not as what it leads to."""
    total, names, digest = Size(), [], hashlib.blake2b(digest_size=16)
    for folder, folders, files in os.walk(place):
        folders.sort()
        total += Size(0, len(folders))
        for path in (Path(folder, name) for name in sorted(files)):
            names.append(str(path.relative_to(place)))
            with suppress(OSError):
                total += Size(path.lstat().st_size, 1)
                if with_digest:
                    digest.update(f"{names[-1]}\0{path.lstat().st_size}\0".encode(errors="surrogateescape"))
                    digest.update(_content(path))
    return Saved(total, tuple(names), digest.hexdigest() if with_digest else "")


def _content(path: Path) -> bytes:
    """Return a digest of a file, or what a link says."""
    if path.is_symlink():
        return os.fsencode(path.readlink())
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
