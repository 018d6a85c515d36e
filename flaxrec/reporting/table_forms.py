"""One model of a table, and its forms: Markdown, LaTeX and long CSV.

The same tables give the same bytes. Texts come from other people's files: each form escapes them.
LaTeX needs booktabs, and graphicx, with which too wide a table is shrunk.
"""

import collections
import csv
import dataclasses
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flaxrec.reporting.results import text
from flaxrec.research.statistics import Interval

NOT_WORSE, DIFFERS = "†", "*"  # marks of an estimate
_MOST_ROWS, _MOST_DOUBLE_ROWS = 40, 26  # of a LaTeX table: more do not fit on a page
_MANY_COLUMNS = 4  # more take a whole page's width


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with what is known of its certainty."""

    mean: float
    deviation: float | None = None  # standard deviation between seeds; None with one seed
    interval: Interval | None = None  # of the mean; None if not known
    mark: str = ""  # what is written behind it: '', `NOT_WORSE` or `DIFFERS`
    best: bool = False  # whether it is the best of its column
    # Numbers by name that only the CSV holds.
    further: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


Cell = str | int | float | None | Estimate


@dataclasses.dataclass(frozen=True)
class Column:
    """A column; it names the row or holds something of it."""

    name: str
    form: str = ".4f"  # of its numbers: a format specification, or 'p' for p-values
    is_label: bool = False  # whether it names the row


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: its cells, and for the CSV its name and the axes' values."""

    name: str
    cells: tuple[Cell, ...]
    axes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; each row has a cell a column."""

    name: str  # what it is, the same in every report: 'metrics', 'lists', ...
    section: str  # the title of its test labels; '' if of all
    caption: str  # a sentence or more
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # sentences beneath
    is_printed: bool = True  # False leaves it to the CSV


def _shown(
    cell: Cell,
    column: Column,
    bold: str,
    number: Callable[[str], str] = str,
    words: Callable[[str], str] = str,
) -> str:
    """A cell without its interval; `bold` is a format, `number` and `words` escape."""
    if isinstance(cell, str):
        return words(cell)
    if isinstance(cell, Estimate):
        mean = number(format(cell.mean, column.form))
        shown = (bold.format(mean) if cell.best else mean) + words(cell.mark)
        if cell.deviation is not None:
            shown += number(f" ± {format(cell.deviation, column.form)}")
        return shown
    if cell is None:
        return "" if column.is_label else number("–")
    if column.form == "p":
        return number("< 0.001" if cell < 0.001 else f"{cell:.3f}")
    return number(format(cell, "," if isinstance(cell, int) else column.form))


def _interval(cell: Cell, column: Column) -> str:
    """[low, high], '' without an interval."""
    if not isinstance(cell, Estimate) or cell.interval is None:
        return ""
    return "[{}, {}]".format(*(format(end, column.form) for end in cell.interval))


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
            [f"{_shown(*pair, '**{}**', words=_md)} {_interval(*pair)}".rstrip() for pair in pairs]
            for pairs in _pairs(table)
        ]
        parts.append(f"**{_md(table.caption)}**")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        if table.notes:
            parts.append("\n".join(f"- {_md(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def _pairs(table: Table) -> Iterator[list[tuple[Cell, Column]]]:
    for row in table.rows:
        yield list(zip(row.cells, table.columns, strict=True))


def _md(words: str) -> str:
    one_line = " ".join(words.split())
    # Inside a word '_' means nothing.
    escaped = re.sub(r"([\\|*`\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", one_line)
    return re.sub(r"<(?=\S)", "&lt;", escaped)


# ---- LaTeX ----------------------------------------------------------------------------------


def latex(tables: Iterable[Table]) -> str:
    r"""All tables, to be taken in by \input; long ones in parts."""
    made = (
        "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}; for scripts other than Latin, "
        "XeLaTeX or LuaLaTeX.\n"
    )
    used: collections.Counter[str] = collections.Counter()
    for table in tables:
        if not table.is_printed:
            continue
        label = re.sub(r"[^a-z0-9]+", "-", f"{table.name} {table.section}".lower()).strip("-")
        used[label] += 1
        label += f"-{used[label]}" if used[label] > 1 else ""
        rows = [_tex_row(pairs) for pairs in _pairs(table)]
        most = _MOST_DOUBLE_ROWS if any(len(lines) > 1 for lines in rows) else _MOST_ROWS
        for begin in range(0, len(rows) or 1, most):
            part = [line for lines in rows[begin : begin + most] for line in lines]
            notes = table.notes if begin + most >= len(rows) else ()
            made += _float(table, part, notes, "" if begin else label)
    return made


def _float(table: Table, rows: Sequence[str], notes: Sequence[str], label: str) -> str:
    """A part of a table; the first has the label."""
    environment = "table*" if len(table.columns) > _MANY_COLUMNS else "table"
    layout = "".join("l" if column.is_label else "r" for column in table.columns)
    caption = f"{table.section}: {table.caption}" if table.section else table.caption
    caption = _tex(caption if label else f"{caption} (continued)")
    lines = [
        f"\\begin{{{environment}}}[htbp]",
        "\\centering\\footnotesize",
        f"\\caption{{{caption}}}" + (f"\\label{{tab:{label}}}" if label else ""),
        "\\vspace{4pt}",
        "\\resizebox{\\ifdim\\width>\\linewidth \\linewidth\\else \\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{{layout}}}",
        "\\toprule",
        " & ".join(_tex(column.name) for column in table.columns) + " \\\\",
        "\\midrule",
        *rows,
        "\\bottomrule",
        "\\end{tabular}}",
    ]
    if notes:
        lines += ["", "\\smallskip\\begin{minipage}{\\linewidth}\\scriptsize\\raggedright"]
        lines += [f"{_tex(note)}\\par" for note in notes]
        lines += ["\\end{minipage}"]
    return "\n" + "\n".join([*lines, f"\\end{{{environment}}}"]) + "\n"


def _tex_row(pairs: Sequence[tuple[Cell, Column]]) -> list[str]:
    """One line, and a second with the intervals where there are any: side by side is too wide."""
    cells = [_shown(*pair, r"\textbf{{{}}}", _tex_number, _tex) for pair in pairs]
    lines = [" & ".join(cells) + " \\\\"]
    intervals = [_tex_number(_interval(*pair)) for pair in pairs]
    if any(intervals):
        below = [f"{{\\scriptsize {shown}}}" if shown else "" for shown in intervals]
        lines.append(" & ".join(below) + " \\\\[2pt]")
    return lines


_NUMBERS = str.maketrans({"%": r"\%", "<": "$<$", "-": "$-$", "–": "--", "±": r"$\pm$"})
_TEXTS = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''", "±": r"$\pm$", "–": "--", "−": "$-$",
    "≥": r"$\geq$", "≤": r"$\leq$", "×": r"$\times$", "µ": r"$\mu$",
    "[": "{[}", "]": "{]}",  # a bracket after \\ would be read as its argument
    NOT_WORSE: r"$^{\dagger}$", DIFFERS: r"$^{\ast}$",
})  # fmt: skip


def _tex_number(shown: str) -> str:
    return shown.translate(_NUMBERS)


def _tex(words: str) -> str:
    return " ".join(words.split()).translate(_TEXTS)


# ---- CSV ------------------------------------------------------------------------------------


def long_csv(tables: Sequence[Table]) -> str:
    """One line a number, unrounded: table, section, row, its axes, column, statistic, value.

    Statistics are mean, deviation, low and high (95% interval) and further ones of an estimate,
    `value` of a plain number and `text`.
    """
    axes = dict.fromkeys(f"axes.{axis}" for t in tables for row in t.rows for axis in row.axes)
    columns = ["table", "section", "row", *axes, "column", "statistic", "value"]
    lines = []
    for table in tables:
        for row, pairs in zip(table.rows, _pairs(table), strict=True):
            own = {"table": table.name, "section": table.section, "row": row.name}
            own |= {f"axes.{axis}": text(value) for axis, value in row.axes.items()}
            lines += [
                own | {"column": column.name, "statistic": statistic, "value": value}
                for cell, column in pairs
                if not column.is_label
                for statistic, value in _statistics(cell)
            ]
    return csv_text(columns, lines)


def csv_text(columns: Iterable[str], lines: Iterable[Mapping[str, str]]) -> str:
    """A header and a line each; what a line lacks is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _statistics(cell: Cell) -> list[tuple[str, str]]:
    if isinstance(cell, Estimate):
        low, high = cell.interval or (None, None)
        named = {"mean": cell.mean, "deviation": cell.deviation, "low": low, "high": high}
        numbers = {**named, **cell.further}
    elif isinstance(cell, str):
        return [("text", cell)] if cell else []
    else:
        numbers = {"value": cell}
    return [(name, repr(value)) for name, value in numbers.items() if value is not None]
