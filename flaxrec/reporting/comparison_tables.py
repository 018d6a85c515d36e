"""Tables that compare points: all with the best or a reference; pairs that differ in one axis."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flaxrec.errors import ConfigError
from flaxrec.reporting.measured import Measured, TestSet, asked_note, marked, point_table
from flaxrec.reporting.results import Point, text
from flaxrec.reporting.table_forms import (
    ASKED,
    DIFFERS,
    NOT_WORSE,
    Cell,
    Column,
    Estimate,
    Row,
    Table,
)
from flaxrec.research import point_labels, statistics
from flaxrec.research.statistics import Comparison

ALPHA = 0.05
_FEW_DRAWS = 1  # bootstrap draws where the interval of a difference is not shown


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Point a against point b."""

    a: Measured
    b: Measured
    result: Comparison  # a minus b
    p_holm: float | None  # corrected for all pairs of the comparison
    detectable: float | None  # smallest detectable difference


# ---- all points -----------------------------------------------------------------------------


def metrics_table(
    test_set: TestSet,
    metrics: Sequence[str],
    axes: Sequence[str],
    reference: Mapping[str, str] | None = None,
) -> Table:
    """The main table: one row per point, one column per axis and metric, marks of significance.

    The marks compare with the point of the `reference`'s axis values, or with each metric's best:
    the best that knows the moment of asking for those that know it, and of the others for them.

    Raises:
      ConfigError: several points have the reference's values.
    """
    points = test_set.measured
    base = _reference(test_set, reference)
    seeds = [None if m.point.is_baseline else len(m.point.runs) for m in points]
    columns: list[tuple[Column, Sequence[Cell]]] = [(Column("seeds"), seeds)]
    compared = {metric: _against_base(test_set, metric, base) for metric in metrics}
    for metric, pairs in compared.items():
        columns.append((Column(metric), _marked(test_set, metric, pairs, base)))
    exported = {metric: [_exported(m.point, metric) for m in points] for metric in metrics}
    exported = {metric: cells for metric, cells in exported.items() if any(cells)}
    columns += [(Column(f"exported {metric}"), cells) for metric, cells in exported.items()]
    sizes = [m.point.export_bytes for m in points]
    columns += [(Column("bytes"), sizes)] if any(sizes) else []
    notes = (
        *_legend(test_set, base, bool(exported)),
        *_detectable(compared, base.name if base else _the_best(test_set)),
        *_without_intervals(points),
    )
    caption = f"Metrics on the test labels{_size(points)}."
    table = point_table("metrics", test_set.title, caption, axes, points, columns, notes)
    if base is None:
        return table
    rows = list(table.rows)
    place = [measured is base for measured in points].index(True)
    first, *further = rows[place].cells
    rows[place] = dataclasses.replace(rows[place], cells=(f"{first} (reference)", *further))
    return dataclasses.replace(table, rows=tuple(rows))


def _reference(test_set: TestSet, wanted: Mapping[str, str] | None) -> Measured | None:
    found = [m for m in test_set.measured if wanted and m.point.has(wanted)]
    if wanted and len(found) > 1:
        given = ",".join(f"{axis}={value}" for axis, value in wanted.items())
        raise ConfigError(
            f"--reference={given} is what {len(found)} points of {test_set.title} have "
            f"({'; '.join(m.name for m in found)}); give more axes."
        )
    return found[0] if found else None


def _against_base(test_set: TestSet, metric: str, reference: Measured | None) -> list[_Pair]:
    """Every other point against the reference, or against the best if that lacks the metric."""
    having = [m for m in test_set.measured if metric in m.estimates]
    if not having:
        return []
    if reference and metric in reference.estimates:
        bases = {True: reference, False: reference}
    else:
        bases = _bests(having, metric)
    pairs = ((m, bases[bool(m.point.asked)]) for m in having)
    return _compare(((m, base) for m, base in pairs if m is not base), metric, draws=_FEW_DRAWS)


def _bests(having: Sequence[Measured], metric: str) -> dict[bool, Measured]:
    """The best by whether it knows the moment of asking."""
    sign = 1 if point_labels.metric(metric).higher_is_better else -1
    kinds: dict[bool, list[Measured]] = {}
    for measured in having:
        kinds.setdefault(bool(measured.point.asked), []).append(measured)
    return {
        kind: max(own, key=lambda m: sign * m.estimates[metric].mean) for kind, own in kinds.items()
    }


def _the_best(test_set: TestSet) -> str:
    kinds = {bool(m.point.asked) for m in test_set.measured}
    return "the best" if len(kinds) == 1 else f"the best of its kind (with {ASKED}, without)"


def _marked(
    test_set: TestSet, metric: str, pairs: Sequence[_Pair], reference: Measured | None
) -> list[Estimate | None]:
    """The metric of every point, with marks for the best one and for significance."""
    having = [m for m in test_set.measured if metric in m.estimates]
    bests = {kind: m.estimates[metric].mean for kind, m in _bests(having, metric).items()}
    p_values = {pair.a.name: pair.p_holm for pair in pairs}
    cells: list[Estimate | None] = []
    for measured in test_set.measured:
        estimate, p = measured.estimates.get(metric), p_values.get(measured.name)
        if estimate is not None:
            mark = ""
            if p is not None and (p < ALPHA) == (reference is not None):
                mark = NOT_WORSE if reference is None else DIFFERS
            seeds = len(measured.point.runs)
            further = {"seeds": seeds, "users": measured.users, "p_holm": p}
            estimate = dataclasses.replace(
                estimate,
                mark=mark,
                best=estimate.mean == bests[bool(measured.point.asked)],
                further=further,
            )
        cells.append(estimate)
    return cells


def _exported(point: Point, metric: str) -> Estimate | None:
    """The metric of the exported files, for which there are no per-label files."""
    values = point.exported_values(metric)
    if not values:
        return None
    mean = statistics.over_seeds(values)
    return Estimate(mean.mean, mean.deviation, further={"seeds": mean.seeds})


def _size(points: Sequence[Measured]) -> str:
    for m in points:
        if m.users is not None:
            return f" ({m.labels:,} labels of {m.users:,} users, {m.candidates:,} candidates)"
    return "" if points[0].labels is None else f" ({points[0].labels:,} labels)"


def _legend(test_set: TestSet, reference: Measured | None, has_exported: bool) -> Iterator[str]:
    estimates = [estimate for m in test_set.measured for estimate in m.estimates.values()]
    several = any(estimate.deviation is not None for estimate in estimates)
    shown = "Mean over seeds ± standard deviation between them" if several else "Of one seed"
    if any(estimate.interval for estimate in estimates):
        shown += "; [95% interval over users, bootstrap]"
    best = _the_best(test_set)
    yield f"{shown}. Bold: {best}{' of the column' if best == 'the best' else ''}."
    if has_exported:
        yield "Exported: the same of the .tflite files, quantised as they are; means over labels."
    if sum(len(m.per_user) for m in test_set.measured) > 1:
        test = (
            f"paired t-test over users between these very models, p {{}} {ALPHA} after Holm's "
            "correction for all comparisons of the column"
        )
        yield (
            f"{NOT_WORSE}: not significantly different from {best} ({test.format('≥')})."
            if reference is None
            else f"{DIFFERS}: significantly different from {reference.name} ({test.format('<')})."
        )


def _detectable(compared: Mapping[str, Sequence[_Pair]], base: str) -> Iterator[str]:
    """One sentence on the smallest detectable differences."""
    parts, users, most = [], 0, 0
    for metric, pairs in compared.items():
        least = sorted(pair.detectable for pair in pairs if pair.detectable)
        if least:
            ends = dict.fromkeys(f"{value:.4f}" for value in (least[0], least[-1]))
            parts.append(f"{metric} {' to '.join(ends)}")
            users, most = pairs[0].result.users, max(most, len(pairs))
    if parts:
        yield (
            f"Smallest detectable difference from {base}, by pair: {'; '.join(parts)} ({users:,} "
            f"users, level {ALPHA} over {most} comparisons, power 80%)."
        )


def _without_intervals(points: Sequence[Measured]) -> Iterator[str]:
    for reason in dict.fromkeys(m.without for m in points if m.without):
        names = ", ".join(m.name for m in points if m.without == reason)
        yield f"Without intervals and tests, averaged over labels ({reason}): {names}."


# ---- pairs ----------------------------------------------------------------------------------


def pair_tables(test_set: TestSet, metrics: Sequence[str], axes: Sequence[str]) -> list[Table]:
    """Pairs of points that differ in one axis only: one table per axis and metric.

    Tables of metrics after the first go to the CSV only, without intervals.
    """
    made = []
    for axis in axes:
        for metric in metrics:
            is_printed = metric == metrics[0]
            draws = {} if is_printed else {"draws": _FEW_DRAWS}
            pairs = _compare(_differing_in(axis, test_set.trained), metric, **draws)
            if pairs:
                made.append(_pair_table(test_set, metric, axis, axes, pairs, is_printed))
    return made


def _differing_in(axis: str, points: Sequence[Measured]) -> Iterator[tuple[Measured, Measured]]:
    """Pairs of a later and an earlier point that differ in this axis only."""
    for a, b in itertools.combinations(points, 2):
        of_a, of_b = dict(a.point.axes), dict(b.point.axes)
        if axis in of_a and axis in of_b and of_a.pop(axis) != of_b.pop(axis) and of_a == of_b:
            yield b, a


def _pair_table(
    test_set: TestSet,
    metric: str,
    axis: str,
    axes: Sequence[str],
    pairs: Sequence[_Pair],
    is_printed: bool,
) -> Table:
    others = [a for a in axes if a != axis and any(a in pair.a.point.axes for pair in pairs)]
    rows = []
    for pair in pairs:
        own, result = pair.b.point.axes, pair.result
        cells: list[Cell] = [text(own.get(other, "–")) for other in others]
        cells += [marked(text(p.point.axes[axis]), p) for p in (pair.b, pair.a)]
        interval = result.interval if is_printed else None
        cells += [Estimate(result.difference, interval=interval), result.p_value, pair.p_holm]
        rest = {other: own[other] for other in others if other in own}
        name = f"{pair.a.name} - {pair.b.name}"
        asked = pair.a.point.asked or pair.b.point.asked
        rows.append(Row(name, (*cells, pair.detectable), rest, asked))
    labels = (*others, f"A: {axis}", f"B: {axis}")
    numbers = (Column("B − A"), Column("p", "p"), Column("p (Holm)", "p"), Column("detectable"))
    return Table(
        f"pairs {axis} {metric}",
        test_set.title,
        f"Pairs that differ in {axis} alone: {metric} of B minus that of A.",
        (*(Column(label, is_label=True) for label in labels), *numbers),
        tuple(rows),
        (
            "[95% interval: paired bootstrap over users and, of several, seeds]; p: paired t-test "
            f"over users; corrected for the {len(rows)} comparisons of this table; detectable: the "
            "smallest difference found with power 80%.",
            *asked_note(point for pair in pairs for point in (pair.b, pair.a)),
        ),
        is_printed,
    )


def _compare(pairs: Iterable[tuple[Measured, Measured]], metric: str, **draws: Any) -> list[_Pair]:
    """Pairs of points that both have per-label files, compared user by user."""
    known = [(a, b) for a, b in pairs if metric in a.per_user and metric in b.per_user]
    results = [
        statistics.compare(*point_labels.shared(a.per_user[metric], b.per_user[metric]), **draws)
        for a, b in known
    ]
    corrected = statistics.adjust([result.p_value for result in results])
    return [
        _Pair(a, b, result, p, statistics.minimal_detectable_difference(
            result.deviation, result.users, len(results), alpha=ALPHA
        ))
        for (a, b), result, p in zip(known, results, corrected, strict=True)
    ]  # fmt: skip
