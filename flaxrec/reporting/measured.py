"""Estimates of each point, and test sets: points that ranked the same test labels.

With per-label files, estimates are means over users of each user's mean over labels, with an
interval. Without them, they are the run's own means over labels, without an interval. In
leave-one-out both means are equal.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from flaxrec.errors import ConfigError, DataError
from flaxrec.files import recover
from flaxrec.reporting.results import Point, text
from flaxrec.reporting.table_forms import ASKED, Cell, Column, Estimate, Row, Table
from flaxrec.research import breakdown, point_labels, statistics
from flaxrec.research.breakdown import Bin, Leak, Recommended
from flaxrec.research.point_labels import PerUser, PointLabels

DEFAULT_METRICS = ("filtered/recall@10", "filtered/ndcg@10", "recall@10", "ndcg@10")


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """A point's main metric by bins; empty or None where unknown."""

    activity: Sequence[Bin] = ()
    popularity: Sequence[Bin] = ()
    # By context length: a trained point's own; for a baseline, those of all points.
    context: Mapping[int, Sequence[Bin]] = dataclasses.field(default_factory=dict)
    since: Sequence[Bin] = ()
    leak: Leak | None = None
    recommended: Recommended | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A point and its estimates; values from per-label files are None without them."""

    point: Point
    name: str  # short, unique in its test set
    estimates: dict[str, Estimate]  # by metric; a metric that the point lacks is left out
    per_user: dict[str, PerUser]  # values by user; empty without per-label files
    breakdown: Breakdown  # of the first metric
    test: int | None  # checksum of the test labels
    labels: int | None  # number of test labels
    users: int | None  # number of users with test labels
    candidates: int | None  # number of items ranked
    without: str  # why there are no per-label values; '' if there are


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Points that ranked the same test labels: only they can be compared."""

    __test__ = False  # keeps pytest from collecting it

    title: str  # protocol, and where several test sets have it, the data
    protocol: str  # the split's name
    measured: tuple[Measured, ...]  # trained points, then baselines

    @property
    def trained(self) -> list[Measured]:
        """The points without the baselines."""
        return [m for m in self.measured if not m.point.is_baseline]


def choose_metrics(points: Sequence[Point], wanted: Sequence[str]) -> tuple[str, ...]:
    """The metrics to show: the wanted ones, or the default ones that some point has.

    Raises:
      ConfigError: no point has a wanted metric, or none has a default one.
    """
    noted = dict.fromkeys(name for p in points for run in p.runs for name in run.metrics)
    known = [name for name in noted if _is_of_labels(name)]
    for name in wanted:
        point_labels.metric(name)
        # Any K can be computed from the stored ranks.
        if name.partition("@")[0] not in {n.partition("@")[0] for n in known}:
            raise ConfigError(f"No run has the metric {name!r}; use some of {', '.join(known)}.")
    chosen = tuple(wanted) or tuple(name for name in DEFAULT_METRICS if name in known)
    if not chosen:
        raise ConfigError(
            f"No run has one of {', '.join(DEFAULT_METRICS)}; choose with --metrics among "
            f"{', '.join(known)}."
        )
    return chosen


def measure(points: Sequence[Point], metrics: Sequence[str]) -> list[TestSet]:
    """Every point's estimates, by test set; the first metric is also broken down by bins."""
    lengths = sorted({point.context_length for point in points if point.context_length})
    measured = [_measure(point, metrics, lengths) for point in points]
    sets: list[list[int]] = []  # indices into points
    # Points without a checksum join a set with the same protocol and number of labels.
    for i in sorted(range(len(measured)), key=lambda i: measured[i].test is None):
        same = next((own for own in sets if _same_test(measured[own[0]], measured[i])), None)
        if same is None:
            sets.append(same := [])
        same.append(i)
    sets = sorted(map(sorted, sets), key=lambda own: (points[own[0]].protocol, own[0]))
    of_sets = [[measured[i] for i in own] for own in sets]
    return [
        TestSet(title, own[0].point.protocol, tuple(_named(own)))
        for title, own in zip(_titles(of_sets), of_sets, strict=True)
    ]


def distinguishing(test_sets: Sequence[TestSet], axes: Sequence[str]) -> list[str]:
    """The axes without those that differ between test sets only.

    The latter stand for the protocol or the data, which the title of a test set names.
    """
    kept = []
    for axis in axes:
        by_set = [{text(m.point.axes.get(axis)) for m in of_set.trained} for of_set in test_sets]
        if len(set().union(*by_set)) == 1 or any(len(own) > 1 for own in by_set):
            kept.append(axis)
    return kept


def point_table(
    name: str,
    section: str,
    caption: str,
    axes: Sequence[str],
    points: Sequence[Measured],
    columns: Iterable[tuple[Column, Sequence[Cell]]],
    notes: Iterable[str] = (),
) -> Table:
    """A table with one row per point.

    Its label columns are the axes, or the points' names if there are no axes; `columns` follow,
    each with one cell per point. Models that know the moment of asking are marked.
    """
    heads, cells = zip(*columns, strict=True)
    rows = [
        Row(m.name, (*_label_cells(m, axes), *own), m.point.axes, m.point.asked)
        for m, *own in zip(points, *cells, strict=True)
    ]
    labels = (Column(axis, is_label=True) for axis in axes or ("point",))
    notes = (*notes, *asked_note(points))
    return Table(name, section, caption, (*labels, *heads), tuple(rows), notes)


def asked_note(points: Iterable[Measured]) -> list[str]:
    """What the mark of models that know the moment of asking means; none if no point has it."""
    found = list(dict.fromkeys(m.point.asked for m in points if m.point.asked))
    said = "it knows the moment of asking. Compare it with models that know it too."
    return [f"{ASKED}: asked {asked}: {said}" for asked in found]


def marked(label: str, measured: Measured) -> str:
    """A row's label, with the mark of a model that knows the moment of asking."""
    return f"{label} {ASKED}" if measured.point.asked else label


# ---- one point ------------------------------------------------------------------------------


def _measure(point: Point, metrics: Sequence[str], lengths: Sequence[int]) -> Measured:
    folders = [run.folder for run in point.runs]
    labels, without = None, "no per-label files"
    for folder in folders:
        recover(folder / "per_label")
        recover(folder / "export")
    if all((folder / "per_label" / "test.parquet").is_file() for folder in folders):
        try:
            labels, without = point_labels.load(folders), ""
        except DataError as error:  # fall back to the runs' own metrics
            without = str(error).rstrip(".")
    estimates, per_user = {}, {}
    for metric in metrics:
        values: Sequence[float] | np.ndarray = point.values(metric)
        interval = None
        if labels is not None and _is_known(labels, metric):
            per_user[metric] = point_labels.per_user(labels, metric)
            values = per_user[metric].values
            interval = statistics.bootstrap_interval(values)
        if len(values):
            mean = statistics.over_seeds(values)
            estimates[metric] = Estimate(mean.mean, mean.deviation, interval)
    if labels is None:
        noted = point.runs[0].labels.get("labels")
        count = None if noted is None else int(noted)
        nothing = (Breakdown(), None, count, None, None)
        return Measured(point, point.name, estimates, per_user, *nothing, without)
    table, key = labels.seeds[0], pl.struct("user", "history", "item")
    lengths = [n for n in lengths if point.is_baseline or n == point.context_length]
    return Measured(
        point,
        point.name,
        estimates,
        per_user,
        _break_down(labels, metrics[0], lengths),
        int(table.select(key.hash().sum()).item()),
        len(table),
        table["user"].n_unique(),
        len(labels.items),
        without,
    )


def _break_down(labels: PointLabels, metric: str, lengths: Sequence[int]) -> Breakdown:
    has_lists = all(bool(table["top"].list.len().sum()) for table in labels.seeds)
    recommended = breakdown.recommended(labels) if has_lists else None
    if not _is_known(labels, metric):
        return Breakdown(recommended=recommended)
    trained = bool(labels.items["count"].sum())
    return Breakdown(
        breakdown.by_activity(labels, metric),
        breakdown.by_popularity(labels, metric) if trained else (),
        {length: breakdown.by_context(labels, metric, length) for length in lengths},
        breakdown.by_since(labels, metric),
        breakdown.leak(labels, metric),
        recommended,
    )


def _is_known(labels: PointLabels, metric: str) -> bool:
    column = point_labels.metric(metric).column
    return not any(table[column].null_count() for table in labels.seeds)


def _is_of_labels(name: str) -> bool:
    try:
        point_labels.metric(name)
    except ConfigError:  # a metric of batches (reference mode)
        return False
    return True


def _label_cells(measured: Measured, axes: Sequence[str]) -> list[Cell]:
    """Label cells of a point: values of its axes, or its name in the first cell."""
    own = measured.point.axes
    if not measured.point.is_baseline and any(axis in own for axis in axes):
        first, *cells = [text(own[axis]) if axis in own else None for axis in axes]
        return [marked(first or "–", measured) if measured.point.asked else first, *cells]
    return [marked(measured.name, measured), *[None] * (len(axes) - 1)]


# ---- test sets ------------------------------------------------------------------------------


def _same_test(a: Measured, b: Measured) -> bool:
    if a.point.protocol != b.point.protocol:
        return False
    if a.test is None or b.test is None:
        return a.labels == b.labels
    return (a.test, a.candidates) == (b.test, b.candidates)


def _named(of_set: Sequence[Measured]) -> list[Measured]:
    """The points with short names; a baseline's includes its data only if several share it."""
    baselines = [m.point.axes.get("baseline") for m in of_set]
    named = []
    for measured in of_set:
        axes, name = dict(measured.point.axes), measured.name
        if measured.point.is_baseline and "baseline" in axes:
            baseline, data = axes.pop("baseline"), axes.pop("data", "")
            parts = [text(baseline), *(f"{axis}={text(value)}" for axis, value in axes.items())]
            parts += [text(data)] if data and baselines.count(baseline) > 1 else []
            name = ", ".join(parts)
        elif list(axes) == ["run"]:
            name = text(axes["run"])
        named.append(dataclasses.replace(measured, name=name))
    return named


def _titles(sets: Sequence[Sequence[Measured]]) -> list[str]:
    """The protocol; if several sets share it, also the data or the number of labels."""
    protocols = [of_set[0].point.protocol for of_set in sets]
    titles = []
    for of_set, protocol in zip(sets, protocols, strict=True):
        title = protocol or "unknown protocol"
        if protocols.count(protocol) > 1:
            data = {str(m.point.runs[0].row.get("data") or "") for m in of_set} - {""}
            further = min(data, default=f"{of_set[0].labels} labels")
            title = further if title in further else f"{title}, {further}"
        titles.append(title)
    return [
        title if titles.count(title) == 1 else f"{title} ({titles[:i].count(title) + 1})"
        for i, title in enumerate(titles)
    ]
