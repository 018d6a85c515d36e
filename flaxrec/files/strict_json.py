"""JSON of strangers: what Python's own reader lets pass is refused in one sentence."""

import json
import math
import re
from typing import Any

from flaxrec.errors import FlaxrecError, shown

_DEEPEST = 64  # lists and objects in each other
_LONG = re.compile(r"[0-9]{19}")  # has perhaps more than 64 bits


def parse_json(content: bytes, where: object, wrong: type[FlaxrecError], remedy: str) -> Any:
    """The value of a JSON text in UTF-8; NaN and infinities, which are no JSON, become None.

    Args:
      content: the text.
      where: the file, or its line, for the message.
      wrong: the error to raise.
      remedy: the end of its sentence.

    Raises:
      FlaxrecError: `wrong`; it is no UTF-8 or no JSON, nested too deep, has a field twice, a number
        of more than 64 bits, or half of a character.
    """
    try:
        text = content.decode()
        value = (_CHECKED if _LONG.search(text) else _PLAIN).decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
        if text.count("[") + text.count("{") <= _DEEPEST or not _is_deep(value):
            return value
        what = f"has more than {_DEEPEST} lists and objects in each other"
    except RecursionError:
        what = f"has more than {_DEEPEST} lists and objects in each other"
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        what = f"is not UTF-8 ({error.reason} at {error.start})"
    except json.JSONDecodeError as error:
        what = f"is not valid JSON ({error.msg}, line {error.lineno}, column {error.colno})"
    except ValueError as error:
        what = f"is not valid JSON ({error})"
    raise wrong(f"{where} {what}; {remedy}.") from None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _whole(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"{shown(digits, 30)} has more than 64 bits")
    return number


def fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields; raises ValueError for one that stands twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {shown(twice)} stands twice")
    return made


def _is_deep(value: Any, left: int = _DEEPEST) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not left or any(_is_deep(one, left - 1) for one in inner)


_PLAIN = json.JSONDecoder(
    object_pairs_hook=fields_once, parse_float=_finite, parse_constant=_finite
)
_CHECKED = json.JSONDecoder(
    object_pairs_hook=fields_once, parse_float=_finite, parse_int=_whole, parse_constant=_finite
)
