"""One point's labels, one table per seed, and its metrics by label and by user.

Reads what `evaluation.per_label` wrote for the point's runs: `per_label/test.parquet`, one row per
label, `per_label/items.parquet`, one row per candidate, and `per_label/clock.json`. Metrics are
averaged per user, then over users, so that intervals may resample users. Where users have several
labels, they differ from `metrics.jsonl`, which averages over labels.
Shapes: S seeds, N labels, U users, C candidates.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import polars as pl

from flaxrec.data.moments import Clock
from flaxrec.errors import ConfigError, DataError, reason
from flaxrec.files.schemas import Reader, Sums
from flaxrec.files.sums import FILES, is_the_one
from flaxrec.scoring import metrics

_KEY = ["user", "history"]
_FACTS = [*_KEY, "item", "item_count", "later_in_training"]  # the same for every model
_ITEMS = "items.parquet"
_MEASURED = ["rank", "filtered_rank", "loss", "top"]
_SINCE, _CLOCK = "since", "clock.json"  # neither was written before there was a moment of asking
_NUMBERS = {"rank", "filtered_rank", "loss", _SINCE}  # other columns that are no ids are whole
_WHOLE = {"history", "item_count", "later_in_training", "candidate", "count"}
_MAY_BE_NULL = {_SINCE, "filtered_rank", "loss", "item"}
_AGAIN = "evaluate the run again"
_METRIC = re.compile(r"(filtered/)?(?:(recall|ndcg|mrr)@([1-9]\d*)|mean_rank)")


class _Files(TypedDict):
    """files.json."""

    files: Sums


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of one label."""

    name: str  # as in `metrics.jsonl`, e.g. 'filtered/recall@10'
    column: str  # the per-label column that it is computed from
    values: Callable[[np.ndarray], np.ndarray]  # float64 [N] of that column -> float64 [N]
    higher_is_better: bool  # False for mean_rank and loss


@dataclasses.dataclass(frozen=True)
class PointLabels:
    """The test labels of one point."""

    seeds: list[pl.DataFrame]  # the same labels in the same order (by user and history)
    items: pl.DataFrame  # candidate (0..C-1, ascending), item, count (training labels)
    clock: Clock | None = None  # of the column `since`; None: no times, or files from before it


@dataclasses.dataclass(frozen=True)
class PerUser:
    """A metric by user."""

    users: np.ndarray  # [U], ascending, ids as in the data
    values: np.ndarray  # float64 [S, U], means over each user's labels


def metric(name: str) -> Metric:
    """The metric with this name: [filtered/]recall@K, ndcg@K, mrr@K or mean_rank, or loss.

    Raises:
      ConfigError: no such metric.
    """
    if name == "loss":
        return Metric(name, "loss", np.asarray, False)
    parts = _METRIC.fullmatch(name)
    if not parts:
        raise ConfigError(
            f"There is no metric {name!r} of a label; use recall@K, ndcg@K, mrr@K or mean_rank, "
            "each also as filtered/..., or loss."
        )
    prefix, function, k = parts.groups()
    column = "filtered_rank" if prefix else "rank"
    if function is None:  # mean_rank
        return Metric(name, column, np.asarray, False)
    return Metric(name, column, functools.partial(getattr(metrics, function), k=int(k)), True)


def load(folders: Sequence[str | Path], part: str = "test") -> PointLabels:
    """Reads the per-label files of one point's runs, one folder per seed.

    Raises:
      DataError: a file cannot be read, lacks columns or labels or repeats a label, or the labels or
        candidates of the seeds differ.
    """
    if not folders:
        raise DataError("There are no runs to break down; give at least one run folder.")
    files = [Path(folder) / "per_label" / f"{part}.parquet" for folder in folders]
    tables = [_labels(file) for file in files]
    point = PointLabels(tables, _items(files[0].with_name(_ITEMS)), _clock(files[0]))
    for file, table in zip(files, point.seeds, strict=True):
        different = [c for c in _FACTS if not table[c].equals(point.seeds[0][c])]
        if not _items(file.with_name(_ITEMS)).equals(point.items):
            different.append("candidates")
        if different:
            raise DataError(
                f"The labels of {file} are not those of {files[0]} ({different[0]} differs); "
                "seeds of one point need the same data and split."
            )
    return point


def per_label(point: PointLabels, metric_name: str) -> np.ndarray:
    """The metric of every label, float64 [S, N].

    Raises:
      ConfigError: no such metric.
      DataError: its column has missing values (a baseline has no loss).
    """
    wanted = metric(metric_name)
    for table in point.seeds:
        if missing := table[wanted.column].null_count():
            raise DataError(
                f"{metric_name} needs {wanted.column} of every label, and {missing} of "
                f"{len(table)} have none; choose another metric or leave the point out."
            )
    columns = [table[wanted.column].cast(pl.Float64).to_numpy() for table in point.seeds]
    return np.stack([wanted.values(column) for column in columns])


def per_user(point: PointLabels, metric_name: str) -> PerUser:
    """The metric by user; raises what `per_label` raises."""
    return user_means(per_label(point, metric_name), point.seeds[0]["user"].to_numpy())


def shared(a: PerUser, b: PerUser) -> tuple[np.ndarray, np.ndarray]:
    """Values of the common users in one order, float64 [S of a, U] and [S of b, U].

    Raises:
      DataError: they share no user.
    """
    if a.users.dtype.kind == b.users.dtype.kind:
        _, in_a, in_b = np.intersect1d(a.users, b.users, assume_unique=True, return_indices=True)
        if len(in_a):
            return a.values[:, in_a], b.values[:, in_b]
    raise DataError(
        f"The points share none of their {len(a.users)} and {len(b.users)} users; compare points "
        "of the same data."
    )


def user_means(values: np.ndarray, users: np.ndarray) -> PerUser:
    """Means over each user's labels; values float64 [S, N], users [N], in any order."""
    own, code = np.unique(users, return_inverse=True)
    labels = np.bincount(code)
    return PerUser(own, np.stack([np.bincount(code, row) / labels for row in values]))


def _labels(file: Path) -> pl.DataFrame:
    table = _read(file, [*_FACTS, _SINCE, *_MEASURED]).sort(_KEY)
    if table.is_empty():
        raise DataError(f"{file} holds no labels; evaluate the run on data with test labels.")
    if twice := table.select(_KEY).is_duplicated().sum():
        raise DataError(
            f"{twice} rows of {file} share user and history with another; write one row a label."
        )
    return table


def _clock(file: Path) -> Clock | None:
    """How the times beside a table count; None without."""
    beside = file.with_name(_CLOCK)
    if not _check(beside).exists():
        return None
    return Reader(DataError, _AGAIN).object(beside, Clock)


def _check(file: Path) -> Path:
    """The file, if it is the one that was written with its neighbours; they may be of old."""
    notes = file.with_name(FILES)
    if notes.exists():
        noted = Reader(DataError, _AGAIN).object(notes, _Files)["files"]
        there, known = file.is_file(), file.name in noted
        if there != known or (there and not is_the_one(file, noted[file.name])):
            raise DataError(f"{file} is not what {FILES} beside it notes; {_AGAIN}.")
    return file


def _items(file: Path) -> pl.DataFrame:
    table = _read(file, ["candidate", "item", "count"]).sort("candidate")
    if (table["count"] < 0).any() or not np.array_equal(
        table["candidate"].to_numpy(), np.arange(len(table))
    ):
        raise DataError(
            f"{file} does not hold candidates 0 to {len(table) - 1}, a row each; {_AGAIN}."
        )
    return table


def _read(file: Path, columns: list[str]) -> pl.DataFrame:
    if not file.is_file():  # a pipe would be waited for
        raise DataError(f"{file} cannot be read (it is no file); {_AGAIN}.")
    try:
        # As a path, polars would take [ ] * and ? in it for a pattern.
        with _check(file).open("rb") as opened:
            there = pl.read_parquet_schema(opened)
            opened.seek(0)
            kept = [name for name in columns if name in there or name != _SINCE]
            table = pl.read_parquet(opened, columns=kept)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{file} cannot be read ({reason(error)}); {_AGAIN}.") from error
    for name in kept:
        if not _fits(name, table[name]):
            raise DataError(f"{file} has no usable column {name!r}; {_AGAIN}.")
    return table


def _fits(name: str, column: pl.Series) -> bool:
    """Whether a column has the type that is counted with; ids have any."""
    if name in _MAY_BE_NULL and column.null_count() == len(column):
        return True
    kind = column.dtype
    if name == "top":
        return isinstance(kind, pl.List) and (
            kind.inner == pl.Null or pl.Series(dtype=kind.inner).dtype.is_integer()
        )
    if (name in _NUMBERS and not kind.is_numeric()) or (name in _WHOLE and not kind.is_integer()):
        return False
    return name in _MAY_BE_NULL or not column.null_count()
