"""What the panel says of a model: its size, its form, how well it ranks and by which protocol."""

from collections.abc import Mapping
from typing import Any

_ENCODERS = {
    "bow": "bag of words",
    "cnn": "CNN",
    "causal_cnn": "causal CNN",
    "lstm": "LSTM",
    "attention": "self-attention",
}
_METRIC = "recall@10"


def of(metadata: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The panel's figures.

    Args:
      metadata: metadata.json.
      size: bytes of model.tflite.

    Returns:
      `name`, `recipe` ('float32' or the quantisation's), `bytes`, `encoder`, `candidates`,
      `contextLength`, `topK`, and `recall`: null or as `_recall` says.
    """
    recipe = (metadata.get("quantization") or {}).get("recipe", "none")
    encoders = dict.fromkeys(metadata.get("encoder", []))
    return {
        "name": metadata.get("name", ""),
        "recipe": "float32" if recipe == "none" else recipe,
        "bytes": size,
        "encoder": " + ".join(_ENCODERS.get(name, name) for name in encoders),
        "candidates": metadata.get("candidates"),
        "contextLength": metadata["context_length"],
        "topK": metadata["top_k"],
        "recall": _recall(metadata),
    }


def _recall(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """recall@10 on test labels.

    Returns:
      `value`; `protocol`, of the split; `labels`, how many; `filtered`: the same with seen items
      left out, or null; `of`: 'this file', or 'the model before quantisation' where nothing else
      was measured.
    """
    metrics = metadata.get("metrics") or {}
    if not metrics:
        return None
    protocol, values = next(iter(metrics.items()))
    labels = (metadata.get("labels") or {}).get(protocol) or {}
    count = labels.get("labels") if isinstance(labels, Mapping) else labels
    quantization = metadata.get("quantization") or {}
    test = quantization.get("test")
    if quantization.get("recipe", "none") == "none":
        value, filtered, of = values.get(_METRIC), values.get(f"filtered/{_METRIC}"), "this file"
    elif isinstance(test, Mapping) and _METRIC in test:
        value, filtered, of, count = test[_METRIC], None, "this file", test.get("labels", count)
    else:
        value, filtered = values.get(_METRIC), values.get(f"filtered/{_METRIC}")
        of = "the model before quantisation"
    if value is None:
        return None
    return {
        "value": value,
        "protocol": protocol,
        "labels": count,
        "filtered": filtered,
        "of": of,
    }
