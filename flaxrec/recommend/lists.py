"""Lists of many users, one row an item, in one file that is there whole or not at all."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from flaxrec.data.sources.table_paths import UNREADABLE, scan_parquet
from flaxrec.errors import DataError, ExportError, shown
from flaxrec.files import folder_beside, whole_file

Write = Callable[[pl.DataFrame], None]
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
_RUNS = (".trec", ".run")
_SUFFIXES = (".parquet", *_SEPARATORS, *_LINES, *_RUNS)
_TAG = "flaxrec"  # of a run file


def schema(users: pl.DataType, items: pl.DataType) -> dict[str, pl.DataType]:
    """The columns of the lists: ranks count from 1."""
    return {"user": users, "rank": pl.Int32(), "item": items, "score": pl.Float32()}


def check(path: Path, users: pl.Series, items: pl.Series) -> None:
    """Raises ExportError if the suffix is none of ours, or an id cannot stand in such a file."""
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ExportError(
            f"--output is {shown(str(path))}; end it with one of {', '.join(_SUFFIXES)}."
        )
    if suffix not in _RUNS:
        return
    for what, ids in (("user", users), ("item", items)):
        spaced = ids.cast(pl.String).filter(ids.cast(pl.String).str.contains(r"\s|^$"))
        if len(spaced):
            raise ExportError(
                f"{len(spaced):,} {what} ids have white space, such as {shown(spaced[0])}, which "
                "divides the columns of a run file; use another form, such as .parquet."
            )


def holds_lists(path: Path) -> bool:
    """Whether an existing file begins as one that `writer` wrote."""
    names, suffix = list(schema(pl.String(), pl.String())), path.suffix.lower()
    if suffix == ".parquet":
        with contextlib.suppress(DataError, OSError, *UNREADABLE):
            return scan_parquet(path).collect_schema().names() == names
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        line = file.readline(100_000)
    if suffix in _SEPARATORS:
        return line.rstrip("\n").split(_SEPARATORS[suffix]) == names
    if suffix in _LINES:
        with contextlib.suppress(ValueError, RecursionError):
            return not line or list(json.loads(line)) == names
        return False
    return not line or line.split(" ")[1:2] == ["Q0"]


@contextlib.contextmanager
def writer(path: Path, columns: dict[str, pl.DataType]) -> Iterator[Write]:
    """A function that appends rows to the file, which replaces `path` when the block succeeds.

    Args:
      path: its suffix, which `check` knows, says the form.
      columns: those of `schema`.

    Raises:
      DiskError: it cannot be written.
    """
    if path.suffix.lower() == ".parquet":
        with _parquet(path, columns) as write:
            yield write
        return
    with whole_file(path) as file:
        write_rows = _rows(path.suffix.lower(), file)
        if path.suffix.lower() in _SEPARATORS:
            file.write((_SEPARATORS[path.suffix.lower()].join(columns) + "\n").encode())
        yield write_rows


def _rows(suffix: str, file: BinaryIO) -> Write:
    """What appends rows to an open text file."""
    if suffix in _SEPARATORS:
        separator = _SEPARATORS[suffix]
        return lambda rows: rows.write_csv(file, include_header=False, separator=separator)
    if suffix in _LINES:
        return lambda rows: rows.write_ndjson(file)
    return lambda rows: _run_lines(rows).write_csv(
        file, include_header=False, separator=" ", quote_style="never"
    )


def _run_lines(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of a run file: user, Q0, item, rank, score, tag.

    Its readers sort by score, and some turn equal ones around. The second of two equal scores is
    one step of float32 lower there.
    """
    ranks, scores = rows["rank"].to_numpy(), rows["score"].to_numpy().copy()
    for place in np.flatnonzero((ranks[1:] > 1) & (scores[1:] >= scores[:-1])) + 1:
        for later in range(place, len(scores)):
            if ranks[later] == 1 or scores[later] < scores[later - 1]:
                break
            scores[later] = np.nextafter(scores[later - 1], np.float32(-1))
    return rows.select(
        "user", pl.lit("Q0").alias("Q0"), "item", "rank", pl.Series("score", scores)
    ).with_columns(pl.lit(_TAG).alias("tag"))


@contextlib.contextmanager
def _parquet(path: Path, columns: dict[str, pl.DataType]) -> Iterator[Write]:
    """Parts of some blocks each, which are one file in the end; memory holds one part."""
    with folder_beside(path) as folder:
        pl.DataFrame(schema=columns).write_parquet(folder / "00000000.parquet")
        count = 0

        def write(rows: pl.DataFrame) -> None:
            nonlocal count
            count += 1
            rows.write_parquet(folder / f"{count:08d}.parquet")

        yield write
        one = folder / "one.parquet"
        parts = [folder / f"{n:08d}.parquet" for n in range(count + 1)]
        pl.scan_parquet(parts, glob=False).sink_parquet(one)
        with whole_file(path) as file, open(one, "rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
