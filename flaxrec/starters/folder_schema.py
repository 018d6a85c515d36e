"""JSON Schemas of a starter's figures.json and spec.json, for `flaxrec.files.json_schema`."""

from typing import Any

from flaxrec.starters.card import METRICS

_NUMBER, _TEXT, _FLAG = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53}
_ROWS = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_PAIR = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_NAME = "^[a-z][a-z0-9_]*$"


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _object(**required: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required}


def _of_each(schema: dict[str, Any]) -> dict[str, Any]:
    return _object(**dict.fromkeys(METRICS, schema))


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": 10_000}


_PART = _object(part=_TEXT, labels=_COUNT, metrics=_of_each(_NUMBER), moment=_of_each(_NUMBER))
_LATENCY = _object(
    reference=_TEXT,
    ratio=_NUMBER,
    interval=_PAIR,
    calls=_COUNT,
    threads=_COUNT,
    device=_TEXT,
    litert=_TEXT,
)
_MEASURED = {
    "type": "object",
    "additionalProperties": _NUMBER,
    "anyOf": [
        {"title": "empty", "additionalProperties": False},
        {"title": f"an object of {', '.join(METRICS)}", "required": list(METRICS)},
    ],
}
_FILE = _object(recipe=_TEXT, bytes=_COUNT, metrics=_MEASURED, latency=_or_null(_LATENCY))
_FILE["properties"] |= {
    "unknown": {"type": "object", "additionalProperties": _of_each(_NUMBER)},
    "by_since": {"type": "array", "items": _PART},
}
_SUM = _object(bytes=_COUNT, sha256=_TEXT)

FACTS = _object(
    parameters=_COUNT,
    name={"type": "string", "pattern": _NAME, "description": "small letters, digits and '_'"},
    protocol=_TEXT,
    labels=_object(labels=_COUNT, repeated_share=_NUMBER, without_training_event=_COUNT),
    seeds=_list(_COUNT),
    measured_on=_TEXT,
    recipe=_TEXT,
    bytes=_or_null(_COUNT),
    metrics=_of_each(
        _object(seeds=_list(_NUMBER), mean=_NUMBER, deviation=_NUMBER, next_run=_PAIR)
    ),
    trained=_of_each(_NUMBER),
    step=_or_null(_COUNT),
    epochs={"type": "array", "items": _or_null(_COUNT)},
    training=_object(
        device=_or_null(_TEXT),
        seconds=_NUMBER,
        side_by_side=_COUNT,
        revision=_or_null(_TEXT),
        versions={"type": "object", "additionalProperties": _TEXT},
    ),
    file=_or_null(_FILE),
)
FACTS["properties"]["files"] = {"type": "object", "additionalProperties": _SUM}

_INPUT = _object(
    name=_TEXT,
    source=_TEXT,
    type={"type": "string", "enum": ["INT", "STRING", "FLOAT"]},
    length={**_ROWS, "minimum": 1, "maximum": 2**24},
    rows=_ROWS,
    vocabulary={"type": "string", "pattern": r"^(\w[\w.-]*)?$", "description": "a file's name"},
    multi_valued=_FLAG,
    default=_NUMBER,
)
_INPUT["additionalProperties"] = False
_CLOCK = _object(unit={"type": "string", "enum": ["s", "ms", "us", "ns", "none"]})
_CLOCK["properties"] |= {"zone": _TEXT, "resolution": _COUNT, "dates": _FLAG, "moments": _FLAG}
_CLOCK["additionalProperties"] = False

SPEC = _object(inputs=_list(_INPUT), candidates={**_ROWS, "minimum": 1}, first_candidate=_ROWS)
SPEC["properties"]["clock"] = _or_null(_CLOCK)
SPEC["additionalProperties"] = False
