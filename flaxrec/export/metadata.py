"""What an export says of itself: metadata.json, and the names of the graph's outputs."""

import json
from pathlib import Path
from typing import Any

from flaxrec.errors import ExportError

IDS = "top_prediction_ids"
SCORES = "top_prediction_scores"


def read_metadata(folder: Path) -> dict[str, Any]:
    """metadata.json of an export; raises ExportError if the folder is none."""
    file = folder / "metadata.json"
    if not file.exists():
        raise ExportError(f"{folder} is not an export of flaxrec: no metadata.json.")
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{file} is not valid JSON ({error}); export again.") from error
    keys = ("inputs", "label_vocabulary", "top_k")
    if not isinstance(metadata, dict) or any(key not in metadata for key in keys):
        raise ExportError(f"{file} is not an export's; it has no {', '.join(keys)}.")
    return metadata
