"""Columns by their names: which are taken, in every form of table, and which are not known."""

import gzip
import json

import polars as pl
import pytest

from flaxrec.data.sources import guessing
from flaxrec.errors import DataError

SHOP = ["InvoiceNo", "Stock Code", "Description", "InvoiceDate", "CustomerID"]
EXPECTED = {
    "user": "CustomerID",
    "item": "Stock Code",
    "time": "InvoiceDate",
    "title": "Description",
}


@pytest.mark.parametrize("form", ["csv", "semicolons", "tsv", "parquet", "jsonl", "csv.gz"])
def test_every_form_of_table(tmp_path, form):
    row = dict(zip(SHOP, ["1", "a", "A, big", "2020-01-01", "7"], strict=True))
    path = tmp_path / ("shop." + form.replace("semicolons", "csv"))
    if form == "parquet":
        pl.DataFrame([row]).write_parquet(path)
    elif form == "jsonl":
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    else:
        separator = {"semicolons": ";", "tsv": "\t"}.get(form, ",")
        content = pl.DataFrame([row]).write_csv(separator=separator).encode()
        path.write_bytes(gzip.compress(content) if form == "csv.gz" else content)
    columns = guessing.columns_of(str(path))
    assert columns == SHOP
    assert guessing.guess(columns, path) == EXPECTED


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["userId", "movieId", "rating", "timestamp"], ["userId", "movieId", "timestamp"]),
        (["ts", "visitor_id", "item"], ["visitor_id", "item", "ts"]),
        (["user_id", "asin", "USER"], ["USER", "asin", None]),
        (["item", "user", "item_id", "date", "time"], ["user", "item", "time"]),
    ],
)
def test_the_likeliest_name_is_taken(columns, expected):
    found = guessing.guess(columns, "events.csv")
    assert [found.get(field) for field in ("user", "item", "time")] == expected


def test_what_is_given_is_not_guessed():
    found = guessing.guess(["who", "item", "time"], "events.csv", {"user"})
    assert found == {"item": "item", "time": "time"}


@pytest.mark.parametrize("field", ["user", "item"])
def test_columns_of_no_usual_name_are_listed(field):
    columns = [name for name in ("user", "item", "time") if name != field] + ["thing"]
    with pytest.raises(DataError) as error:
        guessing.guess(columns, "events.csv")
    assert "has the columns" in str(error.value)
    assert "'thing'" in str(error.value)
    assert f"the {field}'s; name it by --config.data.columns.{field}=COLUMN." in str(error.value)


def test_what_is_no_table(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        guessing.columns_of(str(tmp_path / "none.csv"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read; write it again"):
        guessing.columns_of(str(tmp_path / "a.parquet"))
    (tmp_path / "ratings.dat").write_text("1::2::3::4\n")
    with pytest.raises(DataError, match=r"ratings\.dat names no columns; give a"):
        guessing.columns_of(str(tmp_path / "ratings.dat"))
    (tmp_path / "half.jsonl").write_text('{"user": 1')
    with pytest.raises(DataError, match=r"half\.jsonl cannot be read"):
        guessing.columns_of(str(tmp_path / "half.jsonl"))
