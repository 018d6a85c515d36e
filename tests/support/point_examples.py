"""Per-label tables of four labels, small enough to average by hand."""

import polars as pl

from flaxrec.research.point_labels import PointLabels

TYPES = {
    "history": pl.Int32,
    "item_count": pl.Int32,
    "later_in_training": pl.Int32,
    "rank": pl.Float32,
    "filtered_rank": pl.Float32,
    "loss": pl.Float32,
    "top": pl.List(pl.Int32),
}
# Candidates 0 to 4 with 5, 3, 1, 1 and 0 of 10 training labels.
ITEMS = pl.DataFrame(
    {
        "candidate": pl.Series([0, 1, 2, 3, 4], dtype=pl.Int32),
        "item": ["Heat", "Jaws", "Alien", "Diva", "Brazil"],
        "count": pl.Series([5, 3, 1, 1, 0], dtype=pl.Int32),
    }
)


def labels(**columns):
    """Users 'ann' (one label), 'bob' (two) and 'cat' (one)."""
    table = {
        "user": ["ann", "bob", "bob", "cat"],
        "history": [1, 4, 30, 9],
        "item": ["Heat", "Jaws", "Diva", "Brazil"],
        "item_count": [5, 3, 1, 0],
        "later_in_training": [0, 2, 0, 7],
        "rank": [0.0, 9.5, 2.0, 30.0],
        "filtered_rank": [0.0, 8.0, 2.0, 14.0],
        "loss": [0.5, 1.5, 2.5, 4.0],
        "top": [[0, 1], [0, 1], [0, 2], [0, 1]],
    } | columns
    return pl.DataFrame(table, strict=False).cast(TYPES)


def point(*tables):
    """A seed a table; one seed of `labels()` if none is given."""
    return PointLabels(list(tables) or [labels()], ITEMS)
