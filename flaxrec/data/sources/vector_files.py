"""Vectors of items from a file: embeddings of their texts or pictures, made elsewhere.

A .npz with the arrays `ids` [n] and `vectors` [n, V], or Parquet with a column of ids and a column
of lists of numbers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flaxrec.data.sources.table_paths import UNREADABLE, scan_parquet
from flaxrec.data.vocabulary import text
from flaxrec.errors import DataError, reason, shown
from flaxrec.files import DamagedError, opened, own_path
from flaxrec.files.npz import read_npz

_IDS = ("item", "item_id", "id", "ids")  # names of the column of ids
_SHOWN = 3  # ids in a message


def read(name: str, feature: str, id_column: str) -> tuple[list[str], np.ndarray]:
    """Reads a file of vectors.

    Args:
      name: of the file.
      feature: the feature's name, which is the column's where Parquet has several of vectors.
      id_column: the name of the items' ids in the data.

    Returns:
      The ids as text, each once, and their vectors, float32 [n, V], finite.

    Raises:
      DataError: the file, or a vector in it, cannot be used.
    """
    path = own_path(name)
    try:
        with opened(path) as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(
            f"{path}, the file of the feature {feature!r}, cannot be read "
            f"({error.strerror or error}); correct its `file` in config.model.label_features."
        ) from error
    if start == b"PAR1":
        ids, vectors = _parquet(path, feature, id_column)
    elif start[:2] == b"PK":
        ids, vectors = _npz(path)
    else:
        raise DataError(
            f"{path} is neither .npz nor Parquet; write it with numpy.savez(FILE, ids=..., "
            "vectors=...), or as Parquet."
        )
    if not len(ids) or not vectors.shape[1]:
        raise DataError(f"{path} holds no vectors; give the feature {feature!r} a file with some.")
    texts = [str(text(value)) for value in ids]
    _refuse(path, ids, ~np.isfinite(vectors).all(axis=1), "have numbers that are not finite")
    first: dict[str, int] = {}
    twice = np.array([first.setdefault(own, place) != place for place, own in enumerate(texts)])
    _refuse(path, ids, twice, "belong to an item that stands in it already")
    return texts, vectors


def has_vectors(path: str, name: str) -> bool:
    """Whether a file is Parquet with a column of vectors of this name."""
    try:
        schema = scan_parquet(Path(path)).collect_schema()
    except (OSError, DataError, *UNREADABLE):
        return False
    return name in schema and _is_vector(schema[name])


def _is_vector(dtype: pl.DataType) -> bool:
    is_list = isinstance(dtype, pl.List | pl.Array)
    return is_list and dtype.inner.is_numeric()  # type: ignore[attr-defined]


def _refuse(path: Path, ids: Sequence[Any], bad: np.ndarray, what: str) -> None:
    if bad.any():
        few = ", ".join(shown(ids[place]) for place in np.flatnonzero(bad)[:_SHOWN])
        raise DataError(
            f"{path}: {bad.sum():,} of {len(ids):,} vectors {what}, such as those of {few}; "
            "correct or remove them."
        )


def _npz(path: Path) -> tuple[list[Any], np.ndarray]:
    try:
        arrays = read_npz(path)
    except (OSError, DamagedError) as error:
        raise DataError(
            f"{path} cannot be read ({reason(error)}); write it with numpy.savez(FILE, ids=..., "
            "vectors=...), ids as numbers or text."
        ) from error
    if not {"ids", "vectors"} <= set(arrays):
        raise DataError(
            f"{path} has the arrays {shown(list(arrays))}; it needs `ids` and `vectors`, as "
            "numpy.savez(FILE, ids=..., vectors=...) writes them."
        )
    ids, vectors = arrays["ids"], arrays["vectors"]
    kinds = ids.dtype.kind in "iuU" and vectors.dtype.kind in "fiu"
    if not kinds or ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors):
        raise DataError(
            f"{path} has ids {list(ids.shape)} of {ids.dtype} and vectors {list(vectors.shape)} of "
            f"{vectors.dtype}; it needs n whole numbers or texts, and numbers of the shape [n, V]."
        )
    return ids.tolist(), _float32(vectors)


def _parquet(path: Path, feature: str, id_column: str) -> tuple[list[Any], np.ndarray]:
    try:
        lazy = scan_parquet(path)
        schema = lazy.collect_schema()
        of_ids = [name for name in (id_column, *_IDS) if name in schema]
        of_vectors = [name for name, dtype in schema.items() if _is_vector(dtype)]
        if feature in of_vectors:
            of_vectors = [feature]
        if not of_ids or len(of_vectors) != 1:
            raise DataError(
                f"{path} has the columns {shown(schema.names(), 200)}; it needs one of ids called "
                f"{id_column!r}, and one of lists of numbers, called {feature!r} if there are "
                "several."
            )
        frame = lazy.select(ids=of_ids[0], vectors=of_vectors[0]).collect()
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); write it again.") from error
    frame = frame.drop_nulls("vectors")
    ids, vectors = frame["ids"].to_list(), frame["vectors"]
    _refuse(path, ids, frame["ids"].is_null().to_numpy(), "have no id")
    if isinstance(vectors.dtype, pl.Array):
        vectors = vectors.arr.to_list()
    lengths = vectors.list.len().to_numpy()
    if not len(ids):
        return [], np.zeros((0, 0), np.float32)
    _refuse(path, ids, lengths != lengths[0], f"have another length than the first, {lengths[0]}")
    flat = vectors.explode() if lengths[0] else pl.Series([], dtype=pl.Float64)
    return ids, _float32(flat.cast(pl.Float64).to_numpy().reshape(len(ids), lengths[0]))


def _float32(vectors: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # refused as infinite
        return vectors.astype(np.float32)
