"""Values that lose something on the way elsewhere: texts, big ids, fine times; and bad rows."""

import datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from flaxrec.config import (
    ColumnsConfig,
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
)
from flaxrec.data import dataset, timelines
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import ConfigError, DataError


def settings(tmp_path, events, policy="refuse", **columns):
    """A config of one table: text as CSV, columns as Parquet."""
    path = tmp_path / ("events.csv" if isinstance(events, str) else "events.parquet")
    if isinstance(events, str):
        path.write_text(events)
    else:
        pl.DataFrame(events).write_parquet(path)
    return DataConfig(
        source="table", path=str(path), bad_rows=policy, columns=ColumnsConfig(**columns)
    )


def parquet(tmp_path, types=None, **columns):
    table = {"user": [1, 1, 2], "item": ["a", "b", "a"], "time": [1, 2, 3]} | columns
    names = tuple(set(columns) - {"user", "item", "time"})
    return read_table(settings(tmp_path, table, event_features=names), types).events


def error(*arguments, **columns):
    with pytest.raises(DataError) as caught:
        read_table(settings(*arguments, **columns))
    return str(caught.value)


# ---- features as text ------------------------------------------------------------------------


def test_a_string_feature_keeps_the_text_of_its_cells(tmp_path):
    versions = ["1.1", "1.10", "2.0", "1.9", "1.10", "3.20"]
    rows = [f"{user},i{n},{n},{v},{v}" for user in (1, 2) for n, v in enumerate(versions)]
    text = "\n".join(["user,item,time,version,level", *rows])
    features = [
        FeatureConfig("version", "event.version", "STRING", 4),
        FeatureConfig("level", "event.level", "FLOAT"),
    ]
    config = Config(
        data=settings(tmp_path, text, event_features=("version", "level")),
        model=ModelConfig(activity_groups=[GroupConfig(features)]),
    )
    config.evaluation.ks, config.export.top_k = (1,), 1
    built = dataset.prepare(config).timelines
    vocabulary = built.vocabularies["version"]
    assert sorted(vocabulary.entries[1:]) == ["1.1", "1.10", "1.9", "2.0", "3.20"]
    assert (vocabulary.lookup(versions) < vocabulary.unknown_row).all()
    np.testing.assert_allclose(built.columns["level"].values[:3], [1.1, 1.1, 2.0])


def test_features_of_an_item_and_a_user_as_text(tmp_path):
    text = "user,item,time,code,zone\n1,a,5,1.10,0.5\n1,b,6,1e3,1\n2,a,7,1.1,2\n"
    config = settings(tmp_path, text, item_features=("code",), user_features=("zone",))
    read = read_table(config, {"item.code": "STRING", "user.zone": "INT"})
    assert read.items.rows() == [("a", "1.10"), ("b", "1e3")]
    assert read.users["zone"].to_list() == [0.5, 2]


CLOCK = datetime.time(1, 0, 0, 4)
MOMENT = datetime.datetime(2024, 5, 31, 18, 30)
DAY = datetime.date(2024, 5, 31)


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        ([True, None, False], ["true", None, "false"]),
        ([DAY, None, datetime.date(1, 2, 3)], ["2024-05-31", None, "0001-02-03"]),
        (
            [MOMENT, None, MOMENT.replace(microsecond=5)],
            ["2024-05-31T18:30:00", None, "2024-05-31T18:30:00.000005"],
        ),
        (
            pl.Series([MOMENT, None, MOMENT], dtype=pl.Datetime("ms", "Europe/Berlin")),
            ["2024-05-31T18:30:00", None, "2024-05-31T18:30:00"],
        ),
        (
            pl.Series([10**9 + 1, None, 10**9]).cast(pl.Datetime("ns")),
            ["1970-01-01T00:00:01.000000001", None, "1970-01-01T00:00:01"],
        ),
        ([datetime.time(8), None, CLOCK], ["08:00:00", None, "01:00:00.000004"]),
        ([Decimal("1.10"), None, Decimal("1.1")], ["1.10", None, "1.10"]),
        (pl.Series(["x", None, "y"], dtype=pl.Categorical), ["x", None, "y"]),
        (pl.Series(["x", None, "y"], dtype=pl.Enum(["y", "x"])), ["x", None, "y"]),
        ([[True, False], None, []], [["true", "false"], None, []]),
        (pl.Series([["x"], None, []], dtype=pl.List(pl.Categorical)), [["x"], None, []]),
        ([[DAY], None, [None]], [["2024-05-31"], None, [None]]),
        (pl.Series([None] * 3, dtype=pl.Null), [None] * 3),
    ],
)  # fmt: skip
def test_texts_of_parquet_values(tmp_path, cells, texts):
    found = parquet(tmp_path, {"event.f": "STRING"}, f=cells)["f"].to_list()
    assert found == texts


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        ([True, None, False], [1, None, 0]),
        ([Decimal("1.10"), None, Decimal("2")], [1.1, None, 2.0]),
        ([Decimal("7"), None, Decimal("2")], [7, None, 2]),
        ([datetime.timedelta(seconds=90), None, datetime.timedelta(1)], [90, None, 86_400]),
        ([datetime.timedelta(seconds=1.5), None, datetime.timedelta(1)], [1.5, None, 86_400.0]),
        (pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int64, 2)), [[1, 2], None, [3, 4]]),
    ],
)
def test_numbers_of_parquet_values(tmp_path, cells, numbers):
    assert parquet(tmp_path, {"event.f": "FLOAT"}, f=cells)["f"].to_list() == numbers


def test_numbers_beyond_2_53_stay_text_beside_fractions(tmp_path):
    text = f"user,item,time,n\n1,a,2,{2**53 + 1}\n1,b,3,1.5\n"
    read = read_table(settings(tmp_path, text, event_features=("n",)))
    assert read.events["n"].to_list() == [str(2**53 + 1), "1.5"]


# ---- ids -------------------------------------------------------------------------------------

BIG = [1234567890123456768, 1234567890123456769]


def test_ids_beyond_2_53(tmp_path):
    text = "".join(f"1,{item},{n}\n" for n, item in enumerate(BIG))
    read = read_table(settings(tmp_path, "user,item,time\n" + text))
    assert read.events["item"].to_list() == BIG
    found = parquet(tmp_path, item=[*BIG, 5])["item"]
    assert found.to_list() == [*BIG, 5]
    decimals = pl.Series([*BIG, 5]).cast(pl.Decimal(38, 0))
    assert parquet(tmp_path, item=decimals)["item"].to_list() == [*BIG, 5]


@pytest.mark.parametrize("cell", ["1.2345678901234568e+18", "1.2345678901234568E18", f"{BIG[0]}.0"])
def test_ids_that_were_rounded_are_refused(tmp_path, cell):
    message = error(tmp_path, f"user,item,time\n1,5,2\n1,{cell},3\n")
    assert message == (
        f"{tmp_path / 'events.csv'}, line 3: column 'item' is {cell!r}, a float beyond 2^53, where "
        "whole numbers are rounded; write the ids as whole numbers or text."
    )


def test_ids_that_were_rounded_in_parquet(tmp_path):
    table = {"user": [1.0, 2.0**53 + 2], "item": ["a", "b"], "time": [1, 2]}
    assert "row 2: column 'user' is 9007199254740994.0, a float beyond" in error(tmp_path, table)

    table = {"user": [1, 2], "item": ["7", "1.5e18"], "time": [1, 2]}
    assert "row 2: column 'item' is '1.5e18', a float beyond" in error(tmp_path, table)


def test_features_that_were_rounded_are_told(tmp_path, caplog):
    parquet(tmp_path, {"event.f": "STRING"}, f=[2.0**60, None, 1.0])
    assert "column 'f' holds floats beyond 2^53" in caplog.text
    caplog.clear()
    parquet(tmp_path, {"event.f": "FLOAT"}, f=[2.0**60, None, 1.0])
    assert not caplog.messages


def test_ids_that_only_look_like_rounded_numbers(tmp_path):
    text = "user,item,time\n1,12e45,2\n1,77ab,3\n2,1.10,4\n2,1.1,5\n"
    read = read_table(settings(tmp_path, text))
    assert read.events["item"].to_list() == ["12e45", "77ab", "1.10", "1.1"]


# ---- times -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        ["31-12-23 10:00:00", "01-01-24 09:00:00"],
        ["01-02-2023", "02-02-2023"],
        ["01/02/2023", "13/02/2023"],
        ["1/2/23", "2/2/23"],
        ["01.02.2023 10:00", "02.02.2023 11:00"],
        ["23-12-31", "24-01-01"],
        ["31 Dec 23", "1 Jan 24"],
        ["2023-13-01", "2023-01-13"],
    ],
)
@pytest.mark.parametrize("as_text", [True, False])
def test_times_that_can_be_read_in_two_ways(tmp_path, cells, as_text):
    if as_text:
        text = "user,item,time\n" + "".join(f"u,a,{cell}\n" for cell in cells)
        message, place = error(tmp_path, text), "line 2"
    else:
        message = error(tmp_path, {"user": ["u"] * 2, "item": ["a"] * 2, "time": cells})
        place = "row 1"
    assert f"{place}: column 'time' is {cells[0]!r}, expected a number, or a date such" in message


@pytest.mark.parametrize("cells", [["31052024", "01062024"], ["05312024", "06012024"],
                                   ["311224", "010125"], ["241231", "000101"]])  # fmt: skip
def test_dates_of_digits_alone_whose_year_is_not_in_front(tmp_path, cells):
    text = "user,item,time\n" + "".join(f"u,a,{cell}\n" for cell in cells)
    assert f"line 2: column 'time' is {cells[0]!r}, which may be a date" in error(tmp_path, text)


@pytest.mark.parametrize("cells", [["20240531", "20240601"], ["000001", "000102", "000199"],
                                   ["100000", "231299"], ["28512024", "28512025"]])  # fmt: skip
def test_digits_that_are_numbers(tmp_path, cells):
    text = "user,item,time\n" + "".join(f"u,a,{cell}\n" for cell in cells)
    times = read_table(settings(tmp_path, text)).events["time"]
    assert times.to_list() == [int(cell) for cell in cells]


NANOSECONDS = [456_900, 456_100, 456_500, 458_000, 457_500]
ORDER = ["y", "z", "x", "v", "w"]


def fine_times(kind):
    whole = 1_717_180_200_123_000_000
    exact = [whole + rest for rest in NANOSECONDS]
    moments = pl.Series(exact).cast(pl.Datetime("ns"))
    if kind == "datetime":
        return moments
    if kind == "text":
        return moments.dt.strftime("%Y-%m-%d %H:%M:%S.%9f")
    if kind == "zoned text":
        return moments.dt.strftime("%Y-%m-%dT%H:%M:%S.%9fZ")
    if kind == "mixed text":
        return pl.Series([t.rstrip("0") for t in moments.dt.strftime("%Y%m%dT%H%M%S.%9f")])
    seconds = [Decimal(one) / 10**9 for one in exact]
    return seconds if kind == "decimal" else [str(one) for one in seconds]


@pytest.mark.parametrize(
    "kind", ["datetime", "text", "zoned text", "mixed text", "decimal", "number"]
)
def test_nanoseconds_keep_their_order(tmp_path, kind):
    table = {"user": ["a"] * 5, "item": list("xyzwv"), "time": fine_times(kind), "n": range(5)}
    config = Config(data=settings(tmp_path, table, event_features=("n",)))
    read = read_table(config.data)
    built = timelines.build(read, config)
    assert built.activities["item"].to_list() == ORDER
    assert read.events["n"].to_list() == [1, 2, 0, 4, 3]
    assert read.events["time"].dtype == pl.Float64  # in seconds, as event.gap
    np.testing.assert_allclose(read.events["time"], 1_717_180_200.123456, atol=3e-6)


def test_durations_as_times(tmp_path):
    times = [datetime.timedelta(seconds=5), datetime.timedelta(1), datetime.timedelta(0)]
    assert parquet(tmp_path, time=times)["time"].to_list() == [5, 86_400, 0]


def test_gaps_need_times(tmp_path):
    config = Config(data=settings(tmp_path, "user,item\n" + "1,a\n" * 4, time=""))
    config.model.activity_groups = [GroupConfig([FeatureConfig("gap", "event.gap", "INT", 4)])]
    with pytest.raises(ConfigError, match=r"event\.gap, but events\.csv has no times"):
        dataset.prepare(config)


# ---- bad rows --------------------------------------------------------------------------------


def test_all_bad_rows_are_told_at_once_and_can_be_left_out(tmp_path):
    def row(n):
        if n % 200 == 7:
            return f"u{n % 40},,{n},4"
        if n % 100 == 11:
            return f"u{n % 40},i{n % 30},soon,four"
        return f"u{n % 40},i{n % 30},{n},4" + (",5" if n in (50, 60) else "")

    text = "user,item,time,stars\n" + "\n".join(map(row, range(20_000)))
    message = error(tmp_path, text, rating="stars")
    path = tmp_path / "events.csv"
    both = (
        "column 'time' is 'soon', expected a number, as in the first row; column 'stars' is "
        "'four', expected a finite number such as 3.5"
    )
    assert message == (
        f"{path}: 302 of 20,000 rows cannot be used: "
        "line 9: column 'item' is empty, expected an id; "
        f"line 13: {both}; "
        "line 52: 5 fields, but the header has 4; "
        "line 62: 5 fields, but the header has 4; "
        f"line 113: {both}; and 297 more; "
        "correct or remove them, put values that hold ',' between \", or set "
        "--config.data.bad_rows=drop."
    )
    read = read_table(settings(tmp_path, text, "drop", rating="stars"))
    assert len(read.events) == 19_698
    assert read.rows_read == 20_000
    assert read.bad_rows.schema == {
        "file": pl.String, "line": pl.Int64, "column": pl.String, "reason": pl.String,
    }  # fmt: skip
    assert len(read.bad_rows) == 302
    assert read.bad_rows["line"].is_sorted()
    assert read.bad_rows.row(1) == (str(path), 13, "time, stars", both)
    assert read.events["time"].dtype == pl.Int64


def test_bad_rows_of_several_tables(tmp_path):
    config = settings(tmp_path, "user,item,time\n1,a,2\n1,b,soon\n1,b,4\n")
    config.items_path = str(tmp_path / "items.csv")
    (tmp_path / "items.csv").write_text("item,name\na,x\n,y\nb,z\nb,w\n")
    config.columns.title = "name"
    with pytest.raises(DataError) as caught:
        read_table(config)
    assert str(caught.value) == (
        f"{tmp_path / 'events.csv'}: 1 of 3 rows cannot be used: line 3: column 'time' is 'soon', "
        f"expected a number, as in the first row; {tmp_path / 'items.csv'}: 1 of 4 rows cannot be "
        "used: line 3: column 'item' is empty, expected an id; correct or remove them, or set "
        "--config.data.bad_rows=drop."
    )
    config.bad_rows = "drop"
    read = read_table(config)
    assert read.items.rows() == [("a", "x"), ("b", "z")]
    assert read.rows_read == 3
    assert read.bad_rows.select("line", "reason").rows() == [
        (3, "column 'time' is 'soon', expected a number, as in the first row"),
        (3, "column 'item' is empty, expected an id"),
        (5, "item 'b' stands in line 4 already"),
    ]


def test_dropping_leaves_types_to_the_good_rows(tmp_path):
    """The header may stand in the middle too, where files were joined."""
    text = "user,item,time,price\n1,7,5,1.5\nuser,item,time,price\n2,8,6,2\n"
    read = read_table(settings(tmp_path, text, "drop", event_features=("price",)))
    assert read.events.rows() == [(1, 7, 5, 1.5), (2, 8, 6, 2.0)]


def test_no_row_is_left(tmp_path):
    text = "user,item,time\n1,,5\n,2,5\n"
    with pytest.raises(DataError, match="2 of 2 rows cannot be used"):
        read_table(settings(tmp_path, text, "drop"))


def test_bad_rows_of_parquet(tmp_path):
    table = {"user": [1, None, 3], "item": ["a", "b", "c"], "time": [1.0, 2.0, float("nan")]}
    read = read_table(settings(tmp_path, table, "drop"))
    assert read.events.rows() == [(1, "a", 1.0)]
    assert read.bad_rows["line"].to_list() == [2, 3]


def test_a_long_cell_in_a_message_is_cut(tmp_path):
    message = error(tmp_path, f"user,item,time\n1,a,{'soon ' * 100}\n")
    assert len(message) < 300 + len(str(tmp_path))
