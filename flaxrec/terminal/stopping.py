"""Ctrl-C and SIGTERM: a command ends and says what is saved; a second signal ends it at once."""

import atexit
import contextlib
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_WAITS = b"flaxrec: stopping once this part is saved; the same again stops at once\n"
_GRACE = 2.0  # seconds from the second signal to the end, whatever runs then


class Stopped(KeyboardInterrupt):
    """A signal ends the command; the text, if there is one, says what is saved.

    Attributes:
      number: of the signal.
    """

    def __init__(self, text: str = "", number: int = signal.SIGINT):
        super().__init__(text)
        self.number = number


class _Signals:
    def __init__(self) -> None:
        self.first = 0  # its number
        self.waits = False  # whether the first one waits, see `later`
        self.at_once = 2  # so many end the process
        self.others = sys.unraisablehook

    def arrived(self, number: int, frame: FrameType | None) -> None:
        del frame
        again, self.first = bool(self.first), self.first or number
        if again and _parent_counts:
            return
        if again or not self.waits:
            raise Stopped(number=self.first)
        if not _parent_counts:
            os.write(2, _WAITS)  # not print, which a signal may have interrupted

    def swallowed(self, what: Any) -> None:
        """Python ignores what is raised in some places, as in the callbacks of its collector."""
        if not isinstance(what.exc_value, Stopped):
            self.others(what)
            return
        self.first, self.at_once = 0, self.at_once + 1
        again = threading.Timer(0.01, signal.raise_signal, [what.exc_value.number])
        again.daemon = True
        again.start()

    def end_after_two(self, awakened: socket.socket) -> None:
        """Ends the process soon after a second signal, even where Python's own code never runs."""
        came = b""
        with awakened, contextlib.suppress(OSError):
            while more := awakened.recv(1):
                came += more if more[0] in _NUMBERS else b""
                if len(came) == self.at_once and not _parent_counts:
                    end = time.monotonic() + _GRACE  # further signals do not put it off
                    while (left := end - time.monotonic()) > 0:
                        awakened.settimeout(left)
                        with contextlib.suppress(TimeoutError):
                            if not awakened.recv(16):
                                return
                    os._exit(128 + came[0])


@functools.cache  # once a process, after what the command imported: it runs before what that does
def _end_quietly() -> None:
    """While the interpreter ends, Ctrl-C ends it at once, instead of a traceback of what ends."""

    def let_end() -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    atexit.register(let_end)


_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_current: _Signals | None = None
_parent_counts = False


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within the block, both signals raise `Stopped` in the main thread.

    Only a command calls this. A signal that is ignored, as Ctrl-C behind nohup, stays ignored.
    """
    global _current
    if _current or threading.current_thread() is not threading.main_thread():
        yield
        return
    _current = signals = _Signals()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    watch = threading.Thread(target=signals.end_after_two, args=[ours], daemon=True)
    watch.start()
    before = {n: signal.getsignal(n) for n in _NUMBERS}
    hook, sys.unraisablehook = sys.unraisablehook, signals.swallowed
    woken = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        for number in _NUMBERS:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, signals.arrived)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        if sys.unraisablehook == signals.swallowed:  # not one that was put over it
            sys.unraisablehook = hook
        theirs.close()
        _current = None
        _end_quietly()


def leave_second_to_parent() -> None:
    """A signal after the first does nothing: this process' parent ends it if it got a second.

    The one of a cluster's manager may come twice, from the manager and from the parent.
    """
    global _parent_counts
    _parent_counts = True


@contextlib.contextmanager
def later(*, at_end: bool = True) -> Iterator[Callable[[], int]]:
    """Within the block, the first signal waits; yields a function of its number, 0 before it came.

    Without one handled by `handled`, as in a notebook, nothing waits.

    Raises:
      Stopped: at the block's end, if `at_end` and a signal still waits; at once by a second signal.
    """
    signals = _current or _Signals()
    before, signals.waits = signals.waits, True
    try:
        yield lambda: signals.first
    finally:
        signals.waits = before
    if at_end and signals.first:
        raise Stopped(number=signals.first)


def stopped(text: str) -> Stopped:
    """The exception for a signal that waited, with what is saved."""
    return Stopped(text, _current.first if _current and _current.first else signal.SIGINT)
