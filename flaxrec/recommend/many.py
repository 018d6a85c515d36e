"""Recommends to the users of a table: histories in, lists out."""

import argparse
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from flaxrec.data.vocabulary import text
from flaxrec.errors import ConfigError, ExportError
from flaxrec.files import own_path
from flaxrec.recommend import histories as histories_lib
from flaxrec.recommend import lists
from flaxrec.recommend.find import find_items
from flaxrec.recommend.times import read_time
from flaxrec.recommender import UNKNOWN, Recommendation, Recommender
from flaxrec.terminal.progress import progress
from flaxrec.tflite.threads import blocks

_BLOCK = 4096  # users whose lists are written at once
_INT64 = 2**63


def write_lists(given: argparse.Namespace) -> None:
    """Writes the lists of the users in `--users` to `--output`, and says how many.

    Raises:
      ConfigError: flags contradict each other, or a field cannot be set.
      DataError: the table cannot be used.
      ExportError: the export or the output cannot be used.
    """
    output = _output(given)
    recommender = Recommender.load(given.export_dir)
    items = _ids(recommender)
    lists.check(output, items.head(0), items)
    only = find_items(recommender, "--only", given.only)
    without = find_items(recommender, "--without", given.without)
    now: Any = given.now if given.now in (None, UNKNOWN) else read_time(given.now)
    found = histories_lib.load(recommender, given.users, given.overrides, given.now_column or "")
    users = found.users["user"]
    lists.check(output, users, items)
    if not recommender.knows_moment and (given.now or given.now_column):
        print("(no input of this model depends on the moment of asking)")
    idle = int((found.lengths == 0).sum())
    if idle and not recommender.metadata.get("first_events"):
        logging.warning(
            "%s users have no activity, and this model has not learned what new users begin with "
            "(config.train.first_events): their lists are an accident.", f"{idle:,}",
        )  # fmt: skip

    asks, of_users, of_nows, owners = itertools.tee(_asks(found), 4)
    recommended = recommender.recommend_many(
        (ask[1] for ask in asks),
        given.top_k,
        user=(ask[2] for ask in of_users),
        now=(ask[3] for ask in of_nows) if given.now_column else now,
        only=only,
        without=without,
        threads=given.threads,
    )
    columns = lists.schema(users.dtype, items.dtype)
    as_text = items.dtype == pl.String
    rows = empty = 0
    with lists.writer(output, columns) as write, progress("lists", len(users), "users") as advance:
        pairs = zip((ask[0] for ask in owners), recommended, strict=True)
        for block in blocks(pairs, _BLOCK):
            frame = _frame(block, columns, as_text)
            write(frame)
            rows += len(frame)
            empty += sum(not found for _, found in block)
            advance(len(block))
    nothing = f", {empty:,} of them with nothing left to recommend" if empty else ""
    print(f"{output}: lists for {len(users):,} users{nothing}; {rows:,} rows")


def _output(given: argparse.Namespace) -> Path:
    """The file to write; raises ConfigError or ExportError if it cannot be."""
    if given.item:
        raise ConfigError("Items and --users are given; give one of them.")
    if not given.output:
        raise ConfigError("--output is missing; name a file for the lists, such as lists.parquet.")
    if given.now and given.now_column:
        raise ConfigError("--now and --now_column are given; give one of them.")
    output = own_path(given.output)
    lists.check(output, pl.Series(dtype=pl.String), pl.Series(dtype=pl.String))
    if output.resolve().is_relative_to(own_path(given.export_dir).resolve()):
        raise ExportError(f"{output} is inside the export; use another --output.")
    for name in (given.users, given.overrides.get("data.users_path", "")):
        for part in [name, *name.split(os.pathsep)]:
            path = own_path(part)
            if part and os.path.exists(path) and _holds(path, output):
                raise ExportError(f"{output} is read, or in such a folder; use another --output.")
    if output.is_file() and not lists.holds_lists(output):
        raise ExportError(f"{output} exists and holds no lists; use another --output.")
    return output


def _holds(path: Path, output: Path) -> bool:
    """Whether a path that is read is the output, or the folder that it is in."""
    other = output.absolute().parent if path.is_dir() else output
    return os.path.exists(other) and os.path.samefile(path, other)


def _asks(found: histories_lib.Histories) -> Iterator[tuple[Any, Any, Any, Any]]:
    """User, history, features and moment of each."""
    for block in found.blocks(_BLOCK):
        nothing: list[None] = [None] * len(block.histories)
        yield from zip(
            block.users, block.histories, block.features or nothing, block.nows or nothing,
            strict=True,
        )  # fmt: skip


def _ids(recommender: Recommender) -> pl.Series:
    """The ids of the items: whole numbers, or text."""
    ids = [item["id"] for item in recommender.items.values()]
    if all(type(one) is int and -_INT64 <= one < _INT64 for one in ids):
        return pl.Series(ids, dtype=pl.Int64)
    return pl.Series([text(one) for one in ids], dtype=pl.String)


def _frame(
    block: Sequence[tuple[Any, list[Recommendation]]],
    columns: dict[str, pl.DataType],
    as_text: bool,
) -> pl.DataFrame:
    """The lists as rows."""
    found = [one for _, several in block for one in several]
    values: dict[str, list[Any]] = {
        "user": [user for user, several in block for _ in several],
        "rank": [rank for _, several in block for rank in range(1, len(several) + 1)],
        "item": [text(one.item) if as_text else one.item for one in found],
        "score": [one.score for one in found],
    }
    return pl.DataFrame(values, schema=columns)
