"""Finds a config file by path or shipped name, executes it once and applies overrides."""

import dataclasses
import difflib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from flaxrec.config import own_code, paths
from flaxrec.config.tree import CodeConfig, Config
from flaxrec.errors import ConfigError

# Config names of version 0.1 -> today's.
_RENAMED = {
    "movielens_attention": "compact:attention",
    "movielens_bow": "example_networks:bow",
    "movielens_cnn": "example_networks:cnn",
    "movielens_lstm": "example_networks:lstm",
}
SHIPPED = Path(__file__).resolve().parents[2] / "configs"  # only in a clone


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
    given, _, variant = name.partition(":")
    stem = Path(given).stem
    suffix = re.sub(r"[^\w.]+", "-", variant).strip("-")
    renamed = stem in _RENAMED and not Path(given).is_file()
    if renamed:
        warnings.warn(
            f"The config {stem} is called {_RENAMED[stem]} now; use that name.",
            FutureWarning,
            stacklevel=2,
        )
        new, _, first = _RENAMED[stem].partition(":")
        given = str(Path(given).with_stem(new))
        variant = f"{first},{variant}"
    source = _find(given)
    module = load_module(source, "config")
    if not hasattr(module, "get_config"):
        raise ConfigError(f"The config file {source} has no function get_config().")
    config = module.get_config(variant) if variant else module.get_config()
    if not isinstance(config, Config):
        raise ConfigError(f"get_config() must return flaxrec.config.Config, not {type(config)}.")
    if renamed:
        config.name = stem  # run folders begun under the old name resume
    own_code.attach(config, source)
    paths.override(config, overrides or {})
    return Loaded(config, source, f"{stem}-{suffix}" if suffix else stem)


def load_config(name: str | Path, overrides: Mapping[str, str] | None = None) -> Config:
    """The config of `FILE[:VARIANT]`; FILE may be a shipped name; see `load`."""
    return load(str(name), overrides).config


def execute_own(name: str, code: CodeConfig) -> None:
    """Executes the config file that defines the run's own encoders and losses, named as for `load`.

    Raises:
      ConfigError: the file does not exist or has another SHA-256.
    """
    file = _find(name.partition(":")[0])
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
    if not file.is_file():
        raise ConfigError(
            f"There is no {kind} file {str(file)!r}; configs/ holds the shipped ones."
        )
    try:
        return own_code.execute(file)
    except SyntaxError as error:
        raise ConfigError(
            f"The {kind} file {error.filename}, line {error.lineno}, is not valid Python: "
            f"{error.msg}."
        ) from error


def _find(given: str) -> Path:
    """The file with that path or shipped name."""
    file, shipped = Path(given), SHIPPED / f"{given}.py"
    if file.is_file() or not re.fullmatch(r"\w+", given):
        return file
    if shipped.is_file():
        return shipped
    near = difflib.get_close_matches(given, [path.stem for path in SHIPPED.glob("*.py")], 1)
    hint = f"did you mean {near[0]!r}?" if near else "configs/ holds the shipped ones."
    raise ConfigError(f"There is no config file {given!r}; {hint}")
