"""One's own tables: ids, times and features of every type."""

import datetime
import logging

import polars as pl
import pytest

from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import DataError
from tests.support.own_tables import HEADER, config, error


def ids(tmp_path, *cells):
    """Type and values of the items of a CSV file."""
    text = HEADER + "".join(f"1,{cell},{n}\n" for n, cell in enumerate(cells))
    item = read_table(config(tmp_path, text)).events["item"]
    return item.dtype, item.to_list()


def times(tmp_path, *cells):
    text = HEADER + "".join(f"1,2,{cell}\n" for cell in cells)
    return read_table(config(tmp_path, text)).events["time"]


def parquet(tmp_path, **columns):
    table = {"user": [1, 1], "item": ["a", "b"], "time": [1, 2], **columns}
    return read_table(config(tmp_path, table)).events


# ---- ids ------------------------------------------------------------------------------------


def test_minimal_table(tmp_path):
    interactions = read_table(config(tmp_path, HEADER + "u1,30,5\nu2,4,4\nu1,30,5\n"))
    assert interactions.events.schema == {"user": pl.String, "item": pl.Int64, "time": pl.Int64}
    assert interactions.events.rows() == [("u1", 30, 5), ("u2", 4, 4), ("u1", 30, 5)]
    assert interactions.items is None
    assert interactions.users is None
    assert interactions.source == "path.csv"


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["12", "-3", "0"], pl.Int64, [12, -3, 0]),
        (["12.0", "3.00", "100"], pl.Int64, [12, 3, 100]),
        (["007", "12"], pl.String, ["007", "12"]),
        (["00", "1"], pl.String, ["00", "1"]),
        (["12", "1.5"], pl.String, ["12", "1.5"]),
        (["1e3", "2"], pl.String, ["1e3", "2"]),
        (["9" * 25, "1"], pl.String, ["9" * 25, "1"]),
        ([" a", "a ", '" a b "'], pl.String, ["a", "a", "a b"]),
        ([" 7", "12 "], pl.Int64, [7, 12]),
        (['"a,b"', '"say ""x"""', "Zoë"], pl.String, ["a,b", 'say "x"', "Zoë"]),
    ],
)
def test_ids_of_a_csv_file(tmp_path, cells, dtype, values):
    assert ids(tmp_path, *cells) == (dtype, values)


def test_id_that_is_text_only_in_the_last_line(tmp_path):
    # Beyond any number of lines from which a type might be guessed.
    dtype, values = ids(tmp_path, *range(1, 20_000), "x1")
    assert dtype == pl.String
    assert values[0] == "1"
    assert values[-1] == "x1"


def test_ids_of_a_parquet_file(tmp_path):
    assert parquet(tmp_path, item=[12.0, 3.0])["item"].to_list() == [12, 3]
    assert parquet(tmp_path, item=[12.0, 3.5])["item"].to_list() == ["12.0", "3.5"]
    assert parquet(tmp_path, item=["12", "3"])["item"].to_list() == ["12", "3"]
    narrow = pl.Series([12, 3], dtype=pl.UInt8)
    assert parquet(tmp_path, item=narrow)["item"].dtype == pl.Int64
    wide = pl.Series([2**64 - 1, 3], dtype=pl.UInt64)
    assert parquet(tmp_path, item=wide)["item"].to_list() == [str(2**64 - 1), "3"]
    categories = pl.Series(["b", "a"], dtype=pl.Categorical)
    assert parquet(tmp_path, item=categories)["item"].to_list() == ["b", "a"]


def test_ids_of_two_files_get_one_type(tmp_path):
    events = {"user": [1, 2], "item": [12, 3], "time": [1, 2]}
    items = {"item": ["12", "x"], "name": ["Twelve", "X"]}
    interactions = read_table(config(tmp_path, events, items, title="name"))
    assert interactions.events["item"].to_list() == ["12", "3"]
    assert interactions.items.rows() == [("12", "Twelve"), ("x", "X")]
    # One odd id in the items' file makes both files text.
    read = read_table(config(tmp_path, HEADER + "1,5,0\n", "item\n5\n5b\n"))
    assert read.events["item"].to_list() == ["5"]
    assert read.items["item"].to_list() == ["5", "5b"]


# ---- times and ratings ----------------------------------------------------------------------


def test_times_of_a_csv_file(tmp_path):
    # Nanoseconds exceed the whole numbers that a Float64 can hold.
    nanoseconds = times(tmp_path, "1700000000000000001", " 1700000000000000000")
    assert nanoseconds.to_list() == [1700000000000000001, 1700000000000000000]
    fractions = times(tmp_path, "1.5", "-2", "1e3")
    assert fractions.dtype == pl.Float64
    assert fractions.to_list() == [1.5, -2.0, 1000.0]
    dates = times(
        tmp_path,
        "1970-01-02",
        "1970-01-01T00:00:01",
        "1970-01-01 00:00:00.000002",
        "1970-01-01T00:00:01Z",
        "1970-01-01T02:00:01+02:00",
        "1969-12-31",
    )
    day = 24 * 60 * 60
    assert dates.to_list() == [day, 1, 2e-6, 1, 1, -day]
    # The same where one form is used throughout.
    assert times(tmp_path, "1970-01-03", "1969-12-31").to_list() == [2 * day, -day]
    assert times(tmp_path, "1970-01-01T00:00:01.5", "1970-01-01T00:00:02").to_list() == [
        1.5,
        2,
    ]
    assert times(tmp_path, "1970-01-02 00:00:01").to_list() == [day + 1]


def test_spaces_around_a_cell_of_a_csv_file_mean_nothing(tmp_path):
    text = "user,item,time,name,kind,price\n"
    text += '1,a,1, The Wall ,"War", 5\n1,b,2,It, War ,6.5\n1,a,3,,  ,7\n'
    columns = {"title": "name", "item_features": ("kind",), "event_features": ("price",)}
    read = read_table(config(tmp_path, text, **columns))
    assert read.items["title"].to_list() == ["The Wall", "It"]
    assert read.items["kind"].to_list() == ["War", "War"]
    assert read.events["price"].to_list() == [5, 6.5, 7]


@pytest.mark.parametrize("rows", ["1,b,3,\n", '1,b,,"x"\n'])
def test_a_cell_beyond_what_the_csv_module_takes(tmp_path, rows):
    """An open quote makes one of the rest of the file, a description may be one."""
    is_open = rows.endswith(",\n")
    cell = '"open\n' + "1,b,3,fine\n" * 20_000 if is_open else f'"{"x" * 140_000}"\n'
    told = error(tmp_path, f"user,item,time,note\n1,a,2,{cell}{rows}", event_features=("note",))
    if is_open:
        assert 'check that every " has its counterpart' in told
    else:
        assert "line 3: column 'time' is empty" in told


def test_times_in_utc_as_databases_write_them(tmp_path):
    utc = times(tmp_path, "2024-05-31 18:30:00 UTC", "2024-05-31 18:30:00.25 UTC")
    assert (
        utc.to_list()
        == times(tmp_path, "2024-05-31T18:30:00Z", "2024-05-31T18:30:00.25Z").to_list()
    )


def test_times_of_a_parquet_file(tmp_path):
    dates = [datetime.date(1970, 1, 3), datetime.date(1970, 1, 2)]
    assert parquet(tmp_path, time=dates)["time"].to_list() == [2 * 86_400, 86_400]
    moments = [datetime.datetime(1970, 1, 1, 0, 0, second) for second in (2, 1)]
    for unit in ("ms", "us", "ns"):
        series = pl.Series(moments, dtype=pl.Datetime(unit))
        assert parquet(tmp_path, time=series)["time"].to_list() == [2, 1]
        berlin = series.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
        assert parquet(tmp_path, time=berlin)["time"].to_list() == [2, 1]
    assert parquet(tmp_path, time=[0.5, 0.25])["time"].to_list() == [0.5, 0.25]
    assert parquet(tmp_path, time=["1970-01-01", "1970-01-02"])["time"][1] == 86_400


def test_ratings(tmp_path):
    text = "u;i;t;stars\n".replace(";", "\t") + "1\t2\t3\t4.5\n1\t3\t4\t 2\n"
    names = {"user": "u", "item": "i", "time": "t", "rating": "stars"}
    events = read_table(config(tmp_path, text, suffix=".tsv", **names)).events
    assert events.columns == ["user", "item", "time", "rating"]
    assert events["rating"].dtype == pl.Float32
    assert events["rating"].to_list() == [4.5, 2.0]


# ---- features -------------------------------------------------------------------------------


NAMED = {"event_type": "kind", "session": "visit", "weight": "value"}


def test_types_sessions_and_weights(tmp_path):
    text = "user,item,time,kind,visit,value\n1,2,3,buy,7,0.5\n1,2,4,,8,2\n"
    events = read_table(config(tmp_path, text, **NAMED)).events
    assert events.columns[3:] == ["event_type", "session", "weight"]
    assert events.schema["weight"] == pl.Float32
    assert events.rows() == [(1, 2, 3, "buy", 7, 0.5), (1, 2, 4, None, 8, 2.0)]
    kinds = {"kind": [True, False], "visit": ["x", "y"], "value": [0, 3]}
    table = {"user": [1, 1], "item": ["a", "b"], "time": [1, 2], **kinds}
    events = read_table(config(tmp_path, table, **NAMED)).events
    assert events.rows() == [(1, "a", 1, "true", "x", 0.0), (1, "b", 2, "false", "y", 3.0)]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("buy,7,-0.5", "column 'value' is '-0.5', expected a number of 0 or above"),
        ("buy,7,", "column 'value' is empty, expected a number of 0 or above"),
        ("buy,,1", "column 'visit' is empty, expected an id"),
    ],
)
def test_broken_sessions_and_weights(tmp_path, cells, expected):
    text = f"user,item,time,kind,visit,value\n1,2,3,buy,7,1\n1,2,3,{cells}\n"
    with pytest.raises(DataError) as error:
        read_table(config(tmp_path, text, **NAMED))
    assert f"line 3: {expected}" in str(error.value)


def test_event_features_get_a_type_by_all_their_values(tmp_path):
    text = (
        "user,item,time,place,count,price,zip,none,late\n"
        '1,2,3,home,7,1,01234,,1\n1,2,4,,,0.5,1,"",2\n1,2,5,work,-8,nan,2,,x\n'
    )
    names = ("place", "count", "price", "zip", "none", "late")
    events = read_table(config(tmp_path, text, event_features=names)).events
    assert events.select(names).to_dict(as_series=False) == {
        "place": ["home", None, "work"],
        "count": [7, None, -8],
        "price": [1.0, 0.5, None],
        "zip": ["01234", "1", "2"],
        "none": [None, None, None],
        "late": ["1", "2", "x"],
    }
    assert events["count"].dtype == pl.Int64
    assert events["none"].dtype == pl.String


def test_items_and_users_in_their_own_files(tmp_path):
    items = (
        "item,name,genres,year,unused\n"
        '7,"Lake, The",Drama | Crime,1990,a\n8,1984,,2001,b\n9,Unseen,War|,,c\n'
    )
    users = "user,age\nbo,25\nal,\n"
    read = read_table(
        config(
            tmp_path,
            HEADER + "bo,7,1\nal,8,2\ncy,6,3\n",
            items,
            users,
            title="name",
            item_features=("genres", "year"),
            user_features=("age",),
            multi_valued=("genres",),
        )
    )
    assert read.items.schema == {
        "item": pl.Int64,
        "title": pl.String,
        "genres": pl.List(pl.String),
        "year": pl.Int64,
    }
    assert read.items.rows() == [
        (7, "Lake, The", ["Drama", "Crime"], 1990),
        (8, "1984", [], 2001),
        (9, "Unseen", ["War"], None),
    ]
    assert read.users.rows() == [("bo", 25), ("al", None)]
    assert read.events["item"].to_list() == [7, 8, 6]


def test_features_beside_the_interactions_first_known_value_counts(tmp_path, caplog):
    text = (
        "user,item,time,name,tags,age\n"
        "1,b,1,,x;y,30\n1,a,2,Ann,,30\n2,b,3,Bob,z,40\n2,b,4,Rob,x;y,41\n1,a,5,Ann,,30\n"
    )
    names = {
        "title": "name",
        "item_features": ("tags",),
        "multi_valued": ("tags",),
        "separator": ";",
        "user_features": ("age",),
    }
    with caplog.at_level(logging.WARNING):
        read = read_table(config(tmp_path, text, **names))
    assert read.items.rows() == [("b", "Bob", ["x", "y"]), ("a", "Ann", [])]
    assert read.users.rows() == [(1, 30), (2, 40)]
    path = tmp_path / "path.csv"
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 1 items have several values of 'title'; the first one is kept.",
        f"{path}: 1 items have several values of 'tags'; the first one is kept.",
        f"{path}: 1 users have several values of 'age'; the first one is kept.",
    ]


def test_parquet_lists_stay_and_text_is_split(tmp_path):
    items = {
        "item": ["a", "b"],
        "genres": [["War", "Drama"], None],
        "codes": [[1, 2], []],
        "tags": ["x|y", None],
        "released": [datetime.date(1999, 5, 1), None],
        "price": [float("nan"), 0.5],
    }
    features = ("genres", "codes", "tags", "released", "price")
    table = {"user": [1, 1], "item": ["a", "b"], "time": [1, 2]}
    read = read_table(
        config(tmp_path, table, items, item_features=features, multi_valued=("genres", "tags"))
    )
    assert read.items.rows() == [
        ("a", ["War", "Drama"], [1, 2], ["x", "y"], "1999-05-01", None),
        ("b", [], [], [], None, 0.5),
    ]


def test_parquet_lists_beside_the_interactions(tmp_path):
    table = {
        "user": [1, 1, 2],
        "item": ["a", "b", "a"],
        "time": [1, 2, 3],
        "genres": [None, ["War"], ["Drama", "War"]],
    }
    read = read_table(config(tmp_path, table, item_features=("genres",)))
    assert read.items.rows() == [("a", ["Drama", "War"]), ("b", ["War"])]


def test_byte_order_mark_blank_lines_and_windows_line_ends(tmp_path):
    text = "\ufeff" + HEADER.replace("\n", "\r\n") + "1,a,5\r\n\r\n2,b,6\r\n\r\n"
    assert read_table(config(tmp_path, text)).events.rows() == [(1, "a", 5), (2, "b", 6)]


def test_values_that_are_never_separated_are_told(tmp_path, caplog):
    text = 'user,item,time,genres\n1,b,5,War\n1,a,5,"War, Love"\n'
    columns = {"item_features": ("genres",), "multi_valued": ("genres",)}
    read = read_table(config(tmp_path, text, **columns, separator=","))
    assert read.items["genres"].to_list() == [["War"], ["War", "Love"]]
    assert not caplog.messages
    read = read_table(config(tmp_path, text, **columns))
    assert read.items["genres"].to_list() == [["War"], ["War, Love"]]
    (message,) = caplog.messages
    assert message == (
        f"{tmp_path / 'path.csv'}: no cell of 'genres' has the separator '|', so that each is one "
        "value, such as 'War, Love'; correct config.data.columns.separator if they hold several."
    )


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_csv_files_with_another_separator(tmp_path, separator):
    lines = ["user,item,time,name, in full,genres", '1,a,5,"It, that",War/Love', "2,b,6,x,"]
    text = "\n".join(lines).replace(",", separator).replace(f"{separator} ", ", ")
    read = read_table(
        config(
            tmp_path,
            text,
            title="name, in full",
            item_features=("genres",),
            multi_valued=("genres",),
            separator="/",
        )
    )
    assert read.events.rows() == [(1, "a", 5), (2, "b", 6)]
    assert read.items.rows() == [("a", "It, that", ["War", "Love"]), ("b", "x", [])]


def test_separator_in_messages(tmp_path):
    text = "user;item;time\n1;a;5\n1;b;6;7\n"
    assert "line 3: 4 fields, but the header has 3; put values that hold ';'" in error(
        tmp_path, text
    )
    assert "has no column 'who', it has 'user', 'item', 'time'; correct" in error(
        tmp_path, text, user="who"
    )
    # One wanted column under either separator: the comma stays.
    assert "has no column 'item', it has 'user', 'item;x'; correct" in error(
        tmp_path, "user,item;x\n1,2\n"
    )


def test_one_column_may_serve_twice(tmp_path):
    read = read_table(config(tmp_path, HEADER + "1,a,5\n", title="item"))
    assert read.items.rows() == [("a", "a")]
