"""The main table: a row a point, its metrics, and whether the best is so by more than chance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flaxrec.errors import ConfigError
from flaxrec.reporting.measured import Measured, TestSet
from flaxrec.reporting.results import Point, text
from flaxrec.reporting.runs import Run
from flaxrec.reporting.table_forms import DIFFERS, NOT_WORSE, Cell, Column, Estimate, Row, Table
from flaxrec.research import point_labels, statistics
from flaxrec.research.statistics import Comparison

ALPHA = 0.05
_FEW_DRAWS = 1  # where the interval of a difference is not looked at


def make(
    test_set: TestSet,
    metrics: Sequence[str],
    axes: Sequence[str],
    reference: Mapping[str, str] | None = None,
) -> Table:
    """The table of one test set.

    Args:
      test_set: its points.
      metrics: names, one column each.
      axes: names, one column each.
      reference: axis values of the point to compare with; None: each metric's best.

    Raises:
      ConfigError: several points have the reference's values.
    """
    compared_with = _reference(test_set, reference)
    columns = [Column(axis, is_label=True) for axis in axes or ("point",)]
    columns += [Column("seeds"), *map(Column, metrics)]
    exported = [
        metric
        for metric in metrics
        if any(measured.point.exported_values(metric) for measured in test_set.measured)
    ]
    columns += [Column(f"exported {metric}") for metric in exported]
    has_bytes = any(m.point.export_bytes for m in test_set.measured)
    columns += [Column("bytes")] if has_bytes else []
    cells: list[list[Cell]] = []
    for measured in test_set.measured:
        own = label_cells(measured, axes)
        if measured is compared_with:
            own[0] = f"{own[0]} (reference)"
        seeds = None if measured.point.is_baseline else len(measured.point.runs)
        cells.append([*own, seeds])
    compared = {}
    for metric in metrics:
        estimates, compared[metric] = _column(test_set, metric, compared_with)
        for row, estimate in zip(cells, estimates, strict=True):
            row.append(estimate)
    for row, measured in zip(cells, test_set.measured, strict=True):
        row += [_of_exports(measured.point, metric) for metric in exported]
    if has_bytes:
        for row, measured in zip(cells, test_set.measured, strict=True):
            row.append(measured.point.export_bytes)
    rows = [
        Row(measured.name, tuple(row), measured.point.axes)
        for row, measured in zip(cells, test_set.measured, strict=True)
    ]
    return Table(
        "metrics",
        test_set.title,
        f"Metrics on the test labels{_size(test_set)}.",
        tuple(columns),
        tuple(rows),
        (
            *_legend(test_set, compared_with, bool(exported)),
            *_detectable(compared, "the best" if compared_with is None else compared_with.name),
            *_remarks(test_set),
        ),
    )


def failed(runs: Sequence[Run]) -> Table:
    """Runs without a result, and why."""
    return Table(
        "failed",
        "",
        "Failed runs; they are in no other table.",
        (Column("run", is_label=True), Column("reason", is_label=True)),
        tuple(Row(run.name, (run.name, run.failure), run.axes) for run in runs),
    )


def label_cells(measured: Measured, axes: Sequence[str]) -> list[Cell]:
    """The cells that name a point: values of its axes, or its name in the first."""
    own = measured.point.axes
    if not measured.point.is_baseline and any(axis in own for axis in axes):
        return [text(own[axis]) if axis in own else None for axis in axes]
    return [measured.name, *[None] * (len(axes) - 1)]


def _column(
    test_set: TestSet, metric: str, reference: Measured | None
) -> tuple[list[Estimate | None], dict[str, Comparison]]:
    """The metric of every point, marked; and the comparisons that the marks tell of."""
    having = [m for m in test_set.measured if metric in m.figures]
    if not having:
        return [None] * len(test_set.measured), {}
    best = _best(having, metric)
    base = reference if reference is not None and reference in having else best
    compared = _against(having, metric, base)
    p_values = dict(
        zip(compared, statistics.adjust([c.p_value for c in compared.values()]), strict=True)
    )
    estimates: list[Estimate | None] = []
    for measured in test_set.measured:
        if metric not in measured.figures:
            estimates.append(None)
            continue
        figure, p = measured.figures[metric], p_values.get(measured.name)
        mark = ""
        if p is not None:
            if reference is None and p >= ALPHA:
                mark = NOT_WORSE
            elif reference is not None and p < ALPHA:
                mark = DIFFERS
        mean, deviation, seeds = dataclasses.astuple(figure.over_seeds)
        is_best = mean == best.figures[metric].over_seeds.mean
        further = {"seeds": seeds, "users": measured.users, "p_holm": p}
        estimates.append(Estimate(mean, deviation, figure.interval, mark, is_best, further))
    return estimates, compared


def _of_exports(point: Point, metric: str) -> Estimate | None:
    """The metric of the exported files, which have no per-label files."""
    values = point.exported_values(metric)
    if not values:
        return None
    mean, deviation, seeds = dataclasses.astuple(statistics.over_seeds(values))
    return Estimate(mean, deviation, further={"seeds": seeds})


def _best(having: Sequence[Measured], metric: str) -> Measured:
    sign = 1 if point_labels.metric(metric).higher_is_better else -1
    return max(having, key=lambda m: sign * m.figures[metric].over_seeds.mean)


def _against(having: Sequence[Measured], metric: str, base: Measured) -> dict[str, Comparison]:
    """Every other point against the base, by name; points without per-label files are left out."""
    of_base = base.figures[metric].per_user
    if of_base is None:
        return {}
    compared = {}
    for measured in having:
        per_user = measured.figures[metric].per_user
        if measured is not base and per_user is not None:
            pair = point_labels.shared(per_user, of_base)
            compared[measured.name] = statistics.compare(*pair, draws=_FEW_DRAWS)
    return compared


def _detectable(by_metric: Mapping[str, Mapping[str, Comparison]], base: str) -> list[str]:
    """What differences could have been seen, in one sentence."""
    told, users, most = [], 0, 0
    for metric, compared in by_metric.items():
        least = [
            statistics.minimal_detectable_difference(
                c.deviation, c.users, len(compared), alpha=ALPHA
            )
            for c in compared.values()
        ]
        seen = sorted(value for value in least if value)
        if seen:
            ends = dict.fromkeys(f"{value:.4f}" for value in (seen[0], seen[-1]))
            told.append(f"{metric} {' to '.join(ends)}")
            users = next(iter(compared.values())).users
            most = max(most, len(compared))
    if not told:
        return []
    return [
        f"Smallest detectable difference from {base}, by pair: {'; '.join(told)} ({users:,} users, "
        f"level {ALPHA} over {most} comparisons, power 80%)."
    ]


def _legend(test_set: TestSet, reference: Measured | None, has_exported: bool) -> list[str]:
    figures = [figure for m in test_set.measured for figure in m.figures.values()]
    several = any(figure.over_seeds.deviation is not None for figure in figures)
    shown = "Mean over seeds ± standard deviation between them" if several else "Of one seed"
    if any(figure.interval for figure in figures):
        shown += "; [95% interval over users, bootstrap]"
    notes = [f"{shown}. Bold: the best of the column."]
    if has_exported:
        notes.append(
            "Exported: the same of the .tflite files, quantised as they are; means over labels."
        )
    if sum(figure.per_user is not None for figure in figures) > 1:
        test = (
            f"paired t-test over users between these very models, p {{}} {ALPHA} after Holm's "
            "correction for all comparisons of the column"
        )
        notes.append(
            f"{NOT_WORSE}: not significantly different from the best ({test.format('≥')})."
            if reference is None
            else f"{DIFFERS}: significantly different from {reference.name} ({test.format('<')})."
        )
    return notes


def _remarks(test_set: TestSet) -> list[str]:
    """What figures are not like the others."""
    remarks = []
    missing = [m for m in test_set.measured if m.without]
    for reason in dict.fromkeys(m.without for m in missing):
        names = ", ".join(m.name for m in missing if m.without == reason)
        remarks.append(f"Without intervals and tests, averaged over labels ({reason}): {names}.")
    return remarks


def _size(test_set: TestSet) -> str:
    known = [m for m in test_set.measured if m.users is not None]
    if not known:
        labels = test_set.measured[0].labels
        return "" if labels is None else f" ({labels:,} labels)"
    first = known[0]
    return f" ({first.labels:,} labels of {first.users:,} users, {first.candidates:,} candidates)"


def _reference(test_set: TestSet, wanted: Mapping[str, Any] | None) -> Measured | None:
    if not wanted:
        return None
    found = [m for m in test_set.measured if _has(m, wanted)]
    if len(found) > 1:
        given = ",".join(f"{axis}={value}" for axis, value in wanted.items())
        raise ConfigError(
            f"--reference={given} is what {len(found)} points of {test_set.title} have "
            f"({'; '.join(m.name for m in found)}); give more axes."
        )
    return found[0] if found else None


def _has(measured: Measured, wanted: Mapping[str, str]) -> bool:
    axes = measured.point.axes
    return all(axis in axes and text(axes[axis]) == value for axis, value in wanted.items())
