"""A user's own encoders and losses, defined in a config file outside the package.

`config.code` records the name, text and SHA-256 of a config file with a dict `ENCODERS` or
`LOSSES`. The code is looked up by that SHA-256 among the files that the user named and this process
executed; it is never executed from a saved config.
"""

import hashlib
import io
import sys
import tokenize
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from flaxrec.config.tree import CodeConfig, Config
from flaxrec.errors import ConfigError

TABLES = ("ENCODERS", "LOSSES")
_executed: dict[str, ModuleType] = {}  # by SHA-256


def read(file: Path) -> CodeConfig:
    """The record of a file for `config.code`; raises SyntaxError if its encoding is wrong."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); give another.") from error
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SyntaxError(f"it is not {encoding}", (str(file), line, None, None)) from error
    return CodeConfig(file.name, hashlib.sha256(content).hexdigest(), text)


def execute(file: Path) -> ModuleType:
    """Executes a Python file that the user named, once per process; its own errors pass through.

    Raises:
      ConfigError: the file cannot be read.
    """
    code = read(file)
    if code.sha256 not in _executed:
        module = ModuleType(f"_config_file_{code.sha256[:16]}")
        module.__file__ = str(file)
        sys.modules[module.__name__] = module  # dataclasses and pickle look their module up
        exec(_compiled(file), module.__dict__)
        _executed[code.sha256] = module
    return _executed[code.sha256]


def _compiled(file: Path) -> CodeType:
    """The code of a file; raises SyntaxError if it is none."""
    try:
        return compile(file.read_bytes(), str(file), "exec")
    except (ValueError, MemoryError, RecursionError) as error:  # NUL; brackets in brackets
        message = str(error) or "it is nested too deeply"
        raise SyntaxError(message, (str(file), 1, None, None)) from error


def attach(config: Config, file: Path) -> Config:
    """Records the file in `config.code` if it defines encoders or losses; returns the config.

    Raises:
      ConfigError: a table is no dict, or the config has code of another file already.
    """
    found = {name: getattr(execute(file), name, {}) for name in TABLES}
    for name, entries in found.items():
        if not isinstance(entries, Mapping):
            raise ConfigError(
                f"{name} of {file} is a {type(entries).__name__}; use a dict by name."
            )
    if any(found.values()):
        code = read(file)
        if config.code.sha256 not in ("", code.sha256):
            raise ConfigError(
                f"The config has code of {config.code.file} and of {file}; put the encoders and "
                "losses of a run into one file."
            )
        config.code = code
    return config


def table(code: CodeConfig, name: str) -> Mapping[str, Any]:
    """The encoders ('ENCODERS') or losses ('LOSSES') of a run's own config file, by name.

    Raises:
      ConfigError: this process executed no file with that SHA-256.
    """
    if not code.sha256:
        return {}
    if code.sha256 not in _executed:
        raise ConfigError(
            f"The run has encoders or losses of {code.file}, which is executed only where it is "
            f"named; give --config=FILE with a file of the SHA-256 {code.sha256} (config.json has "
            "its text under code.text)."
        )
    return getattr(_executed[code.sha256], name, {})


def file_of(code: CodeConfig) -> Path:
    """The file that this process executed for a config's own code."""
    return Path(_executed[code.sha256].__file__ or "")
