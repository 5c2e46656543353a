"""Finding the figure of merit in a program's output."""

import os
import re
from functools import lru_cache
from pathlib import Path

_CHUNK = 1 << 16
_OVERLAP = 1 << 10
_NUMBER = rb"(?i:[-+]?(?:inf(?:inity)?(?!\w)|nan(?!\w)|(?:\d+\.?\d*|\.\d+)(?:[ed][-+]?\d+)?))"


@lru_cache(maxsize=16)
def _pattern(marker: str) -> re.Pattern[bytes]:
    """Return what to look for: the marker, then a number, as ``0.5``, ``np.float64(0.5)``, ``[0.5]`` or ``5D-1``."""
    literal = re.escape(marker.strip().encode())
    return re.compile(literal + rb"[ \t]*[:=]?[ \t]*(?:[A-Za-z_][\w.]*\()?[\[(]*[ \t]*(" + _NUMBER + rb")")


def last_fom(output: str, marker: str) -> float | None:
    """Return the number behind the last marker that has one in the file `output`; None: there is none.

    The file is read from its end, so that a long output costs nothing. Several lines, lines of several ranks
    and lines behind a prefix are all found; the number may be infinite or not a number.
    """
    pattern = _pattern(marker)
    try:
        file = os.open(output, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        end = os.fstat(file).st_size
        while end > 0:
            start = max(0, end - _CHUNK)
            if found := pattern.findall(os.pread(file, end - start + _OVERLAP, start)):
                return float(found[-1].lower().replace(b"d", b"e"))
            end = start
        return None
    finally:
        os.close(file)


def tail(file: str, lines: int = 15) -> str:
    """Return the last `lines` of a file as text; empty where there is none."""
    try:
        with Path(file).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _CHUNK))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])
