"""Plots of a report: metrics along an axis, against bytes and latency, and learning curves."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flaxrec.errors import ConfigError
from flaxrec.reporting import drawing, layout
from flaxrec.reporting.layout import Layout
from flaxrec.reporting.measured import Measured, TestSet
from flaxrec.reporting.results import axes_of, text

_PANELS = 9  # of a figure
_FEW_POINTS = 12  # with more, lines, intervals and notes would hide each other
_FEW_LINES = 4  # more learning curves than this are spread over panels


def draw(
    test_sets: Sequence[TestSet],
    metrics: Sequence[str],
    folder: Path,
    x: str | None = None,
    latency: Mapping[str, float] | None = None,
) -> list[str]:
    """Draws everything there are data for.

    Args:
      test_sets: the points.
      metrics: names; the first is the one shown against bytes and latency.
      folder: where PNG and SVG files go.
      x: axis of numbers to draw along, instead of the one with most values.
      latency: median microseconds by the point's name (AXIS=VALUE,...), of one measurement.

    Returns:
      The files' names.

    Raises:
      ConfigError: x is no axis of the points, or not one of numbers.
    """
    axes = axes_of(m.point for test_set in test_sets for m in test_set.measured)
    if x is not None and x not in axes:
        raise ConfigError(f"--x={x} is no axis of these points; use one of {', '.join(axes)}.")
    written = []
    with drawing.style():
        for test_set in test_sets:
            prefix = f"{_slug(test_set.title)}-" if len(test_sets) > 1 else ""
            for name, figure in _figures(test_set, metrics, x, latency or {}):
                written += drawing.save(figure, folder, prefix + _slug(name))
    return written


def _figures(
    test_set: TestSet, metrics: Sequence[str], x: str | None, latency: Mapping[str, float]
) -> Iterator[tuple[str, Figure]]:
    trained = test_set.trained
    plan = layout.choose(trained, x)
    for metric in metrics:
        having = [m for m in trained if metric in m.figures]
        if plan.x is None and having:
            yield f"{metric}_by_point", by_point(test_set, metric)
        elif plan.x is not None:
            for number, page in _pages(plan.by_panel(having)):
                yield f"{metric}_by_{plan.x}{number}", by_axis(test_set, metric, plan, page)
    main = [m for m in trained if metrics[0] in m.figures]
    costs = {
        "bytes": ("model.tflite, MB", {m.name: (m.point.export_bytes or 0) / 1e6 for m in main}),
        "latency": ("median latency, µs", {m.name: latency.get(m.point.name, 0.0) for m in main}),
    }
    for name, (what, values) in costs.items():
        known = {point: value for point, value in values.items() if value}
        if known:
            figure = against(test_set, metrics[0], plan, known, what)
            yield f"{metrics[0]}_by_{name}", figure
    yield from _learning(trained, plan)


def _pages(panels: Mapping[str, list[Measured]]) -> Iterator[tuple[str, dict[str, list[Measured]]]]:
    """Panels in figures that fit on a page, with a number from the second on."""
    titles = list(panels)
    for number, begin in enumerate(range(0, len(titles), _PANELS), 1):
        page = {title: panels[title] for title in titles[begin : begin + _PANELS]}
        yield f"_{number}" if number > 1 else "", page


def by_axis(
    test_set: TestSet, metric: str, plan: Layout, by_panel: Mapping[str, list[Measured]]
) -> Figure:
    """The metric along a numeric axis, a line a series, baselines dashed."""
    assert plan.x is not None
    axis = plan.x
    figure, all_axes = drawing.panels(list(by_panel))
    numbers = {m.name: float(m.point.axes[axis]) for m in test_set.trained}
    wide = drawing.is_wide(list(numbers.values()))
    series = list(plan.by_series(test_set.trained))
    for axes, points in zip(all_axes, by_panel.values(), strict=True):
        for value, line in plan.by_series(points).items():
            number = series.index(value)
            xs = [numbers[m.name] for m in line]
            moved = drawing.dodged(xs, number, len(series), wide) if len(xs) > 1 else xs
            _errorbar(axes, moved, line, metric, number, plan.label(line[0]))
        drawing.number_axis(axes, list(numbers.values()))
        drawing.horizontals(axes, _baselines(test_set, metric))
        axes.set_xlabel(axis)
    all_axes[0].set_ylabel(metric)
    drawing.legend(figure)
    return figure


def by_point(test_set: TestSet, metric: str) -> Figure:
    """A dot and interval a point, best at the top; baselines are hollow."""
    having = [m for m in test_set.measured if metric in m.figures]
    having.sort(key=lambda m: m.figures[metric].over_seeds.mean)
    longest = max(len(m.name) for m in having)
    width = drawing.NARROW if longest <= 22 else drawing.WIDE
    figure, (axes,) = drawing.panels([""], 0.6 + 0.19 * len(having))
    figure.set_figwidth(width)
    for place, measured in enumerate(having):
        mean = measured.figures[metric].over_seeds.mean
        kind = "0.35" if measured.point.is_baseline else drawing.color(0)
        filled = "white" if measured.point.is_baseline else kind
        errors = _errors([measured], metric)
        axes.errorbar(mean, place, xerr=errors, fmt="o", color=kind, mfc=filled, elinewidth=0.9)
    axes.set_yticks(range(len(having)), [m.name for m in having])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_ylim(-0.6, len(having) - 0.4)
    if width == drawing.NARROW:
        drawing.few_ticks(axes)
    axes.set_xlabel(metric)
    return figure


def against(
    test_set: TestSet, metric: str, plan: Layout, costs: Mapping[str, float], what: str
) -> Figure:
    """The metric against what a point costs; few points are joined along x and have intervals."""
    points = [m for m in test_set.trained if m.name in costs and metric in m.figures]
    few = len(points) <= _FEW_POINTS
    noted = plan.x if few else None
    figure, (axes,) = drawing.panels([""], 2.4)
    for number, line in enumerate(plan.by_series(points).values()):
        for panel, part in enumerate(plan.by_panel(line).values()):
            xs = [costs[m.name] for m in part]
            ys = [m.figures[metric].over_seeds.mean for m in part]
            label = plan.label(part[0]) if panel == 0 else ""
            joined = noted is not None and len(set(xs)) == len(xs)
            _errorbar(axes, xs, part, metric, number, label, joined, with_interval=few)
            if noted:
                ends = [text(part[end].point.axes[noted]) for end in (0, -1)]
                drawing.note_ends(axes, ends, (xs[0], xs[-1]), (ys[0], ys[-1]), costs.values())
    drawing.number_axis(axes, list(costs.values()), at_values=False)
    drawing.horizontals(axes, _baselines(test_set, metric))
    axes.set_xlabel(f"{what}\nbeside the lines' ends: {noted}" if noted else what)
    axes.set_ylabel(metric)
    drawing.legend(figure)
    return figure


def learning_curves(metric: str, plan: Layout, by_panel: Mapping[str, list[Measured]]) -> Figure:
    """The validation metric by epoch: mean over seeds, band from the least to the greatest.

    From the epoch on at which the first seed has stopped, the mean of the others is dotted.
    Lines are the values of the series axis; without one, every point is a line.
    """
    figure, all_axes = drawing.panels(list(by_panel))
    series = list(plan.by_series([m for points in by_panel.values() for m in points]))
    for axes, points in zip(all_axes, by_panel.values(), strict=True):
        for number, measured in enumerate(points):
            place = number
            if plan.series:
                place = series.index(text(measured.point.axes.get(plan.series)))
            _curve(axes, measured, place, plan.label(measured) or measured.name)
        axes.set_xlabel("epoch")
        drawing.few_ticks(axes, integer=True)
    all_axes[0].set_ylabel(f"validation\n{metric}")
    drawing.legend(figure)
    return figure


def _learning(trained: Sequence[Measured], plan: Layout) -> Iterator[tuple[str, Figure]]:
    by_metric: dict[str, list[Measured]] = {}
    for measured in trained:
        if any(len(run.learning_curve()) > 1 for run in measured.point.runs):
            by_metric.setdefault(measured.point.runs[0].select_metric, []).append(measured)
    for metric, points in by_metric.items():
        name = "learning_curves" if len(by_metric) == 1 else f"learning_curves_{metric}"
        # Many lines are spread over panels, a line a value of the first axis.
        first, *others = plan.axes or (None,)
        within = first if len(points) > _FEW_LINES else None
        spread = Layout(None, within, tuple(others) if within else ())
        for number, page in _pages(spread.by_panel(points)):
            yield name + number, learning_curves(metric, spread, page)


def _curve(axes: Axes, measured: Measured, number: int, label: str) -> None:
    curves = [run.learning_curve() for run in measured.point.runs]
    epochs = sorted(set().union(*curves))
    common = [epoch for epoch in epochs if all(epoch in curve for curve in curves)]
    values = np.array([[curve[epoch] for epoch in common] for curve in curves])
    color = drawing.color(number)
    every = max(1, len(epochs) // 8)
    axes.plot(common, values.mean(axis=0), label=label, markevery=every, **drawing.look(number))
    if len(curves) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(common, low, high, color=color, alpha=0.18, linewidth=0)
    rest = [epoch for epoch in epochs if epoch >= common[-1]] if common else epochs
    means = [np.mean([curve[epoch] for curve in curves if epoch in curve]) for epoch in rest]
    axes.plot(rest, means, color=color, linestyle=":", linewidth=0.8)


def _errorbar(
    axes: Axes,
    xs: Sequence[float],
    points: Sequence[Measured],
    metric: str,
    number: int,
    label: str,
    joined: bool = True,
    with_interval: bool = True,
) -> None:
    axes.errorbar(
        xs,
        [m.figures[metric].over_seeds.mean for m in points],
        yerr=_errors(points, metric) if with_interval else None,
        label=label or None,
        linestyle="-" if joined else "none",
        elinewidth=0.8,
        **drawing.look(number),
    )


def _errors(points: Sequence[Measured], metric: str) -> Any:
    """Lengths of the intervals' arms, [2, n]; of length 0 where there is no interval."""
    arms = []
    for measured in points:
        figure = measured.figures[metric]
        mean = figure.over_seeds.mean
        low, high = figure.interval or (mean, mean)
        # A skewed bootstrap may leave its own mean by a rounding error.
        arms.append((max(0.0, mean - low), max(0.0, high - mean)))
    return np.array(arms).T


def _baselines(test_set: TestSet, metric: str) -> dict[str, float]:
    return {
        m.name: m.figures[metric].over_seeds.mean
        for m in test_set.measured
        if m.point.is_baseline and metric in m.figures
    }


def _slug(words: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", words.replace("@", "_at_")).strip("_")
