"""Tables of many users, damaged or odd as those of `tables`, read by `flaxrec recommend --users`.

The export's first items have the ids of these tables. A good table must give the lists of before.
"""

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest import mock

import polars as pl

from flaxrec.errors import printable
from flaxrec.tflite.metadata import write_metadata
from tests.fuzz import tables
from tests.fuzz.attempts import Attempt
from tests.fuzz.export_folder import OLD
from tests.support.faults import Answer, answer

_OPTIONS = (
    *("--top_k=3", "--threads=2", "--now=5", "--now=unknown", "--now_column=time", "--only=i1,i2"),
    *("--without=i0", "--without=", "--config.data.columns.time=", "--config.data.min_rating=3"),
    *("--config.data.columns.weight=rating", "--config.data.format=sequences"),
)
_NAMES = ("now", "output", "only", "histories", "format")


def attempts(random: Random, folder: Path) -> Iterator[Attempt]:
    """Attempts without end."""
    export, output = made(folder / "export"), folder / "out" / "lists.parquet"
    output.parent.mkdir()

    def command(path: Path | str, **settings: str) -> tuple[object, ...]:
        fields = [f"--config.data.{name}={value}" for name, value in settings.items()]
        return ("recommend", export, f"--users={path}", f"--output={output}", *fields)

    def lists() -> pl.DataFrame:
        return pl.read_parquet(output, glob=False)

    def read(path: Path | str, what: str, *names: object, **settings: str) -> Attempt:
        output.unlink(missing_ok=True)
        options = random.sample(_OPTIONS, random.choice((0, 0, 1, 2)))
        alone = os.pathsep not in os.fspath(path)  # not a file that is read twice
        is_good = tables.good() in names and not options and alone

        def right(given: Answer) -> bool:
            del given
            found = lists()
            ranks = [part["rank"].to_list() for part in found.partition_by("user")]
            numbered = all(r == list(range(1, len(r) + 1)) for r in ranks)
            return numbered and (not is_good or found.equals(expected))

        said = (*names, *_NAMES, export.name, printable(str(path)), printable(Path(path).name))
        return Attempt(f"{what} {options}", (*command(path, **settings), *options), said, right)

    good = folder / "good.csv"
    good.write_bytes(tables.written("csv"))
    given = answer(*command(good))
    assert given.status == 0, given
    expected = lists()
    with mock.patch.object(tables, "read_by_train", read):
        yield from tables.attempts(random, folder / "tables")


def made(folder: Path) -> Path:
    """The export of version 0.1.0, whose first items get the ids of `tables`."""
    shutil.copytree(OLD, folder, ignore=shutil.ignore_patterns("android"))
    file = folder / "vocabularies" / "item.txt"
    padding, *ids = file.read_text(encoding="utf-8").splitlines()
    new = dict(zip(ids, dict.fromkeys(row[1] for row in tables.ROWS), strict=False))
    lines = itertools.chain([padding], (new.get(one, f"j{one}") for one in ids))
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    items = [json.loads(line) for line in (folder / "items.jsonl").read_bytes().splitlines()]
    for item in items:
        item["id"] = new.get(str(item["id"]), f"j{item['id']}")
    text = "".join(f"{json.dumps(item)}\n" for item in items)
    (folder / "items.jsonl").write_text(text, encoding="utf-8", newline="\n")
    write_metadata(folder, json.loads((folder / "metadata.json").read_bytes()))
    (folder.parent / "tables").mkdir()
    return folder
