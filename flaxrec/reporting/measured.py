"""What a report shows of each point, and which points were ranked on the same test labels.

Where per-label files are kept, figures are means over users of the user's mean over labels, with an
interval; otherwise means over labels as the run noted them, without one. In leave-one-out both are
the same.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import polars as pl

from flaxrec.errors import ConfigError, DataError
from flaxrec.reporting.results import Point, text
from flaxrec.research import breakdown, point_labels, statistics
from flaxrec.research.breakdown import Bin, Leak, Recommended
from flaxrec.research.point_labels import PerUser, PointLabels
from flaxrec.research.statistics import Interval, OverSeeds

DEFAULT_METRICS = ("filtered/recall@10", "filtered/ndcg@10", "recall@10", "ndcg@10")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A metric of a point.

    Attributes:
      over_seeds: mean and deviation.
      interval: of the mean, over users; None without per-label files.
      per_user: what it is the mean of; None without per-label files.
    """

    over_seeds: OverSeeds
    interval: Interval | None = None
    per_user: PerUser | None = None


@dataclasses.dataclass(frozen=True)
class Broken:
    """The main metric of a point in parts; a part is empty or None where it cannot be told.

    `context` is by context length: a trained point's own, every point's of a baseline.
    """

    activity: Sequence[Bin] = ()
    popularity: Sequence[Bin] = ()
    context: Mapping[int, Sequence[Bin]] = dataclasses.field(default_factory=dict)
    leak: Leak | None = None
    recommended: Recommended | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A point and its figures.

    Attributes:
      point: the point.
      name: short, unlike any other's of its test labels.
      figures: by metric; a metric that the point lacks is left out.
      broken: its first metric in parts.
      test: checksum of the test labels; None without per-label files.
      labels: number of test labels.
      users: whose they are; None without per-label files.
      candidates: number of items ranked; None without per-label files.
      without: why there is nothing per label; '' if there is.
    """

    point: Point
    name: str
    figures: dict[str, Figure]
    broken: Broken
    test: int | None
    labels: int | None
    users: int | None
    candidates: int | None
    without: str


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Points that ranked the same test labels: only they can be compared.

    Attributes:
      title: protocol, and what tells it from other test sets of the report.
      protocol: the split's name.
      measured: trained points, then baselines.
    """

    __test__ = False  # for pytest: this is no test

    title: str
    protocol: str
    measured: tuple[Measured, ...]

    @property
    def trained(self) -> list[Measured]:
        """Without the baselines."""
        return [m for m in self.measured if not m.point.is_baseline]


def choose_metrics(points: Sequence[Point], wanted: Sequence[str]) -> tuple[str, ...]:
    """The metrics to show: those wanted, or the default ones that a point has.

    Raises:
      ConfigError: no point has a metric that is wanted, or none has a default one.
    """
    noted = list(dict.fromkeys(name for p in points for run in p.runs for name in run.metrics))
    known = [name for name in noted if _is_of_labels(name)]
    for name in wanted:
        point_labels.metric(name)
        # Of the ranks that are kept, any cut-off can be told.
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
    """Every point's figures, by test set.

    Args:
      points: in the order to show them in.
      metrics: names; the first is also broken down.
    """
    sets: list[list[Measured]] = []
    lengths = sorted({point.context_length for point in points if point.context_length})
    measured = [_measure(point, metrics, lengths) for point in points]
    # Those without a checksum join where the protocol and the number of labels are the same.
    for one in sorted(measured, key=lambda m: m.test is None):
        same = [of_set for of_set in sets if _same_test(of_set[0], one)]
        if same:
            same[0].append(one)
        else:
            sets.append([one])
    order = {id(one): i for i, one in enumerate(measured)}
    sets = [sorted(of_set, key=lambda m: order[id(m)]) for of_set in sets]
    sets.sort(key=lambda of_set: (of_set[0].point.protocol, order[id(of_set[0])]))
    titles = _titles(sets)
    return [
        TestSet(title, of_set[0].point.protocol, tuple(_named(of_set)))
        for title, of_set in zip(titles, sets, strict=True)
    ]


def distinguishing(test_sets: Sequence[TestSet], axes: Sequence[str]) -> list[str]:
    """The axes without those that differ between test sets, but within none.

    They stand for the protocol or the data, which a test set's title tells.
    """
    kept = []
    for axis in axes:
        by_set = [{text(m.point.axes.get(axis)) for m in of_set.trained} for of_set in test_sets]
        if len(set().union(*by_set)) == 1 or any(len(own) > 1 for own in by_set):
            kept.append(axis)
    return kept


# ---- one point ------------------------------------------------------------------------------


def _measure(point: Point, metrics: Sequence[str], lengths: Sequence[int]) -> Measured:
    labels, without = _load(point)
    own = [n for n in lengths if point.is_baseline or n == point.context_length]
    figures = {metric: _figure(point, labels, metric) for metric in metrics}
    table = None if labels is None else labels.seeds[0]
    noted = point.runs[0].labels.get("labels")
    key = pl.struct("user", "history", "item")
    return Measured(
        point,
        point.name,
        {metric: figure for metric, figure in figures.items() if figure},
        _break_down(labels, metrics[0], own) if labels else Broken(),
        None if table is None else int(table.select(key.hash().sum()).item()),
        len(table) if table is not None else None if noted is None else int(noted),
        None if table is None else table["user"].n_unique(),
        None if labels is None else len(labels.items),
        without,
    )


def _load(point: Point) -> tuple[PointLabels | None, str]:
    folders = [run.folder for run in point.runs]
    if not all((folder / "per_label" / "test.parquet").is_file() for folder in folders):
        return None, "no per-label files"
    try:
        return point_labels.load(folders), ""
    except DataError as error:  # the figures that the runs noted are still worth a table
        return None, str(error).rstrip(".")


def _figure(point: Point, labels: PointLabels | None, metric: str) -> Figure | None:
    if labels is not None and _is_known(labels, metric):
        per_user = point_labels.per_user(labels, metric)
        interval = statistics.bootstrap_interval(per_user.values)
        return Figure(statistics.over_seeds(per_user.values), interval, per_user)
    values = point.values(metric)
    return Figure(statistics.over_seeds(values)) if values else None


def _break_down(labels: PointLabels, metric: str, lengths: Sequence[int]) -> Broken:
    recommended = breakdown.recommended(labels) if _has_lists(labels) else None
    if not _is_known(labels, metric):
        return Broken(recommended=recommended)
    trained = bool(labels.items["count"].sum())
    return Broken(
        breakdown.by_activity(labels, metric),
        breakdown.by_popularity(labels, metric) if trained else (),
        {length: breakdown.by_context(labels, metric, length) for length in lengths},
        breakdown.leak(labels, metric),
        recommended,
    )


def _is_known(labels: PointLabels, metric: str) -> bool:
    column = point_labels.metric(metric).column
    return not any(table[column].null_count() for table in labels.seeds)


def _has_lists(labels: PointLabels) -> bool:
    return all(bool(table["top"].list.len().sum()) for table in labels.seeds)


def _is_of_labels(name: str) -> bool:
    try:
        point_labels.metric(name)
    except ConfigError:  # a metric of batches, in reference mode
        return False
    return True


# ---- test sets ------------------------------------------------------------------------------


def _same_test(a: Measured, b: Measured) -> bool:
    if a.point.protocol != b.point.protocol:
        return False
    if a.test is None or b.test is None:
        return a.labels == b.labels
    return a.test == b.test and a.candidates == b.candidates


def _named(of_set: Sequence[Measured]) -> list[Measured]:
    """With names as short as tells them apart; a baseline's data only where several have it."""
    baselines = [m.point.axes.get("baseline") for m in of_set]
    named = []
    for measured in of_set:
        axes = dict(measured.point.axes)
        name = measured.name
        if measured.point.is_baseline and "baseline" in axes:
            several = baselines.count(axes["baseline"]) > 1
            data = axes.pop("data", "")
            parts = [text(axes.pop("baseline"))]
            parts += [f"{axis}={text(value)}" for axis, value in axes.items()]
            name = ", ".join([*parts, text(data)] if several and data else parts)
        elif list(axes) == ["run"]:
            name = text(axes["run"])
        named.append(dataclasses.replace(measured, name=name))
    return named


def _titles(sets: Sequence[Sequence[Measured]]) -> list[str]:
    """The protocol; where several sets have it, also the data, or what all their points share."""
    protocols = [of_set[0].point.protocol for of_set in sets]
    titles = []
    for number, of_set in enumerate(sets):
        protocol = protocols[number] or "unknown protocol"
        if protocols.count(protocols[number]) == 1:
            titles.append(protocol)
            continue
        data = {str(m.point.runs[0].row.get("data") or "") for m in of_set} - {""}
        told = min(data) if data else f"{of_set[0].labels} labels"
        titles.append(told if protocol in told else f"{protocol}, {told}")
    return [
        title if titles.count(title) == 1 else f"{title} ({titles[:i].count(title) + 1})"
        for i, title in enumerate(titles)
    ]
