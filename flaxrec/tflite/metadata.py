"""An export's metadata: metadata.json, its excerpt in the file, the graph's output names."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxrec.data import moments
from flaxrec.errors import ExportError, shown
from flaxrec.files import inside, recover
from flaxrec.files.json_schema import misfit
from flaxrec.files.reading import read_bytes
from flaxrec.files.strict_json import parse_json
from flaxrec.files.sums import sums_of
from flaxrec.tflite.metadata_schema import SCHEMA

IDS = "top_prediction_ids"
SCORES = "top_prediction_scores"
# An input and its source: float32 [rows of the label vocabulary], added to the logits.
CANDIDATE_MASK = "candidate_mask"
LEFT_OUT = -1e9  # in it, of what must not be shown; below every logit, but finite
METADATA = "metadata.json"

FORMAT = 1  # of the export folder; grows when readers must change; version 0.1.0 wrote none

_AS_IT_IS = ("name", "encoder", "top_k")
_CUT_OFF = ("recall@10", "ndcg@10")
_METRICS = (*_CUT_OFF, *(f"filtered/{name}" for name in _CUT_OFF))
_EQUALITY = ("contexts", "agree", "max_score_difference", "tolerance", "compared")
_DIGITS = 4  # significant digits of metrics and differences
_OWN = "sha256"  # of metadata.json itself: of its other fields
_REMEDY = "export again, or copy the whole export folder"


def read_metadata(folder: Path) -> dict[str, Any]:
    """Reads metadata.json of an export.

    Raises:
      ExportError: the folder is no export or too new, or the file does not fit `SCHEMA` or was
        changed after it was written.
    """
    file, metadata = _read(folder)
    if wrong := misfit(metadata, SCHEMA):
        raise ExportError(f"{file} does not fit: {wrong}; {_REMEDY}.")
    if metadata.get(_OWN, own := _sha256(metadata)) != own:
        raise ExportError(
            f"{file} was changed after it was written; {_REMEDY}, or remove its field {_OWN!r} to "
            "have it read unchecked."
        )
    return metadata


def is_export(folder: Path) -> bool:
    """Whether a folder is an export that this version knows, perhaps a damaged one."""
    try:
        _read(folder)
    except ExportError:
        return False
    return True


def columns_left_out(metadata: Mapping[str, Any]) -> list[str]:
    """The columns that --item_fields left out of the items."""
    return (metadata.get("items") or {}).get("left_out") or []


def left_out_column(column: str) -> str:
    """Says of such a column why it is not there."""
    return (
        f"{shown(column)}, which the export left out (--item_fields); export again with "
        "--item_fields=full."
    )


def _read(folder: Path) -> tuple[Path, dict[str, Any]]:
    """metadata.json of an export: its path and content, of which nothing else is checked."""
    recover(folder)
    file = folder / METADATA
    if not file.exists():
        inner = folder / "export"
        is_run = (inner / file.name).exists()
        hint = f"; give {inner}." if is_run else "; give the folder of an export, as RUN/export."
        raise ExportError(f"{folder} is not an export of flaxrec: it has no metadata.json{hint}")
    content = read_bytes(inside(folder, METADATA, folder), ExportError, _REMEDY)
    metadata = parse_json(content, file, ExportError, _REMEDY)
    keys = ("inputs", "label_vocabulary", "top_k")
    if not isinstance(metadata, dict) or any(key not in metadata for key in keys):
        raise ExportError(f"{file} is not an export's: it has no {', '.join(keys)}; {_REMEDY}.")
    written = metadata.get("format", 0)
    if isinstance(written, int) and written > FORMAT:
        raise ExportError(
            f"{file} has format {written}, and this version of flaxrec reads up to {FORMAT}; "
            "install a newer flaxrec, or export again."
        )
    return file, metadata


def write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Writes metadata.json, the last file of an export: it notes all others in `files`."""
    (folder / METADATA).unlink(missing_ok=True)
    whole = {**_plain(metadata), "files": sums_of(folder)}
    whole.pop(_OWN, None)
    text = json.dumps(whole | {_OWN: _sha256(whole)}, indent=2, ensure_ascii=False)
    (folder / METADATA).write_text(f"{text}\n", encoding="utf-8", newline="\n")


def _sha256(metadata: Mapping[str, Any]) -> str:
    """Of all other fields, however they are written."""
    others = {name: value for name, value in metadata.items() if name != _OWN}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """The value as JSON holds it: a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---- the excerpt in the file ------------------------------------------------------------------


def in_file(metadata: dict[str, Any]) -> dict[str, Any]:
    """The excerpt of metadata.json that is stored inside the .tflite.

    Returns:
      `inputs` and `outputs`: the vocabulary (file; None: numbers) by name, in the file's order;
      `metrics` by protocol, at 10 only, of the model before quantisation; `quantization`: the
      recipe and, with test labels, the relative loss of recall; `versions` of the libraries;
      `time`, where an input is of times; `files`, the SHA-256 of the vocabularies by name, if
      `metadata` has them; the rest as in metadata.json. Some 800 bytes for a model of ids only.
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
    files = metadata.get("files") or {}
    names = dict.fromkeys([*(s["vocabulary"] for s in metadata["inputs"]), *vocabulary_of.values()])
    sums = {name: files[name]["sha256"] for name in names if name in files}
    of_times = any(spec.get("source") in moments.SOURCES for spec in metadata["inputs"])
    return {
        **{name: metadata[name] for name in _AS_IT_IS},
        "inputs": {spec["name"]: spec["vocabulary"] for spec in metadata["inputs"]},
        "outputs": {s["name"]: vocabulary_of.get(s["name"]) for s in metadata["outputs"]},
        **({"time": metadata["time"]} if of_times and metadata.get("time") else {}),
        **({"files": sums} if sums else {}),
        "metrics": metrics,
        "quantization": {"recipe": quantization["recipe"], **loss},
        "versions": {n: v for n, v in metadata["versions"].items() if n != "python"},
        "config_sha256": metadata["config_sha256"],
        "equality": {name: _short(equality[name]) for name in _EQUALITY},
    }


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
