"""One table in three forms: what each holds, and that texts of others cannot break it."""

import csv
import io
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.reporting.table_forms import (
    Column,
    Estimate,
    Row,
    Table,
    latex,
    long_csv,
    markdown,
)
from flaxrec.research.statistics import Interval

NASTY = r"a|b & 100% of $x_1^2 {\~} #1 <b> [0] *bold* `code` \\ - – ≥ † µ 'q' \"r\""
LABEL, VALUE = Column("encoder", is_label=True), Column("recall@10")
FULL = Estimate(0.12345678, 0.0123, Interval(0.1, 0.15), "†", True, {"p_holm": 0.5, "n": None})


def table(*rows, columns=(LABEL, VALUE), **further):
    made = tuple(Row(str(row[0]), tuple(row), {"encoder": row[0]}) for row in rows)
    fields = {"name": "metrics", "section": "leave_one_out", "caption": "Test metrics.",
              "columns": columns, "rows": made}  # fmt: skip
    return Table(**(fields | further))


def tex_problems(text: str) -> list[str]:
    """What would keep LaTeX from reading it: braces, environments, cells a row."""
    problems, environments, columns = [], [], 0
    plain = re.sub(r"\\[\\{}$&#%_]", lambda m: "\n" if m[0] == r"\\" else "", text)
    if plain.count("{") != plain.count("}"):
        problems.append("braces")
    if plain.count("$") % 2:
        problems.append("dollars")
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", text):
        if kind == "begin":
            environments.append(name)
        elif not environments or environments.pop() != name:
            problems.append(f"end of {name}")
    for line in text.splitlines():
        if line.startswith("\\begin{tabular}"):
            columns = len(line.split("{")[-1].rstrip("}"))
        bare = re.sub(r"\\[&%#]", "", line)
        if re.search(r"\\\\(\[2pt\])?$", line) and bare.count("&") + 1 != columns:
            problems.append(f"{columns} columns: {line}")
        if "%" in bare and not line.endswith(("{%", ".")):
            problems.append(f"a comment: {line}")
    return problems + environments


# ---- Markdown -------------------------------------------------------------------------------


def test_markdown():
    text = markdown([table(["bow", FULL], ["popularity", None], notes=("Bold: best.",))])
    assert text == (
        "# Report\n\n## leave_one_out\n\n**Test metrics.**\n\n"
        "| encoder | recall@10 |\n| --- | ---: |\n"
        "| bow | **0.1235**† ± 0.0123 [0.1000, 0.1500] |\n| popularity | – |\n\n- Bold: best.\n"
    )


def test_a_heading_a_section_and_no_unprinted_table():
    tables = [table(["a", 1.0]), table(["b", 2.0]), table(["c", 3.0], section="random"),
              table(["d", 4.0], is_printed=False)]  # fmt: skip
    text = markdown(tables)
    assert re.findall("^##.*", text, re.M) == ["## leave_one_out", "## random"]
    assert "4.0" not in text
    assert "4.0" not in latex(tables)
    assert "4.0" in long_csv(tables)


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (1234567, ".4f", "1,234,567"),
        (0.0004, "p", "< 0.001"),
        (0.001, "p", "0.001"),
        (0.25, ".1%", "25.0%"),
        (-0.5, ".2f", "-0.50"),
        (None, ".2f", "–"),
        ("text", ".2f", "text"),
    ],
)
def test_plain_cells(value, form, shown):
    columns = (LABEL, Column("x", form))
    assert f"| bow | {shown} |" in markdown([table(["bow", value], columns=columns)])


def test_markdown_keeps_texts_in_their_cells():
    text = markdown([table([NASTY, "x\ny"])])
    (line,) = [line for line in text.splitlines() if line.startswith("| a")]
    assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert "| x y |" in line
    assert "&lt;b>" in line


# ---- LaTeX ----------------------------------------------------------------------------------


def test_latex():
    text = latex([table(["bow", FULL], ["popularity", Estimate(-0.5)])])
    assert text.endswith(
        "\n\\begin{table}[htbp]\n\\centering\\footnotesize\n"
        "\\caption{leave\\_one\\_out: Test metrics.}\\label{tab:metrics-leave-one-out}\n"
        "\\vspace{4pt}\n"
        "\\resizebox{\\ifdim\\width>\\linewidth \\linewidth\\else \\width\\fi}{!}{%\n"
        "\\begin{tabular}{lr}\n\\toprule\nencoder & recall@10 \\\\\n\\midrule\n"
        "bow & \\textbf{0.1235}$^{\\dagger}$ $\\pm$ 0.0123 \\\\\n"
        " & {\\scriptsize [0.1000, 0.1500]} \\\\[2pt]\n"
        "popularity & $-$0.5000 \\\\\n"
        "\\bottomrule\n\\end{tabular}}\n\\end{table}\n"
    )
    assert tex_problems(text) == []


def test_numbers_are_escaped_too():
    share = Estimate(0.5, 0.1, Interval(-0.4, 0.6))
    columns = (LABEL, Column("share", ".1%"), Column("p", "p"))
    text = latex([table(["bow", share, 0.0001], columns=columns)])
    assert "50.0\\% $\\pm$ 10.0\\% & $<$ 0.001" in text
    assert "[$-$40.0\\%, 60.0\\%]" in text
    assert tex_problems(text) == []


def test_long_tables_are_split_and_labels_are_different():
    rows = [[f"row {i}", float(i)] for i in range(95)]
    text = latex([table(*rows), table(["a", 1.0])])
    assert text.count("\\begin{table}") == 4
    assert [text.count(f"row {i} &") for i in (0, 39, 40, 94)] == [1, 1, 1, 1]
    assert text.count("(continued)") == 2
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels == ["tab:metrics-leave-one-out", "tab:metrics-leave-one-out-2"]


def test_wide_tables_take_both_columns():
    columns = (LABEL, *(Column(f"m{i}") for i in range(4)))
    assert "\\begin{table*}" in latex([table(["a", 1.0, 2.0, 3.0, None], columns=columns)])


def nasty_tables():
    columns = (LABEL, VALUE, Column(NASTY))
    return [
        table([NASTY, FULL, NASTY], ["[x] first", None, "\\"], columns=columns,
              caption=NASTY, notes=(NASTY,), section=NASTY),
        table(*[[f"{i}", FULL, -1] for i in range(60)], columns=columns),
    ]  # fmt: skip


def test_latex_stands_whatever_the_texts():
    assert tex_problems(latex(nasty_tables())) == []


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])))
def test_latex_stands_for_any_text(words):
    assert tex_problems(latex([table([words, FULL], ["b", words], caption=words)])) == []


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(tmp_path):
    (tmp_path / "table.tex").write_text(latex(nasty_tables()), encoding="utf-8")
    (tmp_path / "main.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs}\\usepackage{graphicx}\n"
        "\\begin{document}\\input{table.tex}\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout


# ---- CSV ------------------------------------------------------------------------------------


def test_csv_has_a_line_a_number_unrounded():
    lines = list(csv.DictReader(io.StringIO(long_csv([table(["bow", FULL], ["x,\n", 7])]))))
    assert [(line["row"], line["statistic"], line["value"]) for line in lines] == [
        ("bow", "mean", "0.12345678"), ("bow", "deviation", "0.0123"), ("bow", "low", "0.1"),
        ("bow", "high", "0.15"), ("bow", "p_holm", "0.5"), ("x,\n", "value", "7"),
    ]  # fmt: skip
    assert {(line["table"], line["section"], line["column"]) for line in lines} == {
        ("metrics", "leave_one_out", "recall@10")
    }
    assert lines[0]["axes.encoder"] == "bow"


def test_csv_has_a_column_an_axis():
    rows = (Row("a", ("a", 1.0), {"length": 5}), Row("b", ("b", "words"), {"rate": 1e-3}))
    made = long_csv([table(rows=rows)])
    lines = list(csv.DictReader(io.StringIO(made)))
    assert [(x["axes.length"], x["axes.rate"], x["statistic"]) for x in lines] == [
        ("5", "", "value"), ("", "0.001", "text"),
    ]  # fmt: skip
