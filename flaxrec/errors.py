"""Errors that a user can cause: one sentence each, with the problem, its place and the remedy."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MOST = 80  # characters of a foreign value in a message


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


class FlaxrecError(Exception):
    """Base of all errors whose message is shown to the user without a stack trace.

    As text, it is printable: what a file holds does not reach the terminal as it is.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(FlaxrecError):
    """A configuration field or command-line value that cannot be used."""


class DataError(FlaxrecError):
    """A data file, line or column that cannot be used, or too little data."""


class TrainingError(FlaxrecError):
    """Training that cannot start or continue: another run's folder, a loss that is not finite."""


class ExportError(FlaxrecError):
    """An export that cannot be made, disagrees with the model, or cannot be read."""


def show_unforeseen(error: Exception) -> None:
    """Prints the traceback of an error that is no FlaxrecError, where other work goes on after it.

    A sweep goes on with the next run, `parity` with the next stage.
    """
    if not isinstance(error, FlaxrecError):
        traceback.print_exception(error)


def reason(error: Exception) -> str:
    """A library error's message on one line, at most 200 characters."""
    return (" ".join(str(error).split()) or repr(error))[:200]


@contextlib.contextmanager
def write_errors_as(
    kind: type[FlaxrecError], path: Path, remedy: str = "use another --output"
) -> Iterator[None]:
    """Turns an OSError while writing `path` into a `kind` that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        culprit = path
        if isinstance(error.filename, str) and path.is_relative_to(error.filename):
            culprit = Path(error.filename)  # a folder above it
        raise kind(f"{culprit} cannot be written ({error.strerror or error}); {remedy}.") from error
