"""The main table and pairs: what is marked, compared and said of it."""

import dataclasses

import pytest
import scipy.stats

from flaxrec.errors import ConfigError
from flaxrec.reporting.comparison_tables import metrics_table, pair_tables
from flaxrec.reporting.measured import Breakdown, Measured
from flaxrec.reporting.table_forms import Estimate
from tests.support.report_points import (
    METRIC,
    NOISE,
    USERS,
    column,
    measured,
    of_points,
    point,
    run,
)

# Mean and noise of each point: 'b' is hardly worse than 'a', the others are.
MEANS = {"a": 0.5, "b": 0.495, "c": 0.4, "d": 0.2}


@pytest.fixture
def four():
    values = {name: mean + NOISE[i] for i, (name, mean) in enumerate(MEANS.items())}
    return of_points(
        *(measured(name, v, encoder=name) for name, v in values.items() if name != "d"),
        measured("popularity", values["d"], kind="baseline", baseline="popularity"),
    )


def test_the_best_is_bold_and_what_is_not_worse_marked(four):
    table = metrics_table(four, [METRIC], ["encoder"])
    cells = column(table, METRIC)
    assert {name: cell.best for name, cell in cells.items()} == {
        "a": True, "b": False, "c": False, "popularity": False,
    }  # fmt: skip
    assert {name: cell.mark for name, cell in cells.items()} == {
        "a": "", "b": "†", "c": "", "popularity": "",
    }  # fmt: skip
    # The p-values are the paired t-test's, Holm's correction made by hand.
    a, b, c, d = (mean + NOISE[i] for i, mean in enumerate(MEANS.values()))
    p = [scipy.stats.ttest_rel(other, a).pvalue for other in (b, c, d)]
    assert p[2] < p[1] < 0.05 < p[0]
    assert cells["b"].further["p_holm"] == pytest.approx(p[0])
    assert cells["c"].further["p_holm"] == pytest.approx(max(2 * p[1], 3 * p[2]))
    assert cells["popularity"].further["p_holm"] == pytest.approx(3 * p[2])
    assert cells["a"].further["p_holm"] is None
    assert cells["a"].mean == pytest.approx(a.mean())
    # Smallest detectable difference: between the least and the greatest of the three pairs.
    z = scipy.stats.norm.ppf(1 - 0.05 / 3 / 2) + scipy.stats.norm.ppf(0.8)
    least = sorted(z * (other - a).std(ddof=1) / USERS**0.5 for other in (b, c, d))
    assert table.notes[-1] == (
        f"Smallest detectable difference from the best, by pair: {METRIC} {least[0]:.4f} to "
        f"{least[-1]:.4f} (40 users, level 0.05 over 3 comparisons, power 80%)."
    )


def test_columns_and_row_labels(four):
    table = metrics_table(four, [METRIC], ["encoder", "units"])
    assert [c.name for c in table.columns] == ["encoder", "units", "seeds", METRIC]
    assert [row.cells[:3] for row in table.rows] == [
        ("a", None, 1), ("b", None, 1), ("c", None, 1), ("popularity", None, None),
    ]  # fmt: skip
    assert table.caption == ("Metrics on the test labels (40 labels of 40 users, 90 candidates).")


def test_bytes_have_a_column_where_something_is_exported():
    points = measured("a", NOISE[0], encoder="a", bytes=1234), measured("b", NOISE[1], encoder="b")
    table = metrics_table(of_points(*points), [METRIC], ["encoder"])
    assert column(table, "bytes") == {"a": 1234, "b": None}


def test_exported_files_have_columns_where_each_seed_was_measured():
    def trained(name, *values):
        rows = [{"exported": {"metrics": {METRIC: v}}} if v else {} for v in values]
        seeds = [run(None, row=row, seed=seed) for seed, row in enumerate(rows)]
        of_point = measured(name, NOISE[: len(seeds)], encoder=name)
        return dataclasses.replace(of_point, point=point(*seeds, encoder=name))

    whole, partly = trained("a", 0.25, 0.35), trained("b", 0.3, None)
    table = metrics_table(of_points(whole, partly), [METRIC, "ndcg@10"], ["encoder"])
    names = [c.name for c in table.columns]
    assert names == ["encoder", "seeds", METRIC, "ndcg@10", f"exported {METRIC}"]
    cells = column(table, f"exported {METRIC}")
    assert cells["a"] == Estimate(
        pytest.approx(0.3), pytest.approx(0.1 / 2**0.5), further={"seeds": 2}
    )
    assert cells["b"] is None
    assert any(note.startswith("Exported: ") for note in table.notes)
    without = metrics_table(of_points(partly), [METRIC], ["encoder"])
    assert [c.name for c in without.columns] == ["encoder", "seeds", METRIC]
    assert not any(note.startswith("Exported: ") for note in without.notes)


def test_the_lowest_mean_rank_is_best():
    points = [
        measured(n, 50 * m + NOISE[0], encoder=n, metric="mean_rank") for n, m in MEANS.items()
    ]
    cells = column(metrics_table(of_points(*points), ["mean_rank"], ["encoder"]), "mean_rank")
    assert [name for name, cell in cells.items() if cell.best] == ["d"]


def test_a_reference_takes_the_bests_place(four):
    table = metrics_table(four, [METRIC], ["encoder"], {"encoder": "b"})
    cells = column(table, METRIC)
    assert [name for name, cell in cells.items() if cell.best] == ["a"]
    assert {name: cell.mark for name, cell in cells.items()} == {
        "a": "", "b": "", "c": "*", "popularity": "*",
    }  # fmt: skip
    assert column(table, "encoder")["b"] == "b (reference)"
    assert table.notes[1].startswith("*: significantly different from b (paired t-test")
    table = metrics_table(four, [METRIC], ["encoder"], {"baseline": "popularity"})
    assert [cell.mark for cell in column(table, METRIC).values()] == ["*", "*", "*", ""]


def test_a_reference_is_one_point():
    points = [measured(f"{e}{n}", NOISE[n], encoder=e, n=n) for e in ("x", "y") for n in (1, 2)]
    table = metrics_table(of_points(*points), [METRIC], ["encoder"], {"encoder": "x", "n": "2"})
    assert column(table, "encoder")["x2"] == "x (reference)"
    with pytest.raises(ConfigError, match=r"--reference=encoder=x is what 2 points .*\(x1; x2\)"):
        metrics_table(of_points(*points), [METRIC], ["encoder"], {"encoder": "x"})


def test_points_without_files_are_named(four):
    plain = Measured(
        point(run(None), encoder="z"), "z", {METRIC: Estimate(0.9)}, {}, Breakdown(),
        None, 40, None, None, "no per-label files",
    )  # fmt: skip
    table = metrics_table(of_points(*four.measured, plain), [METRIC], ["encoder"])
    cells = column(table, METRIC)
    assert cells["z"].best
    assert [cell.mark for cell in cells.values()] == [""] * 5  # the best cannot be compared with
    assert table.notes[-1] == (
        "Without intervals and tests, averaged over labels (no per-label files): z."
    )


# ---- pairs ------------------------------------------------------------------------------------


def test_pairs_differ_in_one_axis_alone():
    points = [
        measured(f"{e}{n}", 0.1 * i + NOISE[i], encoder=e, length=n)
        for i, (e, n) in enumerate((e, n) for e in ("bow", "cnn") for n in (5, 10, 20))
    ]
    baseline = measured("popularity", NOISE[0], kind="baseline", encoder="bow", length=99)
    made = pair_tables(of_points(*points, baseline), [METRIC, "ndcg@10"], ["encoder", "length"])
    assert [t.name for t in made] == [f"pairs encoder {METRIC}", f"pairs length {METRIC}"]
    encoder, length = made
    assert [row.cells[:3] for row in encoder.rows] == [
        ("5", "bow", "cnn"), ("10", "bow", "cnn"), ("20", "bow", "cnn"),
    ]  # fmt: skip
    assert [row.cells[:3] for row in length.rows] == [
        (e, a, b) for e in ("bow", "cnn") for a, b in (("5", "10"), ("5", "20"), ("10", "20"))
    ]
    first = length.rows[0].cells
    difference = 0.1 + NOISE[1] - NOISE[0]
    assert first[3].mean == pytest.approx(difference.mean())  # B minus A
    low, high = first[3].interval
    assert low < difference.mean() < high
    assert first[4] == pytest.approx(scipy.stats.ttest_1samp(difference, 0).pvalue)
    assert first[4] <= first[5] <= min(1, 6 * first[4])
    assert length.rows[0].name == "bow10 - bow5"


def test_pairs_of_further_metrics_are_for_the_csv():
    points = []
    for name, values in (("a", NOISE[0]), ("b", NOISE[1])):
        both = measured(name, values, encoder=name)
        both.estimates["ndcg@10"] = both.estimates[METRIC]
        both.per_user["ndcg@10"] = both.per_user[METRIC]
        points.append(both)
    first, second = pair_tables(of_points(*points), [METRIC, "ndcg@10"], ["encoder"])
    assert (first.is_printed, second.is_printed) == (True, False)
    assert second.rows[0].cells[2].interval is None
    assert second.rows[0].cells[3:] == first.rows[0].cells[3:]
