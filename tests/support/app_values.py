"""An export folder made by hand, and values as apps have them with the numbers they stand for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec import recommender as recommender_lib
from flaxrec.recommender import Recommender
from flaxrec.tflite.metadata import write_metadata

BIG = 1234567890123456768
ITEMS: list[dict[str, Any]] = [
    {
        "id": BIG,
        "title": "One",
        "count": 9,
        "brand": 9007199254740993,
        "price": 0.12345678901234567,
    },
    {"id": BIG + 1, "title": None, "count": 8, "brand": 9007199254740992, "price": None},
    {"id": BIG + 2, "title": f'A "{BIG + 1}" \\', "count": 7, "brand": None, "price": 1e22},
    {"id": -BIG, "count": 6, "brand": 7},
]
VOCABULARIES = {
    "item": [str(item["id"]) for item in ITEMS],
    "brand": ["9007199254740993", "9007199254740992", "7"],
    "liked": ["true", "false"],
    "written": ["True", "False"],  # a text file's own cells
    "flag": ["1", "0"],
    "since": ["2024-05-31T18:30:00", "2024-05-31T18:30:00.250000", "2024-06-01T00:00:00"],
    "day": ["2024-05-31", "2024-06-01"],
    "spaced": [
        "2024-05-31 18:30:00",
        "2024-05-31 18:30:00.250000+00:00",
        "2024-06-01 00:00:00.000000",
    ],
    "zoned": ["2024-05-31T18:30:00.000Z", "2024-05-31T18:30:00.250Z"],
    "odd": ["null", "a\rb", "7", "12345678.5", "undefined", "9007199254740993"],
}
NUMBER = "number"  # an input of numbers, -1 where there is none

# (feature of an activity, value, its row or number); a vocabulary's first value has row 1.
CASES: list[tuple[str, Any, float]] = [
    *(("liked", value, 1) for value in (True, "true", "True", "TRUE", 1, 1.0, "1")),
    *(("liked", value, 2) for value in (False, "false", "False", 0, "0")),
    *(("liked", value, 3) for value in (None, "tRUE", "yes", 2, "")),
    *(("written", value, 1) for value in (True, "True", "true", 1)),
    *(("written", value, 2) for value in (False, 0)),
    *(("flag", value, 1) for value in (True, "true", 1, 1.0)),
    *(("flag", value, 2) for value in (False, "False", 0)),
    ("since", "2024-05-31T18:30:00", 1),
    ("since", "2024-05-31 18:30:00", 1),
    ("since", "2024-05-31T18:30", 1),
    ("since", "2024-05-31T18:30:00.000Z", 1),
    ("since", "2024-05-31T18:30:00+00:00", 1),
    ("since", "2024-05-31T18:30:00.250Z", 2),
    ("since", "2024-05-31 18:30:00.250000", 2),
    ("since", "2024-06-01", 3),
    ("since", "2024-05-31T18:30:01", 4),
    ("since", "2024-05-31", 4),
    ("since", "31.05.2024", 4),
    ("day", "2024-05-31", 1),
    ("day", "2024-06-01T00:00:00", 2),
    ("day", "2024-06-01 00:00", 2),
    ("day", "2024-06-01T00:00:01", 3),
    ("day", "2024-05-31T00:00:00.000000001", 3),
    *(("spaced", value, 1) for value in ("2024-05-31T18:30:00", "2024-05-31T18:30:00.000Z")),
    *(("spaced", value, 2) for value in ("2024-05-31T18:30:00.25", "2024-05-31T18:30:00.250Z")),
    *(("spaced", value, 3) for value in ("2024-06-01", "2024-06-01T00:00:00", "2024-06-01 00:00")),
    *(("zoned", value, 1) for value in ("2024-05-31T18:30:00", "2024-05-31 18:30:00+00:00")),
    *(("zoned", value, 2) for value in ("2024-05-31T18:30:00.250000", "2024-05-31 18:30:00.25")),
    *(("zoned", value, 3) for value in ("2024-05-31T18:30:00.250001", "2024-05-31")),
    ("odd", None, 7),
    ("odd", "null", 1),
    ("odd", "a\rb", 2),
    ("odd", 7.0, 3),
    ("odd", 12345678.5, 4),
    ("odd", "9007199254740993", 6),
    (NUMBER, True, 1.0),
    (NUMBER, False, 0.0),
    (NUMBER, 2.5, 2.5),
    (NUMBER, "2.5", 2.5),
    (NUMBER, None, -1.0),
]


def write_export(folder: Path, items: Sequence[dict[str, Any]] = ITEMS) -> None:
    """The folder without a model; its inputs are one item's id and brand, and those of `CASES`."""
    (folder / "vocabularies").mkdir(parents=True)
    vocabularies = VOCABULARIES | {"item": [str(item["id"]) for item in items]}
    inputs = []
    for name in [*vocabularies, NUMBER]:
        file = f"vocabularies/{name}.txt" if name in vocabularies else None
        if file:
            lines = ["<pad>", *vocabularies[name]]
            text = "".join(f"{line}\n" for line in lines)
            (folder / file).write_text(text, encoding="utf-8", newline="\n")
        source = {"item": "item.id", "brand": "item.brand"}.get(name, f"event.{name}")
        inputs.append(
            {
                "name": name,
                "source": source,
                "dtype": "int32" if file else "float32",
                "shape": [1],
                "vocabulary": file,
                "multi_valued": False,
                "default": None if file else -1.0,
            }
        )
    metadata = {
        "inputs": inputs,
        "label_vocabulary": "vocabularies/item.txt",
        "top_k": len(items),
        "context_length": 1,
        "flatten_keeps_oldest": False,
    }
    rows = [json.dumps(item) + "\n" for item in items]
    (folder / "items.jsonl").write_text("".join(rows), encoding="utf-8", newline="\n")
    (folder / "model.tflite").write_bytes(b"")
    write_metadata(folder, metadata)


def load(folder: Path, monkeypatch) -> Recommender:
    """The folder's Recommender, with a model that ranks the items in their order."""
    count = len((folder / "items.jsonl").read_text(encoding="utf-8").splitlines())
    ids = np.arange(1, count + 1, dtype=np.int32)
    answer = {"top_prediction_ids": ids, "top_prediction_scores": 1 / (1 + ids)}
    monkeypatch.setattr(recommender_lib, "_model", lambda export: lambda inputs: answer)
    return Recommender(folder)


def activities() -> list[dict[str, Any]]:
    """One activity for each case."""
    return [{"item": str(BIG), name: value} for name, value, _ in CASES]


def wrong(found: list[float]) -> list[str]:
    """The cases whose number is another."""
    of_each = zip(CASES, found, strict=True)
    return [f"{case}: {number}" for case, number in of_each if number != case[2]]
