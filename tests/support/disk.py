"""A disk that fails, or kills, at a chosen write: `disk.c`, compiled and preloaded."""

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).with_name("disk.c")


@functools.cache
def library() -> Path | None:
    """The compiled library; None where it cannot be made."""
    compiler = shutil.which("cc")
    if compiler is None or os.name != "posix":
        return None
    made = Path(tempfile.mkdtemp(prefix="flaxrec-disk-")) / "disk.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl", "-pthread"]
    done = subprocess.run(command, capture_output=True, check=False)
    return made if not done.returncode else None


def environment() -> dict[str, str]:
    """The environment of a process in which `watched` works."""
    return os.environ | {"LD_PRELOAD": str(library())}


@contextlib.contextmanager
def watched(
    folder: Path, at: int = 0, error: int = 0, *, lasts: bool = False, copies: Path | None = None
) -> Iterator[list[str]]:
    """Watches what this process writes in a folder, in Python and in native code.

    Args:
      folder: the folder.
      at: the number of the write, from 1, that fails; 0: none.
      error: the system's error number; 0 kills the process instead.
      lasts: whether the following ones fail as well.
      copies: a folder; the watched one is copied to it as '1', '2' and so on before each write,
        which is what a kill leaves there.

    Yields:
      A list that has the calls, as 'mkdir /a', when the block ends.
    """
    preloaded, calls = ctypes.CDLL(None), list[str]()
    preloaded.disk_calls.restype = ctypes.c_char_p
    copied = b"" if copies is None else os.fsencode(copies)
    preloaded.disk_watch(os.fsencode(folder), at, error, lasts, copied)
    try:
        yield calls
    finally:
        calls += os.fsdecode(preloaded.disk_calls()).splitlines()
        preloaded.disk_watch(b"", 0, 0, 0, b"")
