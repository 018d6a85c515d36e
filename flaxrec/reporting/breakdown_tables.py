"""Tables of the first metric: by bins, of cold items, leaks by protocol; the recommended lists."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from flaxrec.evaluation.cold import BY_ITEM, BY_USER
from flaxrec.reporting.measured import Measured, TestSet, point_table
from flaxrec.reporting.results import text
from flaxrec.reporting.table_forms import Column, Estimate, Row, Table
from flaxrec.research import statistics
from flaxrec.research.breakdown import Bin

_INTERVALS = "[95% interval over users]; in each part a user's labels are averaged first."


def breakdown_tables(test_set: TestSet, metric: str, axes: Sequence[str]) -> list[Table]:
    """By activity, popularity, context, time since; a breakdown with one bin only is left out."""
    points = test_set.measured

    def table(name: str, by: str, parts: Sequence[Sequence[Bin]], note: str = "") -> Table | None:
        return _bin_table(name, test_set, f"{metric} by {by}.", parts, axes, note)

    made = [
        table("activity", "the user's earlier events", [m.breakdown.activity for m in points]),
        table(
            "popularity",
            "the item's training labels",
            _popularity(points),
            "Head: the most popular items that half of the training labels are of; mid: the next, "
            "up to 80%. ",
        ),
    ]
    for length in sorted({n for m in points for n in m.breakdown.context}):
        parts = [m.breakdown.context.get(length, ()) for m in points]
        made.append(table(f"context {length}", f"the events in a context of {length}", parts))
    parts = [m.breakdown.since for m in points]
    made.append(table("since", "the time since the user's latest activity", parts))
    made.append(_list_table(test_set, axes))
    return [table for table in made if table is not None]


def cold_table(test_set: TestSet, metric: str, axes: Sequence[str]) -> Table | None:
    """How cold items' labels are ranked, and whether cold items are shown; None without any."""
    found = [(m, [run.of_cold_items() for run in m.point.runs]) for m in test_set.trained]
    found = [(m, runs) for m, runs in found if all("" in rows for rows in runs)]
    if not found:
        return None
    means = {"labels": metric, "users": BY_USER + metric, "items": BY_ITEM + metric}
    shares = {"lists": "cold_share_of_lists", "events": "cold_share_of_events"}

    def over_seeds(part: str, name: str) -> list[Estimate | None]:
        values = [[rows[""][part].get(name) for rows in runs] for _, runs in found]
        made = [None if None in own else statistics.over_seeds(own) for own in values]
        return [None if own is None else Estimate(own.mean, own.deviation) for own in made]

    columns = [(Column(title), over_seeds("metrics", name)) for title, name in means.items()]
    columns += [(Column(t, ".1%"), over_seeds("labels", name)) for t, name in shares.items()]
    of_model = found[0][1][0][""]["labels"]
    table = point_table(
        "cold items",
        test_set.title,
        f"{metric} of the labels of cold items, which are in no training, among all items.",
        axes,
        [m for m, _ in found],
        columns,
        [
            f"{of_model['labels']:,} labels of {of_model['items']:,} items; users, items: each "
            "one's labels are averaged first. Lists, events: cold items' share of the lists of ten "
            "of the other test labels, and of all events. new_popularity knows how often each cold "
            "item will be met."
        ],
    )
    labels = len(table.columns) - len(columns)
    beside = [
        Row(
            name,
            (name, *[None] * (labels - 1), *map(row["metrics"].get, means.values()), None, None),
        )
        for name, row in found[0][1][0].items()
        if name
    ]
    return dataclasses.replace(table, rows=(*table.rows, *beside))


def protocol_table(test_sets: Sequence[TestSet], metric: str, axes: Sequence[str]) -> Table | None:
    """Every setting under every protocol, for labels with and without later training events.

    None where there is one protocol and no leak.
    """
    having = [
        (m, test_set, leak)
        for test_set in test_sets
        for m in test_set.measured
        if (leak := m.breakdown.leak) is not None and metric in m.estimates
    ]
    leaks = any(leak.share for _, _, leak in having)
    if not leaks and len({test_set.protocol for _, test_set, _ in having}) < 2:
        return None
    settings = list(dict.fromkeys(_setting(m, axes) for m, _, _ in having))
    having.sort(key=lambda one: settings.index(_setting(one[0], axes)))
    points = [m for m, _, _ in having]
    parts = [{part.name: _estimate(part) for part in leak.bins} for _, _, leak in having]
    return point_table(
        "protocols",
        "",
        f"{metric} under each protocol, and what it owes to training on what came later.",
        axes,
        points,
        [
            (Column("protocol", is_label=True), [test_set.title for _, test_set, _ in having]),
            (Column(metric), [m.estimates[metric] for m in points]),
            (Column("leak", ".1%"), [leak.share for _, _, leak in having]),
            (Column("with leak"), [own.get("later events in training") for own in parts]),
            (Column("without leak"), [own.get("no later event in training") for own in parts]),
        ],
        [
            "Leak: share of the test labels whose user has later events among the training labels; "
            f"with, without: the metric of these labels, and of the others. {_INTERVALS}"
        ],
    )


def _setting(measured: Measured, axes: Sequence[str]) -> tuple[Any, ...]:
    is_baseline = measured.point.is_baseline
    own = ("baseline",) if is_baseline else axes
    return (is_baseline, *(text(measured.point.axes.get(axis)) for axis in own))


def _popularity(points: Sequence[Measured]) -> list[Sequence[Bin]]:
    """Head, mid and tail; without counts where training sets differ, as counts then do too."""
    parts = [m.breakdown.popularity for m in points]
    names = {part.name for own in parts for part in own}
    short = {name: name.partition(" (")[0] for name in names}
    if len(names) == len(set(short.values())):
        return parts
    return [[dataclasses.replace(part, name=short[part.name]) for part in own] for own in parts]


def _bin_table(
    name: str,
    test_set: TestSet,
    caption: str,
    parts: Sequence[Sequence[Bin]],
    axes: Sequence[str],
    note: str,
) -> Table | None:
    """One column per bin; the first row has the number of labels."""
    by_name = [{part.name: part for part in own} for own in parts if own]
    names = list(dict.fromkeys(name for own in by_name for name in own))
    if len(names) < 2:
        return None
    columns = [
        (Column(name), [_estimate(own[name], True) if name in own else None for own in by_name])
        for name in names
    ]
    points = [m for m, own in zip(test_set.measured, parts, strict=True) if own]
    notes = [f"{note}{_INTERVALS}"]
    table = point_table(name, test_set.title, caption, axes, points, columns, notes)
    counts = [next(own[name].labels for own in by_name if name in own) for name in names]
    labels = len(table.columns) - len(names)
    first = Row("labels", ("labels", *[None] * (labels - 1), *counts))
    return dataclasses.replace(table, rows=(first, *table.rows))


def _estimate(part: Bin, with_counts: bool = False) -> Estimate:
    further = {"labels": part.labels, "users": part.users} if with_counts else {}
    return Estimate(part.mean, interval=part.interval, further=further)


def _list_table(test_set: TestSet, axes: Sequence[str]) -> Table | None:
    points = [m for m in test_set.measured if m.breakdown.recommended]
    lists = [m.breakdown.recommended for m in test_set.measured if m.breakdown.recommended]
    if not lists:
        return None
    columns = {
        Column("popularity", ".1f"): [own.popularity for own in lists],
        Column("coverage", ".1%"): [own.coverage for own in lists],
        Column("Gini", ".3f"): [own.gini for own in lists],
    }
    return point_table(
        "lists",
        test_set.title,
        "What the lists of ten hold (seen items left out): popularity and coverage.",
        axes,
        points,
        [
            (column, [Estimate(own.mean, own.deviation) for own in values])
            for column, values in columns.items()
        ],
        [
            "Popularity: mean training labels of the items in the lists (of the test labels' own "
            f"items: {lists[0].label_popularity:.1f}); coverage: share of the "
            f"{lists[0].candidates:,} candidates in at least one of {lists[0].lists:,} lists; "
            "Gini: 0 if all are recommended alike, near 1 if a few are."
        ],
    )
