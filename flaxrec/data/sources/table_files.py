"""Your own CSV, TSV or Parquet files: reads the needed columns and locates rows for messages.

CSV cells (separated by commas, semicolons, tabs or bars) are read as text.
"""

import codecs
import contextlib
import csv
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from flaxrec.errors import DataError

# By extension; spreadsheets also write .csv files with other separators than commas.
_SEPARATORS = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t",)}
ROW = "\0row"  # a name that no file's column has
_SHOWN = 20  # columns in a message

Wanted = list[tuple[str, str]]  # (field of config.data.columns, column)


@dataclasses.dataclass(frozen=True)
class TableFile:
    """The needed columns of a file, under the file's names.

    Attributes:
      path: of the file.
      separator: between the fields of a text file; '' for Parquet, whose columns have types.
      frame: the cells; all String in CSV and TSV; null if missing. Column ROW holds the row's index
        in the file, from 0.
    """

    path: Path
    separator: str
    frame: pl.DataFrame

    def place(self, row: int) -> str:
        """A frame's row as 'line 7' (text) or 'row 6' (Parquet) of the file."""
        place = self.frame[ROW][row]
        if not self.separator:
            return f"row {place + 1}"
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            records = csv.reader(file, delimiter=self.separator)
            # Skip the header and earlier records, which may span several lines.
            try:
                for _ in range(place + 1):
                    next(records, None)
            except csv.Error:  # a cell too long for the csv module
                return f"row {place + 1}"
            return f"line {records.line_num + 1}"

    def unusable(self, bad: pl.Series, column: str, expected: str) -> DataError:
        """The error for the first row where `bad` is true."""
        row = bad.arg_max() or 0
        cell = self.frame[column][row]
        found = "is empty" if cell is None else f"is {cell!r}"
        return DataError(
            f"{self.path}, {self.place(row)}: column {column!r} {found}, expected {expected}; "
            "correct or remove it."
        )

    def mistyped(self, column: str, expected: str) -> DataError:
        """The error for a Parquet column of an unusable type."""
        return DataError(
            f"{self.path}: column {column!r} has the type {self.frame[column].dtype}, expected "
            f"{expected}; convert it, or name another column in config.data.columns."
        )


def load(field: str, name: str, wanted: Wanted) -> TableFile:
    """Reads the wanted columns of the file at `config.data.FIELD`; raises DataError."""
    path = Path(name).expanduser()
    suffix = path.suffix.lower()
    is_text = suffix in _SEPARATORS
    if not is_text and suffix != ".parquet":
        raise DataError(
            f"{path} has the extension {suffix!r}; set --config.data.{field} to a .csv, .tsv or "
            ".parquet file."
        )
    if not path.is_file():
        raise DataError(f"{path} is missing; set --config.data.{field} to a file that exists.")
    separator = _separator(path, wanted) if is_text else ""
    try:
        if is_text:
            lazy = pl.scan_csv(path, separator=separator, infer_schema=False, row_index_name=ROW)
        else:
            lazy = pl.scan_parquet(path, row_index_name=ROW)
        there = [column for column in lazy.collect_schema().names() if column != ROW]
        for setting, column in wanted:
            if column not in there:
                raise DataError(
                    f"{path} has no column {column!r}, it has {listed(there)}; correct "
                    f"--config.data.columns.{setting}."
                )
        names = list(dict.fromkeys(column for _, column in wanted))
        frame = lazy.select(ROW, *names).collect()
    except pl.exceptions.NoDataError as error:
        raise _nothing(path) from error
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, separator, str(error).split("\n")[0]) from error
    if is_text:
        cells = pl.col(names)
        # Stray spaces, as in 'a, b', would make two values of one.
        stripped = cells.str.strip_chars()
        frame = frame.with_columns(pl.when(stripped != "").then(stripped))
        if frame.select(pl.all_horizontal(cells.is_null()).any()).item():
            # A blank line becomes a row without a value in any column, wanted or not.
            blank = pl.all_horizontal(pl.all().exclude(ROW).is_null())
            frame = frame.filter(~lazy.select(blank).collect().to_series())
    if frame.is_empty():
        raise _nothing(path)
    return TableFile(path, separator, frame)


def _separator(path: Path, wanted: Wanted) -> str:
    """The separator with which the header has the most wanted columns, then most columns."""
    with path.open("rb") as raw:
        if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise _not_utf8(path, 1)

    def fitness(separator: str) -> tuple[int, int]:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            try:
                header = next(csv.reader(file, delimiter=separator), [])
            except csv.Error:  # an open quote
                header = []
        return sum(column in header for _, column in wanted), len(header)

    return max(_SEPARATORS[path.suffix.lower()], key=fitness)  # ties: the first


def _nothing(path: Path) -> DataError:
    return DataError(f"{path} is empty; it needs a header with the columns' names, and rows.")


def _not_utf8(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.")


def _unreadable(path: Path, separator: str, reason: str) -> DataError:
    """The error for a file that polars refused; names a CSV's first unusable line."""
    if not separator:
        return DataError(f"{path} cannot be read as Parquet ({reason}); write it again.")
    with path.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return _not_utf8(path, number)
    # The csv module gives up at a field of 128 KB, such as an open quote makes.
    with contextlib.suppress(csv.Error), path.open(encoding="utf-8-sig", newline="") as file:
        records = csv.reader(file, delimiter=separator)
        width, start = len(next(records, [])), records.line_num + 1
        for record in records:
            if len(record) > width:
                return DataError(
                    f"{path}, line {start}: {len(record)} fields, but the header has {width}; "
                    f'put values that hold {separator!r} between ".'
                )
            start = records.line_num + 1
    return DataError(f'{path} cannot be read ({reason}); check that every " has its counterpart.')


def listed(names: Iterable[str]) -> str:
    """The names for a message, shortened to fit."""
    names = list(names)
    shown = [repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:_SHOWN]]
    more = [f"and {len(names) - _SHOWN} more"] * (len(names) > _SHOWN)
    return ", ".join(shown + more) or "none"
