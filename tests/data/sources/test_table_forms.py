"""Tables in every form: the same rows from each; folders, lists, packed files, no header."""

import gzip
import io
import json
import logging
import os

import polars as pl
import pytest

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.records import example_arrays
from flaxrec.data.sources.own_tables import read_table
from flaxrec.data.sources.read import read
from flaxrec.errors import DataError

ROWS = [("u1", 30, 5, "a"), ("u2", 4, 4, 'b "c"'), ("u1", 30, 6, None)]
TABLE = pl.DataFrame(ROWS, schema=["user", "item", "time", "note"], orient="row")
# Packed by the program 'zstd'.
ZSTD_CSV = "28b52ffd0468510100757365722c6974656d2c74696d650a75312c33302c350a22752c32222c342c340a0a75312c33302c360a36039d7e"  # noqa: E501
ZSTD_JSON = "28b52ffd244bad0100b2020a11b0b901c72442076340af09090b92e94447b610852de2bc9645f781e17c51b4f73da43b6ff4a4ab0300486d01e63a19ea096c9f62ce"  # noqa: E501


def written(form):
    """The table's bytes in a form."""
    if form == ".parquet":
        file = io.BytesIO()
        TABLE.write_parquet(file)
        return file.getvalue()
    if form == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in TABLE.to_dicts()).encode()
    return TABLE.write_csv(separator="\t" if form == ".tsv" else ",").encode()


def table(path, format="auto", policy="refuse", **columns):
    settings = DataConfig(path=str(path), format=format, bad_rows=policy)
    settings.columns = ColumnsConfig(**columns)
    return read_table(settings)


def rows(path, format="auto", **columns):
    return table(path, format, event_features=("note",), **columns).events.rows()


def refused(path, format="auto", **columns):
    with pytest.raises(DataError) as caught:
        table(path, format, **columns)
    return str(caught.value)


# ---- forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json"])
def test_forms(tmp_path, suffix):
    form = ".jsonl" if "js" in suffix else suffix
    path = tmp_path / f"data{suffix}"
    path.write_bytes(written(form))
    assert rows(path) == ROWS
    packed = tmp_path / f"data{suffix}.gz"
    packed.write_bytes(gzip.compress(written(form)))
    assert rows(packed) == ROWS
    # The format may be said where the name does not tell it.
    path.rename(tmp_path / "data.txt")
    assert rows(tmp_path / "data.txt", form[1:]) == ROWS
    assert "data.txt has the extension '.txt'; set --config.data.format to" in refused(
        tmp_path / "data.txt"
    )


def test_zstandard(tmp_path):
    (tmp_path / "a.csv.zst").write_bytes(bytes.fromhex(ZSTD_CSV))
    assert table(tmp_path / "a.csv.zst").events.rows() == [
        ("u1", 30, 5), ("u,2", 4, 4), ("u1", 30, 6),
    ]  # fmt: skip
    (tmp_path / "a.jsonl.zst").write_bytes(bytes.fromhex(ZSTD_JSON))
    assert table(tmp_path / "a.jsonl.zst").events.rows() == [("u1", 30, 5), ("u2", 4, 4)]
    (tmp_path / "a.parquet.zst").write_bytes(bytes.fromhex(ZSTD_JSON))
    assert "is packed twice" in refused(tmp_path / "a.parquet.zst")
    (tmp_path / "b.csv.zst").write_bytes(bytes.fromhex(ZSTD_CSV)[:30])
    assert "b.csv.zst cannot be unpacked" in refused(tmp_path / "b.csv.zst")


def test_packed_files_that_are_cut_off(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(written(".csv"))[:-12])
    assert "a.csv.gz cannot be unpacked" in refused(tmp_path / "a.csv.gz")


def test_json_lines(tmp_path):
    lines = [
        '{"user": 1, "item": 1234567890123456768, "time": 5, "version": 1.10, "tags": ["a", 2]}',
        "",
        '{"user": 2, "item": 1234567890123456769, "time": 6.5, "liked": true, "tags": "b"}',
        '{"time": 7, "user": "3", "item": 7, "version": "2.0", "liked": null, "tags": null}',
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    columns = ColumnsConfig(event_features=("version", "liked", "tags"))
    types = {"event.version": "STRING"}
    events = read_table(DataConfig(path=str(path), columns=columns), types).events
    assert events.rows() == [
        (1, 1234567890123456768, 5.0, "1.10", None, ["a", "2"]),
        (2, 1234567890123456769, 6.5, None, "true", ["b"]),
        (3, 7, 7.0, "2.0", None, None),
    ]
    path.write_text("\n".join([*lines, "{", "[1]", '{"user": 1}{"user": 2}']))
    message = refused(path)
    assert message.startswith(f"{path}: 3 of 6 rows cannot be used: line 5: the line is not JSON (")
    assert "; line 6: the line is no JSON object; line 7: the line is not JSON (Extra" in message
    read = table(path, policy="drop")
    assert len(read.events) == 3
    assert read.bad_rows["line"].to_list() == [5, 6, 7]
    assert "a.jsonl has no column 'who', it has 'user', 'item'" in refused(path, user="who")
    path.write_text('{"user": {"id": 1}, "item": 2, "time": 3}')
    assert "line 1: column 'user' holds objects or lists of lists" in refused(path)
    path.write_text('[{"user": 1, "item": 2, "time": 3}]')
    assert "is one JSON list; write one object a line." in refused(path)
    path.write_bytes(b'{"user": 1, "item": 2, "time": 3}\n{"user": "\xe9"}')
    assert "line 2: not UTF-8" in refused(path)


def test_movielens(tmp_path):
    path = tmp_path / "ratings.dat"
    path.write_text("1::1193::5::978300760\n1::661::3::978302109\n2::1193::4.5::978298413\n")
    films = '1193::Café: 7" (1995)::Drama|War\n661::Giant, The (1996)::Animation\n'
    (tmp_path / "movies.dat").write_bytes(films.encode("latin-1"))
    columns = ColumnsConfig(
        rating="rating", title="title", item_features=("genres",), multi_valued=("genres",)
    )
    read = read_table(
        DataConfig(path=str(path), items_path=str(tmp_path / "movies.dat"), columns=columns)
    )
    assert read.events.rows() == [
        (1, 1193, 978300760, 5), (1, 661, 978302109, 3), (2, 1193, 978298413, 4.5),
    ]  # fmt: skip
    assert read.items.rows() == [
        (1193, 'Café: 7" (1995)', ["Drama", "War"]), (661, "Giant, The (1996)", ["Animation"]),
    ]  # fmt: skip
    path = path.rename(tmp_path / "ratings.txt")
    assert table(path, "movielens", user="0", item="1", time="3").events["item"][1] == 661
    path.write_text("1::2::3::4\n1::2::3::4::5\n")
    assert "line 2: 5 fields, but the header has 4" in refused(path, "movielens")


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".csv", ";"), (".tsv", "\t")])
def test_without_a_header(tmp_path, suffix, separator):
    path = tmp_path / f"a{suffix}"
    path.write_text('7,"5",u1\n8,6,u2\n\n,6,u3\n'.replace(",", separator))
    read = table(path, policy="drop", user="2", item="0", time="1", event_features=("0",))
    assert read.events.rows() == [("u1", 7, 5, 7), ("u2", 8, 6, 8)]
    assert read.bad_rows["line"].to_list() == [4]
    assert "a has no column '3', it has '0', '1', '2'; correct" in refused(
        path, user="2", item="0", time="3"
    ).replace(suffix, "")
    assert refused(path).endswith(
        "it has '7', '5', 'u1'; correct --config.data.columns.user, or give positions from 0 as "
        "columns if the file has no header."
    )
    # A header may have numbers as names.
    path.write_text("2,0,1\nu1,7,5\n".replace(",", separator))
    assert table(path, user="2", item="0", time="1").events.rows() == [("u1", 7, 5)]


def test_without_times(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item\nb,5\na,7\n,7\nb,6\n")
    read = table(path, policy="drop", time="")
    assert read.events.rows() == [("b", 5, 0), ("a", 7, 1), ("b", 6, 3)]
    assert not read.has_time
    assert read.rows_read == 4


# ---- folders and lists ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_folder_means_all_its_data_files_by_name(tmp_path, suffix):
    folder = tmp_path / "events"
    folder.mkdir()
    for name, part in (("b", TABLE[2:]), ("a", TABLE[:2])):
        file = folder / f"part-{name}{suffix}"
        if suffix == ".parquet":
            part.write_parquet(file)
        elif suffix == ".csv":
            part.select(part.columns[::-1] if name == "b" else part.columns).write_csv(file)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in part.to_dicts()))
    for other in ("_SUCCESS", ".part-a.csv", "README.md"):
        (folder / other).write_text("no table")
    assert rows(folder) == ROWS
    assert rows(folder, suffix[1:]) == ROWS
    read = table(folder)
    assert read.source == "events"
    assert read.rows_read == 3
    both = os.pathsep.join([str(folder / f"part-b{suffix}"), str(folder / f"part-a{suffix}")])
    assert rows(both) == ROWS[2:] + ROWS[:2]
    assert table(both).source == f"part-b{suffix} and 1 more"


def test_messages_name_the_file_of_a_folder(tmp_path):
    for name, row in (("a", "1,2,3"), ("b", "1,,3\n\n1,2,soon"), ("c", "1,2,3\n1,2,nan")):
        (tmp_path / f"{name}.csv").write_text(f"user,item,time\n{row}\n")
    message = refused(tmp_path)
    assert message == (
        f"{tmp_path}: 3 of 5 rows cannot be used: {tmp_path / 'b.csv'}, line 2: column 'item' is "
        f"empty, expected an id; {tmp_path / 'b.csv'}, line 4: column 'time' is 'soon', expected a "
        f"number, as in the first row; {tmp_path / 'c.csv'}, line 3: column 'time' is 'nan', "
        "expected a number, as in the first row; correct or remove them, or set "
        "--config.data.bad_rows=drop."
    )
    read = table(tmp_path, policy="drop")
    assert len(read.events) == 2
    assert [os.path.basename(file) for file in read.bad_rows["file"]] == ["b.csv", "b.csv", "c.csv"]
    (tmp_path / "d.csv").write_text("user,item\n1,2\n")
    assert f"{tmp_path / 'd.csv'} has no column 'time'" in refused(tmp_path)
    (tmp_path / "e.tsv").write_text("user\titem\ttime\n1\t2\t3\n")
    assert "files of several formats, such as a.csv (csv) and e.tsv (tsv)" in refused(tmp_path)


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "inner").mkdir()
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path} is a folder without data files (.csv, ")
    several = f"{tmp_path / 'inner'}{os.pathsep}{tmp_path / 'none.csv'}"
    assert refused(several).startswith(f"{tmp_path / 'inner'} is a folder without data files")
    for name, values in (("a", [1]), ("b", ["x"])):
        pl.DataFrame({"user": values, "item": [1], "time": [1]}).write_parquet(
            tmp_path / f"{name}.parquet"
        )
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path / 'b.parquet'}: column 'user' has the type String, but")


# ---- names ----------------------------------------------------------------------------------

NAMES = ["data[1]", "data*", "data?", "a [b] *c?"]


@pytest.mark.skipif(os.name == "nt", reason="such names")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".csv.gz"])
def test_names_that_are_patterns_elsewhere(tmp_path, name, suffix):
    folder = tmp_path / name
    folder.mkdir()
    for other in ("data1", "data2", "databcd", name):
        item = "right" if other == name else "wrong"
        rows = pl.DataFrame({"user": [1], "item": [item], "time": [1]})
        path = folder / f"{other}{suffix}"
        if suffix == ".parquet":
            rows.write_parquet(path)
        elif suffix == ".jsonl":
            path.write_text(json.dumps(rows.row(0, named=True)))
        else:
            text = rows.write_csv().encode()
            path.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    path = folder / f"{name}{suffix}"
    assert table(path).events["item"].to_list() == ["right"]
    items = DataConfig(path=str(path), items_path=str(path))
    assert read_table(items).items["item"].to_list() == ["right"]


@pytest.mark.skipif(os.name == "nt", reason="such names")
def test_records_and_movielens_in_places_that_are_patterns_elsewhere(tmp_path):
    for name in ("a1.tfrecord", "a[1].tfrecord"):
        (tmp_path / name).write_bytes(b"")
    assert example_arrays.files(tmp_path / "a[1].tfrecord") == [tmp_path / "a[1].tfrecord"]
    assert example_arrays.files(tmp_path / "a?.tfrecord") == [tmp_path / "a1.tfrecord"]
    inside = tmp_path / "a[1]"
    inside.mkdir()
    (inside / "b1.tfrecord").write_bytes(b"")
    assert example_arrays.files(inside / "b*") == [inside / "b1.tfrecord"]
    folder = tmp_path / "ml[1]"
    for place in (folder, tmp_path / "ml1"):
        place.mkdir()
        (place / "u.data").write_text("1\t2\t3\t4\n" if place == folder else "9\t9\t5\t4\n")
        (place / "u.item").write_text("2|Film (1990)|01-Jan-1990||url" + "|0" * 19 + "\n")
        (place / "u.genre").write_text("".join(f"g{n}|{n}\n" for n in range(19)))
        (place / "u.user").write_text("1|24|M|technician|85711\n")
    events = read(DataConfig(source="movielens", path=str(folder))).events
    assert events["user"].to_list() == [1]


# ---- items that hardly meet the events -------------------------------------------------------


def test_items_that_describe_few_of_the_events(tmp_path, caplog):
    (tmp_path / "events.csv").write_text(
        "user,item,time\n" + "".join(f"1,i{n % 50},{n}\n" for n in range(100))
    )
    (tmp_path / "items.csv").write_text("item\ni7\ni8\nx\n")
    settings = DataConfig(path=str(tmp_path / "events.csv"))
    settings.items_path = str(tmp_path / "items.csv")
    with caplog.at_level(logging.WARNING):
        read_table(settings)
    assert caplog.messages == [
        f"{tmp_path / 'items.csv'} describes 2 of the 50 items in {tmp_path / 'events.csv'}; it "
        "lacks 'i0', for one."
    ]
