"""Tables and their forms: Markdown, LaTeX and long CSV.

The same tables give the same bytes. Each form escapes texts, which come from users.
LaTeX needs booktabs, and graphicx to shrink wide tables.
"""

import collections
import csv
import dataclasses
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flaxrec.errors import printable
from flaxrec.reporting.results import text
from flaxrec.research.statistics import Interval

NOT_WORSE, DIFFERS = "†", "*"  # marks of an estimate
ASKED = "‡"  # mark of a row's name: a model that knows the moment of asking
_MOST_ROWS, _MOST_DOUBLE_ROWS = 40, 26  # rows per page in LaTeX
_FORMULA = re.compile(r"[=+\-@].*[(|!]")  # that a spreadsheet calculates and that may do harm
_MANY_COLUMNS = 4  # more take the page's full width


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and its uncertainty."""

    mean: float
    deviation: float | None = None  # standard deviation between seeds; None with one seed
    interval: Interval | None = None  # of the mean; None if unknown
    mark: str = ""  # after the number: '', `NOT_WORSE` or `DIFFERS`
    best: bool = False  # whether it is the column's best
    # Numbers by name for the CSV only.
    further: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


Cell = str | int | float | None | Estimate


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: a label of the rows, or their values."""

    name: str
    form: str = ".4f"  # format specification of its numbers, or 'p' for p-values
    is_label: bool = False  # whether it names the row


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: its cells, and its name and axes for the CSV."""

    name: str
    cells: tuple[Cell, ...]
    axes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    asked: str = ""  # when the model was asked, if it knows the moment; for the CSV


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; each row has one cell per column."""

    name: str  # its kind, the same in every report: 'metrics', 'lists', ...
    section: str  # title of its test set; '' if it covers all
    caption: str  # a sentence or more
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # sentences below the table
    is_printed: bool = True  # False: in the CSV only


def _shown(
    cell: Cell,
    column: Column,
    bold: str,
    number: Callable[[str], str] = str,
    words: Callable[[str], str] = str,
) -> str:
    """A cell without its interval; `bold` is a format, `number` and `words` escape texts."""
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
    """The interval as '[low, high]'; '' without one."""
    if not isinstance(cell, Estimate) or cell.interval is None:
        return ""
    return "[{}, {}]".format(*(format(end, column.form) for end in cell.interval))


# ---- Markdown -------------------------------------------------------------------------------


def markdown(tables: Iterable[Table]) -> str:
    """All tables in Markdown, with one heading per section."""
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


def _one_line(words: str) -> str:
    """A text without line breaks, and without what else a terminal would obey."""
    return printable(" ".join(words.split()))


def _md(words: str) -> str:
    one_line = _one_line(words)
    # '_' inside a word needs no escape.
    escaped = re.sub(r"([\\|*`\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", one_line)
    return re.sub(r"<(?=\S)", "&lt;", escaped)


# ---- LaTeX ----------------------------------------------------------------------------------


def latex(tables: Iterable[Table]) -> str:
    r"""All tables in LaTeX, for \input; long ones are split."""
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
    """Rows of a table as a LaTeX float; '' as label marks a continuation."""
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
    """One line, and a second one for intervals, because one line would be too wide."""
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
    "[": "{[}", "]": "{]}",  # LaTeX reads a bracket after \\ as its argument
    NOT_WORSE: r"$^{\dagger}$", DIFFERS: r"$^{\ast}$", ASKED: r"$^{\ddagger}$",
})  # fmt: skip


def _tex_number(shown: str) -> str:
    return shown.translate(_NUMBERS)


def _tex(words: str) -> str:
    return _one_line(words).translate(_TEXTS)


# ---- CSV ------------------------------------------------------------------------------------


def long_csv(tables: Sequence[Table]) -> str:
    """One line per number, unrounded: table, section, row, its axes, column, statistic, value.

    If some model knows the moment of asking, `asked` after the axes says when it was asked.

    Statistics of an estimate are mean, deviation, low and high (95% interval) and its further ones;
    a plain number has `value`, a text `text`.
    """
    axes = dict.fromkeys(f"axes.{axis}" for t in tables for row in t.rows for axis in row.axes)
    asked = ["asked"] if any(row.asked for t in tables for row in t.rows) else []
    columns = ["table", "section", "row", *axes, *asked, "column", "statistic", "value"]
    lines = []
    for table in tables:
        for row, pairs in zip(table.rows, _pairs(table), strict=True):
            own = {"table": table.name, "section": table.section, "row": row.name}
            own |= {f"axes.{axis}": text(value) for axis, value in row.axes.items()}
            own |= {"asked": row.asked} if row.asked else {}
            lines += [
                own | {"column": column.name, "statistic": statistic, "value": value}
                for cell, column in pairs
                if not column.is_label
                for statistic, value in _statistics(cell)
            ]
    return csv_text(columns, lines)


def csv_text(columns: Iterable[str], lines: Iterable[Mapping[str, str]]) -> str:
    """CSV with a header; missing values are empty."""
    out = io.StringIO()
    names = list(columns)
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    header = {name: _csv_cell(name) for name in names}
    writer.writerow(header)
    writer.writerows({name: _csv_cell(value) for name, value in line.items()} for line in lines)
    return out.getvalue()


def _csv_cell(value: str) -> str:
    """A text that neither a terminal nor a spreadsheet obeys: no control characters, no formula."""
    value = "\n".join(map(printable, value.split("\n")))
    return f"'{value}" if _FORMULA.match(value) else value


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
