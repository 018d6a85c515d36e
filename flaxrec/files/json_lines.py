"""JSON lines: one object a line."""

import contextlib
import io
import json
import logging
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flaxrec.errors import DiskError, write_errors_as
from flaxrec.files.whole import lock, whole_file, write_whole

CHECKSUM = "crc32"  # the last field of a row of a `JsonLog`


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


def checksum_of(row: Mapping[str, Any]) -> str:
    """CRC-32 of a row as JSON with sorted fields, hexadecimal; how it is written does not count."""
    return f"{zlib.crc32(json.dumps(row, sort_keys=True).encode()):08x}"


class JsonLog:
    """A file of JSON lines that one process at a time appends to, each with its checksum.

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
            self._file = _locked(path)
            if keep_bytes is None:
                self._file.seek(0)
                keep_bytes = self._file.readall().rfind(b"\n") + 1
            self._file.truncate(min(keep_bytes, self._file.seek(0, os.SEEK_END)))
            self.bytes = self._file.seek(0, os.SEEK_END)  # length of the file

    def write(self, *rows: dict[str, Any]) -> None:
        """Appends rows and syncs them to disk; a file that was deleted meanwhile is made again."""
        as_read = [json.loads(json.dumps(row)) for row in rows]
        lines = [json.dumps(row | {CHECKSUM: checksum_of(row)}) + "\n" for row in as_read]
        self._stay()
        with self._told():
            file = self._file.fileno()
            write_whole(file, "".join(lines).encode())
            os.fsync(file)
            self.bytes = self._file.tell()

    def _stay(self) -> None:
        """Sees to it that what is written can be found."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path)):
                return
        if self._path.parent.is_dir() and not os.path.lexists(self._path):
            logging.warning("%s was deleted; it is written again.", self._path)
            with self._told():
                self._file.seek(0)
                content = self._file.readall()
                self._file.close()
                self._file = _locked(self._path)
                write_whole(self._file.fileno(), content)
            return
        raise DiskError(
            f"{self._path} was removed or replaced while it was written; restore it, or start "
            "again in a new folder."
        )

    def close(self) -> None:
        """Closes the file and frees the lock."""
        self._file.close()

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return write_errors_as(DiskError, self._path, "use another folder")


def _locked(path: Path) -> io.FileIO:
    """A file to append to, locked until it is closed."""
    file = open(path, "a+b", buffering=0)  # noqa: SIM115
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DiskError(f"{path} is no regular file; move it, or use another folder.")
        lock(file)
    except (BlockingIOError, DiskError):
        file.close()
        raise
    return file
