"""Trackers of one's own, such as MLflow or Weights & Biases: they get each row of metrics.jsonl.

A tracker is named by an import path in config.train.loggers. It is imported when a run is trained
or goes on, never when one is read or exported.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from flaxrec.config import Config
from flaxrec.errors import ConfigError, shown

_WHERE = "config.train.loggers"


class Logger(Protocol):
    """What `NAME` of `module:NAME` returns, called with the config and the run folder."""

    def log(self, row: dict[str, Any]) -> None:
        """Takes a row of metrics.jsonl. After a kill, rows since the checkpoint come again."""

    def close(self) -> None:
        """Is called once, at the end or after an error."""


Begin = Callable[[Config, Path], Logger]


def begin(config: Config, workdir: Path) -> list[Logger]:
    """Begins the loggers of a run that starts or goes on; raises ConfigError as `found`."""
    return [begin_one(config, workdir) for begin_one in found(config)]


def found(config: Config) -> list[Begin]:
    """The functions or classes that begin the loggers; imports their modules.

    Raises:
      ConfigError: a module cannot be found, or does not have the name.
    """
    return [_found(path) for path in config.train.loggers]


def _found(path: str) -> Begin:
    module, colon, name = path.partition(":")
    if not (colon and name and all(part.isidentifier() for part in module.split("."))):
        raise ConfigError(f"{_WHERE} has {shown(path)}; use MODULE:NAME, such as trackers:MLflow.")
    try:
        begin = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{_WHERE} has {shown(path)}, and Python finds no module {error.name!r}; install it, "
            "or add its folder to PYTHONPATH."
        ) from error
    if not callable(begin):
        raise ConfigError(
            f"{_WHERE} has {shown(path)}, but {module} has no function or class {shown(name)}; "
            "define it there."
        )
    return begin
