"""The errors a user can cause: one sentence each, naming what, where and the remedy."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class FlaxrecError(Exception):
    """Base of all errors whose message is meant for the user, without a stack trace."""


class ConfigError(FlaxrecError):
    """A configuration field or command-line value that cannot be used."""


class DataError(FlaxrecError):
    """A data file, line or column that cannot be used, or data that leave nothing to do."""


class TrainingError(FlaxrecError):
    """Training that cannot start or go on: a foreign workdir, a loss that is not finite."""


class ExportError(FlaxrecError):
    """An export that cannot be made, does not agree with the model, or cannot be read."""


def reason(error: Exception) -> str:
    """What a library says of an error, on one line and not longer than a sentence may be."""
    return (" ".join(str(error).split()) or repr(error))[:200]


@contextlib.contextmanager
def write_errors_as(
    kind: type[FlaxrecError], path: Path, remedy: str = "use another --output"
) -> Iterator[None]:
    """Turns what the file system refuses while a file or folder is written into one sentence."""
    try:
        yield
    except OSError as error:
        culprit = path
        if isinstance(error.filename, str) and path.is_relative_to(error.filename):
            culprit = Path(error.filename)  # a folder above it
        raise kind(f"{culprit} cannot be written ({error.strerror or error}); {remedy}.") from error
