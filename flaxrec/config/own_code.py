"""Encoders and losses of a person's own: what a config file outside the package brings.

A config file that has a dict `ENCODERS` or `LOSSES` is kept with the config, as its name, text and
SHA-256 (`config.code`). The code itself is found by that checksum among the files that were named
in this process; it is never executed from a saved config.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from flaxrec.config.tree import CodeConfig, Config
from flaxrec.errors import ConfigError

TABLES = ("ENCODERS", "LOSSES")
_named: dict[str, ModuleType] = {}  # by checksum


def attach(config: Config, file: Path, module: ModuleType) -> Config:
    """Notes in the config which file its own code is from.

    Args:
      config: of the file's get_config.
      file: the config file.
      module: what its execution made.

    Returns:
      The config, with `code` filled in where the file brings encoders or losses.
    """
    if any(getattr(module, name, None) for name in TABLES):
        text = file.read_text(encoding="utf-8")
        code = CodeConfig(file.name, hashlib.sha256(text.encode()).hexdigest(), text)
        _named[code.sha256] = module
        config.code = code
    return config


def table(code: CodeConfig, name: str) -> Mapping[str, Any]:
    """The encoders ('ENCODERS') or losses ('LOSSES') of a config's own file, by name.

    Raises:
      ConfigError: the file has not been named in this process.
    """
    if not code.sha256:
        return {}
    if code.sha256 not in _named:
        raise ConfigError(
            f"The run was made with encoders or losses of {code.file}, which is executed only "
            f"where it is named; give --config=FILE, a file that equals it (SHA-256 {code.sha256}; "
            "its text stands in config.json under code.text)."
        )
    return getattr(_named[code.sha256], name, None) or {}
