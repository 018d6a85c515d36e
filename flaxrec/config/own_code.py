"""Encoders and losses of a person's own: what a config file outside the package brings.

A config file that has a dict `ENCODERS` or `LOSSES` is kept with the config, as its name, text and
SHA-256 (`config.code`). The code itself is found by that checksum among the files that were
executed in this process because somebody named them; it is never executed from a saved config.
"""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from flaxrec.config.tree import CodeConfig, Config
from flaxrec.errors import ConfigError

TABLES = ("ENCODERS", "LOSSES")
_executed: dict[str, ModuleType] = {}  # by checksum


def read(file: Path) -> CodeConfig:
    """What a config notes of a file."""
    text = file.read_text(encoding="utf-8")
    return CodeConfig(file.name, hashlib.sha256(text.encode()).hexdigest(), text)


def execute(file: Path) -> ModuleType:
    """Executes a Python file that the user named, once a process; whatever it raises passes.

    Raises:
      OSError: it cannot be read.
    """
    code = read(file)
    if code.sha256 not in _executed:
        module = ModuleType(f"_config_file_{code.sha256[:16]}")
        module.__file__ = str(file)
        sys.modules[module.__name__] = module  # dataclasses and pickle look their module up
        exec(compile(code.text, str(file), "exec"), module.__dict__)
        _executed[code.sha256] = module
    return _executed[code.sha256]


def attach(config: Config, file: Path) -> Config:
    """Notes in the config which file its own code is from, where the file brings any.

    Args:
      config: what get_config of the executed file returned.
      file: the config file.
    """
    if any(_table(execute(file), name) for name in TABLES):
        config.code = read(file)
    return config


def table(code: CodeConfig, name: str) -> Mapping[str, Any]:
    """The encoders ('ENCODERS') or losses ('LOSSES') of a config's own file, by name.

    Raises:
      ConfigError: no file with this checksum was executed in this process.
    """
    if not code.sha256:
        return {}
    if code.sha256 not in _executed:
        raise ConfigError(
            f"The run has encoders or losses of {code.file}, which is executed only where it is "
            f"named; give --config=FILE with a file of the SHA-256 {code.sha256} (config.json has "
            "its text under code.text)."
        )
    return _table(_executed[code.sha256], name)


def file_of(code: CodeConfig) -> Path:
    """The file that a config's own code was executed from in this process."""
    return Path(_executed[code.sha256].__file__ or "")


def _table(module: ModuleType, name: str) -> Mapping[str, Any]:
    """A dict of the module; a file may use the name for something else."""
    found = getattr(module, name, None)
    return found if isinstance(found, Mapping) else {}
