"""What a page is told of exports: catalogue, figures, label table, each asset once."""

import gzip
import json
import shutil

import numpy as np
import pytest

from flaxrec.demo import catalogue, content, label_table, panel
from flaxrec.errors import ConfigError, ExportError
from flaxrec.tflite import flatbuffer
from tests.support import demo_pages
from tests.support.small_models import drawn, made, quantised


def test_models_of_one_run_share_what_is_equal(run, tmp_path):
    int8 = demo_pages.int8_of(run.export, tmp_path / "int8")
    built = content.collect([run.export, int8])
    first, second = built.models
    assert first["catalogue"] == second["catalogue"]
    assert first["encoding"] == second["encoding"]
    assert first["file"] != second["file"]
    assert set(built.assets) == {first[k] for k in ("file", "catalogue", "encoding")} | {
        second["file"]
    }
    assert built.assets[second["file"]] == (int8 / "model.tflite").read_bytes()
    assert [m["figures"]["recipe"] for m in built.models] == ["float32", "int8"]
    assert json.loads(built.assets[first["catalogue"]])["ids"]


def test_models_of_one_name_are_told_apart_by_their_folders(run, tmp_path):
    folders = [tmp_path / name / "export" for name in ("short", "long")] + [tmp_path / "third"]
    for folder in folders:
        shutil.copytree(run.export, folder, ignore=shutil.ignore_patterns("saved_model"))
    labels = [model["label"] for model in content.collect(folders).models]
    assert labels == ["short/export", "long/export", "third"]
    (alone,) = content.collect(folders[:1]).models
    assert alone["label"] == alone["figures"]["name"]


@pytest.mark.parametrize("name", ["model.tflite", "items.jsonl", "vocabularies/item.txt"])
def test_an_incomplete_export_is_refused(run, tmp_path, name):
    shutil.copytree(run.export, tmp_path / "x", ignore=shutil.ignore_patterns("saved_model"))
    (tmp_path / "x" / name).unlink()
    with pytest.raises(ExportError, match=rf"{name} is missing; copy the whole export folder"):
        content.collect([tmp_path / "x"])
    with pytest.raises(ExportError, match="is not an export of flaxrec"):
        content.collect([tmp_path])


# ---- catalogue --------------------------------------------------------------------------------


def test_catalogues_of_any_columns():
    films = {
        "7": {"id": 7, "title": "A", "genres": ["War", "Drama", "War"]},
        "8": {"id": 8, "title": None, "genres": None},
        "9": {"id": 9, "title": "<C>", "genres": ["Drama", None]},
    }
    made = catalogue.columns(films)
    assert made["ids"] == ["7", "8", "9"]
    assert made["titles"] == ["A", "", "<C>"]
    assert made["genres"]["names"] == ["Drama", "War"]  # the most frequent first
    assert made["genres"]["of"] == [[1, 0], [], [0]]

    products = {"x": {"id": "x", "price": 3.5, "tags": ["red"]}, "y": {"id": "y", "sizes": [1]}}
    made = catalogue.columns(products)
    assert made["titles"] is None
    assert made["genres"] == {"field": "tags", "names": ["red"], "of": [[0], []]}
    assert catalogue.columns({"1": {"id": 1}})["genres"] is None


PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def test_what_else_is_known_of_items():
    """Short texts and numbers that differ, three at most; not what the title says already."""
    shop = {
        "1": {"id": 1, "title": "Cup (2001)", "count": 5, "year": 2001, "price": 12.5, "shop": "x"},
        "2": {"id": 2, "title": "Jug", "count": 4, "year": 1999, "price": 3.0, "shop": "x"},
        "3": {"id": 3, "title": "Pot", "count": 3, "year": None, "price": None, "shop": "x"},
    }
    for row in shop.values():
        row |= {"brand": f"b{row['id']}", "text": "long " * 20, "tags": ["a"], "size": row["id"]}
        row |= {"link": f"https://example.com/{row['id']}", "both": [1] if row["id"] == 1 else "x"}
    made = catalogue.columns(shop)
    assert made["facts"] == ["price 12.5 · brand b1", "year 1999 · price 3 · brand b2", "brand b3"]
    assert made["pictures"] is None
    assert catalogue.columns({"1": {"id": 1, "title": "A"}})["facts"] is None


def test_pictures():
    """As data they are shown; from elsewhere only where the column is named."""
    rows = {"1": {"id": 1, "cover": PIXEL}, "2": {"id": 2, "cover": None}}
    made = catalogue.columns(rows)
    assert made["pictures"] == [PIXEL, ""]
    assert made["facts"] is None
    assert catalogue.hosts(made) == []
    rows["2"]["cover"] = "https://img.example.com:8443/a b?c"
    assert catalogue.columns(rows)["pictures"] is None
    made = catalogue.columns(rows, "cover")
    assert made["pictures"] == [PIXEL, rows["2"]["cover"]]
    assert catalogue.hosts(made) == ["https://img.example.com:8443"]


@pytest.mark.parametrize(
    "value",
    ["cover.png", "javascript:alert(1)", 5, "https://a b/", "https://x; script-src */", "http://",
     "https://user@host/", "https://[::1/"],
)  # fmt: skip
def test_what_is_no_picture_is_refused(value):
    rows = {"1": {"id": 1, "cover": value}}
    with pytest.raises(ConfigError, match=r"--pictures=cover has .* for the item '1', which is no"):
        catalogue.columns(rows, "cover")
    with pytest.raises(ConfigError, match=r"--pictures=art is no column .* has id, cover; name"):
        catalogue.columns(rows, "art")


# ---- figures ----------------------------------------------------------------------------------

METADATA = {
    "name": "m",
    "context_length": 10,
    "top_k": 100,
    "candidates": 5,
    "encoder": ["lstm", "bow", "bow"],
    "metrics": {"leave_one_out": {"recall@10": 0.25, "filtered/recall@10": 0.35}},
    "labels": {"leave_one_out": {"labels": 6040}},
}


def test_recall_is_that_of_the_file_or_says_of_what():
    made = panel.describe(METADATA | {"quantization": {"recipe": "none"}}, 1)
    assert made["encoder"] == "LSTM + bag of words"
    assert made["recall"] == {
        "value": 0.25,
        "protocol": "leave_one_out",
        "labels": 6040,
        "filtered": 0.35,
        "of": "this file",
        "filteredOf": "this file",
        "filteredLabels": 6040,
    }
    tested = {"recipe": "int8", "test": {"labels": 99, "recall@10": 0.24}}
    recall = panel.describe(METADATA | {"quantization": tested}, 1)["recall"]
    assert (recall["value"], recall["labels"], recall["of"]) == (0.24, 99, "this file")
    # With seen items left out it was measured of the float form only.
    assert (recall["filtered"], recall["filteredOf"]) == (0.35, "the model before quantisation")
    assert recall["filteredLabels"] == 6040
    recall = panel.describe(METADATA | {"quantization": {"recipe": "int8"}}, 1)["recall"]
    assert (recall["value"], recall["of"]) == (0.25, "the model before quantisation")
    unfiltered = METADATA | {"metrics": {"random": {"recall@10": 0.25}}}
    recall = panel.describe(unfiltered, 1)["recall"]
    assert (recall["filtered"], recall["filteredOf"]) == (None, None)
    assert panel.describe(METADATA | {"metrics": {}}, 1)["recall"] is None


# ---- label table ------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("recipe", ["none", "float16", "int8", "int8_tensor", "int4"])
def test_the_label_tables_place_in_the_file(recipe, tied):
    weights = drawn(400, 16, tied=tied)
    file = flatbuffer.finish(made(weights)) if recipe == "none" else quantised(weights, recipe)
    found = label_table.find(file, 398)
    labels = weights.table if tied else weights.labels
    kind = {"none": "FLOAT32", "float16": "FLOAT16"}.get(recipe, recipe[:4].upper())
    assert (found["type"], found["rows"], found["width"]) == (kind, 400, 16)
    raw = np.frombuffer(file, np.uint8)[found["offset"] :]
    if kind == "INT4":
        pairs = raw[: 400 * 8]
        read = np.stack([pairs & 15, pairs >> 4], 1).reshape(400, 16).astype(np.int8)
        read = (read ^ 8) - 8
    else:
        dtype = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT8": "i1"}[kind]
        read = np.frombuffer(file, dtype, 6400, found["offset"]).reshape(400, 16)
    cosines = [
        np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(read.astype(np.float64), labels, strict=True)
    ]
    assert min(cosines) > (0.95 if kind == "INT4" else 0.98)  # small rows are coarse
    assert label_table.find(file, 401) is None


def test_assets_are_small(run):
    """What goes with a model is a fraction of the runtime's four megabytes."""
    built = content.collect([run.export])
    packed = sum(len(gzip.compress(data)) for data in built.assets.values())
    assert packed < 400_000
