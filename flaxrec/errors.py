"""The errors a user can cause: one sentence each, naming what, where and the remedy."""


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
