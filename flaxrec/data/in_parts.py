"""Shards written in bounded memory, of Parquet that may be larger than it.

rows, so many at a time -> pieces by blocks of users -> each block sorted -> shards
"""

import dataclasses
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from flaxrec.config import DataConfig
from flaxrec.data import filters, orders
from flaxrec.data.sources import shards, table_paths
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.table_files import rows_of, slices
from flaxrec.errors import ConfigError

_ROWS = 4_000_000  # of a shard, or one user's
_LEAST = 10_000  # rows of a part
_SAMPLE = 200_000  # users' ids that say where blocks end
_SPARE = 200_000_000  # bytes without which nothing is prepared
# Bytes that are needed at once for each byte of the rows that are read, and written, at once.
_READING, _WRITING = 8, 6
_UNPACKED = 3  # bytes of rows for each byte of a file


def write_shards(events: pl.DataFrame, folder: Path, number: int) -> int:
    """Writes events, sorted, as shards from this number on; returns the next number."""
    user, _ = orders.coded(events["user"])
    order = orders.order_of(user.to_numpy(), events["time"].to_numpy())
    if order is not None:
        user = user.gather(order)
    starts = filters.starts_of(user)
    begin = 0
    while begin < len(events):
        end = int(starts[np.searchsorted(starts, min(begin + _ROWS, starts[-1]))])
        shard = events[begin:end] if order is None else events[pl.Series(order[begin:end])]
        shard.write_parquet(folder / f"timelines-{number:05}.parquet")
        begin, number = end, number + 1
    return number


def fits(config: DataConfig, sizes: Sequence[int]) -> bool:
    """Whether files of so many bytes can be read at once.

    Raises:
      ConfigError: they cannot, and are not Parquet; or hardly any memory is left.
    """
    if sum(sizes) * _UNPACKED * _READING < _allowed(config):
        return True
    form = config.format
    if config.source == "table" and form == "auto":
        form = table_paths.files("path", config.path)[1]
    if config.source != "table" or form not in ("parquet", "timelines"):
        raise ConfigError(
            f"config.data.max_memory_gb is {config.max_memory_gb:g}, and only Parquet can be read "
            "in parts; write the data as Parquet (docs/scale.md), or set it to 0."
        )
    return False


def _allowed(config: DataConfig) -> float:
    """Bytes that may be taken in addition to what the process holds."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        held = pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        held = 2 * _SPARE
    allowed = config.max_memory_gb * 1e9 - held
    if allowed < _SPARE:
        raise ConfigError(
            f"config.data.max_memory_gb is {config.max_memory_gb:g}, but {held:,} bytes are taken "
            f"before anything is read, and {_SPARE:,} more are needed; raise it."
        )
    return allowed


def write(config: DataConfig, types: Mapping[str, str], folder: Path) -> Interactions:
    """Writes the shards, of no more rows at once than fit; returns the rest.

    Rows go by their user into blocks of users, a piece of each block for every part that is read;
    then each block is read, sorted and written.
    """
    allowed, columns = _allowed(config), config.columns
    _check_kinds(config)
    start = next(shards.parts(config, types, 100_000))[1].events
    width = max(8, start.estimated_size() / max(1, len(start)))
    del start
    rows = max(_LEAST, int(allowed / _READING / width))
    total, ids = _sampled(config, columns.user, rows)
    blocks = max(1, math.ceil(total * width * _WRITING / allowed))
    cuts = ids.gather([len(ids) * n // blocks for n in range(1, blocks)]).unique().sort()
    pieces = folder / "_pieces"
    pieces.mkdir()
    first, several = None, []
    for number, (name, part) in enumerate(shards.parts(config, types, rows)):
        first = first or dataclasses.replace(part, events=part.events.clear(), ids={})
        shards.check_alike(first, part, name)
        several.append(dataclasses.replace(part, events=part.events.clear()))
        for block, own in _by_block(part.events, cuts):
            own.write_parquet(pieces / f"{block}-{number:06}.parquet", compression="lz4")
        del part
    shard = 0
    for block in range(len(cuts) + 1):
        files = sorted(pieces.glob(f"{block}-*.parquet"))
        if files:
            shard = write_shards(pl.concat([pl.read_parquet(f) for f in files]), folder, shard)
        for file in files:
            file.unlink()
    shutil.rmtree(pieces)
    assert first is not None
    bad = [one.bad_rows for one in several if one.bad_rows is not None]
    tables = {
        field: shards.described(
            key, [t for one in several if (t := getattr(one, field)) is not None]
        )
        for key, field in (("item", "items"), ("user", "users"))
    }
    found = dataclasses.replace(
        first,
        items=tables["items"],
        users=tables["users"],
        bad_rows=pl.concat(bad) if bad else None,
        rows_read=sum(one.rows_read or 0 for one in several),
        source=several[-1].source,
    )
    return shards.with_tables(found, config, types)


def _check_kinds(config: DataConfig) -> None:
    """Raises ConfigError for ids and times whose kind all rows together decide."""
    paths, _ = table_paths.files("path", config.path, "parquet")
    columns = config.columns
    rows_of(paths[0])  # says what is wrong with the file
    schema = table_paths.scan_parquet(paths[0]).collect_schema()
    for column in filter(None, (columns.user, columns.item, columns.session)):
        dtype = schema.get(column)
        if dtype is not None and (dtype.is_float() or dtype.is_decimal() or dtype == pl.UInt64):
            raise ConfigError(
                f"config.data.max_memory_gb needs ids that are whole numbers or text, and column "
                f"{column!r} is {dtype}; convert it, or set max_memory_gb to 0."
            )
    dtype = schema.get(columns.time) if columns.time else None
    exact = isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns"
    if dtype is not None and (exact or dtype == pl.String or dtype.is_decimal()):
        raise ConfigError(
            f"config.data.max_memory_gb needs times that are numbers, dates or date-times in "
            f"microseconds, and column {columns.time!r} is {dtype}; convert it, or set "
            "max_memory_gb to 0."
        )


def _sampled(config: DataConfig, user: str, rows: int) -> tuple[int, pl.Series]:
    """The number of rows, and the ids of some of their users, sorted, as often as they occur."""
    total, kept, step = 0, [], 1
    for table in slices("path", config.path, [("user", user)], rows):
        total += len(table.frame)
        column = table.frame[user].drop_nulls()
        kept.append(column.gather_every(step))
        if sum(map(len, kept)) > _SAMPLE:
            step *= 2
            kept = [one.gather_every(2) for one in kept]
    ids = pl.concat(kept)
    return total, (ids.cast(pl.Int64) if ids.dtype.is_integer() else ids.cast(pl.String)).sort()


def _by_block(events: pl.DataFrame, cuts: pl.Series) -> Iterator[tuple[int, pl.DataFrame]]:
    """The events of each block of users, in their order; a block ends before the user of a cut."""
    codes, distinct = orders.coded(events["user"])
    ends = [int((distinct < cut).sum()) for cut in cuts]
    block = np.searchsorted(ends, codes.to_numpy(), side="right").astype(np.uint32)
    order = orders.order_of(block)
    if order is not None:
        events, block = events[pl.Series(order)], block[order]
    for number in np.unique(block).tolist():
        begin, end = np.searchsorted(block, [number, number + 1])
        yield number, events[int(begin) : int(end)]
