"""Hides what C++ libraries write directly to stderr."""

import contextlib
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0  # blocks that run now, in all threads
_saved = -1  # where file descriptor 2 led before the first of them


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what is written to file descriptor 2 inside the block; exceptions still pass.

    The descriptor is the process's own: while threads are inside, nobody's words are heard. The
    last of them restores it.
    """
    global _inside, _saved
    with _lock:
        if not _inside:
            null = os.open(os.devnull, os.O_WRONLY)
            _saved = os.dup(2)
            os.dup2(null, 2)
            os.close(null)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                os.dup2(_saved, 2)
                os.close(_saved)
