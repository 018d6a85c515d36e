"""Plots of a report: metrics along an axis, against bytes and latency, and learning curves."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flaxrec.errors import ConfigError
from flaxrec.reporting import drawing
from flaxrec.reporting.measured import Measured, TestSet
from flaxrec.reporting.results import axes_of, is_number, rank, text

_PANELS = 9  # per figure, at most
_FEW_POINTS = 12  # more would hide each other's lines, intervals and notes
_FEW_LINES = 4  # more learning curves are spread over panels
_KNOWS = "(knows the moment)"  # behind names of models that are asked at the label's time

Groups = dict[str, list[Measured]]


def draw(
    test_sets: Sequence[TestSet],
    metrics: Sequence[str],
    folder: Path,
    x: str | None = None,
    latency: Mapping[str, float] | None = None,
) -> list[str]:
    """Draws every plot that the data allow.

    Args:
      test_sets: the points.
      metrics: names; the first is also drawn against bytes and latency.
      folder: of the PNG and SVG files.
      x: numeric axis along x; None: the one with most values.
      latency: median microseconds by the point's name (AXIS=VALUE,...), from one comparison.

    Returns:
      The files' names.

    Raises:
      ConfigError: x is no axis of the points, or not numeric.
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


def _slug(words: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", words.replace("@", "_at_")).strip("_")


# ---- which axis goes where ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a plot shows the axes: along x, as series or as panels."""

    x: str | None  # a numeric axis; None if these points have none
    series: str | None  # one line or colour per value; None if there is no further axis
    panels: tuple[str, ...] = ()  # one panel per combination of values

    def by_panel(self, points: Sequence[Measured]) -> Groups:
        """The points of each panel, by title."""
        return _grouped(
            points,
            lambda m: "\n".join(f"{axis}={text(m.point.axes.get(axis))}" for axis in self.panels),
        )

    def by_series(self, points: Sequence[Measured]) -> Groups:
        """The points of each line in order of x, by value of the series axis."""
        x, series = self.x or "", self.series
        in_order = sorted(points, key=lambda m: rank(m.point.axes.get(x)))
        if series is None:
            return {"": in_order}
        in_order.sort(key=lambda m: rank(m.point.axes.get(series)))
        return _grouped(in_order, lambda m: text(m.point.axes.get(series)))

    def label(self, measured: Measured) -> str:
        """The legend's name of the point's series; numbers get the axis's name."""
        if self.series is None:
            return ""
        value = measured.point.axes.get(self.series)
        label = f"{self.series} {text(value)}" if is_number(value) else text(value)
        return f"{label} {_KNOWS}" if measured.point.asked else label


def choose_layout(points: Sequence[Measured], x: str | None = None) -> Layout:
    """Puts the numeric axis with most values on x, the next axis as series, the rest as panels.

    The points are trained ones of one test set. The axis `x` replaces the numeric one, unless these
    points have one value of it.
    """
    axes = axes_of(m.point for m in points)
    values = {axis: [m.point.axes.get(axis) for m in points] for axis in axes}
    counts = {axis: len(set(map(text, own))) for axis, own in values.items()}
    varying = sorted((axis for axis in axes if counts[axis] > 1), key=lambda axis: -counts[axis])
    numeric = [axis for axis in varying if all(map(is_number, values[axis]))]
    if x in varying and x not in numeric:
        raise ConfigError(
            f"--x={x} is not an axis of numbers; use one of {', '.join(numeric) or 'none'}, or "
            "leave --x out."
        )
    chosen = x if x in varying else next(iter(numeric), None)
    rest = [axis for axis in varying if axis != chosen]
    return Layout(chosen, rest[0] if rest else None, tuple(rest[1:]))


def _grouped(points: Sequence[Measured], key: Callable[[Measured], str]) -> Groups:
    groups: Groups = {}
    for measured in points:
        groups.setdefault(key(measured), []).append(measured)
    return groups


def _pages(panels: Groups) -> Iterator[tuple[str, Groups]]:
    """Splits panels into figures that fit on a page; numbers them from the second on."""
    titles = list(panels)
    for number, begin in enumerate(range(0, len(titles), _PANELS), 1):
        page = {title: panels[title] for title in titles[begin : begin + _PANELS]}
        yield f"_{number}" if number > 1 else "", page


# ---- figures --------------------------------------------------------------------------------


def _figures(
    test_set: TestSet, metrics: Sequence[str], x: str | None, latency: Mapping[str, float]
) -> Iterator[tuple[str, Figure]]:
    trained = test_set.trained
    layout = choose_layout(trained, x)
    for metric in metrics:
        having = [m for m in trained if metric in m.estimates]
        if layout.x is None and having:
            yield f"{metric}_by_point", _by_point(test_set, metric)
        elif layout.x is not None:
            for number, page in _pages(layout.by_panel(having)):
                yield f"{metric}_by_{layout.x}{number}", _by_axis(test_set, metric, layout, page)
    sizes = {m.name: (m.point.export_bytes or 0) / 1e6 for m in trained}
    times = {m.name: latency.get(m.point.name, 0.0) for m in trained}
    for name, what, values in (
        ("bytes", "model.tflite, MB", sizes),
        ("latency", "median latency, µs", times),
    ):
        points = [m for m in trained if metrics[0] in m.estimates and values[m.name]]
        if points:
            costs = {m.name: values[m.name] for m in points}
            figure = _against(test_set, points, metrics[0], layout, costs, what)
            yield f"{metrics[0]}_by_{name}", figure
    yield from _learning(trained, layout)


def _by_axis(test_set: TestSet, metric: str, layout: Layout, by_panel: Groups) -> Figure:
    """The metric along a numeric axis: one line per series, baselines dashed."""
    figure, all_axes = drawing.panels(list(by_panel))
    numbers = {m.name: float(m.point.axes[layout.x or ""]) for m in test_set.trained}
    wide = drawing.is_wide(numbers.values())
    series = list(layout.by_series(test_set.trained))
    for axes, points in zip(all_axes, by_panel.values(), strict=True):
        for value, line in layout.by_series(points).items():
            number = series.index(value)
            xs = [numbers[m.name] for m in line]
            moved = drawing.dodged(xs, number, len(series), wide) if len(xs) > 1 else xs
            label = layout.label(line[0]) or None
            _line(axes, moved, line, metric, label=label, **drawing.look(number))
        drawing.number_axis(axes, numbers.values())
        drawing.horizontals(axes, _baselines(test_set, metric))
        axes.set_xlabel(layout.x or "")
    all_axes[0].set_ylabel(metric)
    drawing.legend(figure)
    return figure


def _by_point(test_set: TestSet, metric: str) -> Figure:
    """One dot and interval per point, best at the top; baselines are hollow."""
    having = [m for m in test_set.measured if metric in m.estimates]
    having.sort(key=lambda m: m.estimates[metric].mean)
    figure, (axes,) = drawing.panels([""], 0.6 + 0.19 * len(having))
    for place, measured in enumerate(having):
        mean = measured.estimates[metric].mean
        kind = "0.35" if measured.point.is_baseline else drawing.color(0)
        filled = "white" if measured.point.is_baseline else kind
        errors = _errors([measured], metric)
        axes.errorbar(mean, place, xerr=errors, fmt="o", color=kind, mfc=filled, elinewidth=0.9)
    names = [f"{m.name} {_KNOWS}" if m.point.asked else m.name for m in having]
    axes.set_yticks(range(len(having)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_ylim(-0.6, len(having) - 0.4)
    if max(map(len, names)) > 22:
        figure.set_figwidth(drawing.WIDE)
    else:
        drawing.few_ticks(axes)
    axes.set_xlabel(metric)
    return figure


def _against(
    test_set: TestSet,
    points: Sequence[Measured],
    metric: str,
    layout: Layout,
    costs: Mapping[str, float],
    what: str,
) -> Figure:
    """The metric against a cost; few points are joined along x and have intervals."""
    few = len(points) <= _FEW_POINTS
    noted = layout.x if few else None
    figure, (axes,) = drawing.panels([""], 2.4)
    for number, line in enumerate(layout.by_series(points).values()):
        for panel, part in enumerate(layout.by_panel(line).values()):
            xs = [costs[m.name] for m in part]
            look = drawing.look(number)
            look["label"] = layout.label(part[0]) or None if panel == 0 else None
            look["linestyle"] = "-" if noted and len(set(xs)) == len(xs) else "none"
            if not few:
                look["yerr"] = None
            _line(axes, xs, part, metric, **look)
            if noted:
                ends = [(costs[m.name], m.estimates[metric].mean) for m in (part[0], part[-1])]
                words = [text(m.point.axes[noted]) for m in (part[0], part[-1])]
                drawing.note_ends(axes, words, ends, costs.values())
    drawing.number_axis(axes, costs.values(), at_values=False)
    drawing.horizontals(axes, _baselines(test_set, metric))
    axes.set_xlabel(f"{what}\nbeside the lines' ends: {noted}" if noted else what)
    axes.set_ylabel(metric)
    drawing.legend(figure)
    return figure


def _learning(trained: Sequence[Measured], layout: Layout) -> Iterator[tuple[str, Figure]]:
    having = [m for m in trained if any(len(run.learning_curve()) > 1 for run in m.point.runs)]
    by_metric = _grouped(having, lambda m: m.point.runs[0].select_metric)
    for metric, points in by_metric.items():
        name = "learning_curves" if len(by_metric) == 1 else f"learning_curves_{metric}"
        # Many lines are spread over panels, with one line per value of the first axis.
        axes = [axis for axis in (layout.x, layout.series, *layout.panels) if axis]
        spread = Layout(None, None)
        if axes and len(points) > _FEW_LINES:
            spread = Layout(None, axes[0], tuple(axes[1:]))
        for number, page in _pages(spread.by_panel(points)):
            yield name + number, _learning_curves(metric, spread, page)


def _learning_curves(metric: str, layout: Layout, by_panel: Groups) -> Figure:
    """The validation metric by epoch: mean over seeds, band from minimum to maximum.

    After the first seed has stopped, a dotted line shows the mean of the others.
    One line per value of the series axis; without that axis, one per point.
    """
    figure, all_axes = drawing.panels(list(by_panel))
    series = list(layout.by_series([m for points in by_panel.values() for m in points]))
    for axes, points in zip(all_axes, by_panel.values(), strict=True):
        for number, measured in enumerate(points):
            if layout.series:
                number = series.index(text(measured.point.axes.get(layout.series)))
            _curve(axes, measured, number, layout.label(measured) or measured.name)
        axes.set_xlabel("epoch")
        drawing.few_ticks(axes, integer=True)
    all_axes[0].set_ylabel(f"validation\n{metric}")
    drawing.legend(figure)
    return figure


def _curve(axes: Axes, measured: Measured, number: int, label: str) -> None:
    curves = [run.learning_curve() for run in measured.point.runs]
    epochs = sorted(set().union(*curves))
    common = [epoch for epoch in epochs if all(epoch in curve for curve in curves)]
    values = np.array([[curve[epoch] for epoch in common] for curve in curves])
    look = drawing.look(number)
    every = max(1, len(epochs) // 8)
    axes.plot(common, values.mean(axis=0), label=label, markevery=every, **look)
    if len(curves) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(common, low, high, color=look["color"], alpha=0.18, linewidth=0)
    rest = [epoch for epoch in epochs if epoch >= common[-1]] if common else epochs
    means = [np.mean([curve[epoch] for curve in curves if epoch in curve]) for epoch in rest]
    axes.plot(rest, means, color=look["color"], linestyle=":", linewidth=0.8)


def _line(
    axes: Axes, xs: Sequence[float], points: Sequence[Measured], metric: str, **look: Any
) -> None:
    """Draws the points' means, joined and with intervals; `look` overrides the style."""
    means = [m.estimates[metric].mean for m in points]
    default = {"yerr": _errors(points, metric), "elinewidth": 0.8, "linestyle": "-"}
    axes.errorbar(xs, means, **{**default, **look})


def _errors(points: Sequence[Measured], metric: str) -> Any:
    """Lengths of the error bars' arms, [2, n]; 0 where there is no interval."""
    estimates = [m.estimates[metric] for m in points]
    ends = np.array([own.interval or (own.mean, own.mean) for own in estimates]).T
    arms = (ends - [own.mean for own in estimates]) * [[-1], [1]]
    return np.maximum(arms, 0)  # the mean of a skewed bootstrap may lie just outside its interval


def _baselines(test_set: TestSet, metric: str) -> dict[str, float]:
    return {
        m.name: m.estimates[metric].mean
        for m in test_set.measured
        if m.point.is_baseline and metric in m.estimates
    }
