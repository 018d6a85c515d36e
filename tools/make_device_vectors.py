"""Writes docs/device_vectors.json: what an app asks, what the model is then given, and the list.

python tools/make_device_vectors.py

The code of the guides is run against the file, and any other code can be. Values that decide which
item or row is meant (ids beyond 2^53, booleans, date-times, missing titles, items that must not be
shown) are in it; moment_vectors.json beside it has those of the moment of asking.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.recommender import UNKNOWN, Recommender
from flaxrec.tflite.export_folder import ExportFolder
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES, write_metadata

FILE = Path(__file__).resolve().parents[1] / "docs" / "device_vectors.json"
ABOUT = (
    "Made by tools/make_device_vectors.py. folders: export folders, by name; of their files "
    "metadata is metadata.json, the others are lists of lines. requests: what the app gives "
    "(history, oldest first; user, now, only, without, top_k, null: not given, and now null: "
    "unknown); inputs: what the graph must be given, or some of it; list: id as text, and title, "
    "of what is shown. The graph ranks rows in their order, 1 first, those of which the mask is "
    "negative last, and returns top_k rows."
)

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


# ---- requests to a model that reads everything ------------------------------------------------

TOP_K = 6
NOW = (
    1_717_180_230  # 2024-05-31, 18:30:30 in UTC, a Friday; half past eight in the evening in Berlin
)
FILMS: list[dict[str, Any]] = [
    {"id": BIG, "title": "One", "tags": ["b", "a"], "year": 1999.0},
    {"id": BIG + 1, "title": None, "tags": [], "year": None},
    {"id": BIG + 2, "title": "null", "tags": ["c", "no such tag", "a"], "year": 2001.5},
    {"id": 7, "title": 'A "7", \u20ac', "tags": "b", "year": 1980},
    {"id": BIG + 3, "title": "Context only", "tags": ["a"], "candidate": False},
    {"id": 5, "tags": None},
    {"id": 6, "title": "Six", "tags": ["a", "b", "c"], "year": 2020},
]
WORDS = {
    "item": [str(film["id"]) for film in FILMS],
    "tags": ["a", "b", "c"],
    "liked": ["true", "false"],
    "bought": ["2024-05-31T18:30:00", "2024-06-01"],
    "gap": ["-1", *map(str, range(12))],
    "gap_after": [*map(str, range(12))],
    "since": [*map(str, range(12))],
    "hour": [*map(str, range(24))],
    "weekday": [*map(str, range(7))],
    "age": ["18-24", "56+"],
    "languages": ["en", "de"],
}
LENGTHS = {"item": 4, "tags": 6, "liked": 4, "bought": 4, "gap": 4, "gap_after": 4, "languages": 2}
_SOURCES = {
    "item": "item.id",
    "brand": "item.brand",
    "tags": "item.tags",
    "hour": "ask.hour",
    "weekday": "ask.weekday",
    "age": "user.age",
    "languages": "user.languages",
}
_OWN_SOURCES = {"since": "ask.since"}  # of the films' folder alone
_A, _B, _C = (str(BIG + n) for n in range(3))
_USER = {"age": "56+", "languages": "de"}
_WATCHED = [
    {"item": _A, "time": NOW - 100, "rating": 4.5, "liked": True, "bought": "2024-05-31 18:30"},
    {"item": _B, "time": NOW - 40, "rating": None, "liked": "False", "bought": "2024-06-01T00:00"},
]
_MANY = [
    *({"item": 6, "time": NOW - 9000 + n} for n in range(3)),
    {"item": "no such item", "time": NOW - 3000, "liked": 0},
    {"item": "7", "liked": "1", "rating": "2.5"},
    {"item": _C, "time": NOW - 30, "gap": 3, "liked": None, "rating": 1},
]
REQUESTS: list[dict[str, Any]] = [
    {"name": "nobody, no moment"},
    {"name": "nobody", "now": NOW},
    {
        "name": "two films",
        "history": _WATCHED,
        "now": NOW,
        "user": {"age": "56+", "languages": "de"},
    },
    {"name": "no moment", "history": _WATCHED},
    {
        "name": "more than the model reads, unknown values",
        "history": _MANY,
        "now": NOW,
        "user": {"age": "1", "languages": ["de", "fr", "en"]},
    },
    {"name": "the moment lies before", "history": _WATCHED, "now": NOW - 70},
    {"name": "long after", "history": _WATCHED, "now": NOW + 10**6},
    {"name": "another unit", "history": _WATCHED, "now": 1000 * NOW},
    {"name": "only", "only": [_C, "7", _B, "no such item", str(BIG + 3)], "history": _WATCHED},
    {"name": "without", "without": [_A, 6, "no such item"], "top_k": 2},
    {"name": "only and without", "only": [_A, _B, _C], "without": [_B], "history": [{"item": _C}]},
    {"name": "nothing may be shown", "only": [_A], "without": [_A]},
    {"name": "nobody may be shown", "only": []},
    {"name": "seen films too", "folder": "seen", "history": _WATCHED, "now": NOW},
    *(
        {
            "name": f"the item {item['id']}",
            "folder": "values",
            "history": [{"item": str(item["id"])}],
        }
        for item in ITEMS
    ),
    {"name": "no items.jsonl", "folder": "bare", "history": [{"item": _B}]},
    {"name": "ids that are text", "folder": "bare text", "history": [{"item": "07"}]},
    {"name": "the graph leaves out its context", "folder": "context", "history": _WATCHED},
]


def content() -> dict[str, Any]:
    """The file's content."""
    films = films_folder()
    folders = {
        "values": values_folder(),
        "films": films,
        "seen": _changed(films, recommends_seen=True),
        "context": _changed(films, recommends_seen=True, excludes_context=True),
        "bare": bare_folder([BIG, BIG + 1, 7, 2**60], "integer"),
        "bare text": bare_folder(["7", "07", "x", "y"], "text"),
    }
    answered: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for name, folder in folders.items():
            write_folder(Path(place) / name, folder)
            asked = Asked(Path(place) / name)
            answered += [
                {"folder": name} | asked.answer(request)
                for request in REQUESTS
                if request.get("folder", "films") == name
            ]
    values = [
        {
            "folder": "values",
            "name": f"{name} {json.dumps(value)}",
            "history": [{"item": str(BIG), name: value}],
            "inputs": {name: [number]},
        }
        for name, value, number in CASES
    ]
    return {"about": ABOUT, "folders": folders, "requests": values + answered}


def text() -> str:
    """The file's text: a line for each file of a folder and for each request."""
    made = content()
    folders = ",\n".join(
        f"  {json.dumps(name)}: {{\n" + _block(folder, "   ") + "\n  }"
        for name, folder in made["folders"].items()
    )
    requests = ",\n".join(f"  {json.dumps(request)}" for request in made["requests"])
    return (
        f'{{\n "about": {json.dumps(made["about"])},\n "folders": {{\n{folders}\n }},\n'
        f' "requests": [\n{requests}\n ]\n}}\n'
    )


def _block(fields: Mapping[str, Any], indent: str) -> str:
    return ",\n".join(f"{indent}{json.dumps(n)}: {json.dumps(v)}" for n, v in fields.items())


class Asked(Recommender):
    """A Recommender whose model ranks rows in their order and keeps what it was given.

    Args:
      folder: of an export; its model.tflite may hold anything.
    """

    given: dict[str, np.ndarray]

    def _read(self, export: ExportFolder) -> None:
        self.folder, self.metadata = export.path, export.metadata
        self._model = self._ranked  # type: ignore[assignment]
        self.items, self._vocabularies = export.tables()

    def _ranked(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.given = inputs
        mask = inputs.get(CANDIDATE_MASK, np.zeros(self.top_k + 1))
        rows = sorted(range(1, len(mask)), key=lambda row: mask[row] < 0)[: self.top_k]
        return {IDS: np.array(rows, np.int32), SCORES: 1 / (1 + np.arange(len(rows)))}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request with `inputs` and `list`."""
        found = self.recommend(
            request.get("history", []),
            request.get("top_k", self.top_k),
            user=request.get("user"),
            now=request.get("now", UNKNOWN),
            only=request.get("only"),
            without=request.get("without"),
        )
        inputs = {name: array.tolist() for name, array in self.given.items()}
        return {"history": [], **request} | {
            "inputs": inputs,
            "list": [[str(one.item), one.title] for one in found],
        }


# ---- export folders without a model -----------------------------------------------------------


def values_folder(items: Sequence[Mapping[str, Any]] = ITEMS) -> dict[str, Any]:
    """The export folder of `CASES`: its inputs are one item's id and brand, and those features."""
    words = VOCABULARIES | {"item": [str(item["id"]) for item in items]}
    inputs = [input_of(name, _SOURCES.get(name)) for name in words]
    inputs.append(input_of(NUMBER, dtype="float32", default=-1.0))
    metadata = {"top_k": len(items), "context_length": 1, "inputs": inputs}
    return folder_of(metadata, words, items)


def films_folder() -> dict[str, Any]:
    """The export folder of `REQUESTS`."""
    sources = _SOURCES | _OWN_SOURCES
    inputs = [input_of(name, sources.get(name), LENGTHS.get(name, 1)) for name in WORDS]
    for spec in inputs:
        spec["multi_valued"] = spec["name"] in ("tags", "languages")
    inputs += [
        input_of("rating", length=4, dtype="float32", default=3.5),
        input_of("year", "item.year", 4, dtype="float32", default=1990.25),
        input_of("seconds_ago", length=4, dtype="int32"),
        input_of(CANDIDATE_MASK, CANDIDATE_MASK, 1 + len(FILMS), dtype="float32", default=0.0),
    ]
    clock = {"unit": "s", "zone": "Europe/Berlin", "resolution": 1, "dates": False, "moments": True}
    metadata = {"top_k": TOP_K, "context_length": 4, "inputs": inputs, "time": clock}
    return folder_of(metadata, WORDS, FILMS)


def bare_folder(ids: Sequence[Any], kind: str) -> dict[str, Any]:
    """An export folder without items.jsonl, of which the last item is context only."""
    metadata = {
        "top_k": len(ids),
        "context_length": 1,
        "inputs": [input_of("item", "item.id")],
        "candidates": len(ids) - 1,
        "items": {"fields": "none", "ids": kind},
    }
    folder = folder_of(metadata, {"item": [str(one) for one in ids]}, [])
    del folder["items.jsonl"]
    return folder


def write_folder(path: Path, folder: Mapping[str, Any]) -> None:
    """Writes an export folder, with a model.tflite that holds nothing."""
    (path / "vocabularies").mkdir(parents=True)
    for name, lines in folder.items():
        if name != "metadata":
            content = "".join(f"{line}\n" for line in lines)
            (path / name).write_text(content, encoding="utf-8", newline="\n")
    (path / "model.tflite").write_bytes(b"")
    write_metadata(path, folder["metadata"])


def folder_of(
    metadata: Mapping[str, Any], words: Mapping[str, Sequence[str]], items: Sequence[Any]
) -> dict[str, Any]:
    """A folder's files: metadata.json, lines of the vocabularies without padding, items."""
    whole = {
        "label_vocabulary": "vocabularies/item.txt",
        "flatten_keeps_oldest": False,
        **metadata,
    }
    vocabularies = {f"vocabularies/{name}.txt": ["<pad>", *of] for name, of in words.items()}
    return {"metadata": whole, "items.jsonl": [json.dumps(item) for item in items]} | vocabularies


def _changed(folder: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {**folder, "metadata": folder["metadata"] | fields}


def input_of(
    name: str,
    source: str | None = None,
    length: int = 1,
    dtype: str | None = None,
    default: float | None = None,
) -> dict[str, Any]:
    """An entry of `inputs`; with a vocabulary of its own unless a dtype is given."""
    return {
        "name": name,
        "source": source or f"event.{name}",
        "dtype": dtype or "int32",
        "shape": [length],
        "vocabulary": None if dtype else f"vocabularies/{name}.txt",
        "multi_valued": False,
        "default": default,
    }


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8", newline="\n")
