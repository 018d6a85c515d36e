"""Paths that are taken for something else: for patterns, or for files of another folder."""

import contextlib
import glob
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from flaxrec.errors import ExportError, shown


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """The folder under a path without [ ] * and ?, which Orbax and TensorFlow take for patterns.

    That is the path itself, or a link to it that lives as long as the block.
    """
    if not glob.has_magic(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / "folder"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


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
            if path.resolve().is_relative_to(folder.resolve()):
                return path
    raise ExportError(
        f"{told_by} names the file {shown(name)}, which is not in {folder}; use an export whose "
        "files are its own."
    )
