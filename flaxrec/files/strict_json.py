"""JSON of strangers: what Python's own reader lets pass is refused in one sentence."""

import contextlib
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

from flaxrec.errors import FlaxrecError, shown

_DEEPEST = 64  # lists and objects in each other
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 19  # so many digits have perhaps more than 64 bits
_TOGETHER = 1_000  # lines that are parsed at once
JOINED = "\n,"  # between lines; JSON has no line break within a text


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
        value = (_CHECKED if _is_long(content) else _PLAIN).decode(text)
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


def parse_objects(
    content: bytes, file: object, wrong: type[FlaxrecError], remedy: str
) -> list[dict[str, Any]]:
    """The objects of JSON lines, one in each; the arguments are those of `parse_json`.

    Raises:
      FlaxrecError: `wrong`; what `parse_json` refuses, or a line that is no object.
    """
    *lines, last = content.split(b"\n")
    lines += [last] if last else []
    found: list[dict[str, Any]] = []
    for start in range(0, len(lines), _TOGETHER):
        some = lines[start : start + _TOGETHER]
        if (rows := _objects_at_once(some)) is None:
            rows = []
            for number, line in enumerate(some, start + 1):
                where = f"{file}, line {number}"
                rows.append(parse_json(line, where, wrong, remedy))
                if not isinstance(rows[-1], dict):
                    raise wrong(f"{where} is no object; {remedy}.")
        found += rows
    return found


def _objects_at_once(lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    content = JOINED.encode().join(lines)
    is_deep = max(map(bytes.count, lines, itertools.repeat(b"[")), default=0) >= _DEEPEST
    has_half = b"\\" in content and b"\\ud" in content.lower()
    if is_deep or has_half or _is_long(content):
        return None
    with contextlib.suppress(UnicodeDecodeError):
        return flat_objects(content.decode(), len(lines), _AT_ONCE)
    return None


def _is_long(content: bytes) -> bool:
    """Whether there may be a number of more than 64 bits; 15 times as fast as a pattern."""
    return _LONG in content.translate(_ZEROS)


def flat_objects(text: str, count: int, decoder: json.JSONDecoder) -> list[dict[str, Any]] | None:
    """The objects of lines, several times as fast as one by one.

    Args:
      text: the lines, joined by `JOINED`.
      count: of the lines.
      decoder: it has no hook for objects.

    Returns:
      None, if it is not certain that each line is one object, of which no field stands twice.
    """
    # So many braces as lines, each at the begin of one: no object is in another one.
    begins = text.startswith("{") + text.count(f"{JOINED}{{")
    if not count == begins == text.count("{"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        rows = decoder.decode(f"[{text}]")
        if len(rows) == count and set(map(type, rows)) == {dict}:
            fields = sum(map(len, rows))
            # A colon stands after each name, and perhaps elsewhere.
            if fields == text.count(":") or fields == _colons(text):
                return rows
    return None


def _colons(text: str) -> int:
    """Those that may stand after a name; at least so many as do."""
    return text.count('":') + sum(text.count(f"{s}:") for s in " \t\r" if s in text)


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
_AT_ONCE = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
