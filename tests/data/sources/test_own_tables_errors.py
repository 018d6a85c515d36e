"""One's own tables: every error's message."""

import pytest

from flaxrec.config import DataConfig
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import ConfigError
from tests.support.own_tables import HEADER, config, error


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
