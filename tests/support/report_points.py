"""Points of a report, with estimates made up for them."""

from pathlib import Path

import numpy as np

from flaxrec.reporting.measured import Breakdown, Measured, TestSet
from flaxrec.reporting.results import Point, Run
from flaxrec.reporting.table_forms import Estimate
from flaxrec.research import statistics
from flaxrec.research.point_labels import PerUser
from tests.support.point_examples import ITEMS, labels

RANKS = {"filtered_rank": [0.0, 8.0, 12.0, 14.0]}  # of ann, bob, bob, cat


def run(folder: Path | None, table=None, kind="trained", seed=0, **further) -> Run:
    """A run, with per-label files if there is a folder."""
    if folder is not None:
        (folder / "per_label").mkdir(parents=True)
        (labels(**RANKS) if table is None else table).write_parquet(
            folder / "per_label" / "test.parquet"
        )
        ITEMS.write_parquet(folder / "per_label" / "items.parquet")
    row = {"config": {"model": {"context_length": 10}}, "data": further.pop("data", "")}
    fields = {
        "name": "r", "kind": kind, "axes": {}, "seed": None if kind == "baseline" else seed,
        "failure": "", "folder": folder or Path("nowhere"), "protocol": "random",
        "metrics": {"filtered/recall@10": 0.5}, "labels": {"labels": 4}, "export_bytes": None,
        "row": row,
    }  # fmt: skip
    return Run(**(fields | further))


def point(*runs: Run, **axes) -> Point:
    return Point(axes, runs)


USERS = 40
NOISE = np.random.default_rng(3).normal(0, 0.05, (6, USERS))
METRIC = "recall@10"


def measured(name, values=None, parts=None, kind="trained", metric=METRIC, **axes):
    """A point whose metric is `values`, [seeds, users]."""
    estimates, per_user = {}, {}
    if values is not None:
        values = np.atleast_2d(values)
        per_user = {metric: PerUser(np.arange(values.shape[1]), values)}
        mean = statistics.over_seeds(values)
        interval = statistics.bootstrap_interval(values)
        estimates = {metric: Estimate(mean.mean, mean.deviation, interval)}
    made = point(run(None, kind=kind, export_bytes=axes.pop("bytes", None)), **axes)
    parts = parts or Breakdown()
    return Measured(made, name, estimates, per_user, parts, 1, USERS, USERS, 90, "")


def of_points(*points):
    return TestSet("leave_one_out", "leave_one_out", points)


def column(table, name):
    """Cells of a column by the row's name."""
    place = [c.name for c in table.columns].index(name)
    return {row.name: row.cells[place] for row in table.rows}
