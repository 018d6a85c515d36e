"""JSON lines: one object a line."""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flaxrec.errors import DiskError, write_errors_as
from flaxrec.files.whole import lock, whole_file, write_whole


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows, whole or not at all; raises DiskError.

    Values that JSON cannot hold, such as dates, become text.
    """
    with whole_file(path) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False, default=str) + "\n").encode())


class JsonLog:
    """A file of JSON lines that one process at a time appends to.

    Args:
      path: the file; made if it does not exist.
      keep_bytes: cuts the file to this length; None: to its last whole line, since a killed writer
        may leave a torn one.

    Raises:
      BlockingIOError: another process appends to it.
      DiskError: it cannot be written; here or later.
    """

    def __init__(self, path: Path, keep_bytes: int | None = None):
        self._path = path
        with self._told():
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
            try:
                lock(self._file)
            except BlockingIOError:
                self._file.close()
                raise
            if keep_bytes is None:
                self._file.seek(0)
                keep_bytes = self._file.readall().rfind(b"\n") + 1
            self._file.truncate(min(keep_bytes, self._file.seek(0, os.SEEK_END)))
            self.bytes = self._file.seek(0, os.SEEK_END)  # length of the file

    def write(self, *rows: dict[str, Any]) -> None:
        """Appends rows and syncs them to disk."""
        file = self._file.fileno()
        with self._told():
            write_whole(file, "".join(json.dumps(row) + "\n" for row in rows).encode())
            os.fsync(file)
            self.bytes = self._file.tell()
            if not os.fstat(file).st_nlink:
                raise DiskError(
                    f"{self._path} was removed while it was written; restore its folder, or start "
                    "again in a new one."
                )

    def close(self) -> None:
        """Closes the file and frees the lock."""
        self._file.close()

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return write_errors_as(DiskError, self._path, "allow it, or use another folder")
