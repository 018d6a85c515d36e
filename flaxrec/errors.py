"""Errors that a user can cause: one sentence each, with the problem, its place and the remedy."""

import contextlib
import errno
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MOST = 80  # characters of a foreign value in a message
_LONGEST = 800  # characters of a message


def printable(text: str) -> str:
    r"""A foreign text as a terminal may show it: characters that are not `str.isprintable` escaped.

    Among them are escape sequences, line breaks, NUL, and marks that change the direction of
    writing. Spaces of all kinds stay.

    >>> printable("Heat\x07")
    'Heat\\x07'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or (c.isspace() and c > "\x85" and c not in "\u2028\u2029")
        else ascii(c)[1:-1]
        for c in text
    )  # fmt: skip


def shown(value: Any, most: int = _MOST) -> str:
    """A foreign value for a message: `repr`, printable, at most so many characters.

    >>> shown("x" * 100, 10)
    "'xxxxxxxx…"
    """
    if isinstance(value, str | bytes | list | tuple) and len(value) > most:
        value = value[:most]  # not the repr of 50 MB
    try:
        text = printable(repr(value))
    except (ValueError, RecursionError):  # an int of thousands of digits; lists in lists
        return f"too long {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shortened(message: str) -> str:
    """A message, printable, without the middle of a long one: the remedy stands at its end."""
    half = _LONGEST // 2
    if len(message) > _LONGEST:  # before megabytes are made printable
        message = f"{message[:half]}…{message[-half:]}"
    text = printable(message)
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half:]}"


class FlaxrecError(Exception):
    """Base of all errors whose message is shown to the user without a stack trace.

    As text, it is `shortened`: what a file holds does not reach the terminal as it is.
    """

    def __str__(self) -> str:
        return shortened(super().__str__())


class ConfigError(FlaxrecError):
    """A configuration field or command-line value that cannot be used."""


class DataError(FlaxrecError):
    """A data file, line or column that cannot be used, or too little data."""


class TrainingError(FlaxrecError):
    """Training that cannot start or continue: another run's folder, a loss that is not finite."""


class ExportError(FlaxrecError):
    """An export that cannot be made, disagrees with the model, or cannot be read."""


class DiskError(FlaxrecError, OSError):
    """A file or folder that the system does not let flaxrec write: no room, no permission."""


def show_unforeseen(error: Exception) -> None:
    """Prints the traceback of an error that is no FlaxrecError, where other work goes on after it.

    A sweep goes on with the next run, `parity` with the next stage.
    """
    if not isinstance(error, FlaxrecError):
        traceback.print_exception(error)


def reason(error: BaseException) -> str:
    """A library error's message on one line, at most 200 characters."""
    return (" ".join(str(error).split()) or repr(error))[:200]


# ---- what the system refuses ----------------------------------------------------------------

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
# No fault of the program, whichever file it was about.
_BY_THE_SYSTEM = NO_ROOM | {errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM}
_BY_THE_SYSTEM |= {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMFILE}

_FIRST = dict.fromkeys((errno.EACCES, errno.EPERM), "allow it")
_FIRST |= dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), "move what is there")
_FIRST |= {errno.ENAMETOOLONG: "use a shorter name"}


def system_error(error: Exception) -> int | None:
    """The number of an error for which the system is to blame, or the disk; None for others.

    Libraries that write in native code raise errors of their own, which quote the system.
    """
    number = getattr(error, "errno", None)
    if number is None:
        quoted = (n for n in _BY_THE_SYSTEM if os.strerror(n) in str(error))
        number = next(quoted, None)
    return number if number in _BY_THE_SYSTEM else None


def refused_by_system(error: OSError) -> str | None:
    """A sentence for an error of the system that names its file, or of a full disk; else None."""
    number = system_error(error)
    if number is None or (error.filename is None and number not in NO_ROOM):
        return None
    place = "The output" if error.filename is None else os.fsdecode(error.filename)
    return _refusal(place, "used", number, "use another file or folder")


@contextlib.contextmanager
def write_errors_as(
    kind: type[FlaxrecError],
    path: Path,
    remedy: str = "use another --output",
    link: Path | None = None,
) -> Iterator[None]:
    """Turns what the system refuses while `path` is written into a sentence.

    Errors of other files pass, and those for which the program is to blame.

    Args:
      kind: the error to raise, with the file, the reason and a remedy.
      path: the file or folder.
      remedy: where the disk is not full.
      link: another path of the same folder, by which a library writes to it.
    """
    try:
        yield
    except Exception as error:
        cause = error
        if isinstance(error, DiskError):
            if not isinstance(error.__cause__, Exception):
                raise kind(str(error)) from error
            cause = error.__cause__  # told again, with this remedy
        elif isinstance(error, FlaxrecError):
            raise
        number, culprit = system_error(cause), path
        if (name := getattr(cause, "filename", None)) is not None:
            name = Path(os.fsdecode(name))
            if link and name.is_relative_to(link):
                name = path / name.relative_to(link)
            if not _concerns(name, path) and number not in NO_ROOM:
                raise
            number = number or getattr(cause, "errno", None)
            culprit = name if path.is_relative_to(name) else path
        if number is None:
            raise
        raise kind(_refusal(culprit, "written", number, remedy)) from cause


def _concerns(name: Path, path: Path) -> bool:
    """Whether a file is `path`, in it, above it, or what `files.whole` has beside it."""
    beside = os.path.join(os.fsencode(path.parent), b"." + os.fsencode(path.name)[:100])
    is_beside = os.fsencode(name).startswith(beside)
    return path.is_relative_to(name) or name.is_relative_to(path) or is_beside


def _refusal(place: Path | str, what: str, number: int, remedy: str) -> str:
    if number in NO_ROOM:
        remedy = "free some room there and run the same command again"
    elif number == errno.EIO:
        remedy = "check the disk, then run the same command again"
    elif number in _FIRST:
        remedy = f"{_FIRST[number]}, or {remedy}"
    return f"{place} cannot be {what} ({os.strerror(number)}); {remedy}."
