"""A file system without locks, for programs that are started with this environment."""

import os
import shutil
import subprocess

import pytest

_NO_LOCKS = """
/* Every lock fails as it does where the file system has none; all else is the C library's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

int flock(int file, int operation) { errno = ERROR; return -1; }

static int tried(const char *name, int file, int command, void *argument) {
    switch (command) {
        case F_GETLK: case F_SETLK: case F_SETLKW: case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW:
            errno = ERROR;
            return -1;
    }
    int (*real)(int, int, ...) = (int (*)(int, int, ...)) dlsym(RTLD_NEXT, name);
    return real(file, command, argument);
}

#define TRIED(name) int name(int file, int command, ...) { \\
    va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); \\
    return tried(#name, file, command, argument); }
TRIED(fcntl)
TRIED(fcntl64)
"""


@pytest.fixture(scope="session", params=["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL"])
def without_locks(request, tmp_path_factory):
    """Return the environment of programs for which every lock fails with one of the errors that say so."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to make a file system without locks with")
    directory = tmp_path_factory.mktemp(request.param)
    source, library = directory / "no_locks.c", directory / "no_locks.so"
    source.write_text(_NO_LOCKS)
    subprocess.run(["cc", "-shared", "-fPIC", f"-DERROR={request.param}", "-o", library, source, "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library)}
