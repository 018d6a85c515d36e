"""One model of a table, and its forms: Markdown and long CSV here, LaTeX in `latex`.

The same tables give the same bytes. Texts come from files of others and are escaped for each form.
"""

import csv
import dataclasses
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from flaxrec.reporting.results import text
from flaxrec.research.statistics import Interval

NOT_WORSE, DIFFERS = "†", "*"  # marks of an estimate


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with what is known of its certainty.

    Attributes:
      mean: the figure.
      deviation: standard deviation between seeds; None with one seed.
      interval: the mean's; None if not known.
      mark: '' or what is written behind it, `NOT_WORSE` or `DIFFERS`.
      best: whether it is the best of its column.
      further: numbers by name that only the CSV holds.
    """

    mean: float
    deviation: float | None = None
    interval: Interval | None = None
    mark: str = ""
    best: bool = False
    further: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


Cell = str | int | float | None | Estimate


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
      name: its header.
      form: of its numbers, a format specification, or 'p' for p-values.
      is_label: whether it tells which row it is, rather than something of it.
    """

    name: str
    form: str = ".4f"
    is_label: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: its cells, and for the CSV what it is of."""

    name: str
    cells: tuple[Cell, ...]
    axes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: what it is, the same in every report: 'metrics', 'pairs', ...
      section: which test labels it is of, '' if of all.
      caption: a sentence or more.
      columns: as many as each row has cells.
      rows: in order.
      notes: sentences beneath.
      is_printed: False leaves it to the CSV.
    """

    name: str
    section: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    is_printed: bool = True


# ---- Markdown -------------------------------------------------------------------------------


def markdown(tables: Iterable[Table]) -> str:
    """All tables, under a heading a section."""
    parts, section = ["# Report"], None
    for table in tables:
        if not table.is_printed:
            continue
        if table.section != section:
            section = table.section
            parts.append(f"## {_md(section or 'All')}")
        lines = [[_md(column.name) for column in table.columns]]
        lines.append(["---" if column.is_label else "---:" for column in table.columns])
        lines += [
            [_md_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
            for row in table.rows
        ]
        parts.append(f"**{_md(table.caption)}**")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        if table.notes:
            parts.append("\n".join(f"- {_md(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def _md_cell(cell: Cell, column: Column) -> str:
    if not isinstance(cell, Estimate):
        return _md(plain(cell, column))
    mean = format(cell.mean, column.form)
    shown = (f"**{mean}**" if cell.best else mean) + _md(cell.mark)
    if cell.deviation is not None:
        shown += f" ± {format(cell.deviation, column.form)}"
    return f"{shown} {interval_text(cell.interval, column.form)}".rstrip()


def _md(words: str) -> str:
    one_line = " ".join(words.split())
    # Inside a word '_' means nothing.
    escaped = re.sub(r"([\\|*`\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", one_line)
    return re.sub(r"<(?=\S)", "&lt;", escaped)


# ---- CSV ------------------------------------------------------------------------------------


def long_csv(tables: Iterable[Table]) -> str:
    """One line a number, unrounded: table, section, row, its axes, column, statistic, value.

    Statistics are mean, deviation, low and high (95% interval) and further ones of an estimate,
    `value` of a plain number and `text`.
    """
    tables = list(tables)
    axes = list(dict.fromkeys(axis for t in tables for row in t.rows for axis in row.axes))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f"axes.{axis}" for axis in axes]
    writer.writerow(["table", "section", "row", *names, "column", "statistic", "value"])
    for table in tables:
        for row in table.rows:
            of_row = [table.name, table.section, row.name]
            of_row += [text(row.axes[axis]) if axis in row.axes else "" for axis in axes]
            for cell, column in zip(row.cells, table.columns, strict=True):
                if column.is_label:
                    continue
                for statistic, value in _statistics(cell):
                    writer.writerow([*of_row, column.name, statistic, value])
    return out.getvalue()


def _statistics(cell: Cell) -> list[tuple[str, str]]:
    if not isinstance(cell, Estimate):
        if cell is None or cell == "":
            return []
        return [("text", cell)] if isinstance(cell, str) else [("value", repr(cell))]
    low, high = cell.interval or (None, None)
    named = {"mean": cell.mean, "deviation": cell.deviation, "low": low, "high": high}
    return [(n, repr(v)) for n, v in {**named, **cell.further}.items() if v is not None]


# ---- numbers --------------------------------------------------------------------------------


def plain(cell: str | int | float | None, column: Column) -> str:
    """A cell that is no estimate."""
    if cell is None:
        return "" if column.is_label else "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if column.form == "p":
        return "< 0.001" if cell < 0.001 else f"{cell:.3f}"
    return format(cell, column.form)


def interval_text(interval: Interval | None, form: str) -> str:
    """[low, high], '' without an interval."""
    if interval is None:
        return ""
    low, high = (format(end, form) for end in interval)
    return f"[{low}, {high}]"
