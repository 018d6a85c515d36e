"""Any table, written by other programs' rules: its own values are read, or a sentence says why not.

Python's csv and json write; what is expected are the rows, by the rules of docs/own_data.md.
"""

import contextlib
import csv
import datetime
import io
import json
import logging
import math
import re
import string

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import DataError

# Spaces in the sense of Unicode; Python counts some control characters among them.
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
SPACES += "".join(map(chr, range(0x2000, 0x200B)))
MISSING = {"", "nan", "NaN", "NAN", "null", "NULL"}
COLUMNS = ("user", "item", "time", "note")

odd = st.sampled_from(["", " a ", '"', '""', 'a"b', "a\nb", "a\r\nb", "\t", ",", ";", "|", "\\",
'\\"',
                       "é", "\u202e", "\x1b[31m", "\x00", "\x1f", "\ufeff", "null", "NaN", "007",
                       "1e5", "-0",
                       "12.0", str(2**63), "x" * 1000])  # fmt: skip
texts = st.one_of(odd, st.text(max_size=6), st.text(alphabet='ab1",;\t\n\r\\ ', max_size=8))
ids = st.one_of(st.sampled_from(["1", "2", "33", "-4", "a", "b c"]), texts)
times = st.one_of(st.integers(-5, 5).map(str), st.integers(-(2**65), 2**65).map(str))


@contextlib.contextmanager
def warned():
    """The list of warnings that are logged."""
    records: list = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    logging.getLogger().addHandler(handler)
    try:
        yield records
    finally:
        logging.getLogger().removeHandler(handler)


def events_of(path):
    """The events, or None where a sentence refuses the file or a warning names it."""
    columns = ColumnsConfig(event_features=("note",))
    with warned() as warnings:
        try:
            read = read_table(DataConfig(source="table", path=str(path), columns=columns)).events
        except DataError as error:
            sentence = str(error)
        else:
            return None if warnings else read
    assert path.name in sentence
    assert sentence.isprintable()
    assert len(sentence) < 1500
    return None


def id_values(cells):
    """Whole numbers if all are, else texts."""
    if all(re.fullmatch(r"(0|-?[1-9][0-9]*)(\.0+)?", cell) for cell in cells):
        numbers = [int(cell.partition(".")[0]) for cell in cells]
        if all(-(2**63) <= number < 2**63 for number in numbers):
            return numbers
    return cells


def stripped(cell):
    return cell.strip(SPACES) or None


def check(rows, read):
    """Compares what was read with rows of texts."""
    cells = [[stripped(cell) for cell in row] for row in rows]
    assert not any(cell is None or cell in MISSING for row in cells for cell in row[:2])
    assert read["user"].to_list() == id_values([row[0] for row in cells])
    assert read["item"].to_list() == id_values([row[1] for row in cells])
    assert [float(time) for time in read["time"]] == [float(row[2]) for row in cells]
    assert all(-(2**62) < int(row[2]) < 2**62 for row in cells)
    notes = [row[3] for row in cells]
    if read["note"].dtype == pl.String:
        assert read["note"].to_list() == notes
    else:
        found = [None if note is None else float(note) for note in notes]
        assert read["note"].to_list() == [None if n is None or math.isnan(n) else n for n in found]


rows_of_texts = st.lists(st.tuples(ids, ids, times, texts), min_size=1, max_size=6)


@given(rows_of_texts, st.sampled_from([",", ";", "|", "\t"]), st.sampled_from(["\n", "\r\n"]))
def test_csv(tmp_path_factory, rows, separator, end):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([COLUMNS, *rows])
    path = tmp_path_factory.mktemp("csv") / ("t.tsv" if separator == "\t" else "t.csv")
    path.write_bytes(text.getvalue().encode())
    read = events_of(path)
    if read is not None:
        check(rows, read)


@given(rows_of_texts, st.booleans())
def test_json_lines(tmp_path_factory, rows, escapes):
    path = tmp_path_factory.mktemp("json") / "t.jsonl"
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=escapes) for row in rows]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    read = events_of(path)
    if read is not None:
        check(rows, read)


WHOLE = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31))
TYPES = [
    (pl.Int64, WHOLE, None), (pl.UInt64, st.integers(0, 2**64 - 1), None), (pl.Int8,
    st.integers(-9, 9), None),
    (pl.Int128, st.integers(-(2**100), 2**100), None), (pl.Float64, st.floats(), None),
    (pl.Boolean, st.booleans(), lambda v: str(v).lower()), (pl.String, st.text(max_size=5), None),
    (pl.Categorical, st.sampled_from("abc"), None), (pl.Null, st.none(), None), (pl.Binary,
    st.binary(max_size=3), None),
    (pl.Date, st.dates(), lambda v: v.isoformat()), (pl.Datetime("us"), MOMENTS,
    lambda v: v.isoformat()),
    (pl.Datetime("ms"), MOMENTS.map(lambda v: v.replace(microsecond=0)), lambda v: v.isoformat()),
    (pl.Time, st.times(), lambda v: v.isoformat()), (pl.List(pl.Int64), st.lists(WHOLE,
    max_size=2), None),
    (pl.List(pl.String), st.lists(st.text(alphabet=string.ascii_letters), max_size=2), None),
    (pl.Struct({"a": pl.Int8}), st.just({"a": 1}), None), (pl.Decimal(20, 0), st.integers(-(10**9),
    10**9), int),
    (pl.Duration("ms"), st.timedeltas().map(lambda v: datetime.timedelta(v.days)),
    lambda v: v.total_seconds()),
]  # fmt: skip


@st.composite
def columns(draw, size):
    dtype, values, value_of = draw(st.sampled_from(TYPES))
    cells = draw(st.lists(st.one_of(values, st.none()), min_size=size, max_size=size))
    own = [cell if cell is None or value_of is None else value_of(cell) for cell in cells]
    return pl.Series("note", cells, dtype=dtype, strict=False), own


@given(st.data(), st.integers(1, 5))
def test_parquet(tmp_path_factory, data, size):
    column, values = data.draw(columns(size))
    plain = {"user": [1] * size, "item": list(range(size)), "time": list(range(size))}
    place = data.draw(st.sampled_from(["note", "item", "time"]))
    table = pl.DataFrame(plain).with_columns(column.alias(place))
    table = table if "note" in table.columns else table.with_columns(note=pl.lit("a"))
    path = tmp_path_factory.mktemp("parquet") / "t.parquet"
    table.write_parquet(path)
    read = events_of(path)
    if read is None:
        return
    if place == "note":
        found = read["note"].to_list()
        expected = [None if cell != cell else cell for cell in values]
        assert found == expected or [str(v) for v in found] == [str(v) for v in expected]
    elif place == "item":
        assert None not in values
        assert read["item"].to_list() == values or read["item"].to_list() == [
            str(k) for k in values
        ]
    else:
        assert None not in values
        assert len(read) == size
        assert read["time"].is_finite().all() if read["time"].dtype.is_float() else True
        assert read["time"].is_between(-(2**62), 2**62, closed="none").all()
