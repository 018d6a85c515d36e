"""The small parent of a process that trains with others: it ends in a sentence, whatever happens.

JAX ends a process that has lost the others in native code, with a trace of calls. The parent stays
what a job's launcher started: it passes the first signal on, and its end is the child's.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from flaxrec.terminal import stopping

_SOCKET = "FLAXREC_WATCHED"  # in the child's environment: number of the socket to its parent
_SECONDS = 0.2  # between two looks at the child
_FIRST = b"1"
_parent: socket.socket | None = None


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
      status: as of `subprocess`, negative after a signal.
      signal: the number of the one that was passed on to it; 0: none.
      is_first: whether it said to be the first of the processes.
    """

    status: int
    signal: int
    is_first: bool

    @property
    def how(self) -> str:
        """The status in words."""
        if self.status >= 0:
            return f"status {self.status}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.status).name
        return f"signal {-self.status}"


def run(module: str, argv: Sequence[str]) -> Ended:
    """Runs a command of flaxrec as a child that calls `attend`, with this process' imports.

    Raises:
      Stopped: by a second signal, which ends the child at once.
    """
    ours, theirs = socket.socketpair()
    known = os.pathsep.join(filter(None, sys.path))
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *argv],
            env=os.environ | {_SOCKET: str(theirs.fileno()), "PYTHONPATH": known},
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C comes to the parent alone
        )
        theirs.close()
        passed_on, status = 0, None
        try:
            with stopping.later(at_end=False) as is_asked:
                while status is None:
                    if not passed_on and (passed_on := is_asked()):
                        child.send_signal(passed_on)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        status = child.wait(_SECONDS)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            return Ended(status, passed_on, ours.recv(1) == _FIRST)
    return Ended(status, passed_on, False)


def is_child() -> bool:
    """Whether this process is the child of `run`."""
    return _SOCKET in os.environ or _parent is not None


def attend() -> None:
    """Makes the child end with its parent, and leave the second signal to it."""
    global _parent
    _parent = parent = socket.socket(fileno=int(os.environ.pop(_SOCKET)))
    parent.set_inheritable(False)
    stopping.leave_second_to_parent()

    def wait() -> None:
        with contextlib.suppress(OSError):
            parent.recv(1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def tell_first() -> None:
    """Tells the parent that its child is the first of the processes."""
    if _parent is not None:
        _parent.send(_FIRST)


def leave(status: int) -> NoReturn:
    """Ends the child without waiting for others, as JAX would at the interpreter's end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
