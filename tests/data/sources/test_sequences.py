"""Files with one line a user, by hand."""

import gzip

import polars as pl
import pytest

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources.sequences import read_sequences
from flaxrec.errors import ConfigError, DataError


@pytest.fixture
def read(tmp_path):
    """Reads a file with some content, and maybe a JSON file beside it."""

    def read(content, name="users.txt", attributes=None, columns=None, **data):
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(raw)
        if attributes is not None:
            (tmp_path / "items.json").write_text(attributes, encoding="utf-8")
            data["items_path"] = str(tmp_path / "items.json")
        return read_sequences(
            DataConfig(path=str(tmp_path / name), columns=columns or ColumnsConfig(), **data)
        )

    return read


def events_of(interactions):
    return interactions.events.rows()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(read, end):
    assert events_of(read(f"1 5 6{end}2 5{end}")) == [(1, 5, 0), (1, 6, 1), (2, 5, 2)]


def test_a_line_is_a_user(read):
    found = read("7 3 1 3\n\n5\t2  1 \r\n")
    assert events_of(found) == [(7, 3, 0), (7, 1, 1), (7, 3, 2), (5, 2, 3), (5, 1, 4)]
    assert found.events.schema == {"user": pl.Int64, "item": pl.Int64, "time": pl.Int64}
    assert (found.has_time, found.items, found.users, found.bad_rows) == (False,) + (None,) * 3
    assert found.source == "users.txt"


@pytest.mark.parametrize("content", ["\ufeff1 5 6", "1 5 6\n", gzip.compress(b"1 5 6\n", mtime=0)])
def test_byte_order_mark_and_compression(read, content):
    name = "users.txt.gz" if isinstance(content, bytes) else "users.txt"
    assert events_of(read(content, name)) == [(1, 5, 0), (1, 6, 1)]


@pytest.mark.parametrize(
    ("content", "user", "item"),
    [
        ("ü -ogR 5", "ü", ["-ogR", "5"]),
        ("1 007 7", 1, ["007", "7"]),
        ("1 -5 0", 1, [-5, 0]),
        ("1 2.0 3", 1, [2, 3]),
        ("9007199254740993 1", 9007199254740993, [1]),
        ("1 99999999999999999999", 1, ["99999999999999999999"]),
    ],
)
def test_ids_are_numbers_only_if_all_are(read, content, user, item):
    events = read(content).events
    assert (events["user"][0], events["item"].to_list()) == (user, item)


BAD = "1 5 6\n2\n3 5\n1 7\n"


def test_lines_that_cannot_be_used_are_refused(read):
    with pytest.raises(DataError) as error:
        read(BAD)
    assert str(error.value).endswith(
        "users.txt: 2 of 5 rows cannot be used: line 2: user '2' has no items; line 4: user '1' "
        "has a line already; correct or remove them, or set --config.data.bad_rows=drop."
    )


def test_lines_that_cannot_be_used_are_left_out(read):
    found = read(BAD, bad_rows="drop")
    assert events_of(found) == [(1, 5, 0), (1, 6, 1), (3, 5, 2)]
    assert found.bad_rows.select("line", "column", "reason").rows() == [
        (2, "user", "user '2' has no items"),
        (4, "user", "user '1' has a line already"),
    ]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("\n\n", "users.txt", "is empty; it needs one line a user"),
        (b"1 2\n2 \xff", "users.txt", "line 2: not UTF-8"),
        (gzip.compress(b"1 2\n", mtime=0)[:9], "users.txt.gz", "cannot be unpacked"),
    ],
)
def test_files_that_cannot_be_read(read, content, name, words):
    with pytest.raises(DataError, match=words):
        read(content, name)


def test_a_file_that_is_missing():
    with pytest.raises(DataError, match=r"is missing; set --config\.data\.path"):
        read_sequences(DataConfig(path="nowhere.txt"))


# ---- attributes -----------------------------------------------------------------------------

ATTRIBUTES = ColumnsConfig(item_features=("attributes",), multi_valued=("attributes",))


def test_attributes_are_values_of_items(read):
    attributes = '{"6": [1, "a", true, 1.10], "5": [], "9": 2}'
    found = read("1 5 6", attributes=attributes, columns=ATTRIBUTES)
    assert found.items.rows() == [(6, ["1", "a", "true", "1.10"]), (5, []), (9, ["2"])]
    assert found.items.schema == {"item": pl.Int64, "attributes": pl.List(pl.String)}


def test_tables_of_items_and_users(read, tmp_path):
    (tmp_path / "items.csv").write_text("item,name,price\n6,Six,1.5\n")
    (tmp_path / "users.csv").write_text("user,age\n1,7\n")
    columns = ColumnsConfig(title="name", item_features=("price",), user_features=("age",))
    paths = {f"{table}_path": str(tmp_path / f"{table}.csv") for table in ("items", "users")}
    found = read("1 5 6\n2 6 5", columns=columns, **paths)
    assert found.items.rows() == [(6, "Six", 1.5)]
    assert found.users.rows() == [(1, 7)]


def test_ids_of_both_files_have_one_type(read):
    found = read("1 5 6", attributes='{"5": ["a"], "x": ["b"]}')
    assert found.events["item"].to_list() == ["5", "6"]
    assert found.items["item"].to_list() == ["5", "x"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", r'holds no items; expected {"item": \["value", ...\], ...}.'),
        ('{"5": [[1]]}', "the attributes of item '5' are nested"),
        ('{"5": [{"a": 1}]}', "the attributes of item '5' are nested"),
        ('{"5": [1], "5": [2]}', "item 5 stands in .*row 1 already"),
        ('{"7": [1]}', r"none of its items occurs in .*users.txt \(there 5, here 7\)"),
    ],
)
def test_attributes_that_cannot_be_used(read, attributes, words):
    with pytest.raises(DataError, match=words):
        read("1 5 6", attributes=attributes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"columns": ColumnsConfig(rating="stars")},
            r"columns\.rating is 'stars', but files of sequences hold ids",
        ),
        ({"columns": ATTRIBUTES}, r"item_features is .*; give config\.data\.items_path, or leave"),
        ({"columns": ColumnsConfig(title="t"), "attributes": "{}"}, "items_path is a JSON file"),
    ],
)
def test_settings_without_a_meaning_are_refused(read, settings, words):
    with pytest.raises(ConfigError, match=words):
        read("1 5 6", **settings)
