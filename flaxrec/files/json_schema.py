"""Checks a value of JSON by a JSON Schema, in plain Python, as the Recommender needs no library.

It knows the keywords below, of the draft 2020-12. `true` is no number, and 7.0 no whole one.
"""

import re
from collections.abc import Mapping
from typing import Any

from flaxrec.errors import shown

KEYWORDS = {
    "type", "enum", "anyOf", "pattern", "maxLength", "minimum", "maximum", "minItems", "maxItems",
    "items", "properties", "required", "additionalProperties", "title", "description",
}  # fmt: skip
_TYPES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "object": ("an object", dict),
    "array": ("a list", list),
    "string": ("a text", str),
    "boolean": ("true or false", bool),
    "integer": ("a whole number", int),
    "number": ("a number", (int, float)),
    "null": ("null", type(None)),
}


def misfit(value: Any, schema: Mapping[str, Any], where: str = "") -> str:
    """What is wrong with a value, its first fault with the place, in words; '' if nothing is.

    >>> misfit({"k": "x"}, {"properties": {"k": {"type": "integer"}}})
    "k is 'x', not a whole number"
    """
    expected = _expected(value, schema)
    if expected:
        return f"{where or 'it'} is {shown(value, 40)}, not {expected}"
    if found := _misfit_within(value, schema, where):
        return found
    if "anyOf" in schema and all(misfit(value, one, where) for one in schema["anyOf"]):
        titles = [one["title"] for one in schema["anyOf"] if "title" in one]
        return f"{where or 'it'} is not {' or '.join(titles)}"
    return ""


def _misfit_within(value: Any, schema: Mapping[str, Any], where: str) -> str:
    """The first fault of what is in a list or object."""
    if isinstance(value, list) and "items" in schema:
        for i, one in enumerate(value):
            if found := misfit(one, schema["items"], f"{where}[{i}]"):
                return found
        return ""
    if not isinstance(value, dict):
        return ""
    start = f"{where}." if where else ""
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            return f"{start}{name} is missing"
    for name, one in value.items():
        place = f"{start}{name if name.isidentifier() else shown(name, 40)}"
        if name not in known and others is False:
            return f"{place} is not known"
        of = known.get(name, others)
        if of is not True and of is not False and (found := misfit(one, of, place)):
            return found
    return ""


def _expected(value: Any, schema: Mapping[str, Any]) -> str:
    """What the value itself, apart from what is in it, should be; '' if it is that."""
    types = schema.get("type", ())
    types = [types] if isinstance(types, str) else types
    if types and not any(_is_of(value, name) for name in types):
        return " or ".join(_TYPES[name][0] for name in types)
    if "enum" in schema and value not in schema["enum"]:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            return f"at most {schema['maxLength']} characters"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return schema.get("description", f"like {schema['pattern']}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            return f"{low} or more" if value < low else f"{high} or less"
    if isinstance(value, list):
        low, high = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not low <= len(value) <= high:
            return f"a list of {low}" if low == high else f"a list of {low} to {high}"
    return ""


def _is_of(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name][1])
