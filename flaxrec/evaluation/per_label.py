"""Tables of each test label's measurements: per_label/test.parquet, items.parquet, clock.json.

With the protocol cold_items also cold.parquet, of the labels of cold items. files.json beside them
has the bytes and the SHA-256 of each.

A label is identified by its user's own id and the number of that user's earlier events, so that two
runs on the same data can be compared label by label.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

from flaxrec.data.dataset import Dataset
from flaxrec.evaluation import since
from flaxrec.evaluation.evaluator import PerLabel, earlier_events
from flaxrec.files import whole_folder
from flaxrec.files.sums import FILES, sums_of

TOP = 10  # length of the kept lists


def write(folder: Path, ranks: PerLabel, dataset: Dataset, cold: PerLabel | None = None) -> None:
    """Writes the tables to `folder`, whole or not at all; replaces existing ones.

    Where the data have times, clock.json says how they count.
    """
    with whole_folder(folder) as new:
        for name, table in (("test", labels(ranks, dataset)), ("items", items(dataset))):
            with open(new / f"{name}.parquet", "wb") as file:  # polars refuses some names
                table.write_parquet(file)
        if cold is not None:
            labels(cold, dataset).write_parquet(new / "cold.parquet")
        if clock := dataset.timelines.clock:
            text = json.dumps(clock.to_json()) + "\n"
            (new / "clock.json").write_text(text, encoding="utf-8", newline="\n")
        text = json.dumps({"files": sums_of(new)}, indent=2) + "\n"
        (new / FILES).write_text(text, encoding="utf-8", newline="\n")


def labels(ranks: PerLabel, dataset: Dataset) -> pl.DataFrame:
    """One row per label.

    Columns: `user` (own id), `history` (int32, number of the user's earlier events; 0 if contexts
    are stored), `item` (own id), `item_count` (int32, training labels with this item),
    `later_in_training` (int32, later events of the user that are training labels), `since`
    (float64, from the user's activity before to the label, in the data's unit; null if unknown),
    `rank`, `filtered_rank` and `loss` (float32; null if unknown) and `top` (list of int32,
    candidates).
    """
    timelines, split, positions = dataset.timelines, dataset.split, ranks.positions
    earlier = earlier_events(timelines)
    own = items(dataset)
    candidate = timelines.item[positions] - dataset.spec.first_candidate
    trained = np.zeros(len(timelines.item) + 1, np.int32)
    trained[split.train + 1] = 1
    trained = np.cumsum(trained, dtype=np.int32)  # [p]: training labels before position p
    ends = timelines.offsets[timelines.user[positions] + 1]
    return pl.DataFrame(
        {
            "user": timelines.users["user"][timelines.user[positions]],
            "history": np.zeros_like(positions) if earlier is None else earlier[positions],
            "item": own["item"][candidate],
            "item_count": own["count"][candidate],
            "later_in_training": trained[ends] - trained[positions + 1],
            "since": pl.Series(since.of_labels(timelines, positions)).fill_nan(None),
            "rank": ranks.rank.astype(np.float32),
            "filtered_rank": _or_null(ranks.filtered_rank, len(positions)),
            "loss": _or_null(ranks.loss, len(positions)),
            "top": _lists(ranks.top, len(positions)),
        }
    )


def items(dataset: Dataset) -> pl.DataFrame:
    """One row per candidate.

    Columns: `candidate` (int32), `item` (own id, null for a row without) and `count` (int32,
    training labels with that item).
    """
    timelines, spec = dataset.timelines, dataset.spec
    candidates = np.arange(spec.candidates, dtype=np.int32)
    trained = timelines.item[dataset.split.train] - spec.first_candidate
    counts = np.bincount(trained, minlength=spec.candidates)[: spec.candidates].astype(np.int32)
    made = pl.DataFrame({"candidate": candidates, "count": counts})
    own = timelines.items.select(
        (pl.col("row").cast(pl.Int32) - spec.first_candidate).alias("candidate"), "item"
    )
    joined = made.join(own, on="candidate", how="left", maintain_order="left")
    return joined.select("candidate", "item", "count")


def _lists(top: np.ndarray | None, n: int) -> pl.Series:
    if top is None or not n:
        return pl.Series([[]] * n, dtype=pl.List(pl.Int32))
    whole = pl.Series(np.ascontiguousarray(top, np.int32), dtype=pl.Array(pl.Int32, top.shape[1]))
    return whole.arr.to_list()


def _or_null(values: np.ndarray | None, n: int) -> pl.Series:
    if values is None:
        return pl.Series([None] * n, dtype=pl.Float32)
    return pl.Series(values.astype(np.float32))
