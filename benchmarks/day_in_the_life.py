"""Draws how a list changes with the moment of asking: one history, asked from now to a month on.

    python benchmarks/day_in_the_life.py EXPORT_DIR [--output=docs/images/day_in_the_life.png]

EXPORT_DIR is an export of a model that knows the moment, with titles. The history is made up: films
that many people know, rated three seconds apart. Each column is the list of one moment; a film has
one colour in all of them. The command prints how many of the ten films two lists share.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flaxrec.data.vocabulary import text
from flaxrec.errors import ExportError
from flaxrec.recommender import Recommendation, Recommender
from flaxrec.reporting import drawing

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "day_in_the_life.png"
# MovieLens ids, oldest first: Star Wars IV to VI, Raiders of the Lost Ark, The Terminator, Alien.
HISTORY = (260, 1196, 1210, 1198, 1240, 1214)
BEGIN, PAUSE = 978_300_000, 3  # seconds
MOMENTS = {
    "0 s": 0,
    "3 s": 3,
    "20 s": 20,
    "a minute": 60,
    "an hour": 3600,
    "a day": 86_400,
    "a month": 30 * 86_400,
}
SHOWN = 10
_LETTERS = 21


def lists(recommender: Recommender) -> dict[str, list[Recommendation]]:
    """The list of each moment, by its name.

    Raises:
      ExportError: the model does not know the moment of asking.
    """
    if not recommender.knows_moment:
        raise ExportError(
            f"The model in {recommender.folder} does not know the moment of asking; export one "
            "that does, such as configs/moment.py."
        )
    history = [{"item": item, "time": BEGIN + place * PAUSE} for place, item in enumerate(HISTORY)]
    latest = history[-1]["time"]
    return {
        name: recommender.recommend(history, SHOWN, now=latest + wait)
        for name, wait in MOMENTS.items()
    }


def shared(found: dict[str, list[Recommendation]]) -> list[str]:
    """Lines of how many films each list shares with the one before and with the first."""
    names = list(found)
    items = {name: {text(one.item) for one in found[name]} for name in names}
    return [
        f"{name}: {len(items[name] & items[before])} of {SHOWN} as after {before}, "
        f"{len(items[name] & items[names[0]])} as after {names[0]}"
        for before, name in itertools.pairwise(names)
    ]


def draw(found: dict[str, list[Recommendation]]) -> Figure:
    """The lists side by side."""
    figure = Figure((drawing.WIDE * 1.25, 2.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axis("off")
    axes.set_xlim(0, len(found))
    axes.set_ylim(SHOWN + 0.4, -0.8)
    order: dict[str | None, int] = {}
    for one in (one for of_moment in found.values() for one in of_moment):
        order.setdefault(text(one.item), len(order))
    colors = [f"C{number}" for number in range(10)]
    for column, (name, of_moment) in enumerate(found.items()):
        axes.text(column + 0.5, -0.45, f"after {name}", ha="center", fontsize=7, weight="bold")
        for rank, one in enumerate(of_moment):
            number = order[text(one.item)]
            axes.add_patch(
                _cell(column, rank, colors[number % len(colors)], 0.34 if number < 10 else 0.16)
            )
            title = one.title.rsplit(" (", 1)[0]
            short = title if len(title) <= _LETTERS else f"{title[: _LETTERS - 1]}…"
            axes.text(column + 0.5, rank + 0.5, short, ha="center", va="center", fontsize=5.2)
    return figure


def _cell(column: int, rank: int, color: str, strength: float) -> Rectangle:
    return Rectangle(
        (column + 0.03, rank + 0.06), 0.94, 0.88, facecolor=color, alpha=strength, linewidth=0
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the export, draws and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("export_dir", type=Path)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(argv)
    found = lists(Recommender.load(given.export_dir))
    with drawing.style():
        draw(found).savefig(given.output, dpi=200)
    print("\n".join(shared(found)))


if __name__ == "__main__":
    main()
