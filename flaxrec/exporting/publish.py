"""The export folder appears whole or not at all: filled aside, put in place by renaming."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from flaxrec.errors import ExportError, write_errors_as
from flaxrec.tflite.metadata import read_metadata


@contextlib.contextmanager
def aside(output: Path) -> Iterator[Path]:
    """A folder to fill, which takes the output's place when the block ends well.

    Otherwise nothing is left of it, nor of parents made for it; an earlier export stays whole.

    Args:
      output: the export folder; free, empty or an earlier export.

    Raises:
      ExportError: the output is something else's, or cannot be written.
    """
    if output.exists() and not _may_replace(output):
        raise ExportError(f"{output} exists and is not an export; use another --output.")
    missing = [parent for parent in output.absolute().parents if not parent.exists()]
    folder = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed, with this number
        with write_errors_as(ExportError, output.parent):
            folder.mkdir(parents=True)
        with write_errors_as(ExportError, output):
            yield folder
        put_in_place(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not output.exists():
            for parent in missing:  # the innermost first
                with contextlib.suppress(OSError):
                    parent.rmdir()


def put_in_place(folder: Path, output: Path) -> None:
    """Puts the new folder in the old one's place; the old one is whole until then."""
    old = output.with_name(f".{output.name}.old.{os.getpid()}")
    with write_errors_as(ExportError, output):
        try:
            if output.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.replace(output, old)
            os.replace(folder, output)
        except OSError:
            if old.exists() and not output.exists():
                os.replace(old, output)
            raise
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _may_replace(folder: Path) -> bool:
    """Whether a folder is empty or an earlier export."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        read_metadata(folder)
    except ExportError:
        return False
    return True
