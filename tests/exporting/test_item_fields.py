"""What an export tells of its items: all, id and title, or nothing."""

import dataclasses

import numpy as np
import pytest

from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import PADDING, Vocabulary
from flaxrec.demo import content
from flaxrec.errors import ExportError
from flaxrec.exporting import bundle, catalogue, item_rows
from flaxrec.exporting.assets import Assets
from flaxrec.files import read_jsonl
from flaxrec.recommend import main
from flaxrec.recommender import Recommender
from flaxrec.tflite.metadata import read_metadata

ROWS = [
    {"id": 7, "title": "Seven", "genres": ["Crime"], "count": 3},
    {"id": 5, "title": None, "genres": [], "count": 2},
    {"id": 9, "title": "Nine", "genres": ["Drama"], "count": 0, "candidate": False},
]


def choose(fields: str, sources=("item.id",), rows=ROWS, lines=(PADDING, "7", "5", "9")):
    inputs = tuple(InputSpec(source, source, "INT", 4, 5, ITEM) for source in sources)
    assets = Assets({ITEM: Vocabulary(lines)}, rows, {"item.id": np.zeros((1, 4))})
    return item_rows.choose(assets, ModelSpec(inputs, 2, 1), fields)


def test_full_is_everything_as_it_is():
    assert choose("full") == item_rows.ItemRows(ROWS, {"fields": "full"})


def test_slim_keeps_the_title_what_the_model_reads_and_who_is_no_candidate():
    assert choose("slim") == item_rows.ItemRows(
        [{"id": 7, "title": "Seven"}, {"id": 5, "title": None},
         {"id": 9, "title": "Nine", "candidate": False}],
        {"fields": "slim", "left_out": ["genres", "count"]},
    )  # fmt: skip
    read = choose("slim", ("item.id", "item.genres", "event.count"))
    assert [row["genres"] for row in read.rows] == [["Crime"], [], ["Drama"]]
    assert read.described["left_out"] == ["count"]


def test_none_tells_of_what_type_the_ids_are():
    left_out = ["title", "genres", "count"]
    told = {"fields": "none", "left_out": left_out, "ids": "integer"}
    assert choose("none") == item_rows.ItemRows(None, told)
    texts = [{**row, "id": str(row["id"])} for row in ROWS]
    assert choose("none", rows=texts).described["ids"] == "text"


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (ROWS[:2], (PADDING, "7", "5", "9")),  # a line without an item
        ([{"id": True}], (PADDING, "true")),
        ([{"id": 7}, {"id": "5"}, ROWS[2]], (PADDING, "7", "5", "9")),
        ([{"id": 7.5}, *ROWS[1:]], (PADDING, "7.5", "5", "9")),
        ([*ROWS[:2], {"id": 9}], (PADDING, "7", "5", "9")),  # 9 is in no list
        ([], (PADDING,)),
    ],
)
def test_ids_that_the_vocabulary_does_not_tell_are_refused(rows, lines):
    with pytest.raises(ExportError, match=r"do not tell all ids .*; use --item_fields=slim\.$"):
        choose("none", rows=rows, lines=lines)


def test_what_the_model_reads_of_items_is_needed():
    with pytest.raises(ExportError, match=r"reads 'genres' of its items.*; use --item_fields=slim"):
        choose("none", ("item.id", "item.genres"))


# ---- the folder -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(bow_id) -> Recommender:
    return Recommender(bow_id.export)


@pytest.mark.parametrize("fields", [pytest.param("slim", marks=pytest.mark.long), "none"])
def test_lists_and_commands_without_the_columns(
    bow_id, whole, fields, tmp_path, converted_once, caplog, capsys
):
    output = tmp_path / "export"
    options = {"top_k": whole.top_k, "item_fields": fields}
    bundle.export(bow_id, output, lambda line: None, **options)
    assert (output / "items.jsonl").exists() == (fields == "slim")
    assert (output / "android").exists() == (bow_id.export / "android").exists()
    lean = Recommender(output)
    assert list(lean.items) == list(whole.items)
    assert ["id", "title"][: 1 + (fields == "slim")] == list(next(iter(lean.items.values())))
    for history in bow_id.read_histories()[:5]:
        given = [activity["item"] for activity in history["activities"]]
        expected = whole.recommend(given, 8, without=given[:1])
        if fields == "none":
            expected = [dataclasses.replace(one, title="") for one in expected]
        assert lean.recommend(given, 8, without=given[:1]) == expected
    # Who asks for a column is told, also with `get`, which would find nothing.
    for rule in (lambda i: "Drama" in i["genres"], lambda i: bool(i.get("genres"))):
        with pytest.raises(ExportError, match="only reads 'genres', which the export left out"):
            lean.recommend([1], only=rule)
    assert lean.select(lambda item: item["id"] == 2).items == 1
    assert main([str(output), "2", "--only=genres=Drama"]) == 2
    assert "genres=Drama asks for 'genres', which the export left out" in capsys.readouterr().err
    title = next(row["title"] for row in read_jsonl(bow_id.export / "items.jsonl"))
    assert main([str(output), "2", "--top_k=3", title]) == 2 * (fields == "none")
    if fields == "none":
        assert "without titles (--item_fields=none), so give ids" in capsys.readouterr().err
    page = content.Content()
    page.add(output)
    assert bool(page.first["titles"]) == (fields == "slim")
    assert read_metadata(output)["items"]["fields"] == fields
    assert not caplog.records


def test_a_new_catalogue_keeps_the_last_exports_fields(bow_id, monkeypatch):
    last = {"top_k": 7, "inputs": [], "items": {"fields": "none"}}
    monkeypatch.setattr(catalogue, "read_metadata", lambda folder: last)
    assert catalogue.options(bow_id, {})["item_fields"] == "none"
    assert catalogue.options(bow_id, {"item_fields": "slim"})["item_fields"] == "slim"
    last.pop("items")  # an older export
    assert catalogue.options(bow_id, {})["item_fields"] == "full"
