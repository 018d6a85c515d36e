"""Writes `android/` of an export folder: files for the Android app of the TensorFlow example.

The app feeds two inputs by position, the picks' ids and their genres, and reads two outputs by
position. The item ids in these files are the graph's vocabulary rows. If there are more picks than
an input takes, the app feeds the first ones; `flaxrec.Recommender` feeds the last.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxrec.data.vocabulary import Vocabulary
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES

_TOP_K_SHOWN = 10
_GENRES = "item.genres"
_KNOWN = {"item.id": "movieFeature", _GENRES: "genreFeature"}
_MODEL, _MOVIES = "recommendation.tflite", "sorted_movie_vocab.json"
_GENRE_LIST = "movie_genre_vocab.txt"
NO_MASK = f"that app cannot fill the input {CANDIDATE_MASK}"


def obstacle(
    model: bytes,
    inputs: list[dict[str, Any]],
    label_vocabulary: str,
    vocabularies: dict[str, Vocabulary],
) -> str | None:
    """Says why the app cannot use a finished .tflite; None if it can.

    `inputs` and `label_vocabulary` are as in metadata.json, `vocabularies` by name.

    Raises:
      ExportError: the model is no .tflite.
    """
    by_source = {spec["source"]: spec for spec in inputs}
    if CANDIDATE_MASK in by_source:
        return NO_MASK
    foreign = [spec["name"] for spec in inputs if spec["source"] not in _KNOWN]
    if foreign:
        return f"the app knows item ids and genres only, not {', '.join(foreign)}"
    if len(by_source) < len(inputs):
        return "the app fills each of its inputs once, but two inputs have the same source"
    if "item.id" not in by_source:
        return "the app needs an input of item ids"
    if by_source["item.id"]["vocabulary"] != label_vocabulary:
        return (
            "the app knows an item by one number, but the ids of the context and the "
            "recommended ones have vocabularies of their own"
        )
    if _GENRES in by_source:
        lines = _vocabulary(by_source[_GENRES], vocabularies).entries
        if any(not line or "\r" in line for line in lines):
            return "the app reads a genre a line, but one is empty or has a line break"
    return _obstacle_in_tensors(model)


def write(
    folder: Path,
    model: bytes,
    inputs: list[dict[str, Any]],
    items: list[dict[str, Any]],
    rows: list[int],
    vocabularies: dict[str, Vocabulary],
) -> None:
    """Writes the model, config.json and the two lists; reads positions and lengths from the model.

    Args:
      folder: created here; must not exist.
      model: the finished .tflite, for which `obstacle` returns None.
      inputs: as in metadata.json.
      items: rows of items.jsonl, most frequent first.
      rows: their vocabulary rows.
      vocabularies: by name.
    """
    folder.mkdir()
    (folder / _MODEL).write_bytes(model)
    config = _config(model, inputs)
    genres = [item.get("genres") for item in items]
    genres_of = [[g for g in _as_list(value) if g is not None] for value in genres]
    for spec in inputs:
        if spec["source"] == _GENRES:
            config["genreList"] = _GENRE_LIST
            vocabulary = _vocabulary(spec, vocabularies)
            names, genres_of = _as_the_app_reads(spec, vocabulary, genres)
            Vocabulary(tuple(names)).write(folder / _GENRE_LIST)
    movies = [
        {
            "title": item.get("title") or str(item["id"]),
            "id": row,
            "genres": named,
            "count": item.get("count", 0),
        }
        for item, row, named in zip(items, rows, genres_of, strict=True)
    ]
    (folder / _MOVIES).write_text(
        json.dumps(movies, ensure_ascii=False), encoding="utf-8", newline="\n"
    )
    (folder / "config.json").write_text(
        json.dumps(config, indent=2) + "\n", encoding="utf-8", newline="\n"
    )


def _obstacle_in_tensors(model: bytes) -> str | None:
    tensors, outputs = flatbuffer.ends(model)
    shapes = [tensor["shape"] for tensor in (*tensors, *outputs)]
    if any(len(shape) != 1 for shape in shapes):
        return "the app feeds and reads lists, but the graph has inputs or outputs of other shapes"
    if any(tensor["dtype"] != "int32" for tensor in tensors):
        return "the app feeds int32 numbers only"
    found = {tensor["name"]: tensor["dtype"] for tensor in outputs}
    if found != {IDS: "int32", SCORES: "float32"} or shapes[-1] != shapes[-2]:
        return "the app reads one list of int32 ids and one of float32 scores"
    return None


def _config(model: bytes, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    tensors, outputs = flatbuffer.ends(model)
    name_of = {spec["name"]: _KNOWN[spec["source"]] for spec in inputs}
    index_of = {tensor["name"]: index for index, tensor in enumerate(outputs)}
    top_k = outputs[index_of[IDS]]["shape"][0]
    return {
        "model": _MODEL,
        "inputs": [
            {"name": name_of[spec["name"]], "index": index, "inputLength": spec["shape"][0]}
            for index, spec in enumerate(tensors)
        ],
        "movieList": _MOVIES,
        "topK": min(_TOP_K_SHOWN, top_k),
        "outputLength": top_k,
        "outputIdsIndex": index_of[IDS],
        "outputScoresIndex": index_of[SCORES],
        "pad": 0,
        "unknownGenre": 0,
        "favoriteListSize": 100,
    }


def _as_the_app_reads(
    spec: dict[str, Any], vocabulary: Vocabulary, values: Sequence[Any]
) -> tuple[list[str], list[list[str]]]:
    """Returns the lines of the genre list, and each item's genres by these names.

    A line's number is the genre's row. For a name without a line the app feeds padding, but the
    graph needs the 'unknown' row. That row follows the last genre, so it gets a line with a name.
    """
    padding, *known = vocabulary.entries
    names = ["UNK" if "UNK" not in known else padding, *known]
    unknown = "unknown"
    while unknown in names:
        unknown += "_"
    # A single-valued input has one value for each item, even for an item without a genre.
    genres_of = [vocabulary.lookup(_as_list(v) if spec["multi_valued"] else [v]) for v in values]
    if any(len(names) in rows for rows in genres_of):
        names.append(unknown)
    return names, [[names[row] for row in rows] for rows in genres_of]


def _vocabulary(spec: dict[str, Any], vocabularies: dict[str, Vocabulary]) -> Vocabulary:
    return vocabularies[Path(spec["vocabulary"]).stem]


def _as_list(genres: Any) -> list[Any]:
    if isinstance(genres, list):
        return genres
    return [str(genres)] if genres else []
