"""Rows that cannot be used: all of them in one message, or left out and listed."""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import polars as pl

from flaxrec.errors import DataError

SCHEMA = {"file": pl.String, "line": pl.Int64, "column": pl.String, "reason": pl.String}
REMEDY = "correct or remove {it}"
SHOWN = 5  # rows in a message


@dataclasses.dataclass(frozen=True)
class BadRow:
    """One row of a file that cannot be used.

    Attributes:
      file: its path.
      line: the line of a text file or the row of Parquet, from 1.
      is_line: whether `line` is one.
      column: the columns that are wrong; '' where no single one is.
      reason: what is wrong, such as "column 'user' is empty, expected an id".
      remedy: what to do, with {it} for the row.
    """

    file: str
    line: int
    is_line: bool
    column: str
    reason: str
    remedy: str = REMEDY

    @property
    def place(self) -> str:
        """'line 7' or 'row 6'."""
        return f"{'line' if self.is_line else 'row'} {self.line}"


@dataclasses.dataclass(frozen=True)
class Mark:
    """Rows of a table with one fault.

    Attributes:
      rows: bool, one a row.
      column: the column with the fault.
      reason: of a row.
      remedy: as in `BadRow`.
    """

    rows: pl.Series
    column: str
    reason: Callable[[int], str]
    remedy: str = REMEDY


@dataclasses.dataclass(frozen=True)
class Found:
    """The bad rows of a table.

    Attributes:
      path: the table's path.
      rows: the bad rows in file order, or the first of them.
      count: how many there are.
      total: rows read.
    """

    path: str
    rows: Sequence[BadRow]
    count: int
    total: int


def table(tables: Sequence[Found]) -> pl.DataFrame | None:
    """The rows as `Interactions.bad_rows`; None if there are none."""
    cells = [(row.file, row.line, row.column, row.reason) for found in tables for row in found.rows]
    return pl.DataFrame(cells, schema=SCHEMA, orient="row") if cells else None


def warn(tables: Sequence[Found]) -> None:
    """Warns that the bad rows are left out."""
    for found in tables:
        if found.count:
            logging.warning(
                "%s: %s of %s rows cannot be used and are left out: %s.",
                found.path, f"{found.count:,}", f"{found.total:,}", _first(found),
            )  # fmt: skip


def refuse(tables: Sequence[Found]) -> None:
    """Raises DataError if there are bad rows."""
    tables = [found for found in tables if found.count]
    if not tables:
        return
    several = sum(found.count for found in tables) > 1
    told = [
        f"{found.path}: {found.count:,} of {found.total:,} rows cannot be used: {_first(found)}"
        for found in tables
    ]
    rows = [row for found in tables for row in found.rows]
    remedies = dict.fromkeys(row.remedy for row in rows)
    advice = ", ".join(remedy.format(it="them" if several else "it") for remedy in remedies)
    if not several:
        raise DataError(f"{rows[0].file}, {rows[0].place}: {rows[0].reason}; {advice}.")
    raise DataError(f"{'; '.join(told)}; {advice}, or set --config.data.bad_rows=drop.")


def _first(found: Found) -> str:
    shown = [
        f"{'' if row.file == found.path else f'{row.file}, '}{row.place}: {row.reason}"
        for row in found.rows[:SHOWN]
    ]
    return "; ".join(shown + [f"and {found.count - SHOWN:,} more"] * (found.count > SHOWN))
