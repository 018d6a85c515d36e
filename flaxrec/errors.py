"""Errors that a user can cause: one sentence each, with the problem, its place and the remedy."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class FlaxrecError(Exception):
    """Base of all errors whose message is shown to the user without a stack trace."""


class ConfigError(FlaxrecError):
    """A configuration field or command-line value that cannot be used."""


class DataError(FlaxrecError):
    """A data file, line or column that cannot be used, or too little data."""


class TrainingError(FlaxrecError):
    """Training that cannot start or continue: another run's folder, a loss that is not finite."""


class ExportError(FlaxrecError):
    """An export that cannot be made, disagrees with the model, or cannot be read."""


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
