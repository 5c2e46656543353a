"""Makes a small root file system out of programs of this machine."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAMS = ("sh", "env", "uname", "awk", "cat", "cp", "mv", "mkdir", "rm", "sleep", "hostname", "id", "kill", "ls")
_MOUNT_POINTS = ("dev", "proc", "sys", "tmp", "run", "etc", "root", "home", "var/tmp")


def make_rootfs(root: Path, programs: Sequence[str] = PROGRAMS) -> Path:
    """Copy `programs` and the libraries that they need below `root`, with /usr as Debian has it; return it."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", *_MOUNT_POINTS):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    (root / "etc" / "inside").write_text("the image\n")
    for name in programs:
        found = shutil.which(name)
        assert found, f"{name} is not on this machine"
        shutil.copy(Path(found).resolve(), root / "usr" / "bin" / name)
        for library in _libraries(found):
            copy = root / str(library).lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                shutil.copy(library.resolve(), copy)
    return root


def _libraries(program: str) -> Iterator[Path]:
    """Yield what the loader would load, and the loader itself."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    yield from (Path(found) for found in re.findall(r"(/\S+) \(0x", said))
