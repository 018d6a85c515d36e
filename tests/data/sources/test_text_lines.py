"""Text files whose quotes mean several things: every row is read right, or named."""

import csv
import io
import logging
import random

import polars as pl
import pytest

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources import text_lines
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import DataError

SEPARATORS = [",", ";", "\t", "|"]


def table(tmp_path, text, suffix=".csv", items=None, policy="refuse", **columns):
    """Interactions of files that are written here."""
    path = tmp_path / f"events{suffix}"
    path.write_bytes(text.encode())
    settings = DataConfig(path=str(path), bad_rows=policy, columns=ColumnsConfig(**columns))
    if items is not None:
        of_items = tmp_path / f"items{suffix}"
        of_items.write_bytes(items.encode())
        settings.items_path = str(of_items)
    return read_table(settings)


def error(*arguments, **options):
    with pytest.raises(DataError) as caught:
        table(*arguments, **options)
    return str(caught.value)


def events(titles, separator):
    """Two users with these titles, as they stand, in the last column."""
    rows = [f"{u},{n},n{n},{title}" for u in "ab" for n, title in enumerate(titles)]
    return "\n".join(["user,time,item,title", *rows]).replace(",", separator) + "\n"


OPEN = ["A", '"Open', "C", "D", '"Also', "F", "G", "H"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_stray_quotes_in_a_column_that_nobody_wants(tmp_path, separator, caplog):
    suffix = ".tsv" if separator == "\t" else ".csv"
    read = table(tmp_path, events(OPEN, separator), suffix).events
    assert read.rows() == [(u, f"n{n}", n) for u in "ab" for n in range(8)]
    (message,) = caplog.messages
    assert message.endswith("read as a character (lines of this kind: 4, the first: 3).")


@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_stray_quotes_in_a_used_column_of_a_csv_file(tmp_path, separator):
    text = events(OPEN, separator)
    message = error(tmp_path, text, title="title")
    assert message == (
        f"{tmp_path / 'events.csv'}: 4 of 16 rows cannot be used: "
        + "; ".join(
            f"line {line}: column 'title' begins with a \" that does not end before the next "
            f"{separator!r} or the line's end"
            for line in (3, 6, 11, 14)
        )
        + '; check that every " has its counterpart, or set --config.data.bad_rows=drop.'
    )
    read = table(tmp_path, text, policy="drop", title="title")
    assert read.events["item"].to_list() == [f"n{n}" for n in (0, 2, 3, 5, 6, 7)] * 2
    assert read.rows_read == 16
    assert read.bad_rows["line"].to_list() == [3, 6, 11, 14]
    assert read.bad_rows["column"].unique().to_list() == ["title"]


def test_in_a_tsv_file_they_are_characters_of_the_title(tmp_path):
    read = table(tmp_path, events(OPEN, "\t"), ".tsv", title="title")
    assert read.items["title"].to_list() == OPEN


NEWS = ["A", '"Open quote story', "C", "D", 'closing here"', "F", "G"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_lines_between_two_stray_quotes_that_are_records(tmp_path, separator):
    """As one quoted cell they would be a title of four lines."""
    suffix = ".tsv" if separator == "\t" else ".csv"
    visits = "user,time,item\n" + "".join(f"1,{n},n{n}\n" for n in range(7))
    items = "item,cat,title\n" + "".join(f"n{n},news,{t}\n" for n, t in enumerate(NEWS))
    arguments = (tmp_path, visits.replace(",", separator), suffix, items.replace(",", separator))
    columns = {"item_features": ("cat",)}
    if separator == "\t":
        read = table(*arguments, title="title", **columns)
        assert read.items.rows() == [(f"n{n}", t, "news") for n, t in enumerate(NEWS)]
    else:
        message = error(*arguments, title="title", **columns)
        assert message.startswith(f"{tmp_path / 'items.csv'}, line 3: column 'title' begins with")
        read = table(*arguments, policy="drop", title="title", **columns)
        assert read.items["item"].to_list() == ["n0", *(f"n{n}" for n in range(2, 7))]
    assert table(*arguments, **columns).items["cat"].to_list() == ["news"] * 7


def test_records_after_a_stray_quote_and_a_comma(tmp_path):
    """With the quote as a character its line has too many fields: it alone is bad."""
    text = 'user,item,time,title\n1,a,2,"Open, x\n1,b,3,y\n1,c,4,z"\n1,d,5,w\n'
    message = error(tmp_path, text)
    assert "line 2: column 'title' begins with a \" that does not end before" in message
    read = table(tmp_path, text, policy="drop", title="title")
    assert read.items.rows() == [("b", "y"), ("c", 'z"'), ("d", "w")]


def test_text_of_several_lines_is_no_record(tmp_path, caplog):
    text = (
        'user,item,time,note\r\n1,n1,2,"one\r\ntwo, three, four, five\r\nsix"\r\n'
        '1,n2,3,"x ""y"", z"\r\n\r\n1,n3,4, "spaced" \r\n'
    )
    read = table(tmp_path, text, event_features=("note",)).events
    assert read["note"].to_list() == ["one\r\ntwo, three, four, five\r\nsix", 'x "y", z', "spaced"]
    # Beside a stray quote too.
    read = table(tmp_path, text + '1,7" n,5,x\n', event_features=("note",)).events
    assert read["item"].to_list() == ["n1", "n2", "n3", '7" n']
    items = 'item,title\nn1,"Hello\nworld, again"\nn2,x\n'
    visits = "user,item,time\n1,n1,1\n1,n2,2\n"
    read = table(tmp_path, visits, items=items, title="title").items
    assert read["title"].to_list() == ["Hello\nworld, again", "x"]
    assert not caplog.messages


@pytest.mark.parametrize("separator", SEPARATORS)
def test_backslashes_before_quotes(tmp_path, separator):
    titles = ["A", r'"say \"hi\" now"', "C", r'"x \" y"', r'"it\"s, it"'.replace(",", separator)]
    text = "\n".join(
        separator.join([u, f"i{n}", str(n), title]) for u in "ab" for n, title in enumerate(titles)
    )
    text = separator.join(["user", "item", "time", "title"]) + "\n" + text
    suffix = ".tsv" if separator == "\t" else ".csv"
    assert len(table(tmp_path, text, suffix).events) == 10
    found = table(tmp_path, text, suffix, title="title").items["title"].to_list()
    assert found == ["A", 'say "hi" now', "C", 'x " y', f'it"s{separator} it']


@pytest.mark.parametrize("separator", SEPARATORS)
def test_inch_marks(tmp_path, separator):
    titles = ["Lamp", '7" single', "Chair", "Desk", '12" mix']
    suffix = ".tsv" if separator == "\t" else ".csv"
    read = table(tmp_path, events(titles, separator), suffix, title="title")
    assert read.items["title"].to_list() == titles
    assert len(read.events) == 10


@pytest.mark.parametrize("seed", range(4))
def test_tables_as_the_csv_module_writes_and_reads_them(tmp_path, seed, monkeypatch):
    """Against a second implementation, with blocks of lines as long as a line."""
    monkeypatch.setattr(text_lines, "_BLOCK", 40)
    draw = random.Random(seed)
    pieces = ["x", "y z", '"', '""', ",", "\n", "é", ""]
    rows = [
        [f"u{draw.randrange(9)}", f"i{draw.randrange(9)}", str(n)]
        + ["".join(draw.choices(pieces, k=draw.randrange(5))) for _ in range(2)]
        for n in range(60)
    ]
    quoting = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)[seed % 2]
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=quoting, lineterminator=("\n", "\r\n")[seed // 2])
    writer.writerows([["user", "item", "time", "a", "b"], *rows])
    read = table(tmp_path, file.getvalue(), event_features=("a", "b")).events
    expected = list(csv.reader(io.StringIO(file.getvalue(), newline="")))[1:]
    assert expected == rows
    found = read.select(pl.all().cast(pl.String).fill_null("")).rows()
    assert found == [tuple(cell.strip(" \n") for cell in row) for row in expected]


def test_too_many_fields_in_columns_that_nobody_wants(tmp_path):
    text = "user,item,time,title\n1,a,2,x\n1,b,3,Lake, The\n1,c,4,z\n"
    message = error(tmp_path, text)
    assert message.endswith("line 3: 5 fields, but the header has 4; put values that hold ',' betw"
                            'een ".')  # fmt: skip
    read = table(tmp_path, text, policy="drop")
    assert read.events["item"].to_list() == ["a", "c"]
    assert read.bad_rows.rows() == [
        (str(tmp_path / "events.csv"), 3, "", "5 fields, but the header has 4")
    ]


def test_lines_that_are_cut_short(tmp_path):
    read = table(tmp_path, "user,item,time,title,x\n1,a,2\n1,b,3,y\n\n,,,,\n  \n1,c,4,z,w")
    assert read.events["item"].to_list() == ["a", "b", "c"]
    assert read.rows_read == 3


@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\n\n"])
def test_stray_quotes_with_other_line_ends_and_a_mark(tmp_path, line_end):
    visits = "\ufeffuser\ttime\titem\n" + "".join(f"1\t{n}\tn{n}\n" for n in range(7))
    items = "\ufeffitem\ttitle\tcat\n" + "".join(f"n{n}\t{t}\tx\n" for n, t in enumerate(NEWS))
    texts = (text.removesuffix("\n").replace("\n", line_end) for text in (visits, items))
    read = table(tmp_path, next(texts), ".tsv", next(texts), title="title")
    assert read.items["title"].to_list() == NEWS
    assert len(read.events) == 7


def test_line_ends_of_old_macs(tmp_path):
    read = table(tmp_path, 'user,item,time\r1,a,2\r1,"b",3\r')
    assert read.events.rows() == [(1, "a", 2), (1, "b", 3)]


def test_headers(tmp_path):
    read = table(
        tmp_path, '\n\n"user", item ,"time","a ""b"""\n1,a,2,x\n', event_features=('a "b"',)
    )
    assert read.events.rows() == [(1, "a", 2, "x")]
    message = error(tmp_path, "user,item,time,item\n1,a,2,b\n")
    assert message.endswith("events.csv has 2 columns 'item'; give them different names.")


def test_lines_of_rows_after_cells_of_several_lines(tmp_path):
    text = 'user,item,time,note\n1,a,2,"x\ny\nz"\n1,b,3,7" x\n1,,4,"p\nq"\n1,c,soon,\n'
    message = error(tmp_path, text)
    assert message == (
        f"{tmp_path / 'events.csv'}: 2 of 4 rows cannot be used: line 6: column 'item' is empty, "
        "expected an id; line 8: column 'time' is 'soon', expected a number, as in the first row; "
        "correct or remove them, or set --config.data.bad_rows=drop."
    )


def test_utf_16_without_a_mark(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes("user,item,time\n1,a,2\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        read_table(DataConfig(path=str(path)))


def test_a_regular_file_is_read_as_it_is(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        content = b'1,"a, b",2\n1,"""c""",3\r\n4,"",5'
        columns = text_lines.Columns(3, {0, 1, 2}, [0, 1, 2])
        lines = text_lines.records(content, 0, 2, text_lines.Grammar(b","), columns)
    assert lines.rewritten is None
    assert lines.numbers.tolist() == [2, 3, 4]
