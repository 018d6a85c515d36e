"""Your own CSV, TSV, JSON or Parquet files: reads the needed columns and locates rows for messages.

Cells of text files are read as text.
"""

import codecs
import contextlib
import dataclasses
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from flaxrec.data.sources import table_paths, text_lines
from flaxrec.data.sources.bad_rows import REMEDY, SHOWN, BadRow, Found, Mark
from flaxrec.data.sources.table_paths import Content
from flaxrec.errors import DataError, reason, shown
from flaxrec.files import own_path, read_errors_as
from flaxrec.files.strict_json import JOINED, flat_objects

# Spreadsheets also write .csv files with other separators than commas.
SEPARATORS = {"csv": (",", ";", "\t", "|"), "tsv": ("\t",), "movielens": ("\x1f",)}
# The fields of MovieLens' files; none has a header.
_MOVIELENS = (("user", "item", "rating", "time"), ("item", "title", "genres"))
ROW = "\0row"  # a name that no file's column has
_SHOWN = 20  # columns in a message
_LONGEST = 60  # characters of a cell in a message
_CHUNK = 10_000  # JSON lines parsed at once
# In JSON: an escaped letter of ASCII, half a character; names that are written in one way.
_HIDING = re.compile(
    r"\\u(?:00[2-7]|[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u)[dD][c-fC-F])"
)
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps
_PLAIN = re.compile(r"[ !#-.0-\[\]-~]*")

Wanted = list[tuple[str, str]]  # (field of config.data.columns, column)


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a table.

    Attributes:
      path: of the file.
      rows: its rows in the table.
      numbers: int64 [rows], each row's line; None: rows count from 1.
    """

    path: Path
    rows: int
    numbers: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class TableFile:
    """The needed columns of a table, under the files' names.

    Attributes:
      path: as the config names it.
      parts: its files, in order.
      is_text: whether cells are text; Parquet's columns have types.
      frame: the cells; null if missing. Column ROW (Int64) holds the row's index in all files.
      bad: lines that are no rows.
    """

    path: Path
    parts: tuple[Part, ...]
    is_text: bool
    frame: pl.DataFrame
    bad: tuple[BadRow, ...] = ()

    @property
    def name(self) -> str:
        """Without the folder, for messages and metadata."""
        if len(self.parts) < 2 or os.path.exists(self.path):
            return self.path.name
        return f"{self.parts[0].path.name} and {len(self.parts) - 1} more"

    @property
    def rows_read(self) -> int:
        """Rows of the files, bad ones included."""
        return len(self.frame) + len(self.bad)

    def bad_row(self, row: int, column: str, reason: str, remedy: str = REMEDY) -> BadRow:
        """The frame's row as a bad one."""
        place = self.frame[ROW][row]
        for part in self.parts:
            if place < part.rows:
                break
            place -= part.rows
        line = place + 1 if part.numbers is None else int(part.numbers[place])
        return BadRow(str(part.path), line, part.numbers is not None, column, reason, remedy)

    def place(self, row: int) -> str:
        """A frame's row as 'FILE, line 7' (text) or 'FILE, row 6' (Parquet)."""
        bad = self.bad_row(row, "", "")
        return f"{bad.file}, {bad.place}"

    def mark(self, rows: pl.Series, column: str, expected: str) -> Mark:
        """The rows whose cell in a column is not what is expected."""

        def reason(row: int) -> str:
            return f"column {column!r} {self.shown(row, column)}, expected {expected}"

        return Mark(rows, column, reason)

    def found(self, marks: Sequence[Mark], everything: bool) -> tuple[Found, pl.Series]:
        """The bad rows (the first, or everything), and whether each row of the frame is one."""
        is_bad = pl.repeat(False, len(self.frame), eager=True)
        for mark in marks:
            is_bad |= mark.rows
        rows = is_bad.arg_true()
        bad = list(self.bad)
        for row in rows if everything else rows[:SHOWN]:
            faults = [mark for mark in marks if mark.rows[row]]
            columns = ", ".join(dict.fromkeys(fault.column for fault in faults))
            reason = "; ".join(fault.reason(row) for fault in faults)
            bad.append(self.bad_row(row, columns, reason, faults[0].remedy))
        files = {str(part.path): place for place, part in enumerate(self.parts)}
        bad.sort(key=lambda one: (files[one.file], one.line))
        return Found(str(self.path), bad, len(rows) + len(self.bad), self.rows_read), is_bad

    def shown(self, row: int, column: str) -> str:
        """A cell for messages: "is empty" or "is 'soon'"."""
        cell = self.frame[column][row]
        return "is empty" if cell is None else f"is {shown(cell, _LONGEST)}"

    def without(self, bad: pl.Series) -> "TableFile":
        """The rows where `bad` is false."""
        return dataclasses.replace(self, frame=self.frame.filter(~bad), bad=())

    def mistyped(self, column: str, expected: str) -> DataError:
        """The error for a column of an unusable type."""
        return DataError(
            f"{self.path}: column {column!r} has the type {self.frame[column].dtype}, expected "
            f"{expected}; convert it, or name another column in config.data.columns."
        )


def load(field: str, name: str, wanted: Wanted, declared: str = "auto") -> TableFile:
    """Reads the wanted columns of the table at `config.data.FIELD`; raises DataError.

    Args:
      field: path, items_path or users_path.
      name: the field's value; see `table_paths.files`.
      wanted: the columns' names; all of them digits: positions from 0 in a file without a header.
      declared: `config.data.format`.
    """
    with read_errors_as(DataError, name, f"set --config.data.{field} to what can be read"):
        paths, form = table_paths.files(field, name, declared)
    frames, parts, bad = [], [], []
    lost: list[BadRow]
    for path in paths:
        numbers: np.ndarray | None = None
        with read_errors_as(DataError, path, "check it"):
            if form == "parquet":
                frame, lost = _parquet(path, wanted), []
            elif form == "jsonl":
                frame, numbers, lost = _json_lines(path, wanted)
            elif form in SEPARATORS:
                frame, numbers, lost = _text(path, form, wanted)
            else:
                raise DataError(
                    f"{path} is read as {form}, which config.data.{field} cannot be; give a .csv, "
                    ".tsv, .parquet or .jsonl file."
                )
        frames.append(frame)
        parts.append(Part(path, len(frame), numbers))
        bad += lost
    frame = _stacked(name, paths, frames)
    table = TableFile(own_path(name), tuple(parts), form != "parquet", frame, tuple(bad))
    if table.is_text:
        table = dataclasses.replace(table, frame=_stripped(frame))
    if not table.rows_read:
        raise _nothing(paths[0])
    return table


def slices(field: str, name: str, wanted: Wanted, rows: int = 0) -> Iterator[TableFile]:
    """The wanted columns of Parquet files as from `load`, so many rows at a time; 0: by file.

    Each has the row's index in all files.
    """
    with read_errors_as(DataError, name, f"set --config.data.{field} to what can be read"):
        paths, form = table_paths.files(field, name, "parquet")
    assert form == "parquet"
    parts: list[Part] = []
    before = 0
    for path in paths:
        with read_errors_as(DataError, path, "check it"):
            count = rows_of(path)
            parts.append(Part(path, count, None))
            for start in range(0, count, rows or max(count, 1)):
                frame = _parquet(path, wanted, start, rows or None)
                row = pl.int_range(before + start, before + start + len(frame), eager=True)
                frame = frame.insert_column(0, row.cast(pl.Int64).alias(ROW))
                yield TableFile(own_path(name), tuple(parts), False, frame)
        before += count


def rows_of(path: Path) -> int:
    """How many rows a Parquet file has; raises DataError."""
    try:
        return table_paths.scan_parquet(path).select(pl.len()).collect().item()
    except table_paths.UNREADABLE as error:
        raise _no_parquet(path, error) from error


def _stacked(name: str, paths: Sequence[Path], frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    first = frames[0]
    if len(frames) > 1:
        for path, frame in zip(paths, frames, strict=True):
            for column, dtype in frame.schema.items():
                alike = dtype == first.schema[column] or (
                    dtype.is_numeric() and first.schema[column].is_numeric()
                )
                if not alike and frame.height and first.height:
                    raise DataError(
                        f"{path}: column {column!r} has the type {dtype}, but "
                        f"{first.schema[column]} in {paths[0]}; the files of {name} need one type."
                    )
        first = pl.concat([f for f in frames if f.height] or frames[:1], how="vertical_relaxed")
    rows = pl.int_range(first.height, dtype=pl.Int64, eager=True).alias(ROW)
    return first.insert_column(0, rows)


def _stripped(frame: pl.DataFrame) -> pl.DataFrame:
    # Stray spaces, as in 'a, b', would make two values of one.
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    stripped = pl.col(texts).str.strip_chars()
    return frame.with_columns(pl.when(stripped != "").then(stripped)) if texts else frame


# ---- Parquet --------------------------------------------------------------------------------


def _parquet(path: Path, wanted: Wanted, start: int = 0, rows: int | None = None) -> pl.DataFrame:
    try:
        lazy = table_paths.scan_parquet(path)
        _check_there(path, lazy.collect_schema().names(), wanted)
        lazy = lazy if rows is None else lazy.slice(start, rows)
        frame = lazy.select(_distinct(wanted)).collect()
    except table_paths.UNREADABLE as error:
        raise _no_parquet(path, error) from error
    as_text = [
        pl.col(name).cast(pl.String)
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Categorical | pl.Enum)
    ]
    return frame.with_columns(as_text)


def _no_parquet(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} cannot be read as Parquet ({reason(error)}); write it again.")


# ---- JSON lines -----------------------------------------------------------------------------


def _json_lines(path: Path, wanted: Wanted) -> tuple[pl.DataFrame, np.ndarray, list[BadRow]]:
    content = _utf8(path, bytes(table_paths.content(path)).removeprefix(codecs.BOM_UTF8))
    if content.lstrip().startswith("["):
        raise DataError(f"{path} is one JSON list; write one object a line.")
    lines = content.split("\n")
    rows: list[dict[str, Any]] = []
    names = _distinct(wanted)
    numbers: list[int] = []
    bad: list[BadRow] = []
    for start in range(0, len(lines), _CHUNK):
        chunk = [
            (number, line)
            for number, line in enumerate(lines[start : start + _CHUNK], start + 1)
            if line and not line.isspace()
        ]
        for (number, _), row in zip(
            chunk, _objects([line for _, line in chunk], names), strict=True
        ):
            if isinstance(row, dict):
                rows.append(row)
                numbers.append(number)
            else:
                bad.append(BadRow(str(path), number, True, "", f"the line {row}"))
    there: dict[str, None] = {}
    for row in rows:
        there |= dict.fromkeys(name for name in row if name not in there)
    if rows:
        _check_there(path, list(there), wanted)
    columns = {name: _json_column(path, name, rows, numbers) for name in names}
    return pl.DataFrame(columns), np.array(numbers, np.int64), bad


def _objects(lines: Sequence[str], names: Sequence[str]) -> list[dict[str, Any] | str]:
    """The object of each line, or what is wrong with it."""
    text = JOINED.join(lines)
    if not _HALF.search(text) and (flat := flat_objects(text, len(lines), _AT_ONCE)):
        return [*flat]
    # Each in a list of its own: two lines are never one.
    text = "],\n[".join(lines)
    with contextlib.suppress(ValueError, RecursionError):
        lists = _parsed(f"[[{text}]]") if lines else []
        rows: list = [one[0] for one in lists if len(one) == 1 and type(one[0]) is dict]
        if len(rows) == len(lists) == len(lines) and not _may_be_odd(text, rows, names):
            return rows
    return [_object(line, names) for line in lines]


def _may_be_odd(text: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    """Whether some row may have a name twice, or half a character."""
    if "\\" in text and (_HIDING.search(text) or not all(map(_PLAIN.fullmatch, names))):
        return True
    return any(text.count(f'"{name}"') > sum(name in row for row in rows) for name in names)


def _object(line: str, names: Sequence[str]) -> dict[str, Any] | str:
    try:
        pairs = _parsed(line, _Pairs)
        if not isinstance(pairs, _Pairs):
            return "is no JSON object"
        row = _parsed(line)
        for name in names:
            if sum(name == other for other, _ in pairs) > 1:
                return f"has {shown(name)} twice"
            json.dumps(row.get(name), ensure_ascii=False).encode()
        return row
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate)"
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is not JSON ({reason(error)})"


class _Pairs(list):
    """An object's names and values: a dict would lose repeated names."""


def _parsed(text: str, of_pairs: Callable | None = None) -> Any:
    # Numbers with a fraction keep their digits.
    return json.loads(text, parse_float=str, parse_constant=str, object_pairs_hook=of_pairs)


_AT_ONCE = json.JSONDecoder(parse_float=str, parse_constant=str)


def _json_column(
    path: Path, name: str, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int]
) -> pl.Series:
    """Texts, or lists of texts where one is a list."""
    cells = [row.get(name) for row in rows]
    kinds = {type(cell) for cell in cells}
    if dict in kinds or any(type(v) in (dict, list) for c in cells if type(c) is list for v in c):
        place = next(n for n, c in enumerate(cells) if type(c) is dict or type(c) is list)
        raise DataError(
            f"{path}, line {numbers[place]}: column {name!r} holds objects or lists of lists, "
            "expected a text, a number or a list of these; write it as one."
        )
    if list not in kinds:
        return pl.Series(name, [_json_text(cell) for cell in cells], pl.String)
    lists = [
        None if c is None else [_json_text(v) for v in (c if type(c) is list else [c])]
        for c in cells
    ]
    return pl.Series(name, lists, pl.List(pl.String))


def _json_text(cell: Any) -> str | None:
    if cell is None or type(cell) is str:
        return cell
    return str(cell).lower() if type(cell) is bool else str(cell)


# ---- CSV, TSV and MovieLens -----------------------------------------------------------------


def _text(path: Path, form: str, wanted: Wanted) -> tuple[pl.DataFrame, np.ndarray, list[BadRow]]:
    content = table_paths.content(path)
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in content[:1000]:
        raise _not_utf8(path, 1)
    if form == "movielens":
        content = _single_separated(path, bytes(content))
    if content.find(b"\r") >= 0 and content.find(b"\n") < 0:  # as old Macs ended lines
        content = bytes(content).replace(b"\r", b"\n")
    start, first_line = len(codecs.BOM_UTF8) * (content[:3] == codecs.BOM_UTF8), 1
    while (end := content.find(b"\n", start)) >= 0 and not content[start:end].strip():
        start, first_line = end + 1, first_line + 1
    if start >= len(content):
        raise _nothing(path)
    header = _header(path, content, start, form, wanted)
    names, grammar = header.names, header.grammar
    of_keys = ("user", "item", "time")
    keys = list({names.index(column): None for field, column in wanted if field in of_keys})
    used = [names.index(column) for _, column in wanted] if form != "tsv" else []
    columns = text_lines.Columns(len(names), set(used), keys)
    found = text_lines.records(content, header.end, first_line + header.lines, grammar, columns)
    if found.literal:
        logging.warning(
            "%s: a quote that opens a cell and does not close it is read as a character (lines of "
            "this kind: %d, the first: %d).",
            path, len(found.literal), found.literal[0],
        )  # fmt: skip
    bad = []
    for line, place, what, remedy in found.bad:
        column = names[place] if place >= 0 else ""
        told = what.replace("{column}", shown(column))
        bad.append(BadRow(str(path), line, True, column, told, remedy))
    as_it_is = found.rewritten is None and first_line == 1 and header.is_plain
    if as_it_is and not isinstance(content, bytes):
        source: Path | BinaryIO | bytes = table_paths.for_polars(path)
    else:
        body = content[header.end :] if found.rewritten is None else found.rewritten
        source = b"\n".join([grammar.regular([b"c"] * len(names)), bytes(body)])
        header = dataclasses.replace(header, lines=1)
    cells = [f"c{names.index(column)}" for column in _distinct(wanted)]
    if not len(found.numbers):
        return pl.DataFrame(schema=dict.fromkeys(_distinct(wanted), pl.String)), found.numbers, bad
    try:
        lazy = pl.scan_csv(
            source,
            separator=grammar.separator.decode(),
            has_header=header.lines > 0,
            quote_char='"' if found.has_quotes else None,
            infer_schema=False,
            with_column_names=lambda there: [f"c{n}" for n in range(len(there))],
            glob=False,
        )
        frame = lazy.select(cells).collect()
    except pl.exceptions.PolarsError as error:
        _utf8(path, content)
        raise DataError(f"{path} cannot be read ({reason(error)}); write it again.") from error
    if len(frame) != len(found.numbers):
        raise DataError(
            f"{path} cannot be read: it has {len(found.numbers):,} records, but {len(frame):,} "
            'were found; check that every " has its counterpart, or write it as Parquet.'
        )
    frame = frame.rename(dict(zip(cells, _distinct(wanted), strict=True)))
    return *_without_blank(frame, found, content, grammar), bad


@dataclasses.dataclass(frozen=True)
class _Header:
    """The columns' names, the cells' grammar, the offset of the first record, and its own lines."""

    names: list[str]
    grammar: text_lines.Grammar
    end: int
    lines: int  # 0: there is none
    is_plain: bool  # whether polars reads it as it is


def _without_blank(
    frame: pl.DataFrame, found: text_lines.Lines, content: Content, grammar: text_lines.Grammar
) -> tuple[pl.DataFrame, np.ndarray]:
    """Leaves out lines of separators alone, as spreadsheets write them below a table."""
    empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if not empty.any():
        return frame, found.numbers
    lines = bytes(content).split(b"\n")
    filling = grammar.separator + b' "\r\t'
    blank = [not lines[line - 1].strip(filling) for line in found.numbers[empty.to_numpy()]]
    kept = ~empty.scatter(empty.arg_true(), blank)
    return frame.filter(kept), found.numbers[kept.to_numpy()]


def _header(path: Path, content: Content, start: int, form: str, wanted: Wanted) -> _Header:
    """The header with the separator that shows the most wanted columns, then most columns."""
    columns = {column for _, column in wanted}
    by_position = all(column.isdigit() for column in columns)
    headers = []
    for separator in SEPARATORS[form]:
        grammar = text_lines.Grammar(separator.encode())
        cells, end, lines = text_lines.header(content, start, grammar)
        texts = [cell.decode(errors="replace") for cell in cells]
        names = [text if text in columns else text.strip() for text in texts]
        is_plain = lines == 1 and not any(b'"' in cell for cell in cells)
        # A row may hold some position as its value; a header has all of them.
        if form == "movielens" or (by_position and not columns <= set(names)):
            known = [fields for fields in _MOVIELENS if len(fields) == len(names)]
            names = [str(place) for place in range(len(names))]
            if form == "movielens" and known and not by_position:
                names = list(known[0])
            end, lines, is_plain = start, 0, True
        headers.append(_Header(names, grammar, end, lines, is_plain))
    # Ties: the first.
    best = max(headers, key=lambda one: (len(columns & set(one.names)), len(one.names)))
    _check_there(path, best.names, wanted)
    if by_position and best.lines:
        logging.warning(
            "%s: its first line is read as a header, because it has the names %s.",
            path, listed(sorted(columns)),
        )  # fmt: skip
    for column in columns:
        if best.names.count(column) > 1:
            raise DataError(
                f"{path} has {best.names.count(column)} columns {column!r}; give them different "
                "names."
            )
    return best


def _single_separated(path: Path, content: bytes) -> bytes:
    """MovieLens' lines with one byte between fields, as UTF-8; older releases are Latin-1."""
    if b"\x1f" in content:
        raise DataError(f"{path} holds the control character 0x1F; remove it.")
    try:
        content.decode()
    except UnicodeDecodeError:
        content = content.decode("latin-1").encode()
    return content.replace(b"::", b"\x1f")


# ---- messages -------------------------------------------------------------------------------


def _distinct(wanted: Wanted) -> list[str]:
    return list(dict.fromkeys(column for _, column in wanted))


def _check_there(path: Path, there: Sequence[str], wanted: Wanted) -> None:
    for setting, column in wanted:
        if column not in there:
            raise DataError(
                f"{path} has no column {column!r}, it has {listed(there)}; correct "
                f"--config.data.columns.{setting}{_without_header(there)}."
            )


def _without_header(names: Sequence[str]) -> str:
    """A hint where the names look like a row."""
    if names == [str(place) for place in range(len(names))]:
        return ""  # positions
    if not any(name.removeprefix("-").replace(".", "", 1).isdigit() for name in names):
        return ""
    return ", or give positions from 0 as columns if the file has no header"


def _nothing(path: Path) -> DataError:
    return DataError(f"{path} is empty; it needs a header with the columns' names, and rows.")


def _not_utf8(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.")


def _utf8(path: Path, content: Content) -> str:
    try:
        return bytes(content).decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(path, bytes(content[: error.start]).count(b"\n") + 1) from error


def listed(names: Iterable[str]) -> str:
    """The names for a message, shortened to fit."""
    names = list(names)
    shown = [repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:_SHOWN]]
    more = [f"and {len(names) - _SHOWN} more"] * (len(names) > _SHOWN)
    return ", ".join(shown + more) or "none"
