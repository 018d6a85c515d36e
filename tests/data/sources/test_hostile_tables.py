"""Tables that are hostile, or odd by accident: each that once ended in a traceback or a lie."""

import gzip
import json
import os
import random
import struct

import polars as pl
import pytest

from flaxrec.config import Config, DataConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.dataset import prepare
from flaxrec.data.sources import read as read_lib
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import DataError
from flaxrec.files import own_path, reading
from tests.fuzz import movielens, records, tables
from tests.fuzz.attempts import search
from tests.support.own_tables import HEADER, config, error

GOOD = HEADER + "1,a,3\n2,b,4\n"


def users_of(path, **settings):
    return read_table(DataConfig(path=str(path), **settings)).events["user"].to_list()


def jsonl(tmp_path, *lines):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return DataConfig(path=str(path))


# ---- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["~x", "~", "a[1]", "file:", "*", "a{1,2}", "{it}", "-x", "\udcff"]
)
def test_a_name_means_itself(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir(name)
    for suffix in (".csv", ".parquet"):
        for folder in (name, "."):
            path = os.path.join(folder, f"{name}{suffix}")
            with open(path, "wb") as file:
                if suffix == ".csv":
                    file.write(GOOD.encode())
                else:
                    pl.DataFrame(
                        {"user": [1, 2], "item": ["a", "b"], "time": [3, 4]}
                    ).write_parquet(file)
            assert users_of(path) == [1, 2]


def test_home_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").write_text("")
    assert own_path("~/x") == tmp_path / "x"
    assert str(own_path("~nobody-of-this-name/x")) == "~nobody-of-this-name/x"
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "x").write_text("")
    assert str(own_path("~/x")) == "~/x"  # what is there means itself


@pytest.mark.parametrize("form", ["auto", "recbole", "sequences", "movielens"])
@pytest.mark.parametrize("name", ["~nobody-of-this-name/x.csv", "x" * 5000 + ".csv", "a\0.csv"])
def test_paths_that_cannot_be(form, name):
    with pytest.raises(DataError, match=r"(is missing|cannot be read .*); "):
        read_lib.read(DataConfig(source="table", path=name, format=form))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "recbole", "sequences"])
def test_a_pipe_is_not_waited_for(tmp_path, form):
    os.mkfifo(tmp_path / "t")
    with pytest.raises(DataError, match="file"):
        read_lib.read(DataConfig(source="table", path=str(tmp_path / "t"), format=form))


# ---- packed ---------------------------------------------------------------------------------


def test_what_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_FLOOR", 100_000)
    zeros = GOOD.encode() + b"0" * 10_000_000
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(zeros))
    # A frame of zeros: one byte is repeated in each block, and nothing tells the size.
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"0"
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + block * 79 + struct.pack("<I", 0 << 3 | 1)[:3]
    (tmp_path / "t.csv.zst").write_bytes(frame)
    for name in ("t.csv.gz", "t.csv.zst"):
        with pytest.raises(
            DataError, match=r"unpacks to more than [0-9,]+ bytes, .*; unpack it your"
        ):
            users_of(tmp_path / name)
    monkeypatch.setattr(reading, "_FLOOR", 1 << 30)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(zeros[:100_000]))
    with pytest.raises(DataError, match="line 4"):
        users_of(tmp_path / "t.csv.gz")


def test_packed_in_parts(tmp_path):
    half = len(HEADER) + 6
    parts = GOOD[:half].encode(), GOOD[half:].encode()
    (tmp_path / "t.csv.gz").write_bytes(b"".join(map(gzip.compress, parts)) + b"\0" * 9)
    assert users_of(tmp_path / "t.csv.gz") == [1, 2]
    for end in (b"garbage", gzip.compress(b"x")[:-3]):
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress(GOOD.encode()) + end)
        with pytest.raises(DataError, match="cannot be unpacked"):
            users_of(tmp_path / "t.csv.gz")


def test_parquet_that_tells_of_too_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_FLOOR", 100_000)
    table = {"user": [1] * 200_000, "item": [2] * 200_000, "time": [3] * 200_000}
    assert "200,000 rows, which would unpack to more than" in error(tmp_path, table)


# ---- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2**62, -(2**62), 2**63, 2**64 - 1, 1e300])
def test_times_beyond_the_bound(tmp_path, value):
    expected = "expected a number between -2^62 and 2^62; correct or remove it."
    text = error(tmp_path, HEADER + f"1,a,{value}\n1,b,3\n")
    assert text.startswith(f"{tmp_path / 'path.csv'}, line 2: column 'time' is '{value}', ")
    assert text.endswith(expected)
    whole = pl.UInt64 if value > 0 else pl.Int64
    column = pl.Series([value, 3], dtype=None if isinstance(value, float) else whole)
    table = {"user": [1, 1], "item": ["a", "b"], "time": column}
    assert f"row 1: column 'time' is {value}, {expected}" in error(tmp_path, table)


@pytest.mark.parametrize("value", [2**62 - 1, 1 - 2**62])
def test_times_at_the_bound(tmp_path, value):
    events = read_table(config(tmp_path, HEADER + f"1,a,{value}\n1,b,0\n")).events
    assert events["time"].to_list() == [value, 0]


@pytest.mark.parametrize("field", ["item", "time", "note"])
@pytest.mark.parametrize(
    ("number", "dtype"),
    [(2**31 - 1, pl.Date), (2**63 - 1, pl.Datetime("ms")), (-(2**62), pl.Datetime("us"))],
)
def test_dates_beyond_the_years(tmp_path, field, number, dtype):
    odd = pl.Series([0, number]).cast(dtype)
    table = {"user": [1, 1], "item": ["a", "b"], "time": [1, 2], "note": [1, 2]} | {field: odd}
    message = error(tmp_path, table, event_features=("note",))
    assert f"row 2: column '{field}' is {number} since 1970, expected a date of the" in message


@pytest.mark.parametrize("dtype", [pl.Duration("ms"), pl.Binary])
def test_types_without_a_text(tmp_path, dtype):
    item = (
        pl.Series([1, 2]).cast(pl.String).cast(dtype)
        if dtype == pl.Binary
        else pl.Series([1, 2]).cast(dtype)
    )
    table = {
        "user": [1, 1],
        "item": item,
        "time": [1, 2],
        "note": item.implode().extend(item.implode()),
    }
    assert "column 'item' has the type" in error(tmp_path, table)
    table["item"] = ["a", "b"]
    assert "column 'note' has the type" in error(tmp_path, table, event_features=("note",))


def test_hours_of_times_beyond_the_years(tmp_path):
    rows = "".join(f"{user},{item},{10**14 + item}\n" for user in range(3) for item in range(6))
    (tmp_path / "t.csv").write_text(HEADER + rows, encoding="utf-8")
    groups = {"activity_groups": [GroupConfig([FeatureConfig("ids", "item.id")])]}
    groups["global_groups"] = [GroupConfig([FeatureConfig("hour", "ask.hour")])]
    data = DataConfig(source="table", path=str(tmp_path / "t.csv"), time_unit="s")
    with pytest.raises(DataError, match=r"of t\.csv go from 1\d+ to 1\d+ s, beyond the years 1 to"):
        prepare(Config(data=data, model=ModelConfig(**groups)))


def test_long_cells_are_cut_in_messages(tmp_path):
    for row in (f"{'x' * 10**6},,3", f"1,a,{chr(27)}[31m{'x' * 10**6}"):
        assert len(error(tmp_path, HEADER + f"{row}\n1,a,5\n1,a,6\n")) < 400
    items = "item,name\n" + f"{'y' * 10**6},a\n" * 2
    assert len(error(tmp_path, HEADER + f"1,{'y' * 10**6},3\n", items, title="name")) < 400


def test_a_column_twice_in_recbole(tmp_path):
    path = tmp_path / "t.inter"
    path.write_text("user_id:token\titem_id:token\titem_id:float\n1\t2\t3\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: 'item_id' stands twice; give"):
        read_lib.read(DataConfig(source="table", path=str(path)))


# ---- JSON lines -----------------------------------------------------------------------------

ROW = '{"user": 1, "item": "a", "time": 3}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[" * 100_000, "is nested too deeply"),
        ('{"user": 1, "user": 2, "item": "a", "time": 3}', "has 'user' twice"),
        ('{"us\\u0065r": 1, "user": 2, "item": "a", "time": 3}', "has 'user' twice"),
        ('{"user": "\\ud800", "item": "a", "time": 3}', "holds half a character"),
        ('{"user": "x\\udc00", "item": "a", "time": 3}', "holds half a character"),
        ('{"user": 1' + "0" * 5000 + ', "item": "a", "time": 3}', "is not JSON (Exceeds the limit"),
    ],
)
def test_lines_of_json(tmp_path, line, reason):
    message = error(jsonl(tmp_path, ROW, line, ROW))
    assert message.startswith(f"{tmp_path / 't.jsonl'}, line 2: the line {reason}")
    dropped = jsonl(tmp_path, ROW, line, ROW)
    dropped.bad_rows = "drop"
    assert read_table(dropped).rows_read == 3
    assert len(read_table(dropped).events) == 2


def test_lines_that_are_json_together_alone(tmp_path):
    """Two halves of an object and two objects in one line: three lines, three objects."""
    halves = '{"user": 1', '"item": "a", "time": 3}'
    message = error(jsonl(tmp_path, *halves, f"{ROW},{ROW}"))
    assert "3 of 3 rows cannot be used" in message


def test_whole_characters_and_names_as_values(tmp_path):
    rows = [{"user": "😀", "item": "user", "time": 3}, {"user": "é", "item": "item", "time": 4}]
    read = read_table(jsonl(tmp_path, *map(json.dumps, rows))).events
    assert read["user"].to_list() == ["😀", "é"]
    assert read["item"].to_list() == ["user", "item"]


# ---- a search -------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [tables, movielens, records])
def test_a_short_search(tmp_path, target):
    found = search(target.attempts(random.Random(20), tmp_path), most=25)
    assert not found.faults
