"""One's own tables, damaged or odd, read by `flaxrec train`.

A top_k of a million ends the command after the data are read, in a sentence that counts the items:
an input that is good must give the number that is known here.
"""

import csv
import functools
import gzip
import io
import json
import os
import random
import signal
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from tests.fuzz.attempts import Attempt
from tests.support.faults import changed_bytes

COLUMNS = ("user", "item", "time", "rating", "note")
ROWS = [(u, f"i{(u * k) % 7}", 100 + k, k % 5 + 1, f"n {k}") for u in (1, 2, 3) for k in range(6)]
ITEMS = len({row[1] for row in ROWS})
ANY = ("config.", "The split", "catalogue has")  # a setting at fault, or all is well
SETTINGS = ("rating=rating", "event_features=('note',)")

CELLS = [
    "", " ", "nan", "NaN", "inf", "-inf", "null", "1e300", "-1e308", "1e400", "0", "-0", "007",
    "+5",
    str(2**53 + 1), str(2**62), str(2**63 - 1), str(2**63), str(-(2**63)), str(2**64 - 1),
    "9" * 400,
    "9" * 5000, "12.0", "1_000", "0x10", "١٢", "1" * 25 + ".5", "0000-01-01", "0001-01-01",
    "9999-12-31",
    "10000-01-01", "2024-02-30", "2024-01-01T24:00:00", "2024-01-01T00:00:00+99:00", "99:99",
    "\x00",
    "a\x00b", "\x1b[31mred", "\u202eabc", "\ud83d\ude00".encode("utf-16",
    "surrogatepass").decode("utf-16"),
    '"', '""', '"a', 'a"b', "a\nb", "a\r\nb", "a\tb", "a,b", "a::b", "\x1f", "\ufeff", "é",
    "x" * 100_000,
    "'; DROP", "=1+1", "[]", "{}", "\\", "\\n", "true", "None",
]  # fmt: skip

NAMES = [
    "a[1]", "a*", "a?", "a{1,2}", "~x", "~nobody", "$HOME", "100%20", "a\\b", "a b", "a\nb", "-x",
    "--", "..a",
    "file:", "s3:", "hf:", "user=7", "year=2020", "a:b", "a;b", "a'b", 'a"b', "\x1b[31m", "é",
    "\udcff", "x" * 200,
    "{}", "%s", "{item}", "#", "con", "^a$", "**", "a,b", "|", "a&b", "@a",
]  # fmt: skip


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Each time another fault in a table of three users and seven items."""
    makers = [_bytes] * 5 + [_cells] * 4 + [_types] * 4 + [_names] * 3 + [_json] * 2
    makers += [_headers, _headers, _files, _packed, _others]
    for number in range(1 << 30):
        place = folder / str(number)
        place.mkdir()
        signal.alarm(600)  # nothing waits for ever
        yield random.choice(makers)(random, place)
        signal.alarm(0)
        subprocess.run(["rm", "-rf", "--", place], check=True)


def read_by_train(path: Path | str, what: str, *names: object, **settings: str) -> Attempt:
    """`flaxrec train` that reads a table and stops."""
    flags = [f"--config.data.columns.{one}" for one in SETTINGS]
    flags += [f"--config.data.{name}={value}" for name, value in settings.items()]
    return Attempt(
        what,
        ("train", "--config=own_table", f"--config.data.path={path}", *flags,
         f"--workdir={Path(path).parent / 'run'}", "--config.export.top_k=1000000"),
        names,
    )  # fmt: skip


def good(items: int = ITEMS) -> str:
    """What the command says of a table that is good."""
    return f"the catalogue has {items} items"


# ---- writing --------------------------------------------------------------------------------


def written(form: str, rows: list[tuple] = ROWS, columns: tuple[str, ...] = COLUMNS) -> bytes:
    """The table in a form, by other writers than those of polars where there are any."""
    if form == "parquet":
        file = io.BytesIO()
        pl.DataFrame(rows, schema=list(columns), orient="row").write_parquet(file)
        return file.getvalue()
    if form == "jsonl":
        return "".join(json.dumps(dict(zip(columns, r, strict=True))) + "\n" for r in rows).encode()
    text = io.StringIO()
    rules: dict[str, Any] = {"lineterminator": "\n", "delimiter": "\t" if form == "tsv" else ","}
    csv.writer(text, **rules).writerows([columns, *rows])
    return text.getvalue().encode(errors="surrogatepass")


@functools.cache
def _whole(form: str) -> bytes:
    return written(form)


def _zst(content: bytes) -> bytes:
    done = subprocess.run(["zstd", "-q", "-c"], input=content, capture_output=True, check=True)
    return done.stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": _zst}
FORMS = ("csv", "tsv", "jsonl", "parquet")


def _change(random: random.Random, content: bytes) -> tuple[bytes, str]:
    """One damage of bytes, and what it is."""
    place = random.randrange(len(content) + 1)
    end = min(len(content), place + random.choice([1, 4, 40]))
    kind = random.choice(["cut", "flip", "twice", "out", "put", "noise"])
    noise = random.randbytes(end - place)
    flipped = bytes([content[place] ^ 1 << random.randrange(8)]) if place < len(content) else b"\n"
    odd = random.choice(
        [b"\0", b"\xff", b'"', b"\n", b"\r", b"\xef\xbb\xbf", b",", b"\t", b"\x1b", b"{", b"9"]
    )
    made = {
        "cut": content[:place],
        "flip": content[:place] + flipped + content[place + 1 :],
        "twice": content[:end] + content[place:],
        "out": content[:place] + content[end:],
        "put": content[:place] + odd + content[place:],
        "noise": content[:place] + noise + content[end:],
    }
    return made[kind], f"{kind} at {place}"


# ---- the faults -----------------------------------------------------------------------------


def _bytes(random: random.Random, place: Path) -> Attempt:
    form, packing = random.choice(FORMS), random.choice(["", "", "", ".gz", ".zst"])
    content = PACKERS[packing](_whole(form))
    if packing and random.random() < 0.3:
        inner, what = _change(random, _whole(form))
        content, what = PACKERS[packing](inner), f"inside: {what}"
    else:
        content, what = _change(random, content)
    path = place / f"events.{form}{packing}"
    path.write_bytes(content)
    return read_by_train(path, f"{path.name}: {what}", path.name, *ANY)


def _cells(random: random.Random, place: Path) -> Attempt:
    form = random.choice(["csv", "tsv", "jsonl"])
    cell, column = random.choice(CELLS), random.randrange(5)
    rows = [list(row) for row in ROWS]
    for row in random.sample(rows, random.choice([1, 1, len(rows)])):
        row[column] = cell
    path = place / f"events.{form}"
    path.write_bytes(written(form, rows))
    drop = random.choice(["refuse", "drop"])
    what = f"{form}: {COLUMNS[column]} is {cell[:30]!r} ({drop})"
    return read_by_train(path, what, path.name, *ANY, bad_rows=drop)


def _types(random: random.Random, place: Path) -> Attempt:
    name = random.choice(COLUMNS)
    wide = random.choice([0, 1, 2**31, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)])
    odd: list[tuple[Any, Any]] = [
        (wide, pl.Int64), (abs(wide), pl.UInt64), (2**64 - 1, pl.UInt64), (wide, pl.Int128),
        (10**30, pl.Int128), (1.5, pl.Float32), (1e300, pl.Float64), (float("nan"), pl.Float64),
        (float("inf"), pl.Float64), (-1e308, pl.Float64), (None, pl.Null), (None, pl.Int64),
        (b"\xff", pl.Binary),
        (True, pl.Boolean), ([1, 2], pl.List(pl.Int64)), ([["a"]], pl.List(pl.List(pl.String))),
        ([{"a": 1}], pl.List(pl.Struct({"a": pl.Int64}))), ({"a": 1}, pl.Struct({"a": pl.Int64})),
        ([1, 2], pl.Array(pl.Int64, 2)), (wide % 2**40, pl.Datetime("ms")), (wide,
        pl.Datetime("us")),
        (wide, pl.Datetime("ns")), (wide, pl.Datetime("ms")), (wide, pl.Datetime("us",
        "Asia/Tokyo")),
        (wide % 2**31, pl.Date), (-(2**31), pl.Date), (2**31 - 1, pl.Date), (wide,
        pl.Duration("ms")),
        (wide, pl.Duration("ns")), (wide % 10**13, pl.Time), ("a", pl.Categorical), ("a",
        pl.Enum(["a", "b"])),
        (wide, pl.Decimal(38, 0)), (1, pl.Decimal(10, 3)), ("\x00", pl.String), ("", pl.String),
        ("x" * 1_000_000, pl.String), (7, pl.Int8), (7, pl.UInt8), ([], pl.List(pl.Null)), (0.5,
        pl.Float32),
    ]  # fmt: skip
    value, dtype = random.choice(odd)
    several = random.choice([1, len(ROWS)])
    if dtype in (pl.Date, pl.Time) or isinstance(dtype, pl.Datetime | pl.Duration | pl.Decimal):
        column = pl.Series([value] * len(ROWS), dtype=pl.Int64).cast(dtype)
    else:
        column = pl.Series([value] * len(ROWS), dtype=dtype)
    if several == 1 and value is not None:
        column = column.clear(0).extend(column.head(1)).extend_constant(None, len(ROWS) - 1)
        if not isinstance(dtype, pl.DataType) and dtype.is_integer():
            column = column.fill_null(7)
    table = pl.DataFrame(ROWS, schema=list(COLUMNS), orient="row").with_columns(column.alias(name))
    path = place / "events.parquet"
    table.write_parquet(path)
    drop = random.choice(["refuse", "drop"])
    what = f"parquet: {name} is {str(value)[:30]!r} as {dtype} in {several} rows ({drop})"
    return read_by_train(path, what, path.name, *ANY, bad_rows=drop)


def _names(random: random.Random, place: Path) -> Attempt:
    form, packing = random.choice(FORMS), random.choice(["", "", ".gz"])
    name, where = random.choice(NAMES), random.choice(["file", "folder", "items"])
    content = PACKERS[packing](_whole(form))
    decoy = PACKERS[packing](written(form, ROWS[:2]))  # what the name would match as a pattern
    (place / f"a1.{form}{packing}").write_bytes(decoy)
    (place / f"ab.{form}{packing}").write_bytes(decoy)
    if where == "folder":
        (place / name).mkdir()
        (place / name / f"events.{form}{packing}").write_bytes(content)
        path = place / name / random.choice(["", f"events.{form}{packing}"])
    else:
        path = place / f"{name}.{form}{packing}"
        path.write_bytes(content)
    given: str = os.fspath(path)
    settings = {}
    if where == "items":
        settings = {"items_path": given}
        given = os.fspath(place / "events.csv")
        Path(given).write_bytes(_whole("csv"))
        path.write_bytes(PACKERS[packing](written(form, [r for n, r in enumerate(ROWS) if n < 6])))
        # Items may repeat there: then the second one is told.
    elif random.random() < 0.3:
        given = os.path.relpath(path)
    shown = path.name.encode("unicode_escape", "surrogatepass").decode("ascii")[:40]
    names = [good()] if where != "items" else [good(), "stands in"]
    names += ["config.data."] * ("\udcff" in name)
    return read_by_train(given, f"{where} named {shown!r}, {form}{packing}", *names, **settings)


def _headers(random: random.Random, place: Path) -> Attempt:
    form = random.choice(["csv", "tsv"])
    separator = {"csv": ",", "tsv": "\t"}[form]
    body = _whole(form).partition(b"\n")[2]
    names = list(COLUMNS)
    odd: dict[str, list[str]] = {
        "twice": [*names[:4], random.choice(names)],
        "twice after stripping": [*names[:4], f" {random.choice(names)} "],
        "quoted twice": [*names[:4], f'"{random.choice(names)}"'],
        "one missing": names[:4],
        "empty ones": [*names, "", ""],
        "shouting": [name.upper() for name in names],
        "long": [*names[:4], "x" * 1_000_000],
        "escapes": [*names[:4], "\x1b[31m"],
        "with NUL": [*names[:4], "a\0"],
        "none": ["1", "i1", "3", "4", "n"],
        "many": [*names, *(f"c{n}" for n in range(random.choice([100, 100_000])))],
        "in order": names,
    }
    kind = random.choice(list(odd))
    if kind == "many":
        more = separator.encode() * (len(odd[kind]) - 5)
        body = body.replace(b"\n", more + b"\n")
    content = separator.join(odd[kind]).encode() + b"\n" + body
    mark = random.choice(["", "", "utf-8-sig", "utf-16", "utf-32", "two marks", "blank lines"])
    if mark == "two marks":
        content = b"\xef\xbb\xbf" * 2 + content
    elif mark == "blank lines":
        content = b"\n \n,,,\n" + content
    elif mark:
        content = content.decode().encode(mark)
    path = place / f"events.{form}"
    path.write_bytes(content)
    return read_by_train(path, f"header {kind}, {mark}, {form}", path.name, *ANY)


def _files(random: random.Random, place: Path) -> Attempt:
    kind = random.choice(["fifo", "zero", "full", "null", "folder", "loop", "gone", "nothing",
    "empty",
                          "below a file", "long", "url", "fifo inside", "list",
                          "home"])  # fmt: skip
    form = random.choice(FORMS)
    path = place / f"events.{form}"
    given = str(path)
    names = [path.name, *ANY]
    if kind == "fifo":
        os.mkfifo(path)
    elif kind in ("zero", "full", "null"):
        path.symlink_to(f"/dev/{kind}")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "gone":
        path.symlink_to(place / "nowhere")
    elif kind == "empty":
        path.write_bytes(random.choice([b"", b"\n", b"\xef\xbb\xbf", b" ", b"\0"]))
    elif kind == "below a file":
        path.write_bytes(_whole(form))
        given += "/events.csv"
    elif kind == "long":
        given = str(place / f"{'x' * 5000}.{form}")
        names.append("xxx")
    elif kind == "url":
        given = random.choice(
            ["s3://b/x.csv", "https://h/x.csv", "file:///etc/x.csv", "hf://d/x.csv"]
        )
        names += ["x.csv", given]
    elif kind == "fifo inside":
        os.mkfifo(path)
        (place / "a.csv").write_bytes(_whole("csv"))
        given, names = str(place), [good(), *names]
    elif kind == "list":
        path.write_bytes(_whole(form))
        given = f"{path}{os.pathsep}{path}"
        names = [good()]
    elif kind == "home":
        given = random.choice(["~", "~/", "~nobody/x.csv", "~root/none.csv", "~~", "~x/y.csv"])
        names += ["~", "root", "x.csv", "y.csv"]
    field = random.choice(["path", "path", "items_path", "users_path"])
    if field == "path":
        return read_by_train(given, f"{kind}: {form}", *names)
    events = place / "good.csv"
    events.write_bytes(_whole("csv"))
    return read_by_train(
        events, f"{kind}: {form} as {field}", *names, "stands in", **{field: given}
    )


def _packed(random: random.Random, place: Path) -> Attempt:
    content = _whole("csv")
    half = content.index(b"\n", len(content) // 2) + 1
    one, two = gzip.compress(content[:half]), gzip.compress(content[half:])
    cases: dict[str, tuple[bytes, tuple[object, ...]]] = {
        "members.csv.gz": (one + two, (good(),)),
        "zeros.csv.gz": (one + two + b"\0" * 100, (good(),)),
        "garbage.csv.gz": (one + two + b"garbage", ()),
        "cut member.csv.gz": (one + two[:-9], ()),
        "nested.csv.gz": (gzip.compress(one + two), ()),
        "frames.csv.zst": (_zst(content[:half]) + _zst(content[half:]), (good(),)),
        "skippable.csv.zst": (_skippable() + _zst(content), ()),
        "garbage.csv.zst": (_zst(content) + b"garbage", ()),
        "nested.csv.zst": (_zst(_zst(content)), ()),
        "lies.csv.zst": (
            b"\x28\xb5\x2f\xfd\xe4" + struct.pack("<Q", 2**62) + _zst(content)[13:],
            (),
        ),
        "zlib.csv.gz": (zlib.compress(content), ()),
        "by name only.csv.gz": (content, (good(),)),
        "hidden.csv": (gzip.compress(content), (good(),)),
        "hidden too.csv": (_zst(content), (good(),)),
        "nul.csv.zst": (_zst(content.replace(b"n 1", b"n\0001")), ()),
        "nul first.csv.zst": (_zst(content.replace(b"note", b"note\0x", 1)), ()),
        "packed.parquet.gz": (gzip.compress(_whole("parquet")), (good(),)),
    }
    name = random.choice(list(cases))
    content, names = cases[name]
    path = place / name
    path.write_bytes(content)
    return read_by_train(path, name, *(names or (name, *ANY)))


def _skippable() -> bytes:
    return struct.pack("<II", 0x184D2A50, 5) + b"hello"


def _json(random: random.Random, place: Path) -> Attempt:
    lines = _whole("jsonl").splitlines()
    deep = random.choice([10, 1_000, 100_000])
    odd = random.choice([
        b"[" * deep, b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep, b"NaN",
        b"null", b"1", b'"a"', b"[1]",
        b'{"user": NaN, "item": "i1", "time": 3}', b'{"user": 1, "item": Infinity, "time": 3}',
        b'{"user": 1, "item": "i1", "time": 1' + b"0" * 400 + b"}",
        b'{"user": 1, "item": "i1", "time": 1e999}',
        b'{"user": 1' + b"0" * 5000 + b', "item": "i1", "time": 3, "rating": 1}',
        b'{"user": 1, "user": 2, "item": "i1", "time": 3, "rating": 1}',
        b'{"user": 1, "item": "i1", "item": "i2", "time": 3, "rating": 1}',
        b'{"us\\u0065r": 1, "user": 2, "item": "i1", "time": 3, "rating": 1}',
        b'{"user": "\\ud800", "item": "i1", "time": 3, "rating": 1}',
        b'{"user": 1, "item": "i1", "time": 3, "rating": 1, "note": "\\udfff"}',
        b'{"user": 1, "item": "i1", "time": 3, "rating": 1, "\\ud800": "x"}',
        b'{"user": [1], "item": "i1", "time": 3, "rating": 1}',
        b'{"user": {}, "item": "i1", "time": 3, "rating": 1}',
        b'{"user": 1, "item": "i1", "time": [3], "rating": 1}',
        b'{"user": 1, "item": "i1", "time": true, "rating": true}',
        b'{"user": 1, "item": "i1", "time": 3, "rating": 1, "note": ["a", ["b"]]}',
        b'{"user": 1, "item": "i1", "time": 3, "rating": 1, "note": [{"a": 1}, null, "\\ud800"]}',
        b'{"user": "a\\u0000b", "item": "\\u001b[31m", "time": 3, "rating": 1}', b"{", b"{}",
        b"\xff\xfe", b"\0",
        b'{"user": "' + b"x" * 1_000_000 + b'", "item": "i1", "time": "x", "rating": 1}',
    ])  # fmt: skip
    lines.insert(random.randrange(len(lines) + 1), odd)
    path = place / "events.jsonl"
    path.write_bytes(b"\n".join(lines))
    drop = random.choice(["refuse", "drop"])
    return read_by_train(path, f"jsonl: {odd[:70]!r} ({drop})", path.name, *ANY, bad_rows=drop)


def _others(random: random.Random, place: Path) -> Attempt:
    """Formats that are not one row an event with a header."""
    form = random.choice(["recbole", "sequences", "movielens", "attributes"])
    content = {
        "recbole": "user_id:token\titem_id:token\ttimestamp:float\n"
        + "".join(f"{u}\t{i}\t{t}\n" for u, i, t, *_ in ROWS),
        "sequences": "".join(
            f"{u} " + " ".join(r[1] for r in ROWS if r[0] == u) + "\n" for u in (1, 2, 3)
        ),
        "movielens": "".join(f"{u}::{i}::{r}::{t}\n" for u, i, t, r, _ in ROWS),
        "attributes": json.dumps({i: ["a", 1] for i in sorted({r[1] for r in ROWS})}),
    }[form].encode()
    changed, what = _change(random, content)
    if random.random() < 0.2:
        changed = random.choice(list(changed_bytes(content, [random.random()])))
        what = "changed"
    if form == "recbole" and random.random() < 0.2:
        changed, what = content.replace(b"timestamp:float", b"item_id:float"), "a column twice"
    if form == "attributes":
        if random.random() < 0.3:
            odd = [b"[" * 100_000, b'{"a":' * 100_000, b'{"i1": "\\ud800"}', b'{"\\ud800": "a"}',
            b'{"i1": 1' + b"0" * 5000 + b"}",
                   b'{"i1": NaN, "i2": [Infinity]}', b'{"i1": {"a": {"b": 1}}}']  # fmt: skip
            changed = random.choice(odd)
            what = repr(changed[:40])
        (place / "items.json").write_bytes(changed)
        path = place / "events.txt"
        path.write_text("1 i1 i2 i3 i4\n2 i2 i3 i1 i5\n", encoding="utf-8")
        return Attempt(f"attributes: {what}", _plain(path, "sequences",
        f"--config.data.items_path={place / 'items.json'}"),
                       ("items.json", *ANY))  # fmt: skip
    path = place / f"events.{ {'recbole': 'inter', 'movielens': 'dat'}.get(form, 'txt') }"
    path.write_bytes(changed)
    return Attempt(f"{form}: {what}", _plain(path, form), (path.name, *ANY))


def _plain(path: Path, form: str, *flags: str) -> tuple[str, ...]:
    return ("train", "--config=own_table", f"--config.data.path={path}",
    f"--config.data.format={form}", *flags,
            f"--workdir={path.parent / 'run'}", "--config.export.top_k=1000000")  # fmt: skip
