"""The figures in the page's panel: a model's size, recipe, encoder, and recall with protocol."""

from collections.abc import Mapping
from typing import Any

from flaxrec.models.encoders import ENCODERS

_METRIC = "recall@10"


def describe(metadata: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The panel's figures, from metadata.json and the size of model.tflite in bytes.

    Returns:
      `name`, `recipe` ('float32' or the quantisation's), `bytes`, `encoder`, `candidates`,
      `contextLength`, `topK`, and `recall`: null or as `_recall` returns.
    """
    recipe = (metadata.get("quantization") or {}).get("recipe", "none")
    names = dict.fromkeys(metadata.get("encoder", []))
    titles = [ENCODERS[name].title if name in ENCODERS else name for name in names]
    return {
        "name": metadata.get("name", ""),
        "recipe": "float32" if recipe == "none" else recipe,
        "bytes": size,
        "encoder": " + ".join(titles),
        "candidates": metadata.get("candidates"),
        "contextLength": metadata["context_length"],
        "topK": metadata["top_k"],
        "recall": _recall(metadata),
    }


def _recall(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """recall@10 on test labels.

    Returns:
      `value` and `of`, what was measured: 'this file', or 'the model before quantisation' if the
      file was not; `filtered` and `filteredOf`, the same with seen items left out, or null;
      `protocol`, of the split; `labels` and `filteredLabels`, the number of test labels of each;
      `asked`, when the model was asked, where it knew the moment of asking.
    """
    metrics = metadata.get("metrics") or {}
    if not metrics:
        return None
    protocol, values = next(iter(metrics.items()))
    quantization = metadata.get("quantization") or {}
    labels = (metadata.get("labels") or {}).get(protocol) or {}
    all_labels = labels.get("labels") if isinstance(labels, Mapping) else labels
    is_quantised = quantization.get("recipe", "none") != "none"
    measured = "the model before quantisation" if is_quantised else "this file"
    recall = {"value": values.get(_METRIC), "of": measured, "labels": all_labels}
    test = quantization.get("test")
    if is_quantised and isinstance(test, Mapping) and _METRIC in test:
        count = test.get("labels", all_labels)
        recall = {"value": test[_METRIC], "of": "this file", "labels": count}
    if recall["value"] is None:
        return None
    filtered = values.get(f"filtered/{_METRIC}")
    has_filtered = filtered is not None
    return recall | {
        "protocol": protocol,
        **({"asked": metadata["asked"]} if metadata.get("asked") else {}),
        "filtered": filtered,
        "filteredOf": measured if has_filtered else None,
        "filteredLabels": all_labels if has_filtered else None,
    }
