"""Points that differ in one axis alone, compared user by user."""

import itertools
from collections.abc import Iterator, Sequence

from flaxrec.reporting.comparison_tables import ALPHA
from flaxrec.reporting.measured import Measured, TestSet
from flaxrec.reporting.results import text
from flaxrec.reporting.table_forms import Cell, Column, Estimate, Row, Table
from flaxrec.research import point_labels, statistics

Pair = tuple[Measured, Measured]


def make(test_set: TestSet, metrics: Sequence[str], axes: Sequence[str]) -> list[Table]:
    """A table an axis and metric; those after the first metric go, without intervals, to the CSV.

    Args:
      test_set: its points.
      metrics: names.
      axes: names.
    """
    made = []
    for axis in axes:
        pairs = list(_differing_in(axis, test_set.trained))
        for number, metric in enumerate(metrics):
            table = _table(test_set, metric, axis, axes, pairs, number == 0)
            made += [table] if table.rows else []
    return made


def _differing_in(axis: str, points: Sequence[Measured]) -> Iterator[Pair]:
    for a, b in itertools.combinations(points, 2):
        of_a, of_b = dict(a.point.axes), dict(b.point.axes)
        if axis not in of_a or axis not in of_b:
            continue
        if of_a.pop(axis) != of_b.pop(axis) and of_a == of_b:
            yield a, b


def _table(
    test_set: TestSet,
    metric: str,
    axis: str,
    axes: Sequence[str],
    pairs: Sequence[Pair],
    is_printed: bool,
) -> Table:
    compared = {}
    for a, b in pairs:
        per_user = [m.figures[metric].per_user if metric in m.figures else None for m in (a, b)]
        if per_user[0] is not None and per_user[1] is not None:
            values_a, values_b = point_labels.shared(per_user[0], per_user[1])
            draws = {} if is_printed else {"draws": 1}  # the interval is not looked at
            compared[a.name, b.name] = statistics.compare(values_b, values_a, **draws)
    corrected = statistics.adjust([c.p_value for c in compared.values()])
    by_pair = dict(zip(compared, zip(compared.values(), corrected, strict=True), strict=True))
    others = [
        other for other in axes if other != axis and any(other in a.point.axes for a, _ in pairs)
    ]
    rows = []
    for a, b in pairs:
        if (a.name, b.name) not in by_pair:
            continue
        result, p = by_pair[a.name, b.name]
        least = statistics.minimal_detectable_difference(
            result.deviation, result.users, len(by_pair), alpha=ALPHA
        )
        cells: list[Cell] = [text(a.point.axes.get(other, "–")) for other in others]
        cells += [text(a.point.axes[axis]), text(b.point.axes[axis])]
        interval = result.interval if is_printed else None
        cells += [Estimate(result.difference, interval=interval), result.p_value, p, least]
        rest = {other: a.point.axes[other] for other in others if other in a.point.axes}
        rows.append(Row(f"{b.name} - {a.name}", tuple(cells), rest))
    return Table(
        f"pairs {axis} {metric}",
        test_set.title,
        f"Pairs that differ in {axis} alone: {metric} of B minus that of A.",
        (
            *(Column(other, is_label=True) for other in others),
            Column(f"A: {axis}", is_label=True),
            Column(f"B: {axis}", is_label=True),
            Column("B − A"),
            Column("p", "p"),
            Column("p (Holm)", "p"),
            Column("detectable"),
        ),
        tuple(rows),
        (
            "[95% interval: paired bootstrap over users and, of several, seeds]; p: paired t-test "
            f"over users; corrected for the {len(rows)} comparisons of this table; detectable: the "
            "smallest difference found with power 80%.",
        ),
        is_printed,
    )
