"""Films that training never met, with a label tower and by ids alone. MovieLens-1M, three seeds.

python -m flaxrec.sweep --sweep=configs/sweeps/new_items.py --workdir=DIR [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config.presets import new_items


def sweep(add: Callable[..., None]) -> None:
    """The films that came last and drawn ones; 2 models."""
    for cold_by in ("first", "random"):
        for features in (True, False):
            items = "genres, year, words" if features else "ids alone"
            add(new_items(cold_by, features=features), seeds=3, cold_by=cold_by, items=items)
