"""Files and folders that are there whole or not at all, and locks.

A writer writes to `.NAME.PID` beside the target, syncs it to disk and then renames it to the
target. It holds a lock meanwhile, so that the next writer of the target removes what a dead process
left, but not what a living one still writes. (A process id alone is ambiguous in containers and on
shared file systems.) Where locks are not available, such leftovers stay.
"""

import contextlib
import ctypes
import hashlib
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from flaxrec.errors import DiskError, write_errors_as

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_REMEDY = "use another folder"
_LONGEST = 200  # bytes of a name; file systems take 255
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # <fcntl.h> and <linux/fs.h>


# ---- whole files ----------------------------------------------------------------------------


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces `path` when the block succeeds.

    Readers see the old file or the whole new one. If the block fails, the old file stays. What is
    no file, such as /dev/stdout, is written to and stays.

    Raises:
      DiskError: it cannot be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with write_errors_as(DiskError, path, _REMEDY), open(path, "wb") as device:
            yield device
        return
    with _beside(path, Path.touch) as new, open(new, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()  # Windows cannot rename an open file
        os.replace(new, path)
        _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file in UTF-8; line ends stay as they are; raises DiskError."""
    with whole_file(path) as file:
        file.write(text.encode())


def write_whole(handle: int, content: bytes) -> None:
    """Writes all of the content: a disk that is nearly full takes a part, and then says why."""
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


# ---- whole folders --------------------------------------------------------------------------


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which replaces `path` when the block succeeds.

    Linux exchanges the old folder and the new one in one step. Elsewhere the path is absent between
    two renames; `recover` restores it if the process dies just then. If the block fails, the old
    folder stays, and the new one and the parents made for it are removed. If the path is a link,
    the folder replaces the link.

    Raises:
      DiskError: the path is a file, or cannot be written.
    """
    if os.path.exists(path) and not path.is_dir():
        raise DiskError(f"{path} is a file; move it, or use another folder.")
    made = [parent for parent in path.absolute().parents if not os.path.exists(parent)]
    try:
        with write_errors_as(DiskError, path, _REMEDY):
            path.parent.mkdir(parents=True, exist_ok=True)
        recover(path)
        with folder_beside(path) as new:
            yield new
            for inside in new.rglob("*"):
                _sync(inside)
            _sync(new)
            _put_in_place(new, path)
            _sync(path.parent)
    finally:
        if not os.path.exists(path):
            for parent in made:  # the innermost first
                with contextlib.suppress(OSError):
                    parent.rmdir()


def folder_beside(path: Path) -> contextlib.AbstractContextManager[Path]:
    """An empty folder beside `path`, removed when the block ends."""
    return _beside(path, Path.mkdir)


def recover(path: Path) -> None:
    """Restores a folder whose writer died between two renames, see `whole_folder`."""
    if os.path.lexists(path):
        return
    for old in _remains(path, "old."):
        with _locked(old, wait=True), contextlib.suppress(OSError):
            if not os.path.lexists(path):
                os.rename(old, path)


def _put_in_place(new: Path, path: Path) -> None:
    """Moves `new` to `path`, and what was at `path`, if anything, to `new`."""
    while not _exchange(new, path):
        if os.path.lexists(path):
            if not _replace_by_two(new, path):
                continue
            return
        try:
            os.rename(new, path)
            return
        except OSError:
            if not os.path.lexists(path):
                raise  # otherwise another writer was faster


def _replace_by_two(new: Path, path: Path) -> bool:
    """False if the path came back between the renames, by `recover` where nothing is locked."""
    aside = _aside(path)
    old = path.with_name(f"{aside}.old{new.name.removeprefix(aside)}")
    with _locked(path):  # `recover` waits for it
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            if os.path.lexists(path):
                _remove(old)
                return False
            raise
        finally:
            if not os.path.lexists(path):  # also when interrupted
                os.rename(old, path)
        os.rename(old, new)
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths in one step; False if the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    paths = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other)
    return rename is not None and rename(*paths, _RENAME_EXCHANGE) == 0


# ---- beside the target ----------------------------------------------------------------------


@contextlib.contextmanager
def _beside(path: Path, make: Callable[..., None]) -> Iterator[Path]:
    """A new, locked file or folder beside `path`; whatever is there at the end is removed.

    Raises:
      DiskError: the system does not let it be written, here or in the block.
    """
    with write_errors_as(DiskError, path, _REMEDY), _locked_beside(path, make) as new:
        yield new


@contextlib.contextmanager
def _locked_beside(path: Path, make: Callable[..., None]) -> Iterator[Path]:
    for left in _remains(path):
        with _locked(left) as ours:
            if ours:
                _remove(left)
    for number in itertools.count():
        tail = f".{number}" if number else ""
        new = path.with_name(f"{_aside(path)}.{os.getpid()}{tail}")
        try:
            make(new, exist_ok=False)
        except FileExistsError:
            continue
        with _locked(new, wait=True) as ours:
            if not ours and not new.exists():
                continue  # another writer removed it as a leftover before the lock
            try:
                yield new
            finally:
                _remove(new)
            return


def _aside(path: Path) -> str:
    """What the names of files and folders beside `path` begin with; short enough for a number."""
    name = os.fsencode(path.name)
    if len(name) <= _LONGEST:
        return f".{path.name}"
    return f".{os.fsdecode(name[:100])}.{hashlib.sha256(name).hexdigest()[:32]}"


def _remains(path: Path, kind: str = r"(old\.)?") -> list[Path]:
    """Files and folders that writers of `path` left beside it or still write."""
    pattern = re.compile(rf"{re.escape(_aside(path))}\.{kind}\d+(\.\d+)?")
    with contextlib.suppress(OSError):
        names = filter(pattern.fullmatch, os.listdir(path.parent))
        return [path.with_name(name) for name in sorted(names)]
    return []


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Locks a file or folder; yields whether it is locked and still there."""
    if fcntl is None:  # nothing stays open: Windows cannot rename or remove an open file
        yield False
        return
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open(path, os.O_RDONLY)
            stack.callback(os.close, handle)
            locked = lock(handle, wait=wait)
            ours = locked and os.path.samestat(os.fstat(handle), os.stat(path))
        except OSError:  # locked by another process, or gone
            ours = False
        yield ours


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    """Syncs a file's content or a folder's entries to disk."""
    if os.name != "posix" or path.is_symlink():
        return
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        if not path.is_dir():  # not every folder can be synced, or listed
            raise


# ---- locks ----------------------------------------------------------------------------------


def lock(file: IO | int, *, wait: bool = False) -> bool:
    """Locks an open file until it is closed or the process dies.

    Args:
      file: the file, or its descriptor. NFS locks only what is open for writing.
      wait: whether to wait while another process holds it.

    Returns:
      Whether it is locked. Windows is without these locks, and so are some network file systems.

    Raises:
      BlockingIOError: another process holds it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:  # such as ENOLCK or EOPNOTSUPP
        return False
    return True
