"""Paths that are taken for something else: for patterns, or for files of another folder."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from flaxrec.errors import DiskError, ExportError, shown, write_errors_as

# Patterns, escapes and 'gs:' are not among them; nor is what a library may not pass on.
_PLAIN = re.compile(r"[\w/.,=+@ -]*")


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """The folder under a path that means itself to Orbax and TensorFlow too.

    They take [ ] * ? for patterns, a backslash for a separator, 'gs:' for another file system. The
    path is the folder's own, or a link to it that lives as long as the block.

    Raises:
      DiskError: there is no temporary folder for the link.
    """
    if _PLAIN.fullmatch(str(folder)):
        yield folder
        return
    with temporary_folder() as place:
        if not _PLAIN.fullmatch(str(place)):
            raise DiskError(
                f"The path {folder} has characters that libraries take for patterns, and so has "
                f"the temporary folder {place}; use another folder, or set TMPDIR to one with "
                "plain letters."
            )
        link = place / "folder"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder, removed when the block ends.

    Raises:
      DiskError: none can be made, or there is no room in it.
    """
    try:
        made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    except OSError as error:
        raise DiskError(
            f"No temporary folder can be made ({error.strerror}); set TMPDIR to a folder that can "
            "be written."
        ) from error
    with made as name, write_errors_as(DiskError, Path(name), "set TMPDIR to another folder"):
        yield Path(name)


def inside(folder: Path, name: object, told_by: Path) -> Path:
    """The path of a file in a folder, by a name that a file of a stranger tells.

    Args:
      folder: the folder.
      name: the name, of parts divided by '/'.
      told_by: the file that tells it, for the message.

    Raises:
      ExportError: the name is no text, or leads out of the folder, also by a link.
    """
    if isinstance(name, str) and name.isprintable() and name:
        # Both readings: a plain POSIX name may be a drive or hold '..' on Windows.
        windows, posix = PureWindowsPath(name), PurePosixPath(name)
        if not (windows.anchor or posix.is_absolute() or ".." in windows.parts):
            path = folder / name
            # Not `resolve`, which raises where links are a circle.
            if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
                return path
    raise ExportError(
        f"{told_by} names the file {shown(name)}, which is not in {folder}; use an export whose "
        "files are its own."
    )
