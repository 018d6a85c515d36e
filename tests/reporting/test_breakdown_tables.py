"""Breakdowns: a column a part, what is left out, and protocols side by side."""

import pytest

from flaxrec.reporting.breakdown_tables import breakdown_tables, protocol_table
from flaxrec.reporting.measured import Breakdown, TestSet
from flaxrec.reporting.table_forms import Estimate
from flaxrec.research.breakdown import Bin, Leak, Recommended
from flaxrec.research.statistics import Interval, OverSeeds
from tests.support.report_points import METRIC, NOISE, column, measured, of_points


def bins(**means):
    return [
        Bin(name, 10 * i, 7, mean, Interval(mean - 0.1, mean + 0.1))
        for i, (name, mean) in enumerate(means.items(), 1)
    ]


def test_breakdowns_have_a_column_a_part():
    parts = [
        Breakdown(bins(few=0.1, many=0.3), bins(head=0.5), {10: bins(full=0.2)}),
        Breakdown(bins(few=0.2), bins(head=0.4), {10: bins(full=0.2)}),
    ]
    points = [measured(f"p{i}", NOISE[i], parts=b, encoder=f"p{i}") for i, b in enumerate(parts)]
    (activity,) = breakdown_tables(of_points(*points), METRIC, ["encoder"])  # one part: left out
    assert activity.name == "activity"
    assert column(activity, "few")["labels"] == 10
    assert column(activity, "many")["labels"] == 20
    few, many = column(activity, "few"), column(activity, "many")
    assert (few["p0"].mean, few["p1"].mean) == (0.1, 0.2)
    assert few["p0"].interval == pytest.approx((0.0, 0.2))
    assert (many["p0"].mean, many["p1"]) == (0.3, None)


def test_popularity_has_three_columns_also_where_counts_differ():
    same = {"head (≥ 9)": 0.3, "mid (2–8)": 0.2, "tail (0–1)": 0.1}
    other = {"head (≥ 5)": 0.6, "mid (1–4)": 0.5, "tail (0)": 0.4}
    for second, names in ((same, list(same)), (other, ["head", "mid", "tail"])):
        points = [
            measured(f"p{i}", NOISE[i], Breakdown(popularity=bins(**parts)), encoder=f"p{i}")
            for i, parts in enumerate((same, second))
        ]
        (table,) = breakdown_tables(of_points(*points), METRIC, ["encoder"])
        assert [c.name for c in table.columns] == ["encoder", *names]
        assert column(table, names[0])["p1"].mean == next(iter(second.values()))


def test_contexts_have_a_table_a_length():
    parts = bins(**{"1-4": 0.1, "full": 0.2})
    lengths = {"a": [5], "b": [10], "popularity": [5, 10]}
    points = [
        measured(n, NOISE[0], Breakdown(context=dict.fromkeys(own, parts)), encoder=n)
        for n, own in lengths.items()
    ]
    made = breakdown_tables(of_points(*points), METRIC, ["encoder"])
    assert [(t.name, [row.name for row in t.rows]) for t in made] == [
        ("context 5", ["labels", "a", "popularity"]),
        ("context 10", ["labels", "b", "popularity"]),
    ]


def test_lists():
    lists = Recommended(OverSeeds(7.5, 0.5, 2), 3.25, OverSeeds(0.6, 0.1, 2),
                       OverSeeds(0.9, 0.02, 2), 90, 40)  # fmt: skip
    points = measured("a", NOISE[0], parts=Breakdown(recommended=lists), encoder="a")
    (table,) = breakdown_tables(of_points(points), METRIC, ["encoder"])
    assert column(table, "popularity")["a"] == Estimate(7.5, 0.5)
    assert column(table, "coverage")["a"] == Estimate(0.9, 0.02)
    assert column(table, "Gini")["a"] == Estimate(0.6, 0.1)
    assert "items: 3.2)" in table.notes[0]


def leaking(name, share, with_leak, without, **axes):
    parts = {"later events in training": with_leak, "no later event in training": without}
    parts = {name: mean for name, mean in parts.items() if mean is not None}
    return measured(name, NOISE[0] + 0.3, parts=Breakdown(leak=Leak(share, bins(**parts))), **axes)


def test_protocols_stand_side_by_side():
    sets = [
        of_points(
            leaking("bow", 0.0, None, 0.2, encoder="bow"),
            leaking("cnn", 0.0, None, 0.25, encoder="cnn"),
        ),
        TestSet("random", "random", (leaking("bow", 0.8, 0.4, 0.3, encoder="bow"),)),
    ]
    table = protocol_table(sets, METRIC, ["encoder"])
    assert [row.cells[:2] for row in table.rows] == [
        ("bow", "leave_one_out"), ("bow", "random"), ("cnn", "leave_one_out"),
    ]  # fmt: skip
    assert [row.cells[3] for row in table.rows] == [0.0, 0.8, 0.0]
    with_leak, without = table.rows[1].cells[4:]
    assert (with_leak.mean, without.mean) == (0.4, 0.3)
    assert table.rows[0].cells[4] is None
    assert protocol_table(sets[:1], METRIC, ["encoder"]) is None
    assert len(protocol_table(sets[1:], METRIC, ["encoder"]).rows) == 1
