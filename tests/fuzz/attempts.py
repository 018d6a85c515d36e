"""One bad input and what a command answers to it."""

import collections
import dataclasses
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from flaxrec.errors import FlaxrecError
from tests.support.faults import Answer, answer
from tests.support.places import ROOT


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A command with an input that is probably bad.

    Attributes:
      what: the input, such as 'metadata.json: top_k is "x"'.
      argv: arguments of `flaxrec`, or a function: it returns, raises a FlaxrecError, or has a
        fault. It is no process.
      names: one of these stands in the sentence if the command refuses.
      right: whether an answer with status 0 is right; None: any is.
    """

    what: str
    argv: tuple[object, ...] | Callable[[], object]
    names: tuple[object, ...]
    right: Callable[[Answer], bool] | None = None


_LONGEST = 300  # seconds of a command in this process

# Changes what is in the folder and yields the attempt, again and again; it is run before the next.
Target = Callable[[random.Random, Path], Iterator[Attempt]]


@dataclasses.dataclass
class Found:
    """What a search found.

    Attributes:
      tried: number of attempts.
      refused: of these, those that ended in a sentence.
      faults: inputs by fault; of a traceback its error and the line in flaxrec.
    """

    tried: int = 0
    refused: int = 0
    faults: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )


def search(
    attempts: Iterator[Attempt], most: int, seconds: float = 1e9, in_process: bool = True
) -> Found:
    """Runs so many attempts, or as long, and notes what is no sentence, or a wrong result."""
    found, end = Found(), time.monotonic() + seconds
    signal.signal(signal.SIGALRM, _hangs)
    while found.tried < most and time.monotonic() < end:
        attempt = next(attempts)
        if callable(attempt.argv) and not in_process:
            continue
        found.tried += 1
        try:
            signal.alarm(_LONGEST if in_process else 0)
            if callable(attempt.argv):
                given = _called(attempt.argv)
            else:
                given = answer(*attempt.argv) if in_process else _as_process(attempt.argv)
            signal.alarm(0)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of polars is no Exception
            signal.alarm(0)
            found.faults[_place(error)].append(attempt.what)
            continue
        if given.status == 0:
            if attempt.right is not None and not attempt.right(given):
                found.faults["wrong result"].append(attempt.what)
            continue
        found.refused += 1
        try:
            given.refused(attempt.names)
        except AssertionError as error:
            found.faults[f"no sentence: {str(error)[:200]}"].append(attempt.what)
    return found


def _called(function: Callable[[], object]) -> Answer:
    try:
        return Answer(0, str(function()), "")
    except FlaxrecError as error:
        return Answer(2, "", f"flaxrec: {error}\n")


def _hangs(*_: object) -> None:
    raise TimeoutError(f"the command takes more than {_LONGEST} s")


def _as_process(argv: tuple[object, ...]) -> Answer:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "flaxrec", *map(str, argv)],
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        cwd=ROOT,
        timeout=600,
        check=False,
    )
    return Answer(ended.returncode, ended.stdout, ended.stderr)


def _place(error: BaseException) -> str:
    own = [f for f in traceback.extract_tb(error.__traceback__) if "/flaxrec/" in f.filename]
    where = f"{own[-1].filename.rpartition('/flaxrec/')[2]}:{own[-1].lineno}" if own else "outside"
    return f"{type(error).__name__} at {where}"
