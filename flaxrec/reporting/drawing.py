"""The style of plots for a paper: sizes, colours and markers, legends, files.

Colours are those of Okabe and Ito, which colour-blind readers can distinguish; each series also has
its own marker. The same data give the same bytes.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

NARROW, WIDE = 3.3, 6.9  # inches: one and two columns of a paper
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))
_SIZES = ("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize")
_STYLE: Any = dict.fromkeys((*_SIZES, "xtick.labelsize", "ytick.labelsize"), 8) | {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "svg.hashsalt": "flaxrec",
    "text.parse_math": False,  # '$' in names is plain text
}
_MANY_TICKS = 7  # more values than this get ticks at round numbers instead


def color(number: int) -> str:
    """Colour of a series."""
    return _COLORS[number % len(_COLORS)]


def look(number: int) -> dict[str, Any]:
    """Colour and marker of a series."""
    return {"color": color(number), "marker": _MARKERS[number % len(_MARKERS)]}


def style() -> AbstractContextManager[None]:
    """A context in which figures are drawn and saved in this style."""
    return matplotlib.rc_context(_STYLE)


def panels(titles: Sequence[str], height: float = 2.0) -> tuple[Figure, list[Axes]]:
    """A figure with one panel per title: one is a column wide, several take both columns."""
    count = len(titles)
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    height += 0.14 * max(title.count("\n") for title in titles)
    figure = Figure((NARROW if count == 1 else WIDE, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.remove()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title)
    return figure, list(grid[:count])


def horizontals(axes: Axes, values: Mapping[str, float]) -> None:
    """One dashed line per baseline."""
    for number, (name, value) in enumerate(values.items()):
        dashes = _DASHES[number % len(_DASHES)]
        axes.axhline(value, color="0.35", linewidth=0.9, linestyle=dashes, label=name, zorder=1)


def legend(figure: Figure) -> None:
    """Adds one legend below all panels, in rows; the figure grows by its height."""
    by_label: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            by_label.setdefault(label, handle)
    if not by_label:
        return
    # Matplotlib lists lines before error bars; put baselines, which are lines, last.
    labels = sorted(by_label, key=lambda label: isinstance(by_label[label], Line2D))
    widest = range(len(labels), 1, -1)
    columns = next((n for n in widest if _width(labels, n) < figure.get_figwidth()), 1)
    # Matplotlib fills legends by columns; reorder to read by rows.
    labels = [label for c in range(columns) for label in labels[c::columns]]
    figure.set_figheight(figure.get_figheight() + 0.08 + 0.16 * math.ceil(len(labels) / columns))
    place: Any = {"loc": "outside lower center", "ncols": columns}
    handles = [by_label[label] for label in labels]
    figure.legend(handles, labels, handlelength=2.2, columnspacing=1.2, **place)


def _width(labels: Sequence[str], columns: int) -> float:
    """Approximate width in inches with this number of columns."""
    return sum(0.48 + 0.063 * max(map(len, labels[c::columns])) for c in range(columns))


def number_axis(axes: Axes, values: Collection[float], at_values: bool = True) -> None:
    """Puts ticks at few values; the axis is logarithmic if they span more than a factor of 4."""
    different = sorted(set(values))
    if is_wide(different):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        few_ticks(axes)
    if at_values and len(different) <= _MANY_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(_apart(different)))
    if is_wide(different) or at_values:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def is_wide(values: Collection[float]) -> bool:
    """Whether numbers span more than a factor of 4."""
    return min(values) > 0 and max(values) > 4 * min(values)


def _apart(values: Sequence[float]) -> list[float]:
    """The values without those whose label would overlap the previous one."""
    places = np.log(values) if is_wide(values) else np.asarray(values, float)
    kept = [0]
    for i in range(1, len(values)):
        if places[i] - places[kept[-1]] > 0.09 * (places[-1] - places[0]):
            kept.append(i)
    return [values[i] for i in kept]


def dodged(values: Sequence[float], number: int, count: int, wide: bool) -> list[float]:
    """The values, shifted so that intervals of several series do not overlap."""
    step = (number - (count - 1) / 2) * min(0.012, 0.05 / count)
    span = max(values) / min(values) if wide else max(values) - min(values)
    return [v * span**step if wide else v + span * step for v in values]


def few_ticks(axes: Axes, integer: bool = False) -> None:
    """Limits the ticks of x so that their labels do not overlap."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=integer, steps=[1, 2, 2.5, 5, 10]))


def note_ends(
    axes: Axes,
    words: Sequence[str],
    ends: Sequence[tuple[float, float]],
    all_xs: Collection[float],
) -> None:
    """Writes small texts at the two ends (x, y) of a line, behind the data.

    Ends that are close, compared with the range of `all_xs`, get one common text.
    """
    together = abs(ends[1][0] - ends[0][0]) <= 0.06 * (max(all_xs) - min(all_xs))
    notes = ["–".join(dict.fromkeys(words))] if together else words
    small: Any = {"ha": "left", "va": "top", "fontsize": 6.5, "color": "0.3", "zorder": 1.5}
    for note, end in zip(notes, ends, strict=False):
        axes.annotate(note, end, xytext=(3, -1), textcoords="offset points", **small)


def save(figure: Figure, folder: Path, stem: str) -> list[str]:
    """STEM.png and STEM.svg; returns their names."""
    figure.savefig(folder / f"{stem}.png", dpi=200, metadata={"Software": None})
    figure.savefig(folder / f"{stem}.svg", metadata={"Date": None, "Creator": None})
    return [f"{stem}.png", f"{stem}.svg"]
