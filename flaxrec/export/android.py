"""Files for the Android app of the TensorFlow example: `android/` of an export.

The app feeds two inputs, the picks' ids and their genres, by position. Its item ids here are the
graph's vocabulary rows.
"""

import json
from pathlib import Path
from typing import Any

from flaxrec.data.vocabulary import Vocabulary
from flaxrec.export.metadata import IDS, SCORES

_TOP_K_SHOWN = 10
_KNOWN = {"item.id": "movieFeature", "item.genres": "genreFeature"}


def obstacle(inputs: list[dict[str, Any]]) -> str | None:
    """Why that app cannot feed a model with these inputs (as in metadata.json); None if it can."""
    sources = [spec["source"] for spec in inputs]
    foreign = [spec["name"] for spec in inputs if spec["source"] not in _KNOWN]
    if foreign:
        return f"the app knows item ids and genres only, not {', '.join(foreign)}"
    if len(set(sources)) < len(sources):
        return "the app fills each of its inputs once, but two inputs have the same source"
    if "item.id" not in sources:
        return "the app needs an input of item ids"
    return None


def write(
    folder: Path,
    model: bytes,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    items: list[dict[str, Any]],
    rows: list[int],
    vocabularies: dict[str, Vocabulary],
) -> None:
    """Writes model, config.json and the two lists.

    Args:
      folder: made by this function.
      model: the .tflite.
      inputs: as in metadata.json, in the file's order.
      outputs: the same.
      items: rows of items.jsonl, most frequent first.
      rows: their vocabulary rows.
      vocabularies: by name.
    """
    folder.mkdir()
    (folder / "recommendation.tflite").write_bytes(model)
    output_index = {spec["name"]: index for index, spec in enumerate(outputs)}
    config: dict[str, Any] = {
        "model": "recommendation.tflite",
        "inputs": [
            {"name": _KNOWN[s["source"]], "index": index, "inputLength": s["shape"][0]}
            for index, s in enumerate(inputs)
        ],
        "movieList": "sorted_movie_vocab.json",
        "topK": _TOP_K_SHOWN,
        "outputLength": outputs[0]["shape"][0],
        "outputIdsIndex": output_index[IDS],
        "outputScoresIndex": output_index[SCORES],
        "pad": 0,
        "unknownGenre": 0,
        "favoriteListSize": 100,
    }
    for spec in inputs:
        if spec["source"] == "item.genres":
            config["genreList"] = "movie_genre_vocab.txt"
            entries = vocabularies[Path(spec["vocabulary"]).stem].entries
            Vocabulary(("UNK", *entries[1:])).write(folder / "movie_genre_vocab.txt")
    movies = [
        {
            "title": item.get("title") or str(item["id"]),
            "id": row,
            "genres": _as_list(item.get("genres")),
            "count": item.get("count", 0),
        }
        for item, row in zip(items, rows, strict=True)
    ]
    (folder / "sorted_movie_vocab.json").write_text(
        json.dumps(movies, ensure_ascii=False), encoding="utf-8"
    )
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _as_list(genres: Any) -> list[str]:
    if isinstance(genres, list):
        return genres
    return [str(genres)] if genres else []
