"""One's own tables: ids, times and features of every type, and every error's message."""

import datetime
import logging

import polars as pl
import pytest

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import ConfigError, DataError

HEADER = "user,item,time\n"


def config(tmp_path, events, items=None, users=None, suffix=".csv", **columns):
    """A config for tables that are written here: text as CSV or TSV, dicts as Parquet."""
    paths = {}
    tables = {"path": events, "items_path": items, "users_path": users}
    for field, table in tables.items():
        if isinstance(table, str | bytes):
            path = tmp_path / f"{field}{suffix}"
            path.write_bytes(table.encode() if isinstance(table, str) else table)
        elif table is not None:
            path = tmp_path / f"{field}.parquet"
            pl.DataFrame(table).write_parquet(path)
        else:
            continue
        paths[field] = str(path)
    return DataConfig(source="table", columns=ColumnsConfig(**columns), **paths)


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


# ---- errors ---------------------------------------------------------------------------------


def error(*arguments, kind=DataError, **columns):
    settings = arguments[0] if len(arguments) == 1 else config(*arguments, **columns)
    with pytest.raises(kind) as caught:
        read_table(settings)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (",2,3", "column 'user' is empty, expected an id;"),
        ('"",2,3', "column 'user' is empty, expected an id;"),
        ("1,  ,3", "column 'item' is empty, expected an id;"),
        ("1,NaN,3", "column 'item' is 'NaN', expected an id;"),
        ("1,null,3", "column 'item' is 'null', expected an id;"),
        ("1,2", "column 'time' is empty, expected a number, a date or a date-time;"),
        ("1,2,soon", "column 'time' is 'soon', expected a number, as in the first row;"),
        ("1,2,inf", "column 'time' is 'inf', expected a number, as in the first row;"),
        ("1,2,2024-01-01", "column 'time' is '2024-01-01', expected a number, as in the first"),
    ],
)
def test_broken_line_of_a_csv_file(tmp_path, line, expected):
    # The quoted line break and the blank line count as lines of the file.
    message = error(tmp_path, HEADER + f'1,"a\nb",3\n\n1,2,3\n{line}\n1,2,3\n')
    assert message.startswith(f"{tmp_path / 'path.csv'}, line 6: {expected}")
    assert message.endswith("; correct or remove it.")


def test_broken_dates(tmp_path):
    message = error(tmp_path, HEADER + "1,2,2024-05-31\n1,2,31.05.2024\n")
    assert "path.csv, line 3: column 'time' is '31.05.2024', expected a number, or a" in message
    assert "a date such as 2024-05-31 or 2024-05-31T18:30:00; correct or remove it." in message


@pytest.mark.parametrize("cell", ["good", "nan", "inf", '"3,5"', "$3"])
def test_broken_rating(tmp_path, cell):
    message = error(tmp_path, f"user,item,time,r\n1,2,3,4\n1,2,3,{cell}\n", rating="r")
    found = cell.strip('"')
    assert message == (
        f"{tmp_path / 'path.csv'}, line 3: column 'r' is '{found}', expected a finite number such "
        "as 3.5; correct or remove it."
    )


def test_empty_rating_may_be_an_event_feature(tmp_path):
    text = "user,item,time,r\n1,2,3,4\n1,2,3,\n"
    assert error(tmp_path, text, rating="r") == (
        f"{tmp_path / 'path.csv'}, line 3: column 'r' is empty, but a rating is needed in every "
        "row; name the column in config.data.columns.event_features, where cells may be empty, "
        "instead of config.data.columns.rating."
    )
    read = read_table(config(tmp_path, text, event_features=("r",)))
    assert read.events["r"].to_list() == [4, None]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"user": [1, None]}, "row 2: column 'user' is empty, expected an id;"),
        ({"item": [1.0, float("nan")]}, "row 2: column 'item' is nan, expected an id;"),
        ({"time": [1, None]}, "row 2: column 'time' is empty, expected a number, a date"),
        ({"time": [1.0, float("nan")]}, "row 2: column 'time' is nan, expected a number"),
    ],
)
def test_broken_row_of_a_parquet_file(tmp_path, columns, expected):
    table = {"user": [1, 1], "item": ["a", "b"], "time": [1, 2], **columns}
    message = error(tmp_path, table)
    assert message.startswith(f"{tmp_path / 'path.parquet'}, {expected}")
    assert message.endswith("; correct or remove it.")


@pytest.mark.parametrize(
    ("columns", "settings", "expected"),
    [
        ({"item": [[1], [2]]}, {}, "'item' has the type List(Int64), expected numbers or str"),
        ({"time": [True, False]}, {}, "'time' has the type Boolean, expected a number, a date"),
        ({"r": [[1], [2]]}, {"rating": "r"}, "'r' has the type List(Int64), expected numbers;"),
        ({"f": [{"a": 1}] * 2}, {"event_features": ("f",)}, "'f' has the type Struct("),
    ],
)
def test_parquet_column_of_another_type(tmp_path, columns, settings, expected):
    table = {"user": [1, 1], "item": ["a", "b"], "time": [1, 2], **columns}
    message = error(tmp_path, table, **settings)
    assert message.startswith(f"{tmp_path / 'path.parquet'}: column {expected}")
    assert message.endswith("; convert it, or name another column in config.data.columns.")


@pytest.mark.parametrize(
    ("field", "columns"),
    [
        ("user", {"user": "userId"}),
        ("item", {"item": "userId"}),
        ("time", {"time": "userId"}),
        ("rating", {"rating": "userId"}),
        ("title", {"title": "userId"}),
        ("event_features", {"event_features": ("userId",)}),
        ("item_features", {"item_features": ("userId",)}),
        ("user_features", {"user_features": ("userId",)}),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_missing_column(tmp_path, field, columns, suffix):
    table = {"user": [1], "item": [2], "time": [3]} if suffix == ".parquet" else HEADER + "1,2,3\n"
    message = error(tmp_path, table, **columns)
    assert message == (
        f"{tmp_path / f'path{suffix}'} has no column 'userId', it has 'user', 'item', 'time'; "
        f"correct --config.data.columns.{field}."
    )


def test_missing_column_of_many(tmp_path):
    columns = [f"c{n}" for n in range(23)]
    message = error(tmp_path, ",".join(["x" * 50, *columns]) + "\n")
    assert f"it has '{'x' * 39}…', 'c0', 'c1'," in message
    assert "'c18', and 4 more; correct --config.data.columns.user." in message


def test_missing_column_of_the_items(tmp_path):
    message = error(tmp_path, HEADER + "1,2,3\n", "item,name\n2,b\n", item_features=("year",))
    assert message == (
        f"{tmp_path / 'items_path.csv'} has no column 'year', it has 'item', 'name'; correct "
        "--config.data.columns.item_features."
    )


def test_repeated_items_and_users(tmp_path):
    items = "item,name\n2,a\n3,b\n\n2,c\n"
    message = error(tmp_path, HEADER + "1,2,3\n", items, title="name")
    assert message == (
        f"{tmp_path / 'items_path.csv'}, line 5: item 2 stands in line 2 already; keep one of the "
        "two."
    )
    users = {"user": ["x", "y", "y"]}
    message = error(tmp_path, HEADER + "x,2,3\n", None, users)
    assert message == (
        f"{tmp_path / 'users_path.parquet'}, row 3: user 'y' stands in row 2 already; keep one of "
        "the two."
    )


def test_row_of_the_items_without_an_id(tmp_path):
    message = error(tmp_path, HEADER + "1,2,3\n", "item,name\n2,a\n,b\n")
    assert "items_path.csv, line 3: column 'item' is empty, expected an id; correct or" in message


def test_tables_that_have_nothing_in_common(tmp_path):
    message = error(tmp_path, HEADER + "1,2,3\n", "item,name\nm-2,b\n", title="name")
    assert message == (
        f"{tmp_path / 'items_path.csv'}: none of its items occurs in {tmp_path / 'path.csv'} "
        "(there '2', here 'm-2'); correct --config.data.columns.item, or the ids."
    )


def test_files_that_cannot_be_used(tmp_path):
    settings = config(tmp_path, HEADER, suffix=".txt")
    assert error(settings) == (
        f"{tmp_path / 'path.txt'} has the extension '.txt'; set --config.data.format to the "
        "file's format (csv, tsv, parquet, jsonl, ...), or --config.data.path to a .csv, .tsv, "
        ".parquet or .jsonl file."
    )
    settings = config(tmp_path, HEADER + "1,2,3\n")
    settings.items_path = str(tmp_path / "none.csv")
    assert error(settings) == (
        f"{tmp_path / 'none.csv'} is missing; set --config.data.items_path to a file that exists."
    )
    for content in ("", HEADER, HEADER + "\n\n"):
        assert error(tmp_path, content) == (
            f"{tmp_path / 'path.csv'} is empty; it needs a header with the columns' names, and "
            "rows."
        )
    assert "path.parquet is empty; it needs" in error(
        tmp_path, {"user": [], "item": [], "time": []}
    )
    (tmp_path / "path.parquet").write_bytes(b"not a table at all")
    message = error(DataConfig(path=str(tmp_path / "path.parquet")))
    assert "path.parquet cannot be read as Parquet (" in message
    assert message.endswith("write it again.")


def test_csv_lines_that_polars_refuses(tmp_path):
    message = error(tmp_path, HEADER + '1,"a\nb",3\n1,Lake, The,3\n')
    assert message == (
        f"{tmp_path / 'path.csv'}, line 4: 4 fields, but the header has 3; put values that hold "
        "',' between \"."
    )
    message = error(tmp_path, (HEADER + "1,a,3\n1,Caf\xe9,3\n").encode("latin-1"))
    assert message == (f"{tmp_path / 'path.csv'}, line 3: not UTF-8; save the file as UTF-8.")
    message = error(tmp_path, (HEADER + "1,a,3\n").encode("utf-16"))
    assert message == f"{tmp_path / 'path.csv'}, line 1: not UTF-8; save the file as UTF-8."
    message = error(tmp_path, HEADER + '1,a,3\n1,"b,3\n')
    assert "path.csv" in message
    assert "has its counterpart." in message


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"user": ""}, "config.data.columns.user is ''; give it, such as 'user'."),
        ({"separator": ""}, "config.data.columns.separator is ''; give it, such as '|'."),
        ({"multi_valued": ("genres",)}, "config.data.columns.multi_valued names 'genres'; use"),
        ({"event_features": ("time",)}, "event_features names 'time', which is taken or named"),
        ({"rating": "r", "event_features": ("rating",)}, "event_features names 'rating', which"),
        ({"item_features": ("count",)}, "item_features names 'count', which is taken or named"),
        ({"title": "name", "item_features": ("title",)}, "item_features names 'title', which"),
        ({"user_features": ("age", "age")}, "user_features names 'age', which is taken or"),
    ],
)
def test_config_that_contradicts_itself(tmp_path, columns, expected):
    assert expected in error(tmp_path, HEADER + "1,2,3\n", kind=ConfigError, **columns)


def test_config_without_a_file():
    message = error(DataConfig(source="table"), kind=ConfigError)
    assert message == "config.data.path is ''; give a .csv, .tsv or .parquet file."
