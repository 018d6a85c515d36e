"""Dotted paths into a config, such as `model.activity_groups[0].encoder`.

Overrides, sweeps, saved configs, comparisons of configs and validation all resolve paths here.
"""

import ast
import dataclasses
import difflib
import functools
import re
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flaxrec.config import bounds
from flaxrec.errors import ConfigError, shown

TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_type_hints: Callable[[Any], dict[str, Any]] = functools.cache(
    functools.partial(typing.get_type_hints, include_extras=True)
)


def get(config: Any, path: str) -> Any:
    """The value at a path; raises ConfigError if there is no such field."""
    owner, key, _ = _find(config, path)
    return owner[key] if isinstance(owner, list) else getattr(owner, key)


def put(config: Any, path: str, value: Any) -> None:
    """Sets the value at a path; raises ConfigError if there is no such field or it does not fit."""
    owner, key, hint = _find(config, path)
    value = fit(hint, value, f"config.{path}")
    if isinstance(owner, list):
        owner[key] = value
    else:
        setattr(owner, key, value)


def override(config: Any, overrides: Mapping[str, str]) -> None:
    """Sets fields of the config, by path, from text such as '3', '64,32', 'true' or 'lstm'.

    Lists of names may go without quotes, as in 'genres,price'; a name with a comma needs them.

    Raises:
      ConfigError: there is no such field, or the text does not fit its type.
    """
    for path, text in overrides.items():
        put(config, path, _value(text, _find(config, path)[-1]))


def differences(a: Any, b: Any) -> list[str]:
    """Paths of the fields in which two configs differ."""
    flat_a, flat_b = _flatten(dataclasses.asdict(a)), _flatten(dataclasses.asdict(b))
    return [path for path in {**flat_a, **flat_b} if flat_a.get(path) != flat_b.get(path)]


def fit(hint: Any, value: Any, path: str) -> Any:
    """Converts a value from JSON or Python to a field's type, and checks its bound.

    Args:
      hint: the type, with or without its bound (see `bounds`): a dataclass, a list or tuple of one
        type, str, bool, int or float.
      value: for a dataclass, one of it, or a dict by field name; missing fields get their defaults.
      path: the field's name in messages.

    Raises:
      ConfigError: the value does not fit, or names an unknown field.
    """
    kind, bound = bounds.of(hint)
    if dataclasses.is_dataclass(kind):
        if isinstance(value, typing.cast(type, kind)):
            value = vars(value)
        _expect(isinstance(value, dict), path, value, "an object with the fields of the section")
        hints = _type_hints(kind)
        for name in value:
            if name not in hints:
                known = did_you_mean(str(name), hints)
                raise ConfigError(f"{path} has an unknown field {shown(name)}; {known}")
        fields = {key: fit(hints[key], item, f"{path}.{key}") for key, item in value.items()}
        return typing.cast(type, kind)(**fields)
    origin = typing.get_origin(kind) or kind
    if origin in (list, tuple):
        _expect(isinstance(value, list | tuple), path, value, "a list")
    else:
        accepted = (float, int) if kind is float else kind
        fits = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
        _expect(fits, path, value, kind.__name__)
    if bound is not None and not bound.takes(value):
        raise ConfigError(f"{path} is {shown(value)}; use {bound}.")
    if origin in (list, tuple):
        inner = typing.get_args(kind)[0]
        return origin(fit(inner, item, f"{path}[{i}]") for i, item in enumerate(value))
    return kind(value)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the closest known name, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name[:100], known, 1)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}."


def _find(config: Any, path: str) -> tuple[Any, Any, Any]:
    """(section or list that holds the value, field name or list index, the value's type)."""
    owner, key, hint, value, where = None, None, type(config), config, "config"
    for key in re.findall(r"[^.\[\]]+", path) or [""]:
        owner = value
        if isinstance(owner, list) and re.fullmatch("-?[0-9]+", key):
            if len(key) > 9 or not 0 <= int(key) < len(owner):
                raise ConfigError(f"There is no {where}[{key[:80]}]; items are numbered from 0.")
            key, where = int(key), f"{where}[{key}]"
            hint = typing.get_args(bounds.of(hint)[0])[0]
            value = owner[key]
            continue
        hints = _type_hints(type(owner)) if dataclasses.is_dataclass(owner) else {}
        if key not in hints:
            raise ConfigError(f"{where} has no field {shown(key)}; {did_you_mean(key, hints)}")
        value, where, hint = getattr(owner, key), f"{where}.{key}", hints[key]
    return owner, key, hint


def _value(text: str, hint: Any) -> Any:
    """The text parsed for a field of a type; the text itself if it does not parse."""
    kind, _ = bounds.of(hint)
    if kind is str:
        return text
    if kind is bool:
        return TRUTHS.get(text.lower(), text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the syntax, such as '\d'
        try:
            value = ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            value = text
    if typing.get_origin(kind) is not tuple:
        return value
    listed = value if isinstance(value, list | tuple) else (value,)
    if bounds.of(typing.get_args(kind)[0])[0] is not str:
        return listed
    if value != text and all(isinstance(name, str) for name in listed):
        return listed
    return _names(text)  # without quotes, or with numbers, such as positions of columns


def _names(text: str) -> tuple[str, ...]:
    """The names in 'a,b', '(a,b)' or 'a'; none in ''."""
    bare = text.strip()
    if "," in bare and bare[0] + bare[-1] in ("()", "[]"):
        bare = bare[1:-1]
    return tuple(name.strip() for name in bare.split(",") if name.strip())


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        parts = [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        parts = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for name, item in parts for key, leaf in _flatten(item, name).items()}


def _expect(fits: bool, path: str, value: Any, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{path} is {shown(value)}; expected {expected}.")
