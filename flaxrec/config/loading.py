"""Finds a config or sweep file by path or shipped name; executes it once; applies overrides."""

import contextlib
import dataclasses
import difflib
import inspect
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from flaxrec.config import own_code, paths
from flaxrec.config.tree import CodeConfig, Config
from flaxrec.errors import ConfigError, shown

# Config names of version 0.1 -> today's.
_RENAMED = {
    "movielens_attention": "compact:attention",
    "movielens_bow": "example_networks:bow",
    "movielens_cnn": "example_networks:cnn",
    "movielens_lstm": "example_networks:lstm",
}


def shipped(folder: str) -> Path:
    """The folder `configs`, `configs/sweeps` or `models` of the installed package or the clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "shipped" / folder
    return installed if installed.is_dir() else package.parent / folder


_PLACES = {"config": "configs", "sweep": "configs/sweeps"}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A config, not validated yet, and its file.

    Attributes:
      config: what the file's get_config returned, with the overrides applied.
      source: the file.
      run: default name of its run: NAME[-VARIANT].
    """

    config: Config
    source: Path
    run: str


def load(name: str, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Executes a config file and applies the overrides.

    Args:
      name: FILE[:VARIANT]; FILE may be the name of a shipped config.
      overrides: text by dotted path, see `paths.override`.

    Raises:
      ConfigError: the file does not exist or returns no Config, or an override does not fit.
    """
    given, variant = _parts(name)
    stem = Path(given).stem
    suffix = re.sub(r"[^\w.]+", "-", variant).strip("-")
    renamed = stem in _RENAMED and not os.path.isfile(given)
    if renamed:
        warnings.warn(
            f"The config {stem} is called {_RENAMED[stem]} now; use that name.",
            FutureWarning,
            stacklevel=2,
        )
        new, _, first = _RENAMED[stem].partition(":")
        given = str(Path(given).with_stem(new))
        variant = f"{first},{variant}"
    source = find(given)
    module = load_module(source, "config")
    arguments = [variant] if variant else []
    config = function_of(module, "get_config", *arguments)(*arguments)
    if not isinstance(config, Config):
        raise ConfigError(
            f"get_config() must return flaxrec.config.Config, not {shown(config)}; return one in "
            f"{source}."
        )
    if renamed:
        config.name = stem  # run folders begun under the old name resume
    own_code.attach(config, source)
    paths.override(config, overrides or {})
    if config.recipe == "by_data":
        config.set_by_hand = (*config.set_by_hand, *(overrides or {}))
    return Loaded(config, source, f"{stem}-{suffix}" if suffix else stem)


def load_config(name: str | Path, overrides: Mapping[str, str] | None = None) -> Config:
    """The config of `FILE[:VARIANT]`; FILE may be a shipped name; see `load`."""
    return load(str(name), overrides).config


def execute_own(name: str, code: CodeConfig) -> None:
    """Executes the config file that defines the run's own encoders and losses, named as for `load`.

    Raises:
      ConfigError: the file does not exist or has another SHA-256.
    """
    file = find(_parts(name)[0])
    if file.is_file() and own_code.read(file).sha256 != code.sha256:
        raise ConfigError(
            f"{file} is not the file of the run; give {code.file} with the SHA-256 {code.sha256}."
            if code.sha256
            else "The run has no encoders or losses of its own; leave --config out."
        )
    load_module(file, "config")


def load_module(file: Path, kind: str) -> ModuleType:
    """Executes a Python file that the user named, once per process; see `own_code.execute`.

    Messages call it by its `kind`, 'config' or 'sweep'.

    Raises:
      ConfigError: the file does not exist or is not valid Python.
    """
    if not os.path.isfile(file):  # False, too, for a name that is too long
        raise _missing(str(file), kind)
    try:
        return own_code.execute(file)
    except SyntaxError as error:
        raise ConfigError(
            f"The {kind} file {error.filename or file}, line {error.lineno}, is not valid Python: "
            f"{error.msg}; correct it."
        ) from error


def function_of(module: ModuleType, name: str, *arguments: object) -> Callable[..., Any]:
    """The function of a config or sweep file; what it raises itself passes through.

    Raises:
      ConfigError: there is none, or it does not take these arguments.
    """
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{module.__file__} has no function {name}(); write one.")
    try:
        with contextlib.suppress(ValueError):  # a function of C may have no signature
            inspect.signature(function).bind(*arguments)
    except TypeError as error:
        given = ", ".join(map(shown, arguments)) if name == "get_config" else "add"
        raise ConfigError(
            f"{name}() of {module.__file__} cannot be called as {name}({given}) ({error}); change "
            f"its parameters{', or leave the variant out' if name == 'get_config' else ''}."
        ) from error
    return function


def _parts(name: str) -> tuple[str, str]:
    """FILE and VARIANT of FILE[:VARIANT]; the colon of a drive, as in C:/mine.py, is the file's."""
    drive = name[:2] if re.match(r"[A-Za-z]:[\\/]", name) else ""
    file, _, variant = name.removeprefix(drive).partition(":")
    return drive + file, variant


def find(given: str, kind: str = "config") -> Path:
    """The file with that path, or the shipped one of that name.

    Raises:
      ConfigError: there is no such name. A path that does not exist is returned.
    """
    if os.path.isfile(given) or not re.fullmatch(r"\w+", given):
        return Path(given)
    file = shipped(_PLACES[kind]) / f"{given}.py"
    if not os.path.isfile(file):
        raise _missing(given, kind)
    return file


def _missing(given: str, kind: str) -> ConfigError:
    """The error for a file that is not there."""
    names = sorted(path.stem for path in shipped(_PLACES[kind]).glob("*.py"))
    name = Path(given).stem
    near = difflib.get_close_matches(name[:100], names, 1)
    hint = f"shipped by name are {', '.join(names)}."
    if name in names:
        hint = f"for the shipped one, give its name alone, {name}."
    elif near:
        hint = f"did you mean {near[0]!r}?"
    return ConfigError(f"There is no {kind} file {shown(given)}; {hint}")
