"""Columns of your own tables, typed by all of their values.

Cells of text files are text: types guessed from the first lines could fail, or change ids, at a
later line.
"""

import datetime
import logging
from collections.abc import Callable, Iterable

import polars as pl

from flaxrec.data.sources.bad_rows import Mark
from flaxrec.data.sources.interactions import TimeIs
from flaxrec.data.sources.table_files import TableFile
from flaxrec.errors import DataError, shown

_NO_ID = ["nan", "NaN", "NAN", "null", "NULL"]  # other programs' missing cells
_WHOLE_ID = r"^(?:0|-?[1-9][0-9]*)(?:\.0+)?$"  # not '007'; 12.0 comes from a float column
_FLOAT_ID = r"^-?[0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]+)?$"
_LEADING_ZERO = r"^[+-]?0[0-9]"
_EXACT = 2**53  # floats beyond it skip whole numbers

_MOST = 2**62  # of times: the time between two fits into 64 bits
_YEARS = datetime.date(1, 1, 1), datetime.date(9999, 12, 31)
_DAY = 86_400
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}

_TIME = "a number, a date or a date-time"
_BETWEEN = "a number between -2^62 and 2^62"
_ISO = "a number, or a date such as 2024-05-31 or 2024-05-31T18:30:00"
_YEAR_FIRST = r"^[0-9]{4}(?:-|W|[0-9]{4})"
_DIGITS_ONLY = {8: ("%d%m%Y", "%m%d%Y"), 6: ("%d%m%y", "%m%d%y", "%y%m%d")}

Marks = list[Mark]


def bad_ids(file: TableFile, column: str) -> Marks:
    """The rows without an id."""
    cells = file.frame[column]
    if _no_scalar(cells):
        raise file.mistyped(column, "numbers or strings")
    missing = cells.is_null()
    if cells.dtype.is_float():
        missing |= ~cells.is_finite().fill_null(True)
    if cells.dtype == pl.String:
        missing |= cells.is_in(_NO_ID).fill_null(False)
    return [file.mark(missing, column, "an id")]


def ids(
    key: str, column: str, events: TableFile, own: TableFile | None
) -> tuple[pl.Series, pl.Series]:
    """The ids in the interactions and in the table of items or users, as one type.

    No id is missing (`bad_ids`). Warns where the two tables hardly meet.
    """
    found = [own_ids(file, column) for file in ([events, own] if own else [events])]
    if found[0].dtype != found[-1].dtype:
        found = [one.cast(pl.String) for one in found]
    if own:
        there = found[0].unique()
        described = int(there.is_in(found[1].implode()).sum())
        if not described:
            raise DataError(
                f"{own.path}: none of its {key}s occurs in {events.path} (there "
                f"{shown(found[0][0])}, here {shown(found[1][0])}); correct "
                f"--config.data.columns.{key}, or the ids."
            )
        if 2 * described < len(there):
            missing = there.filter(~there.is_in(found[1].implode())).min()
            logging.warning(
                "%s describes %s of the %s %ss in %s; it lacks %s, for one.",
                own.path, f"{described:,}", f"{len(there):,}", key, events.path, shown(missing),
            )  # fmt: skip
    return found[0], found[-1]


def own_ids(file: TableFile, column: str) -> pl.Series:
    """Int64 if all are whole numbers, else String."""
    cells = file.frame[column]
    numbers = None
    if cells.dtype.is_float():
        _refuse_rounded(file, column, cells)
    fractional = cells.dtype.is_float() or isinstance(cells.dtype, pl.Decimal)
    if cells.dtype.is_integer() or (fractional and (cells == cells.round()).all()):
        numbers = cells.cast(pl.Int64, strict=False)
    elif file.is_text and cells.str.contains(_WHOLE_ID).all():
        fractions = cells.str.ends_with("0") & cells.str.contains(".", literal=True)
        if fractions.any():
            _refuse_rounded(file, column, cells.cast(pl.Float64), fractions)
        numbers = cells.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
    elif cells.dtype == pl.String and _all_match(cells, _FLOAT_ID):
        written = cells.str.contains("[.eE]")
        _refuse_rounded(file, column, cells.cast(pl.Float64), written)
    if numbers is None or numbers.null_count():  # null: does not fit into 64 bits
        return text(file, column)
    return numbers


def _all_match(cells: pl.Series, pattern: str) -> bool:
    """Whether all cells match; the first ones tell most columns."""
    return all(part.str.contains(pattern).all() for part in (cells.head(1000), cells))


def _refuse_rounded(
    file: TableFile, column: str, numbers: pl.Series, among: pl.Series | None = None
) -> None:
    """Floats beyond 2^53 were rounded before: several ids may have become one."""
    rounded = numbers.abs() > _EXACT
    rounded = rounded if among is None else rounded & among
    if rounded.any():
        row = rounded.arg_max() or 0
        raise DataError(
            f"{file.place(row)}: column {column!r} {file.shown(row, column)}, a float beyond 2^53, "
            "where whole numbers are rounded; write the ids as whole numbers or text."
        )


# ---- times and ratings ----------------------------------------------------------------------


def time(file: TableFile, column: str) -> tuple[pl.Series, pl.DataFrame | None, Marks]:
    """Times, what orders them where that is finer, and the rows without one.

    Returns:
      Int64 or Float64: numbers as they are, dates and date-times in seconds since 1970; null in
      bad rows. The second is None where the times say all of the order.
    """
    cells = file.frame[column]
    dtype = cells.dtype
    if dtype == pl.Null:
        cells = cells.cast(pl.Int64)
    if dtype == pl.String:
        return _time_of_text(file, column)
    if cells.dtype.is_integer():
        whole = cells.cast(pl.Int64, strict=False)
        empty = [file.mark(cells.is_null(), column, _TIME)]
        return whole, None, [*empty, file.mark(_too_large(whole, cells), column, _BETWEEN)]
    empty = [file.mark(cells.is_null(), column, _TIME)]
    if dtype in (pl.Date, pl.Datetime):
        seconds = _seconds(cells)
        if dtype == pl.Datetime and dtype.time_unit == "ns":  # type: ignore[attr-defined]
            nanoseconds = cells.dt.timestamp("ns")
            if (nanoseconds % 1000 != 0).any():
                return seconds, nanoseconds.to_frame("exact"), empty
        return seconds, None, empty
    if dtype == pl.Duration:
        return _of_duration(cells), None, empty
    if not dtype.is_numeric():
        raise file.mistyped(column, _TIME)
    numbers = cells.cast(pl.Float64)
    exact = cells.to_frame("exact") if isinstance(dtype, pl.Decimal) else None
    strange = _not_finite(numbers)
    too_large = _too_large(numbers, cells) & ~strange
    return numbers, exact, [
        file.mark(strange, column, _TIME), file.mark(too_large, column, _BETWEEN)
    ]  # fmt: skip


def _too_large(numbers: pl.Series, cells: pl.Series) -> pl.Series:
    """Whether a number is beyond 2^62, or null because it was beyond Int64."""
    return ~numbers.is_between(-_MOST, _MOST, closed="none").fill_null(cells.is_null())


def _of_duration(cells: pl.Series) -> pl.Series:
    """Seconds; milliseconds may be more than microseconds can count."""
    return cells.cast(pl.Int64) / _PER_SECOND[cells.dtype.time_unit]  # type: ignore[attr-defined]


def no_moments(file: TableFile, columns: Iterable[str]) -> Marks:
    """The rows with a date or date-time before the year 1 or after 9999, or no time of a day.

    polars ends where it is to show one beyond its own years.
    """
    marks = []
    for name in dict.fromkeys(columns):
        cells = file.frame[name]
        if isinstance(cells.dtype, pl.Array):
            cells = cells.arr.to_list()
        inner = getattr(cells.dtype, "inner", cells.dtype)
        if not isinstance(inner, pl.Date | pl.Datetime | pl.Time):
            continue
        value = pl.element() if cells.dtype == pl.List else pl.col(name)
        strange = ~value.to_physical().cast(pl.Int64).is_between(*_range(inner)).fill_null(True)
        if cells.dtype == pl.List:
            strange = pl.col(name).list.eval(strange).list.any().fill_null(False)
        rows = cells.to_frame().select(strange).to_series()
        if rows.any():
            told = "a time of a day" if inner == pl.Time else "a date of the years 1 to 9999"
            marks.append(Mark(rows, name, _holds(name, cells.to_physical(), told)))
    return marks


def _range(dtype: pl.DataType) -> tuple[int, int]:
    """The first and the last number that stands for a date, date-time or time."""
    if dtype == pl.Time:
        return 0, _DAY * 10**9 - 1
    first, last = ((day - datetime.date(1970, 1, 1)).days for day in _YEARS)
    per_day = _DAY * _PER_SECOND[dtype.time_unit] if isinstance(dtype, pl.Datetime) else 1
    # All that Int64 holds, where nanoseconds reach less far.
    return max(first * per_day, -(2**63)), min((last + 1) * per_day, 2**63) - 1


def _holds(column: str, numbers: pl.Series, expected: str) -> Callable[[int], str]:
    return lambda row: f"column {column!r} is {shown(numbers[row])} since 1970, expected {expected}"


def kind_of_time(file: TableFile, column: str) -> TimeIs:
    """What a column of times holds."""
    cells = file.frame[column]
    if cells.dtype != pl.String:
        dates = cells.dtype == pl.Date
        return "dates" if dates else "date-times" if cells.dtype == pl.Datetime else "numbers"
    cells = cells.str.strip_chars()
    if cells.cast(pl.Float64, strict=False).count():
        return "numbers"
    return "date-times" if cells.str.contains(":", literal=True).any() else "dates"


def _time_of_text(file: TableFile, column: str) -> tuple[pl.Series, pl.DataFrame | None, Marks]:
    cells = file.frame[column].str.strip_chars().str.strip_suffix(" UTC")  # as databases write
    empty = cells.is_null()
    whole = cells.cast(pl.Int64, strict=False)
    if whole.null_count() == empty.sum():
        _refuse_digits_of_dates(file, column, cells)
        missing = file.mark(empty, column, _TIME)
        return whole, None, [missing, file.mark(_too_large(whole, cells), column, _BETWEEN)]
    numbers = cells.cast(pl.Float64, strict=False)
    finite = numbers.count()
    if 2 * finite >= len(cells) - int(empty.sum()):
        first = "the first row" if numbers[0] is not None else "most rows"
        strange = _not_finite(numbers) & ~empty
        bad = [file.mark(empty, column, _TIME)]
        bad += [file.mark(strange, column, f"a number, as in {first}")]
        too_large = _too_large(numbers, cells) & ~strange
        bad += [file.mark(too_large, column, _BETWEEN)]
        strange |= too_large
        if whole.count() == len(cells) - int((empty | strange).sum()):
            return whole, None, bad
        exact = None
        if (cells.str.len_bytes() > 16).any():
            exact = cells.cast(pl.Decimal(38, 9), strict=False).to_frame("exact")
        return numbers, exact, bad
    moments = _moments(cells)
    bad = [file.mark(empty, column, _TIME)]
    bad += [file.mark(moments.is_null() & ~empty, column, _ISO)]
    finer = r"\.[0-9]{6}([0-9]{1,3})"
    if not (cells.str.len_bytes() > 22).any() or not cells.str.contains(finer).any():
        return _seconds(moments), None, bad
    nanoseconds = cells.str.extract(finer).fill_null("").str.pad_end(3, "0")
    return _seconds(moments), pl.DataFrame([moments.alias("exact"), nanoseconds.alias("rest")]), bad


def _moments(cells: pl.Series) -> pl.Series:
    """Date-times in UTC, cut to microseconds, of ISO texts; null where a cell is none."""
    # Years have four digits and stand first: 31-12-23 is no date of the year 31.
    cells = cells.set(~cells.str.contains(_YEAR_FIRST).fill_null(False), None)
    found = pl.Series([None] * len(cells), dtype=pl.Datetime("us"))
    # Without a format, polars would guess one from the first cells, ISO or not.
    for form in ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d"):
        found = found.fill_null(cells.str.strptime(pl.Datetime("us"), form, strict=False))
        if found.null_count() == cells.null_count():
            return found
    # Other ISO forms, such as those with a zone: ten times slower.
    rows = (found.is_null() & cells.is_not_null()).arg_true()
    others: list[datetime.datetime | None] = []
    for cell in cells[rows]:
        try:
            moment = datetime.datetime.fromisoformat(cell)
            if moment.tzinfo:
                moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):  # no date, or before the year 1 in UTC
            others.append(None)
        else:
            others.append(moment)
    return found.scatter(rows, pl.Series(others, dtype=pl.Datetime("us")))


def _refuse_digits_of_dates(file: TableFile, column: str, cells: pl.Series) -> None:
    """Dates without separators are numbers in the right order only if the year stands first."""
    cells = cells.drop_nulls()
    digits = cells.str.len_bytes().unique().to_list()
    if digits not in ([6], [8]) or not cells.str.contains("^[0-9]+$").all():
        return
    # Counters have six digits too, dates of every month some with a zero in front.
    if digits == [6] and not cells.str.starts_with("0").any():
        return

    def fits(form: str) -> bool:
        dates = cells.str.to_date(form, strict=False)
        return not dates.null_count() and dates.dt.year().is_between(1900, 2100).all()

    if any(fits(form) for form in _DIGITS_ONLY[digits[0]]) and not fits("%Y%m%d"):
        raise DataError(
            f"{file.place(0)}: column {column!r} {file.shown(0, column)}, which may be a date "
            "whose year does not stand first; write dates such as 2024-05-31."
        )


def _seconds(moments: pl.Series) -> pl.Series:
    """Seconds since 1970, exact to the microsecond, the unit of `data.moments`."""
    return moments.dt.timestamp("us") / 1e6


def rating(file: TableFile, column: str) -> tuple[pl.Series, Marks]:
    """Float32, and the rows where it is not a finite number."""
    numbers, empty = _float32(file, column), file.frame[column].is_null()
    needed = Mark(
        empty,
        column,
        lambda _: f"column {column!r} is empty, but a rating is needed in every row",
        "name the column in config.data.columns.event_features, where cells may be empty, instead "
        "of config.data.columns.rating",
    )
    strange = _not_finite(numbers) & ~empty
    return numbers, [needed, file.mark(strange, column, "a finite number such as 3.5")]


def weight(file: TableFile, column: str) -> tuple[pl.Series, Marks]:
    """Float32, and the rows where it is not a number of 0 or above."""
    numbers = _float32(file, column)
    bad = _not_finite(numbers) | (numbers < 0).fill_null(True)
    return numbers, [file.mark(bad, column, "a number of 0 or above")]


def _float32(file: TableFile, column: str) -> pl.Series:
    cells = file.frame[column]
    if cells.dtype == pl.String:
        return cells.cast(pl.Float32, strict=False)
    if cells.dtype != pl.Null and not cells.dtype.is_numeric():
        raise file.mistyped(column, "numbers")
    return cells.cast(pl.Float32)


def _not_finite(numbers: pl.Series) -> pl.Series:
    return ~numbers.is_finite().fill_null(False)


# ---- features -------------------------------------------------------------------------------


def feature(file: TableFile, column: str, declared: str = "") -> pl.Series:
    """A feature's values; null if missing.

    Args:
      file: the table.
      column: its column.
      declared: the type of the model's features of it: STRING, INT, FLOAT or ''.

    Returns:
      STRING: String, the cells' own text. Else Int64 or Float64 if all values are numbers, else
      String. Parquet's numbers and lists keep their types.
    """
    cells = file.frame[column]
    if cells.dtype == pl.List or isinstance(cells.dtype, pl.Array):
        return _texts_in_lists(file, column)
    if not file.is_text:
        return _typed_feature(file, column, declared)
    if declared == "STRING":
        return cells
    known = cells.drop_nulls()
    if known.is_empty() or known.str.contains(_LEADING_ZERO).any():
        return cells
    whole = cells.cast(pl.Int64, strict=False)
    if whole.null_count() == cells.null_count():
        return whole
    numbers = cells.cast(pl.Float64, strict=False)
    if numbers.null_count() > cells.null_count() or (whole.abs() > _EXACT).any():
        return cells
    return numbers.fill_nan(None)


def _typed_feature(file: TableFile, column: str, declared: str) -> pl.Series:
    cells = file.frame[column]
    dtype = cells.dtype
    if dtype.is_float():
        if declared in ("INT", "STRING") and (cells.abs() > _EXACT).any():
            logging.warning(
                "%s: column %r holds floats beyond 2^53, where whole numbers are rounded: several "
                "values may have become one; write it as whole numbers or text.",
                file.path, column,
            )  # fmt: skip
        return cells.fill_nan(None)
    if dtype == pl.Boolean and declared in ("INT", "FLOAT"):
        return cells.cast(pl.Int64)
    if dtype == pl.Duration:
        seconds = _of_duration(cells)
        return seconds.cast(pl.Int64) if (seconds == seconds.round()).all() else seconds
    if isinstance(dtype, pl.Decimal) and declared != "STRING":
        return cells.cast(pl.Float64 if dtype.scale else pl.Int64, strict=False)
    if dtype.is_integer():
        return cells
    return text(file, column)


def values(file: TableFile, column: str, separator: str) -> pl.Series:
    """List(String) of the values between separators, or the file's lists; null if missing."""
    cells = file.frame[column]
    if cells.dtype == pl.List or isinstance(cells.dtype, pl.Array):
        return _texts_in_lists(file, column)
    value = pl.element().str.strip_chars()
    cells = text(file, column)
    if not cells.str.contains(separator, literal=True).any():
        longest = cells[cells.str.len_chars().arg_max() or 0]
        logging.warning(
            "%s: no cell of %r has the separator %r, so that each is one value, such as %s; "
            "correct config.data.columns.separator if they hold several.",
            file.path, column, separator, shown(longest),
        )  # fmt: skip
    return cells.str.split(separator).list.eval(value.filter(value != ""))


def text(file: TableFile, column: str) -> pl.Series:
    """The column as String: true and false, ISO dates and date-times."""
    cells = file.frame[column]
    if _no_scalar(cells):
        raise file.mistyped(column, "numbers or strings")
    return cells.to_frame().select(_as_text(pl.col(column), cells.dtype)).to_series()


def _texts_in_lists(file: TableFile, column: str) -> pl.Series:
    """Lists; dates, booleans and categories in them as text."""
    cells = file.frame[column]
    if isinstance(cells.dtype, pl.Array):
        cells = cells.arr.to_list()
    inner = cells.dtype.inner  # type: ignore[attr-defined]
    if inner == pl.String:
        return cells.list.eval(pl.element().str.strip_chars())
    if inner.is_numeric() or inner.is_nested():
        return cells
    if inner in (pl.Binary, pl.Duration):
        raise file.mistyped(column, "lists of numbers or strings")
    return cells.list.eval(_as_text(pl.element(), inner))


def _as_text(cells: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The one text of a value, on every device: 2024-05-31T18:30:00 for a date-time, as Python."""
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone:
            cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        form = "%Y-%m-%dT%H:%M:%S"
        return (
            pl.when((cells.dt.nanosecond() % 1000) != 0)
            .then(cells.dt.strftime(f"{form}.%9f"))
            .when(cells.dt.nanosecond() != 0)
            .then(cells.dt.strftime(f"{form}.%6f"))
            .otherwise(cells.dt.strftime(form))
        )
    if dtype == pl.Time:
        exact = cells.dt.strftime("%H:%M:%S.%6f")
        return pl.when(cells.dt.nanosecond() != 0).then(exact).otherwise(cells.cast(pl.String))
    return cells.cast(pl.String)


def _no_scalar(cells: pl.Series) -> bool:
    return cells.dtype.is_nested() or cells.dtype in (pl.Binary, pl.Duration)
