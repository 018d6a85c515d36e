"""An export's metadata: metadata.json, its excerpt in the file, the graph's output names."""

import json
from pathlib import Path
from typing import Any

from flaxrec.data import moments
from flaxrec.errors import ExportError
from flaxrec.files import recover

IDS = "top_prediction_ids"
SCORES = "top_prediction_scores"

FORMAT = 1  # of the export folder; grows when readers must change; version 0.1.0 wrote none

_AS_IT_IS = ("name", "encoder", "top_k")
_CUT_OFF = ("recall@10", "ndcg@10")
_METRICS = (*_CUT_OFF, *(f"filtered/{name}" for name in _CUT_OFF))
_EQUALITY = ("contexts", "agree", "max_score_difference", "tolerance", "compared")
_DIGITS = 4  # significant digits of metrics and differences


def read_metadata(folder: Path) -> dict[str, Any]:
    """Reads metadata.json of an export; raises ExportError if the folder is none, or too new."""
    recover(folder)
    file = folder / "metadata.json"
    if not file.exists():
        inside = folder / "export"
        is_run = (inside / file.name).exists()
        hint = f"; give {inside}." if is_run else "; give the folder of an export, as RUN/export."
        raise ExportError(f"{folder} is not an export of flaxrec: it has no metadata.json{hint}")
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{file} is not valid JSON ({error}); export again.") from error
    keys = ("inputs", "label_vocabulary", "top_k")
    if not isinstance(metadata, dict) or any(key not in metadata for key in keys):
        raise ExportError(f"{file} is not an export's; it has no {', '.join(keys)}.")
    written = metadata.get("format", 0)
    if not isinstance(written, int) or written > FORMAT:
        raise ExportError(
            f"{file} has format {written}, and this version of flaxrec reads up to {FORMAT}; "
            "install a newer flaxrec, or export again."
        )
    return metadata


def in_file(metadata: dict[str, Any]) -> dict[str, Any]:
    """The excerpt of metadata.json that is stored inside the .tflite.

    Returns:
      `inputs` and `outputs`: the vocabulary (file; None: numbers) by name, in the file's order;
      `metrics` by protocol, at 10 only, of the model before quantisation; `quantization`: the
      recipe and, with test labels, the relative loss of recall; `versions` of the libraries;
      `time`, where an input is of times; the rest as in metadata.json. Some 700 bytes for a model
      of ids only.
    """
    vocabulary_of = {IDS: metadata["label_vocabulary"]}
    quantization = metadata.get("quantization") or {"recipe": "none"}
    test = quantization.get("test")
    loss = {"recall_loss": _short(test["recall_loss"])} if isinstance(test, dict) else {}
    metrics = {
        protocol: {name: _short(values[name]) for name in _METRICS if name in values}
        for protocol, values in metadata["metrics"].items()
    }
    equality = metadata["equality"]
    of_times = any(spec.get("source") in moments.SOURCES for spec in metadata["inputs"])
    return {
        **{name: metadata[name] for name in _AS_IT_IS},
        "inputs": {spec["name"]: spec["vocabulary"] for spec in metadata["inputs"]},
        "outputs": {s["name"]: vocabulary_of.get(s["name"]) for s in metadata["outputs"]},
        **({"time": metadata["time"]} if of_times and metadata.get("time") else {}),
        "metrics": metrics,
        "quantization": {"recipe": quantization["recipe"], **loss},
        "versions": {n: v for n, v in metadata["versions"].items() if n != "python"},
        "config_sha256": metadata["config_sha256"],
        "equality": {name: _short(equality[name]) for name in _EQUALITY},
    }


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
