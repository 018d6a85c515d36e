"""Models that know the moment of asking: marked in every table, compared with their like."""

import csv
import dataclasses
import io
import json

import pytest

from flaxrec.data.spec import ASKED
from flaxrec.reporting import plots, results
from flaxrec.reporting.breakdown_tables import breakdown_tables
from flaxrec.reporting.comparison_tables import metrics_table, pair_tables
from flaxrec.reporting.measured import Breakdown
from flaxrec.reporting.table_forms import latex, long_csv, markdown
from flaxrec.research.breakdown import Bin
from tests.support.report_points import METRIC, NOISE, column, measured, of_points, run

MEANS = {"plain": 0.4, "worse": 0.3, "time": 0.6, "less time": 0.5}


def knowing(point):
    """The same point, of models that know the moment."""
    runs = [dataclasses.replace(r, row={**r.row, "asked": ASKED}) for r in point.point.runs]
    return dataclasses.replace(point, point=dataclasses.replace(point.point, runs=tuple(runs)))


@pytest.fixture
def mixed():
    parts = Breakdown(
        since=[Bin("same second", 9, 5, 0.5, None), Bin("1 to 59 s", 8, 4, 0.1, None)]
    )
    made = {
        name: measured(name, mean + NOISE[i], parts, encoder=name)
        for i, (name, mean) in enumerate(MEANS.items())
    }
    made |= {name: knowing(made[name]) for name in ("time", "less time")}
    popularity = measured("popularity", 0.1 + NOISE[4], kind="baseline", baseline="popularity")
    return of_points(*made.values(), popularity)


def test_each_kind_has_its_best(mixed):
    table = metrics_table(mixed, [METRIC], ["encoder"])
    cells = column(table, METRIC)
    assert [name for name, cell in cells.items() if cell.best] == ["plain", "time"]
    tested = [name for name, cell in cells.items() if cell.further["p_holm"] is not None]
    assert tested == ["worse", "less time", "popularity"]
    assert [row.cells[0] for row in table.rows] == [
        "plain", "worse", "time ‡", "less time ‡", "popularity",
    ]  # fmt: skip
    assert "Bold: the best of its kind (with ‡, without)." in table.notes[0]
    assert table.notes[-1].startswith("‡: asked at the label's time: it knows the moment")


def test_a_reference_is_for_both(mixed):
    table = metrics_table(mixed, [METRIC], ["encoder"], {"encoder": "plain"})
    cells = column(table, METRIC)
    assert {name for name, cell in cells.items() if cell.mark == "*"} == set(cells) - {"plain"}


def test_tables_of_others_say_nothing():
    points = [measured(name, NOISE[i], encoder=name) for i, name in enumerate("ab")]
    table = metrics_table(of_points(*points), [METRIC], ["encoder"])
    assert "‡" not in markdown([table])
    assert "asked" not in long_csv([table]).splitlines()[0]


def test_pairs_and_breakdowns_are_marked(mixed):
    (pairs,) = pair_tables(mixed, [METRIC], ["encoder"])
    assert ("plain", "time ‡") in [row.cells[:2] for row in pairs.rows]
    assert pairs.notes[-1].startswith("‡: asked")
    (since,) = breakdown_tables(mixed, METRIC, ["encoder"])
    assert since.name == "since"
    assert column(since, "same second")["labels"] == 9
    assert [row.cells[0] for row in since.rows][3] == "time ‡"


def test_forms(mixed):
    tables = [metrics_table(mixed, [METRIC], ["encoder"])]
    assert "time $^{\\ddagger}$" in latex(tables)
    rows = list(csv.DictReader(io.StringIO(long_csv(tables))))
    asked = {row["row"]: row["asked"] for row in rows}
    assert asked == {
        "plain": "", "worse": "", "time": ASKED, "less time": ASKED, "popularity": "",
    }  # fmt: skip


def test_the_plots_names_say_so(mixed):
    layout = plots.Layout(None, "encoder")
    assert [layout.label(m) for m in mixed.trained][1:3] == ["worse", "time (knows the moment)"]


def test_a_run_folders_row_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    row = {"split": "test", "step": 3, "epoch": 1, "protocol": "random", "metrics": {"loss": 1.0}}
    for known in ({}, {"asked": ASKED}):
        (tmp_path / "metrics.jsonl").write_text(json.dumps(row | known) + "\n")
        (point,) = results.read([tmp_path]).points
        assert point.asked == known.get("asked", "")


def test_those_that_know_the_moment_stand_behind_the_others(tmp_path):
    rows = [
        {"run": name, "kind": "trained", "axes": {"encoder": name}, "status": "finished",
         "asked": asked, "metrics": {"test": {"loss": 1.0}}}
        for name, asked in (("a", ASKED), ("b", None), ("c", ASKED), ("d", None))
    ]  # fmt: skip
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [p.axes["encoder"] for p in results.read([tmp_path]).points] == ["b", "d", "a", "c"]
    assert not run(None).asked
