"""The JSON Schema of metadata.json, as docs/metadata.schema.json publishes it.

Required is what readers cannot do without. Version 0.1.0 wrote neither `format`, `files` nor
`sha256`. Fields that are not named here are allowed.
"""

from typing import Any

from flaxrec.data import moments

_MOST = 2**24  # values of one context, or results of one call
_ROWS = 2**31 - 1  # ids are int32


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


def _whole(least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


def _or_null(type_name: str) -> dict[str, Any]:
    return {"type": [type_name, "null"]}


_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_NAME = {"type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f]+$", "maxLength": 500}
_METRICS = {"type": "object", "additionalProperties": _or_null("number")}
_SUM = _object(
    "bytes sha256",
    bytes=_whole(0, 2**53),
    sha256={"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "64 hexadecimal digits"},
)
_SHAPE = {"type": "array", "items": _whole(1, _MOST), "minItems": 1, "maxItems": 1}
_INPUT = {
    **_object(
        "name dtype shape vocabulary source multi_valued",
        name=_NAME,
        dtype={"type": "string", "enum": ["int32", "float32"]},
        shape=_SHAPE,
        vocabulary={"type": ["string", "null"], "pattern": "^.+$", "maxLength": 500},
        source={
            "type": "string",
            "pattern": "^((item|event|user|ask)\\..+|candidate_mask)$",
            "description": "item.NAME, event.NAME, user.NAME, ask.NAME or candidate_mask",
        },
        multi_valued=_FLAG,
        default=_or_null("number"),
    ),
    "anyOf": [
        {
            "title": "int32 with a vocabulary",
            "properties": {"dtype": {"enum": ["int32"]}, "vocabulary": {"type": "string"}},
        },
        {
            "title": f"int32 seconds of the source {moments.SECONDS_AGO}",
            "properties": {
                "dtype": {"enum": ["int32"]},
                "vocabulary": {"type": "null"},
                "source": {"enum": [moments.SECONDS_AGO]},
            },
        },
        {
            "title": "float32 with a default and no vocabulary",
            "required": ["default"],
            "properties": {
                "dtype": {"enum": ["float32"]},
                "vocabulary": {"type": "null"},
                "default": {"type": "number"},
            },
        },
    ],
}
_OUTPUT = _object(
    "name dtype shape",
    name=_NAME,
    dtype=_TEXT,
    shape={"type": "array", "items": _whole(0, _ROWS)},
)
_TIME = {
    **_object(
        "unit",
        unit={"type": "string", "enum": ["s", "ms", "us", "ns", "none"]},
        zone={
            "type": "string",
            "pattern": "^[A-Za-z0-9_+-][A-Za-z0-9_+/-]{0,99}$",
            "description": "the name of a time zone",
        },
        resolution=_whole(0, 2**63 - 1),
        dates=_FLAG,
        moments=_FLAG,
    ),
    "type": ["object", "null"],
    "additionalProperties": False,
}
_COUNT = _whole(0, 2**53)

SCHEMA: dict[str, Any] = _object(
    "inputs label_vocabulary top_k context_length flatten_keeps_oldest",
    format=_whole(0, _ROWS),
    name=_TEXT,
    inputs={"type": "array", "items": _INPUT, "minItems": 1, "maxItems": 1000},
    outputs={"type": "array", "items": _OUTPUT},
    label_vocabulary=_NAME,
    top_k=_whole(1, _MOST),
    excludes_context=_FLAG,
    trusts_ids=_FLAG,
    recommends_seen=_FLAG,
    first_events=_FLAG,
    candidates=_whole(1, _ROWS),
    items={
        **_object(
            "fields",
            fields={"type": "string", "enum": ["full", "slim", "none"]},
            left_out={"type": "array", "items": _TEXT},
            ids={"type": "string", "enum": ["integer", "text"]},
        ),
        "description": "what items.jsonl holds; none: there is no such file, and every line of the "
        "label vocabulary but that of padding is an item's id, of the type `ids`",
    },
    catalogue=_object(
        file=_TEXT,
        new=_COUNT,
        gone=_COUNT,
        gone_in_contexts=_COUNT,
        new_in_contexts=_TEXT,
        judged_labels_left_out={"type": "object", "additionalProperties": _COUNT},
        lists=_METRICS,
        metrics=_TEXT,
    ),
    warm_start=_object(name=_TEXT, run=_TEXT, step=_COUNT, config_sha256=_TEXT),
    encoder={"type": "array", "items": _TEXT},
    context_length=_whole(1, _MOST),
    flatten_keeps_oldest=_FLAG,
    time=_TIME,
    histories={
        "type": "object",
        "description": "fields of config.data by which events became histories, with their values",
    },
    metrics={"type": "object", "additionalProperties": _METRICS},
    asked=_or_null("string"),
    labels={
        "type": "object",
        "additionalProperties": {"type": ["object", "integer"], "properties": {"labels": _COUNT}},
    },
    baselines={
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": _METRICS},
    },
    step=_or_null("integer"),
    config_sha256=_TEXT,
    versions={"type": "object", "additionalProperties": _TEXT},
    min_runtime_version={
        **_object(tflite=_or_null("string"), litert=_or_null("string")),
        "description": "the oldest TensorFlow Lite and LiteRT that have the operators; null: not "
        "known",
    },
    equality={"type": "object"},
    quantization={
        **_object(
            recipe=_TEXT,
            max_recall_loss={"type": "number"},
            validation_labels=_COUNT,
            validation_hits=_COUNT,
            coarse_copy={**_FLAG, "description": "whether the candidate 'none' has coarse labels"},
            candidates={
                "type": "array",
                "items": _object(
                    "recipe",
                    recipe=_TEXT,
                    bytes=_COUNT,
                    obstacle=_TEXT,
                    recall_loss={"type": "number"},
                    recall_loss_interval={"type": "array", "items": {"type": "number"}},
                ),
            },
            test={
                "type": ["object", "string", "null"],
                "properties": {"recall@10": {"type": "number"}, "labels": _COUNT},
            },
        ),
        "type": ["object", "null"],
    },
    converter={"type": "string", "enum": ["jax2tf", "litert"]},
    saved_model=_object(supported=_FLAG, reason=_or_null("string")),
    android=_object(supported=_FLAG, reason=_or_null("string")),
    files={"type": "object", "additionalProperties": _SUM},
    sha256=_SUM["properties"]["sha256"],
)
