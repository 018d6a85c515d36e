"""Files of strangers, read safely: regular files alone, and bounds of what they unpack to."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flaxrec.errors import FlaxrecError

MOST_BYTES = 2**31 - 1  # of a file that is read whole; no .tflite is larger
_FLOOR, _RATIO = 1 << 30, 100  # bytes, and bytes for each packed one


def own_path(name: str | os.PathLike) -> Path:
    """The path of that name; '~' stands for a home folder where nothing has the name itself."""
    path = Path(name)
    if not os.path.lexists(path):
        with contextlib.suppress(RuntimeError):  # no such user, or one without a home
            return path.expanduser()
    return path


def opened(path: str | os.PathLike) -> BinaryIO:
    """Opens a regular file to read; does not wait for the other end of a pipe.

    Raises:
      OSError: it cannot be opened; or it is a pipe, a device or a folder.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except ValueError as error:  # NUL in the name, or what the file system cannot write
        raise OSError(errno.EINVAL, f"no file has such a name: {error}", str(path)) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


_BINARY = getattr(os, "O_BINARY", 0)  # Windows


@contextlib.contextmanager
def read_errors_as(
    kind: type[FlaxrecError], path: str | os.PathLike, remedy: str
) -> Iterator[None]:
    """Turns an OSError while reading `path` into a `kind` that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        culprit = error.filename if isinstance(error.filename, str | os.PathLike) else path
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        what = "is missing" if is_missing else f"cannot be read ({error.strerror or error})"
        raise kind(f"{os.fspath(culprit)} {what}; {remedy}.") from error


def read_bytes(
    path: Path, wrong: type[FlaxrecError], remedy: str, size: int | None = None
) -> bytes:
    """The content of a regular file.

    Args:
      path: the file.
      wrong: the error to raise.
      remedy: the end of its sentence.
      size: its bytes, if they are known; a file of another size is not read.

    Raises:
      FlaxrecError: `wrong`; it is missing, is no file, has another size or cannot be read.
    """
    with read_errors_as(wrong, path, remedy), opened(path) as file:
        found = os.fstat(file.fileno()).st_size
        if size is not None and found != size:
            raise wrong(f"{path} has {found:,} bytes instead of {size:,}; {remedy}.")
        if found > MOST_BYTES:
            raise wrong(f"{path} has {found:,} bytes, too many to read; {remedy}.")
        return file.read()


def most_unpacked(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unpack to: 1 GiB and 100 times its own size.

    Text and arrays stay far below; what is made to fill memory or disk grows a thousandfold.
    """
    return _FLOOR + _RATIO * packed
