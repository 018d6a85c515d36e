"""Columns of your own tables, typed by all of their values.

CSV cells are text: types guessed from the first lines could fail, or change ids, at a later line.
"""

import datetime
import logging

import polars as pl

from flaxrec.data.sources.table_files import TableFile
from flaxrec.errors import DataError

_NO_ID = ["nan", "NaN", "NAN", "null", "NULL"]  # other programs' missing cells
_WHOLE_ID = r"^(?:0|-?[1-9][0-9]*)(?:\.0+)?$"  # not '007'; 12.0 comes from a float column
_LEADING_ZERO = r"^[+-]?0[0-9]"

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def ids(
    key: str, column: str, events: TableFile, own: TableFile | None
) -> tuple[pl.Series, pl.Series]:
    """The ids in the interactions and in the table of items or users, as one type."""
    found = [_id(file, column) for file in ([events, own] if own else [events])]
    if found[0].dtype != found[-1].dtype:
        found = [one.cast(pl.String) for one in found]
    if own and not found[0].is_in(found[1].implode()).any():
        raise DataError(
            f"{own.path}: none of its {key}s occurs in {events.path} (there {found[0][0]!r}, here "
            f"{found[1][0]!r}); correct --config.data.columns.{key}, or the ids."
        )
    return found[0], found[-1]


def _id(file: TableFile, column: str) -> pl.Series:
    """Int64 if all are whole numbers, else String."""
    cells = file.frame[column]
    if _no_scalar(cells):
        raise file.mistyped(column, "numbers or strings")
    missing = cells.is_null()
    if cells.dtype.is_float():
        missing |= ~cells.is_finite().fill_null(True)
    if cells.dtype == pl.String:
        missing |= cells.is_in(_NO_ID).fill_null(False)
    if missing.any():
        raise file.unusable(missing, column, "an id")

    numbers = None
    if cells.dtype.is_integer() or (cells.dtype.is_float() and (cells == cells.round()).all()):
        numbers = cells.cast(pl.Int64, strict=False)
    elif file.separator and cells.str.contains(_WHOLE_ID).all():
        numbers = cells.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
    if numbers is None or numbers.null_count():  # null: does not fit into 64 bits
        return cells.cast(pl.String)
    return numbers


def time(file: TableFile, column: str) -> pl.Series:
    """Int64 or Float64: numbers as they are, dates and date-times in seconds since 1970."""
    cells = file.frame[column]
    dtype, expected = cells.dtype, "a number, a date or a date-time"
    if cells.null_count():
        raise file.unusable(cells.is_null(), column, expected)
    if dtype == pl.String:
        return _time_of_text(file, column)
    if dtype.is_integer():
        return cells.cast(pl.Int64)
    if dtype in (pl.Date, pl.Datetime):
        return _seconds(cells)
    if not dtype.is_numeric():
        raise file.mistyped(column, expected)
    return _finite(file, column, cells.cast(pl.Float64), expected)


def _time_of_text(file: TableFile, column: str) -> pl.Series:
    cells = file.frame[column].str.strip_chars().str.strip_suffix(" UTC")  # as databases write
    whole = cells.cast(pl.Int64, strict=False)
    if not whole.null_count():
        return whole
    numbers = cells.cast(pl.Float64, strict=False)
    if numbers[0] is not None:
        return _finite(file, column, numbers, "a number, as in the first row")
    # Without a format, polars would guess one from the first cells, ISO or not.
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"):
        moments = cells.str.strptime(pl.Datetime("us"), form, strict=False)
        if not moments.null_count():
            return _seconds(moments)
    times = []  # other or mixed ISO forms: ten times slower
    for row, cell in enumerate(cells):
        try:
            moment = datetime.datetime.fromisoformat(cell)
        except ValueError as error:
            bad = pl.int_range(len(cells), eager=True) == row
            expected = "a number, or a date such as 2024-05-31 or 2024-05-31T18:30:00"
            raise file.unusable(bad, column, expected) from error
        moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        times.append((moment - _EPOCH).total_seconds())
    return pl.Series(times, dtype=pl.Float64)


def _seconds(moments: pl.Series) -> pl.Series:
    """Seconds since 1970, exact to the microsecond, in the same unit as `data.gaps`."""
    return moments.dt.timestamp("us") / 1e6


def rating(file: TableFile, column: str) -> pl.Series:
    """Float32; every cell a finite number."""
    cells = file.frame[column]
    if cells.dtype == pl.String:
        cells = cells.str.strip_chars().cast(pl.Float32, strict=False)
    elif not cells.dtype.is_numeric():
        raise file.mistyped(column, "numbers")
    ratings = cells.cast(pl.Float32)
    if (empty := file.frame[column].is_null()).any():
        raise DataError(
            f"{file.path}, {file.place(empty.arg_max() or 0)}: column {column!r} is empty, but a "
            "rating is needed in every row; name the column in config.data.columns.event_features, "
            "where cells may be empty, instead of config.data.columns.rating."
        )
    return _finite(file, column, ratings, "a finite number such as 3.5")


def weight(file: TableFile, column: str) -> pl.Series:
    """Float32; every cell a number of 0 or above."""
    cells, expected = file.frame[column], "a number of 0 or above"
    if cells.dtype == pl.String:
        cells = cells.str.strip_chars().cast(pl.Float32, strict=False)
    elif not cells.dtype.is_numeric():
        raise file.mistyped(column, "numbers")
    weights = _finite(file, column, cells.cast(pl.Float32), expected)
    if (weights < 0).any():
        raise file.unusable(weights < 0, column, expected)
    return weights


def _finite(file: TableFile, column: str, numbers: pl.Series, expected: str) -> pl.Series:
    bad = ~numbers.is_finite().fill_null(False)
    if bad.any():
        raise file.unusable(bad, column, expected)
    return numbers


def feature(file: TableFile, column: str) -> pl.Series:
    """Int64 or Float64 if all values are, else String; Parquet's numbers and lists unchanged."""
    cells = file.frame[column]
    if not file.separator:
        if cells.dtype.is_float():
            return cells.fill_nan(None)
        return cells if cells.dtype.is_numeric() or cells.dtype == pl.List else text(file, column)
    known = cells.drop_nulls()
    if known.is_empty() or known.str.contains(_LEADING_ZERO).any():
        return cells
    whole = cells.cast(pl.Int64, strict=False)
    if whole.null_count() == cells.null_count():
        return whole
    numbers = cells.cast(pl.Float64, strict=False)
    return cells if numbers.null_count() > cells.null_count() else numbers.fill_nan(None)


def values(file: TableFile, column: str, separator: str) -> pl.Series:
    """List(String) of the values between separators, or Parquet's lists; null if missing."""
    if file.frame[column].dtype == pl.List:
        return file.frame[column]
    value = pl.element().str.strip_chars()
    cells = text(file, column)
    if not cells.str.contains(separator, literal=True).any():
        logging.warning(
            "%s: no cell of %r has the separator %r, so that each is one value, such as %r; "
            "correct config.data.columns.separator if they hold several.",
            file.path, column, separator, max(cells.drop_nulls(), key=len, default=""),
        )  # fmt: skip
    return cells.str.split(separator).list.eval(value.filter(value != ""))


def text(file: TableFile, column: str) -> pl.Series:
    """The column as String."""
    if _no_scalar(file.frame[column]):
        raise file.mistyped(column, "numbers or strings")
    return file.frame[column].cast(pl.String)


def _no_scalar(cells: pl.Series) -> bool:
    return cells.dtype.is_nested() or cells.dtype == pl.Binary
