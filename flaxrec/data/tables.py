"""Interactions from one's own CSV, TSV or Parquet files; `config.data.columns` names the columns.

CSV cells (separated by commas, semicolons, tabs or bars) are read as text and typed afterwards, by
all values of their column: a guess from the first lines would fail, or change the ids, at a later
line.
"""

import codecs
import csv
import dataclasses
import datetime
import logging
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.interactions import Interactions
from flaxrec.errors import ConfigError, DataError

# Between the fields, by extension; spreadsheets write .csv files with others than commas as well.
_SEPARATORS = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t",)}
_ROW = "\0row"  # a name that no file's column has

_NO_ID = ["nan", "NaN", "NAN", "null", "NULL"]  # how other programs write a missing cell
_WHOLE_ID = r"^(?:0|-?[1-9][0-9]*)(?:\.0+)?$"  # '007' is a name; 12.0 was in a float column
_LEADING_ZERO = r"^[+-]?0[0-9]"

_SHOWN = 20  # columns in a message
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

Wanted = list[tuple[str, str]]  # (field of config.data.columns, column)


def read_table(config: DataConfig) -> Interactions:
    """Reads interactions and, where the config names them, features of items and users.

    Ids become Int64 if all of them, in every file, are whole numbers (also '12.0') without leading
    zeros, else String; spaces around an id in a CSV are none of it. Features become Int64, Float64
    or String, `multi_valued` ones List(String); Parquet's numbers and lists stay what they are. A
    missing cell is null, or an empty list. Without `config.items_path` or
    `config.users_path` the features stand beside the interactions, and the first value that is not
    missing counts.

    Returns:
      Interactions with
        `events`: user, item, time (Int64 or Float64; dates become Int64: microseconds, or the
        Parquet file's own unit), rating (Float32) and event features if named; in file order;
        `items`: item, title (String) and item features; None if nothing is named;
        `users`: user and user features; None if nothing is named.

    Raises:
      ConfigError: fields of `config` are empty or contradict each other.
      DataError: a file, a column, a line (CSV) or a row (Parquet) cannot be used.
    """
    columns = config.columns
    _check(config)
    of_event = [("user", columns.user), ("item", columns.item), ("time", columns.time)]
    of_event += [("rating", columns.rating)] * bool(columns.rating)
    of_event += [("event_features", name) for name in columns.event_features]
    of_item = [("title", columns.title)] * bool(columns.title)
    of_item += [("item_features", name) for name in columns.item_features]
    of_user = [("user_features", name) for name in columns.user_features]

    items = users = None
    beside: Wanted = []
    if config.items_path:
        items = _load("items_path", config.items_path, [("item", columns.item), *of_item])
    else:
        beside += of_item
    if config.users_path:
        users = _load("users_path", config.users_path, [("user", columns.user), *of_user])
    else:
        beside += of_user
    events = _load("path", config.path, of_event + beside)

    item, item_of_items = _ids("item", columns.item, events, items)
    user, user_of_users = _ids("user", columns.user, events, users)
    table = {"user": user, "item": item, "time": _time(events, columns.time)}
    if columns.rating:
        table["rating"] = _rating(events, columns.rating)
    table |= {name: _feature(events, name) for name in columns.event_features}
    return Interactions(
        pl.DataFrame(table),
        _described("item", item_of_items, items, events, of_item, columns),
        _described("user", user_of_users, users, events, of_user, columns),
        source=events.path.name,
    )


def _check(config: DataConfig) -> None:
    if not config.path:
        raise ConfigError("config.data.path is ''; give a .csv, .tsv or .parquet file.")
    columns = config.columns
    for name in ("user", "item", "time", "separator"):
        if not getattr(columns, name):
            default = getattr(ColumnsConfig(), name)
            raise ConfigError(f"config.data.columns.{name} is ''; give it, such as {default!r}.")
    for name in columns.multi_valued:
        if name not in columns.item_features:
            raise ConfigError(
                f"config.data.columns.multi_valued names {name!r}; use names that stand in "
                f"config.data.columns.item_features ({_listed(columns.item_features)})."
            )
    taken = {
        "event_features": ["user", "item", "time"] + ["rating"] * bool(columns.rating),
        "item_features": ["item", "row", "count"] + ["title"] * bool(columns.title),
        "user_features": ["user"],
    }
    for field, names in taken.items():
        for name in getattr(columns, field):
            if name in names:
                raise ConfigError(
                    f"config.data.columns.{field} names {name!r}, which is taken or named twice; "
                    "leave it out, or give the column another name in the file."
                )
            names.append(name)


# ---- files ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _File:
    """The columns needed of a file, under the file's names.

    Attributes:
      path: of the file.
      separator: what stands between the fields of a text file; '' says Parquet, where the columns
        have types.
      frame: the cells; all String in CSV and TSV. Missing ones are null. Column _ROW holds the
        row's place in the file, from 0.
    """

    path: Path
    separator: str
    frame: pl.DataFrame

    def place(self, row: int) -> str:
        """'line 7' or 'row 6' of a row of the frame."""
        place = self.frame[_ROW][row]
        if not self.separator:
            return f"row {place + 1}"
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            records = csv.reader(file, delimiter=self.separator)
            # The header and the records before this one, each of which may have several lines.
            for _ in range(place + 1):
                next(records, None)
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
        """The error for a Parquet column of a type that cannot be used."""
        return DataError(
            f"{self.path}: column {column!r} has the type {self.frame[column].dtype}, expected "
            f"{expected}; convert it, or name another column in config.data.columns."
        )


def _load(field: str, name: str, wanted: Wanted) -> _File:
    """Reads the wanted columns of the file that `config.data.FIELD` names."""
    path = Path(name).expanduser()
    suffix = path.suffix.lower()
    if suffix not in (*_SEPARATORS, ".parquet"):
        raise DataError(
            f"{path} has the extension {suffix!r}; set --config.data.{field} to a .csv, .tsv or "
            ".parquet file."
        )
    if not path.is_file():
        raise DataError(f"{path} is missing; set --config.data.{field} to a file that exists.")
    separator = "" if suffix == ".parquet" else _separator(path, wanted)
    try:
        if suffix == ".parquet":
            lazy = pl.scan_parquet(path, row_index_name=_ROW)
        else:
            lazy = pl.scan_csv(path, separator=separator, infer_schema=False, row_index_name=_ROW)
        there = [column for column in lazy.collect_schema().names() if column != _ROW]
        for setting, column in wanted:
            if column not in there:
                raise DataError(
                    f"{path} has no column {column!r}, it has {_listed(there)}; correct "
                    f"--config.data.columns.{setting}."
                )
        names = list(dict.fromkeys(column for _, column in wanted))
        frame = lazy.select(_ROW, *names).collect()
    except pl.exceptions.NoDataError as error:
        raise _nothing(path) from error
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, separator, str(error).split("\n")[0]) from error
    if suffix != ".parquet":
        cells = pl.col(names)
        frame = frame.with_columns(pl.when(cells != "").then(cells))
        if frame.select(pl.all_horizontal(cells.is_null()).any()).item():
            # Blank lines arrive as rows without a single value, in the other columns either.
            blank = pl.all_horizontal(pl.all().exclude(_ROW).is_null())
            frame = frame.filter(~lazy.select(blank).collect().to_series())
    if frame.is_empty():
        raise _nothing(path)
    return _File(path, separator, frame)


def _separator(path: Path, wanted: Wanted) -> str:
    """What stands between the fields: that under which the header has most wanted columns."""
    with path.open("rb") as raw:
        if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise _not_utf8(path, 1)

    def fitness(separator: str) -> tuple[int, int]:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = next(csv.reader(file, delimiter=separator), [])
        return sum(column in header for _, column in wanted), len(header)

    return max(_SEPARATORS[path.suffix.lower()], key=fitness)  # of equals the first


def _nothing(path: Path) -> DataError:
    return DataError(f"{path} is empty; it needs a header with the columns' names, and rows.")


def _not_utf8(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.")


def _unreadable(path: Path, separator: str, reason: str) -> DataError:
    """The error for a file that polars refused: walks a CSV to the first unusable line."""
    if not separator:
        return DataError(f"{path} cannot be read as Parquet ({reason}); write it again.")
    with path.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return _not_utf8(path, number)
    with path.open(encoding="utf-8-sig", newline="") as file:
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


# ---- columns --------------------------------------------------------------------------------


def _ids(key: str, column: str, events: _File, own: _File | None) -> tuple[pl.Series, pl.Series]:
    """The ids in the interactions and in the table of items or users, in one type."""
    ids = [_id(file, column) for file in ([events, own] if own else [events])]
    if ids[0].dtype != ids[-1].dtype:
        ids = [one.cast(pl.String) for one in ids]
    if own and not ids[0].is_in(ids[1].implode()).any():
        raise DataError(
            f"{own.path}: none of its {key}s occurs in {events.path} (there {ids[0][0]!r}, here "
            f"{ids[1][0]!r}); correct --config.data.columns.{key}, or the ids."
        )
    return ids[0], ids[-1]


def _id(file: _File, column: str) -> pl.Series:
    """Int64 if all are whole numbers, else String."""
    cells = file.frame[column]
    if _no_scalar(cells):
        raise file.mistyped(column, "numbers or strings")
    if file.separator:  # 'a, b' has spaces by accident, and would make one item two
        cells = cells.str.strip_chars()
        cells = cells.set(cells == "", None)
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
    if numbers is None or numbers.null_count():  # null: beyond 64 bits
        return cells.cast(pl.String)
    return numbers


def _time(file: _File, column: str) -> pl.Series:
    """Int64 or Float64; only the order matters, so dates are counted in any unit."""
    cells = file.frame[column]
    dtype, expected = cells.dtype, "a number, a date or a date-time"
    if cells.null_count():
        raise file.unusable(cells.is_null(), column, expected)
    if dtype == pl.String:
        return _time_of_text(file, column)
    if dtype.is_integer() or dtype in (pl.Date, pl.Datetime):
        return cells.to_physical().cast(pl.Int64)
    if not dtype.is_numeric():
        raise file.mistyped(column, expected)
    return _finite(file, column, cells.cast(pl.Float64), expected)


def _time_of_text(file: _File, column: str) -> pl.Series:
    cells = file.frame[column].str.strip_chars().str.strip_suffix(" UTC")  # as databases write
    whole = cells.cast(pl.Int64, strict=False)
    if not whole.null_count():
        return whole
    numbers = cells.cast(pl.Float64, strict=False)
    if numbers[0] is not None:
        return _finite(file, column, numbers, "a number, as in the first row")
    # polars left alone would guess one format from the first cells, ISO or not.
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"):
        moments = cells.str.strptime(pl.Datetime("us"), form, strict=False)
        if not moments.null_count():
            return moments.to_physical()
    times = []  # other ISO forms, or several of them: ten times slower
    for row, cell in enumerate(cells):
        try:
            moment = datetime.datetime.fromisoformat(cell)
        except ValueError as error:
            bad = pl.int_range(len(cells), eager=True) == row
            expected = "a number, or a date such as 2024-05-31 or 2024-05-31T18:30:00"
            raise file.unusable(bad, column, expected) from error
        moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        times.append((moment - _EPOCH) // _MICROSECOND)
    return pl.Series(times, dtype=pl.Int64)


def _rating(file: _File, column: str) -> pl.Series:
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


def _finite(file: _File, column: str, numbers: pl.Series, expected: str) -> pl.Series:
    bad = ~numbers.is_finite().fill_null(False)
    if bad.any():
        raise file.unusable(bad, column, expected)
    return numbers


def _feature(file: _File, column: str) -> pl.Series:
    """Int64 or Float64 if all values are, else String; Parquet's numbers and lists as they are."""
    cells = file.frame[column]
    if not file.separator:
        if cells.dtype.is_float():
            return cells.fill_nan(None)
        return cells if cells.dtype.is_numeric() or cells.dtype == pl.List else _text(file, column)
    known = cells.drop_nulls()
    if known.is_empty() or known.str.contains(_LEADING_ZERO).any():
        return cells
    whole = cells.cast(pl.Int64, strict=False)
    if whole.null_count() == cells.null_count():
        return whole
    numbers = cells.cast(pl.Float64, strict=False)
    return cells if numbers.null_count() > cells.null_count() else numbers.fill_nan(None)


def _values(file: _File, column: str, separator: str) -> pl.Series:
    """List of the values between separators; null where there is none."""
    if file.frame[column].dtype == pl.List:
        return file.frame[column]
    value = pl.element().str.strip_chars()
    cells = _text(file, column)
    if not cells.str.contains(separator, literal=True).any():
        logging.warning(
            "%s: no cell of %r has the separator %r, so that each is one value, such as %r; "
            "correct config.data.columns.separator if they hold several.",
            file.path, column, separator, max(cells.drop_nulls(), key=len, default=""),
        )  # fmt: skip
    return cells.str.split(separator).list.eval(value.filter(value != ""))


def _text(file: _File, column: str) -> pl.Series:
    if _no_scalar(file.frame[column]):
        raise file.mistyped(column, "numbers or strings")
    return file.frame[column].cast(pl.String)


def _no_scalar(cells: pl.Series) -> bool:
    return cells.dtype.is_nested() or cells.dtype == pl.Binary


# ---- items and users ------------------------------------------------------------------------


def _described(
    key: str,
    ids: pl.Series,
    own: _File | None,
    events: _File,
    wanted: Wanted,
    columns: ColumnsConfig,
) -> pl.DataFrame | None:
    """One row an item or user: its title and features, from its own or the events' file."""
    if not own and not wanted:
        return None
    file = own or events
    table = {key: ids}
    for field, column in wanted:
        if field == "title":
            table["title"] = _text(file, column)
        elif field == "item_features" and column in columns.multi_valued:
            table[column] = _values(file, column, columns.separator)
        else:
            table[column] = _feature(file, column)
    described = pl.DataFrame(table)
    if own:
        _refuse_repeats(key, ids, own)
    else:
        described = _first_known(key, described, file)
    lists = [name for name, dtype in described.schema.items() if dtype == pl.List]
    return described.with_columns(pl.col(lists).fill_null([]))


def _refuse_repeats(key: str, ids: pl.Series, file: _File) -> None:
    repeated = ~ids.is_first_distinct()
    if repeated.any():
        second = repeated.arg_max() or 0
        first = (ids == ids[second]).arg_max() or 0
        raise DataError(
            f"{file.path}, {file.place(second)}: {key} {ids[second]!r} stands in "
            f"{file.place(first)} already; keep one of the two."
        )


def _first_known(key: str, table: pl.DataFrame, file: _File) -> pl.DataFrame:
    """One row a key, with the first value of every column that is not missing."""
    features = table.columns[1:]
    for name in features:
        values = table.select(key, name).drop_nulls().unique()
        contradicted = values[key].filter(values[key].is_duplicated()).n_unique()
        if contradicted:
            logging.warning(
                "%s: %d %ss have several values of %r; the first one is kept.",
                file.path, contradicted, key, name,
            )  # fmt: skip
    firsts = [pl.col(name).drop_nulls().first() for name in features]
    return table.group_by(key, maintain_order=True).agg(firsts)


def _listed(names: Iterable[str]) -> str:
    """The names, as many of them and as much as a message can hold."""
    names = list(names)
    shown = [repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:_SHOWN]]
    more = [f"and {len(names) - _SHOWN} more"] * (len(names) > _SHOWN)
    return ", ".join(shown + more) or "none"
