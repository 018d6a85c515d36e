"""Tables as LaTeX: booktabs, nothing else but graphicx, with which too wide a table is shrunk."""

import re
from collections.abc import Iterable, Sequence

from flaxrec.reporting.table_forms import (
    DIFFERS,
    NOT_WORSE,
    Cell,
    Column,
    Estimate,
    Row,
    Table,
    interval_text,
    plain,
)

_MOST_ROWS, _MOST_DOUBLE_ROWS = 40, 26  # of a table: more do not fit on a page
_MANY_COLUMNS = 4  # more take a whole page's width


def latex(tables: Iterable[Table]) -> str:
    r"""All tables, to be taken in by \input; long ones in parts."""
    head = (
        "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}; for scripts other than Latin, "
        "XeLaTeX or LuaLaTeX.\n"
    )
    used: dict[str, int] = {}
    return head + "".join(_latex_table(table, used) for table in tables if table.is_printed)


def _latex_table(table: Table, used: dict[str, int]) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", f"{table.name} {table.section}".lower()).strip("-")
    used[label] = used.get(label, 0) + 1
    if used[label] > 1:
        label += f"-{used[label]}"
    double = any(isinstance(c, Estimate) and c.interval for row in table.rows for c in row.cells)
    most = _MOST_DOUBLE_ROWS if double else _MOST_ROWS
    parts = [table.rows[i : i + most] for i in range(0, len(table.rows), most)] or [()]
    made = ""
    for number, rows in enumerate(parts):
        last = number == len(parts) - 1
        caption = f"{table.section}: {table.caption}" if table.section else table.caption
        caption += " (continued)" if number else ""
        made += _float(
            table, rows, caption, label if not number else "", table.notes if last else ()
        )
    return made


def _float(
    table: Table, rows: Sequence[Row], caption: str, label: str, notes: Sequence[str]
) -> str:
    environment = "table*" if len(table.columns) > _MANY_COLUMNS else "table"
    layout = "".join("l" if column.is_label else "r" for column in table.columns)
    lines = [
        f"\\begin{{{environment}}}[htbp]",
        "\\centering\\footnotesize",
        f"\\caption{{{_tex(caption)}}}" + (f"\\label{{tab:{label}}}" if label else ""),
        "\\vspace{4pt}",
        "\\resizebox{\\ifdim\\width>\\linewidth \\linewidth\\else \\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{{layout}}}",
        "\\toprule",
        " & ".join(_tex(column.name) for column in table.columns) + " \\\\",
        "\\midrule",
    ]
    for row in rows:
        lines += _tex_row(row, table.columns)
    lines += ["\\bottomrule", "\\end{tabular}}"]
    if notes:
        lines += ["", "\\smallskip\\begin{minipage}{\\linewidth}\\scriptsize\\raggedright"]
        lines += [f"{_tex(note)}\\par" for note in notes]
        lines += ["\\end{minipage}"]
    return "\n" + "\n".join([*lines, f"\\end{{{environment}}}"]) + "\n"


def _tex_row(row: Row, columns: Sequence[Column]) -> list[str]:
    """One line, and a second with the intervals where there are any: side by side is too wide."""
    pairs = list(zip(row.cells, columns, strict=True))
    lines = [" & ".join(_tex_cell(cell, column) for cell, column in pairs) + " \\\\"]
    below = [
        f"{{\\scriptsize {_number(interval_text(cell.interval, column.form))}}}"
        if isinstance(cell, Estimate) and cell.interval
        else ""
        for cell, column in pairs
    ]
    return [*lines, " & ".join(below) + " \\\\[2pt]"] if any(below) else lines


def _tex_cell(cell: Cell, column: Column) -> str:
    if not isinstance(cell, Estimate):
        shown = plain(cell, column)
        return _tex(shown) if isinstance(cell, str) else _number(shown)
    mean = _number(format(cell.mean, column.form))
    shown = (f"\\textbf{{{mean}}}" if cell.best else mean) + _tex(cell.mark)
    if cell.deviation is not None:
        shown += f" $\\pm$ {_number(format(cell.deviation, column.form))}"
    return shown


_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''", "±": r"$\pm$", "–": "--", "−": "$-$",
    "≥": r"$\geq$", "≤": r"$\leq$", "×": r"$\times$", "µ": r"$\mu$",
    NOT_WORSE: r"$^{\dagger}$", DIFFERS: r"$^{\ast}$",
}  # fmt: skip


def _number(shown: str) -> str:
    return shown.replace("%", r"\%").replace("<", "$<$").replace("-", "$-$").replace("–", "--")


def _tex(words: str) -> str:
    escaped = "".join(_TEX.get(letter, letter) for letter in " ".join(words.split()))
    # A bracket after \\ would be read as its argument.
    return escaped.replace("[", "{[}").replace("]", "{]}")
