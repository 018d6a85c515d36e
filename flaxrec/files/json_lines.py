"""JSON lines: one object a line."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flaxrec.files.whole import lock


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows; values that JSON cannot hold, such as dates, become text."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


class JsonLog:
    """A file of JSON lines that one process at a time appends to.

    Args:
      path: the file; made if it does not exist.
      keep_bytes: cuts the file to this length; None: to its last whole line, since a killed writer
        may leave a torn one.

    Raises:
      BlockingIOError: another process appends to it.
    """

    def __init__(self, path: Path, keep_bytes: int | None = None):
        self._file = open(path, "a+b")  # noqa: SIM115
        try:
            lock(self._file)
        except BlockingIOError:
            self._file.close()
            raise
        if keep_bytes is None:
            self._file.seek(0)
            keep_bytes = self._file.read().rfind(b"\n") + 1
        self._file.truncate(min(keep_bytes, self._file.seek(0, os.SEEK_END)))
        self._file.seek(0, os.SEEK_END)

    def write(self, *rows: dict[str, Any]) -> None:
        """Appends rows and syncs them to disk."""
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def bytes(self) -> int:
        """Length of the file in bytes."""
        return self._file.tell()

    def close(self) -> None:
        """Closes the file and frees the lock."""
        self._file.close()
