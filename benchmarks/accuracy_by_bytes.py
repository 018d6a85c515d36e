"""Draws accuracy against bytes: our exported files beside published models and counting.

    python benchmarks/accuracy_by_bytes.py [PLACE ...] [--output=docs/images/accuracy_by_bytes.png]

PLACE is a folder of starters, the folder of a sweep run with --exported_accuracy, or such a sweep's
report in Markdown; by default models/ and docs/ablations/half_a_megabyte.md. The picture shows
filtered recall@10 of the exported files on the leave-one-out test labels of MovieLens-1M: means
over seeds and Student's 95% interval of the mean. Marks of starters are filled and named, points of
sweeps are hollow. Models that know the moment of asking, which were asked at the label's time, have
black edges and the mark ‡, as such published models have; the others are not to be held against
them.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import scipy.stats
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flaxrec.config.presets import half_a_megabyte
from flaxrec.data.moments import OF_NOW
from flaxrec.errors import DataError
from flaxrec.reporting import drawing, results
from flaxrec.reporting.table_forms import ASKED
from flaxrec.research.statistics import OverSeeds, over_seeds
from flaxrec.starters import folder as folder_lib

METRIC = "filtered/recall@10"
DOCS = Path(__file__).resolve().parents[1] / "docs"
OUTPUT = DOCS / "images" / "accuracy_by_bytes.png"
REPORT = DOCS / "ablations" / "half_a_megabyte.md"
LIMITS = (0.15, 0.52)  # MB
ENCODERS = ("attention", "lstm", "causal_cnn", "cnn", "bow")  # each has its colour
# Leave-one-out, seen items left out, contexts of 200; sizes are not published.
PUBLISHED = {
    "HSTU-large, stable sort (RecTools)": 0.3642,
    "HSTU-large": 0.3294,  # generative-recommenders README
    "SASRec, cross-entropy": 0.3152,  # Turning Dross Into Gold Loss, RecSys'23
    "eSASRec": 0.3133,  # RecSys'25
    "HSTU": 0.3097,  # generative-recommenders README
    "gSASRec": 0.3003,  # its README
    "BERT4Rec": 0.2843,  # Turning Dross Into Gold Loss
    "GRU4Rec, cross-entropy": 0.2811,  # the same
    "SASRec, BCE": 0.2500,  # the same
}
# They read the time of the event that is to be predicted: features.py of generative-recommenders,
# `context` of RecTools' tutorial.
KNOW_THE_MOMENT = {"HSTU-large, stable sort (RecTools)", "HSTU-large", "HSTU"}
COUNTING = {"transitions, last 10 items": 0.2752, "transitions, last item": 0.2144}
# The TensorFlow example's files: MB; recall among all rows, and among rated films only
# (`benchmarks/published_accuracy.py`).
FILES = {"published BOW": (0.512288, 0.0079, 0.0166), "published RNN": (0.521496, 0.0124, 0.0791)}
_SMALL: Any = {"fontsize": 6.5, "color": "0.3"}
_WHITE: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # behind words on lines


@dataclasses.dataclass(frozen=True)
class Mark:
    """One of our models.

    Attributes:
      encoder: of its activities.
      bytes: of model.tflite.
      mean: over seeds.
      interval: of the mean; None with one seed.
      name: of a starter; '' for a sweep's point.
      asked: whether it knows the moment of asking.
    """

    encoder: str
    bytes: int
    mean: float
    interval: tuple[float, float] | None
    name: str = ""
    asked: bool = False


# ---- reading --------------------------------------------------------------------------------


def read(places: Sequence[Path]) -> list[Mark]:
    """Reads the marks of all places.

    Raises:
      DataError: a place holds neither starters nor a sweep, or there is no exported accuracy.
    """
    marks = [mark for place in places for mark in _of_place(place)]
    if not marks:
        raise DataError(
            f"{', '.join(map(str, places))}: nothing was measured of exported files; run the "
            "sweep with --export=all --exported_accuracy."
        )
    return marks


def _of_place(place: Path) -> Iterator[Mark]:
    names = folder_lib.names(place)
    for name in names:
        figures, config = (
            json.loads((place / name / file).read_text(encoding="utf-8"))
            for file in (folder_lib.FACTS, folder_lib.CONFIG)
        )
        if figures["measured_on"] == "exported":
            values, asked = figures["metrics"][METRIC]["seeds"], _knows_the_moment(config)
            yield _mark(config, figures["bytes"], values, name, asked=asked)
    if place.suffix == ".md":
        yield from _of_report(place)
    elif not names:
        for point in results.read([place]).points:
            values, row = point.exported_values(METRIC), point.runs[0].row
            if values:
                size, asked = row["exported"]["bytes"], bool(point.asked)
                yield _mark(row["config"], size, values, asked=asked)


def _of_report(file: Path) -> Iterator[Mark]:
    """Yields a report's leave-one-out points; its encoder is that of presets.half_a_megabyte."""
    encoder = half_a_megabyte().model.activity_groups[0].encoder
    _, _, section = file.read_text(encoding="utf-8").partition("## leave_one_out\n")
    for table in section.partition("\n## ")[0].split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        head, *rows = (
            [cell.strip().replace("*", "") for cell in line.strip("|").split("|")]
            for line in lines or ["|"]
        )
        for row in rows if f"exported {METRIC}" in head else ():
            cells = dict(zip(head, row, strict=True))
            mean, _, deviation = cells[f"exported {METRIC}"].partition(" ± ")
            if deviation:
                seeds, size = int(cells["seeds"]), int(cells["bytes"].replace(",", ""))
                arms = _interval(OverSeeds(float(mean), float(deviation), seeds))
                asked = any(cell.endswith(ASKED) for cell in row)
                yield Mark(encoder, size, float(mean), arms, asked=asked)


def _mark(
    config: Mapping[str, Any],
    size: int,
    values: Sequence[float],
    name: str = "",
    *,
    asked: bool,
) -> Mark:
    encoder = config["model"]["activity_groups"][0]["encoder"]
    return Mark(encoder, size, sum(values) / len(values), interval(values), name, asked)


def _knows_the_moment(config: Mapping[str, Any]) -> bool:
    groups = [*config["model"]["activity_groups"], *config["model"]["global_groups"]]
    return any(f["source"] in OF_NOW for group in groups for f in group["features"])


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95% interval of the mean: mean -+ t * s / sqrt(n); None with one value."""
    return _interval(over_seeds(values))


def _interval(found: OverSeeds) -> tuple[float, float] | None:
    if found.deviation is None:
        return None
    error = found.deviation / found.seeds**0.5
    low, high = scipy.stats.t.interval(0.95, found.seeds - 1, found.mean, error)
    return float(low), float(high)


# ---- drawing --------------------------------------------------------------------------------


def draw(marks: Sequence[Mark]) -> Figure:
    """Draws the picture: our models above the break, the published files below it."""
    figure = Figure((drawing.WIDE, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    bottom = min([0.2, *(mark.mean - 0.01 for mark in marks if mark.mean > 0.1)])
    above.set_ylim(bottom, max([0.375, *(mark.mean + 0.01 for mark in marks)]))
    below.set_ylim(0, 0.1)
    for axes in (above, below):
        axes.set_xscale("log")
        for limit in LIMITS:
            axes.axvline(limit, color="0.8", linewidth=0.8, zorder=0)
        for mark in marks:
            _mark_on(axes, mark)
    _note_starters(above, marks)
    _note_lines(above, PUBLISHED | COUNTING)
    for name, (megabytes, own, among_rated) in FILES.items():
        below.plot(megabytes, own, "x", color="0.2")
        below.plot([megabytes] * 2, [own, among_rated], ":", color="0.5", linewidth=0.8, zorder=1)
        below.plot(megabytes, among_rated, "+", color="0.2")
        side = "right" if megabytes < 0.52 else "left"  # both have about the same size
        x = megabytes * (0.97 if side == "right" else 1.03)
        below.annotate(name, (megabytes, own), (x, own), ha=side, va="center", **_SMALL)
    _break(above, below)
    sizes = [mark.bytes / 1e6 for mark in marks]
    below.set_xlim(min(0.1, 0.9 * min(sizes)), max(0.8, 1.1 * max(sizes)))
    ticks = [t for t in (0.1, *LIMITS, 0.2, 0.3, 1, 2, 5) if _is_inside(below.get_xlim(), t)]
    below.xaxis.set_major_locator(FixedLocator(ticks))
    below.xaxis.set_minor_locator(NullLocator())
    below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.set_xlabel(f"model.tflite, MB\n{ASKED} and black edges: asked at the label's time")
    above.set_ylabel(METRIC)
    drawing.legend(figure)
    return figure


def _mark_on(axes: Axes, mark: Mark) -> None:
    number = ENCODERS.index(mark.encoder)
    look = drawing.look(number)
    labels = axes.get_legend_handles_labels()[1]
    arms = None
    if mark.interval:
        arms = [[end] for end in (mark.mean - mark.interval[0], mark.interval[1] - mark.mean)]
    axes.errorbar(
        [mark.bytes / 1e6],
        [mark.mean],
        yerr=arms,
        label=None if mark.encoder in labels else mark.encoder,
        linestyle="none",
        elinewidth=0.8,
        markersize=5 if mark.name else 3.5,
        mfc=look["color"] if mark.name else "white",
        zorder=3 if mark.name else 2,
        **look,
        **({"mec": "black"} if mark.asked else {}),
    )


def _note_starters(axes: Axes, marks: Sequence[Mark]) -> None:
    """Writes the starters' names to their right, without overlap."""
    named = [mark for mark in marks if mark.name and _is_inside(axes.get_ylim(), mark.mean)]
    named.sort(key=lambda mark: mark.mean)
    for mark, place in zip(named, _apart(axes, [mark.mean for mark in named]), strict=True):
        text = mark.name.removeprefix("movielens_") + (f" {ASKED}" if mark.asked else "")
        x = mark.bytes / 1e6
        axes.annotate(text, (x, mark.mean), (1.04 * x, place), va="center", bbox=_WHITE, **_SMALL)


def _note_lines(axes: Axes, values: Mapping[str, float]) -> None:
    """Draws a line for each value, dashed or, for counting, dotted; names it at the right."""
    names = sorted(values, key=lambda name: values[name])
    for name, place in zip(names, _apart(axes, [values[name] for name in names]), strict=True):
        style = ":" if name in COUNTING else (0, (4, 2))
        mark = f" {ASKED}" if name in KNOW_THE_MOMENT else ""
        axes.axhline(values[name], color="0.55", linewidth=0.8, linestyle=style, zorder=1)
        axes.annotate(
            f"{name}{mark} {values[name]:.4f}".replace(" 0.", " ."),
            (1, values[name]),
            (1.03, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
            **_SMALL,
        )


def _apart(axes: Axes, values: Sequence[float]) -> list[float]:
    """Moves ascending values up so that lines of small text do not overlap."""
    low, high = axes.get_ylim()
    places: list[float] = []
    for value in values:
        places.append(max([value, *(place + 0.034 * (high - low) for place in places[-1:])]))
    return places


def _break(above: Axes, below: Axes) -> None:
    """Marks the break of the axis between the two."""
    above.spines["bottom"].set_visible(False)
    above.tick_params(axis="x", bottom=False)
    below.yaxis.set_major_locator(FixedLocator([0, 0.05, 0.1]))
    cut: dict[str, Any] = {"marker": [(-1, -0.5), (1, 0.5)], "markersize": 7, "color": "0.2"}
    for axes, y in ((above, 0), (below, 1)):
        axes.plot([0], [y], transform=axes.transAxes, clip_on=False, linestyle="none", **cut)


def _is_inside(limits: tuple[float, float], value: float) -> bool:
    return limits[0] <= value <= limits[1]


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    places = [folder_lib.MODELS, REPORT]
    parser.add_argument("place", nargs="*", default=places, help="starters, a sweep or its report")
    parser.add_argument("--output", default=OUTPUT, help="the .png")
    arguments = parser.parse_args()
    with drawing.style():
        figure = draw(read([Path(place) for place in arguments.place]))
        figure.savefig(arguments.output, dpi=200, metadata={"Software": None})
    print(arguments.output)


if __name__ == "__main__":
    main()
