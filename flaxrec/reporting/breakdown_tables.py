"""Tables of the first metric in parts, of what the lists hold, and of what protocols leak."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

from flaxrec.reporting.comparison_tables import label_cells
from flaxrec.reporting.measured import Measured, TestSet
from flaxrec.reporting.results import text
from flaxrec.reporting.table_forms import Cell, Column, Estimate, Row, Table
from flaxrec.research.breakdown import Bin

_INTERVALS = "[95% interval over users]; in each part a user's labels are averaged first."


def make(test_set: TestSet, metric: str, axes: Sequence[str]) -> list[Table]:
    """By activity, item popularity and context; a breakdown with one part only is left out."""
    made = [
        _bins(
            test_set.measured,
            lambda m: m.broken.activity,
            ("activity", test_set.title, f"{metric} by the user's earlier events."),
            axes,
        ),
        _bins(
            test_set.measured,
            _popularity(test_set.measured),
            ("popularity", test_set.title, f"{metric} by the item's training labels."),
            axes,
            "Head: the most popular items that half of the training labels are of; mid: the next, "
            "up to 80%.",
        ),
    ]
    for length in sorted({n for m in test_set.measured for n in m.broken.context}):
        caption = f"{metric} by the events in a context of {length}."
        named = (f"context {length}", test_set.title, caption)
        parts = functools.partial(_context, length)
        made.append(_bins(test_set.measured, parts, named, axes))
    made.append(_recommended(test_set, axes))
    return [table for table in made if table is not None]


def protocols(test_sets: Sequence[TestSet], metric: str, axes: Sequence[str]) -> Table | None:
    """Every setting under every protocol, with and without labels that training saw past.

    None where there is one protocol and it leaks nothing.
    """
    having = [
        (test_set, m)
        for test_set in test_sets
        for m in test_set.measured
        if m.broken.leak is not None and metric in m.figures
    ]
    leaks = any(m.broken.leak.share for _, m in having if m.broken.leak)
    if not leaks and len({test_set.protocol for test_set, _ in having}) < 2:
        return None
    settings = list(dict.fromkeys(_setting(m, axes) for _, m in having))
    having.sort(key=lambda pair: settings.index(_setting(pair[1], axes)))
    rows = []
    for test_set, measured in having:
        leak, figure = measured.broken.leak, measured.figures[metric]
        assert leak is not None  # chosen so above
        parts = {part.name: Estimate(part.mean, interval=part.interval) for part in leak.bins}
        over_seeds = figure.over_seeds
        cells = (
            *label_cells(measured, axes),
            test_set.title,
            Estimate(over_seeds.mean, over_seeds.deviation, figure.interval),
            leak.share,
            parts.get("later events in training"),
            parts.get("no later event in training"),
        )
        rows.append(Row(measured.name, cells, measured.point.axes))
    return Table(
        "protocols",
        "",
        f"{metric} under each protocol, and what it owes to training on what came later.",
        (
            *(Column(axis, is_label=True) for axis in axes or ("point",)),
            Column("protocol", is_label=True),
            Column(metric),
            Column("leak", ".1%"),
            Column("with leak"),
            Column("without leak"),
        ),
        tuple(rows),
        (
            "Leak: share of the test labels whose user has later events among the training labels; "
            f"with, without: the metric of these labels, and of the others. {_INTERVALS}",
        ),
    )


def _popularity(points: Sequence[Measured]) -> Callable[[Measured], Sequence[Bin]]:
    """Head, mid and tail, without their counts where training sets, and so counts, differ."""
    names = {part.name for m in points for part in m.broken.popularity}
    if len(names) == len({name.partition(" (")[0] for name in names}):
        return lambda m: m.broken.popularity
    return lambda m: [
        dataclasses.replace(part, name=part.name.partition(" (")[0]) for part in m.broken.popularity
    ]


def _context(length: int, measured: Measured) -> Sequence[Bin]:
    return measured.broken.context.get(length, ())


def _bins(
    points: Sequence[Measured],
    parts: Callable[[Measured], Sequence[Bin]],
    named: tuple[str, str, str],
    axes: Sequence[str],
    note: str = "",
) -> Table | None:
    having = [m for m in points if parts(m)]
    names = list(dict.fromkeys(part.name for m in having for part in parts(m)))
    if len(names) < 2:
        return None
    counts = {part.name: part.labels for m in reversed(having) for part in parts(m)}
    first: list[Cell] = ["labels", *[None] * (max(1, len(axes)) - 1)]
    rows = [Row("labels", (*first, *(counts[name] for name in names)))]
    for measured in having:
        by_name = {part.name: part for part in parts(measured)}
        cells = [
            Estimate(
                by_name[name].mean,
                interval=by_name[name].interval,
                further={"labels": by_name[name].labels, "users": by_name[name].users},
            )
            if name in by_name
            else None
            for name in names
        ]
        rows.append(Row(measured.name, (*label_cells(measured, axes), *cells), measured.point.axes))
    labels = (Column(axis, is_label=True) for axis in axes or ("point",))
    columns = (*labels, *map(Column, names))
    return Table(*named, columns, tuple(rows), (f"{note} {_INTERVALS}".strip(),))


def _recommended(test_set: TestSet, axes: Sequence[str]) -> Table | None:
    having = [m for m in test_set.measured if m.broken.recommended is not None]
    if not having:
        return None
    rows = []
    for measured in having:
        told = measured.broken.recommended
        assert told is not None  # chosen so above
        cells: list[Cell] = list(label_cells(measured, axes))
        for figure in (told.popularity, told.coverage, told.gini):
            cells.append(Estimate(figure.mean, figure.deviation))
        rows.append(Row(measured.name, tuple(cells), measured.point.axes))
    told = having[0].broken.recommended
    assert told is not None
    return Table(
        "lists",
        test_set.title,
        "What the lists of ten hold (seen items left out): popularity and coverage.",
        (
            *(Column(axis, is_label=True) for axis in axes or ("point",)),
            Column("popularity", ".1f"),
            Column("coverage", ".1%"),
            Column("Gini", ".3f"),
        ),
        tuple(rows),
        (
            "Popularity: mean training labels of the items in the lists (of the test labels' own "
            f"items: {told.label_popularity:.1f}); coverage: share of the {told.candidates:,} "
            f"candidates in at least one of {told.lists:,} lists; Gini: 0 if all are recommended "
            "alike, near 1 if a few are.",
        ),
    )


def _setting(measured: Measured, axes: Sequence[str]) -> tuple[str, ...]:
    if measured.point.is_baseline:
        return ("baseline", text(measured.point.axes.get("baseline")))
    return tuple(text(measured.point.axes.get(axis)) for axis in axes)
