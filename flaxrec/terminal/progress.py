"""Progress of long work: a bar on a terminal, a line every 15 seconds in a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 15.0
_silent = False


def silence() -> None:
    """Shows nothing from now on: another process does the same work and shows it."""
    global _silent
    _silent = True


@contextlib.contextmanager
def progress(
    what: str, total: int | None, unit: str, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Shows on stderr the work done, its rate and the remaining time.

    Both are of the work after the first part of it, which may also have compiled or connected.

    Args:
      what: the work, such as 'epoch 1/5'.
      total: amount of work; None if unknown.
      unit: unit of the amounts, such as 'labels'.
      done: amount done before this process.

    Yields:
      A function that takes the amount done since its last call.
    """
    if _silent:
        yield lambda amount: None
        return
    if not sys.stderr.isatty():
        yield _lines(what, total, unit, done)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%  {task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
    rate_after = _Rate()
    with bar:
        task = bar.add_task(what, total=total, completed=done, rate="")

        def advance(amount: int) -> None:
            rate = rate_after(amount)
            bar.update(task, advance=amount, rate=f"{rate:,.0f} {unit}/s")

        yield advance


class _Rate:
    """Amount a second, without the first part as soon as there is a second."""

    def __init__(self) -> None:
        self._start, self._first, self._new = time.perf_counter(), 0, 0

    def __call__(self, amount: int) -> float:
        now = time.perf_counter()
        self._new += amount
        rate = (self._new - self._first) / max(now - self._start, 1e-9)
        if not self._first:
            self._start, self._first = now, amount
        return rate


def _lines(what: str, total: int | None, unit: str, done: int) -> Callable[[int], None]:
    last = time.perf_counter()
    rate_after, new = _Rate(), 0

    def advance(amount: int) -> None:
        nonlocal last, new
        new += amount
        rate, now = rate_after(amount), time.perf_counter()
        if now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        far = f"{done + new:,}" if total is None else f"{done + new:,} of {total:,}"
        left = "" if total is None else f", {(total - done - new) / rate:,.0f} s left"
        line = f"{what}: {far} {unit}, {rate:,.0f} {unit}/s{left}"
        print(line, file=sys.stderr, flush=True)

    return advance
