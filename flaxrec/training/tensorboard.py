"""TensorBoard's event files.

Written at once, in this thread: tensorboardX's own writer has a thread, in which errors are lost.
"""

import itertools
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flaxrec.data.records.tfrecord import frame
from flaxrec.errors import DiskError, write_errors_as
from flaxrec.files import write_whole

_REMEDY = "use another --workdir"


class TensorBoard:
    """A new event file in a folder.

    Args:
      folder: made if it does not exist.
      step: hides what earlier files have of later steps.

    Raises:
      ImportError: tensorboardX is missing, which has the messages.
      DiskError: the file cannot be written; here or later.
    """

    def __init__(self, folder: Path, step: int):
        from tensorboardX.proto import event_pb2, summary_pb2  # slow to import, and optional

        self._folder, self._event, self._summary = folder, event_pb2.Event, summary_pb2.Summary
        with write_errors_as(DiskError, folder, _REMEDY):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _new_file(folder)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write({"file_version": "brain.Event:2"}, {"step": step + 1, "session_log": start})

    def write(self, step: int, scalars: Iterable[tuple[str, float]]) -> None:
        """Appends scalars, by tag."""
        values = (self._summary.Value(tag=tag, simple_value=value) for tag, value in scalars)
        self._write(*({"step": step, "summary": self._summary(value=[v])} for v in values))

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _write(self, *events: dict[str, Any]) -> None:
        now = time.time()
        made = [self._event(wall_time=now, **event).SerializeToString() for event in events]
        with write_errors_as(DiskError, self._folder, _REMEDY):
            write_whole(self._file, frame(made))


def _new_file(folder: Path) -> int:
    for second in itertools.count(int(time.time())):  # a run may be resumed within one
        name = f"events.out.tfevents.{second}.{socket.gethostname()}"
        try:
            return os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
    raise AssertionError
