"""Ways to damage a file of a folder that somebody else may have made."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 10**12, 10**30, -(2**63), 0.5, 1e308, float("nan"),
    float("inf"), "", "x", "x" * 100_000, "../../../etc/passwd", "/etc/passwd", "a\0b", "\ud800",
    "\x1b[31mred\x1b[0m\x07", "a\nb", "=cmd|' /C calc'!A0", "\\write18{ls}$x_{", "| a | b |",
    [], {}, [None], [[1]], {"a": 1}, [1, "x", None], {"": {}},
)  # fmt: skip
_TYPES = ("float64", "int64", "U7", "complex64", "bool")
NAMES = ("x", "", "run", "step", "metrics", "test", "a" * 300, "\x1b[2J", "../x")


def damage(random: Random, file: Path, others: list[Path]) -> str:
    """Changes the file, or what is in its place, and says how.

    Args:
      random: of the draw.
      file: the file.
      others: files whose content it may get instead.
    """
    ways: list[Callable[[Random, Path], str]] = [_bytes, _bytes, _place]
    if file.suffix in (".json", ".jsonl") or file.name in ("metadata", "_METADATA"):
        ways += [_json] * 6
    if file.suffix == ".jsonl":
        ways += [_lines] * 2
    if file.suffix == ".txt":
        ways += [_text] * 4
    if file.suffix == ".npz":
        ways += [_arrays] * 4
    if file.suffix == ".parquet":
        ways += [_table] * 4
    if others and random.random() < 0.1:
        other = random.choice(others)
        file.write_bytes(other.read_bytes())
        return f"content of {other.name}"
    return random.choice(ways)(random, file)


def _bytes(random: Random, file: Path) -> str:
    content = file.read_bytes()
    place = random.randrange(len(content) + 1)
    way = random.randrange(5)
    more = random.choice((b"\0", b"x", b"\n", b"\xff\xfe", content))
    if way == 0:
        content = content[:place]
    elif way == 1 and more is content:
        file.write_bytes(content + more)
        return "doubled"
    elif way == 1:
        content += more
    elif way == 2:
        content = b""
    else:
        bit = bytes([content[place] ^ (1 << random.randrange(8))]) if place < len(content) else b"?"
        content = content[:place] + bit + content[place + 1 :]
    file.write_bytes(content)
    return ("cut off", "longer", "empty", "a bit", "a bit")[way] + f" at {place}"


def _place(random: Random, file: Path) -> str:
    file.unlink()
    way = random.choice(("gone", "folder", "pipe", "dead link", "link"))
    if way == "folder":
        file.mkdir()
    elif way == "pipe":
        os.mkfifo(file)
    elif way == "dead link":
        file.symlink_to("nowhere")
    elif way == "link":
        file.symlink_to("/etc/hostname")
    return way


def _json(random: Random, file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True) if file.suffix == ".jsonl" else [text]
    number = random.randrange(len(lines))
    value = json.loads(lines[number])
    whole = file.suffix != ".jsonl"
    if random.random() < 0.03:
        deep = "[" * 100_000 + "]" * 100_000
        lines[number] = random.choice((deep, "{" * 5_000, "9" * 5_000, "1e999", "nul")) + "\n"
        said = "deep or long"
    elif random.random() < 0.05 and isinstance(value, dict):
        name = random.choice(list(value))
        start = json.dumps({name: random.choice(ODD)})[:-1]
        lines[number] = f"{start}, {json.dumps(value)[1:]}\n"
        said = f"{name!r} twice"
    else:
        value, said = _changed(random, value, 0)
        lines[number] = json.dumps(value, indent=2 if whole else None) + "\n"
    file.write_text("".join(lines), encoding="utf-8", newline="\n")
    return f"line {number + 1}: {said}" if not whole else said


def _changed(random: Random, value: Any, depth: int) -> tuple[Any, str]:
    """The value with one part changed, and how."""
    if isinstance(value, dict | list) and value and random.random() < 0.9 - 0.1 * depth:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = random.choice(keys)
        way = random.random()
        if way < 0.1:
            del value[key]
            return value, f"{key!r} left out"
        if way < 0.2 and isinstance(value, dict):
            value[random.choice(NAMES)] = value.pop(key)
            return value, f"{key!r} renamed"
        if way < 0.25 and isinstance(value, list):
            value.append(value[key])
            return value, f"{key!r} twice"
        value[key], said = _changed(random, value[key], depth + 1)
        return value, f"{key!r}: {said}"
    if isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.4:
        new = random.choice((value + 1, value - 1, -value, value * 10, value / 3, str(value)))
    else:
        new = random.choice(ODD)
    return new, f"{str(value)[:30]!r} is {str(new)[:30]!r}"


def _lines(random: Random, file: Path) -> str:
    lines = file.read_bytes().splitlines(keepends=True)
    number = random.randrange(len(lines))
    way = random.choice(("gone", "twice", "blank", "torn", "CRLF", "moved"))
    if way == "gone":
        del lines[number]
    elif way == "twice":
        lines.insert(number, lines[number])
    elif way == "blank":
        lines.insert(number, b"\n")
    elif way == "torn":
        lines[number] = lines[number][: len(lines[number]) // 2]
    elif way == "moved":
        lines.append(lines.pop(number))
    else:
        lines = [line.replace(b"\n", b"\r\n") for line in lines]
    file.write_bytes(b"".join(lines))
    return f"line {number + 1} {way}"


def _text(random: Random, file: Path) -> str:
    return _lines(random, file)


def _arrays(random: Random, file: Path) -> str:
    with np.load(file) as stored:
        arrays = dict(stored)
    name = random.choice(list(arrays))
    old = arrays.pop(name)
    way = random.choice(
        ("gone", "renamed", "shape", "dtype", "value", "shorter", "further", "none")
    )
    new = {
        "shape": lambda: old.reshape(-1, *[1] * random.randrange(3)),
        "dtype": lambda: _as_type(old, random.choice(_TYPES)),
        "value": lambda: np.where(np.arange(old.size).reshape(old.shape) == 0, 10**6, old),
        "shorter": lambda: old[:-1] if old.ndim else old,
        "none": lambda: np.zeros((0, *old.shape[1:]), old.dtype),
    }
    if way == "renamed":
        arrays[random.choice(NAMES).replace("/", "_")] = old
    elif way == "further":
        arrays |= {name: old, "further": old}
    elif way != "gone":
        arrays[name] = new[way]()
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    file.write_bytes(made.getvalue())
    return f"{name}: {way}"


def _as_type(array: np.ndarray, name: str) -> np.ndarray:
    """The array's values as another type, or none of them where they are texts."""
    try:
        return array.astype(name)
    except ValueError:
        return np.zeros(array.shape, name)


def _table(random: Random, file: Path) -> str:
    table = pl.read_parquet(file)
    name = random.choice(table.columns)
    column = table[name]
    way = random.choice(("gone", "renamed", "text", "null", "negative", "shorter", "huge", "float"))
    if way == "gone":
        table = table.drop(name)
    elif way == "renamed":
        table = table.rename({name: "other"})
    elif way == "shorter":
        table = table[:-1]
    elif way == "null":
        table = table.with_columns(pl.lit(None).cast(column.dtype).alias(name))
    elif column.dtype.is_numeric():
        number = {"negative": -5, "huge": 2**30, "text": "x", "float": float("nan")}[way]
        table = table.with_columns(pl.lit(number).alias(name))
    else:
        table = table.with_columns(pl.lit("x").alias(name))
    made = io.BytesIO()
    table.write_parquet(made)
    file.write_bytes(made.getvalue())
    return f"{name}: {way}"


def is_free(file: Path, how: str) -> bool:
    """Whether no checksum can tell: whole rows of a log, or a row without one, as those of old."""
    rows = how.startswith("line") and how.endswith((" gone", " twice", " moved", " blank"))
    return file.suffix == ".jsonl" and (rows or how == "doubled" or "'crc32'" in how)


class Folder:
    """A folder, one file of which is damaged and restored, again and again."""

    def __init__(self, path: Path, kept: Path):
        self.path, self._kept = path, kept
        shutil.copytree(path, kept)
        self.files = sorted(f.relative_to(path) for f in path.rglob("*") if f.is_file())

    def restore(self) -> None:
        """The folder as it was; commands may have written to it."""
        shutil.rmtree(self.path)
        shutil.copytree(self._kept, self.path)
