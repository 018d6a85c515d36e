"""Folders of MovieLens in its three formats, damaged."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.attempts import Attempt
from tests.fuzz.tables import NAMES, _change

CONFIG = """
from flaxrec.config import *

def get_config(variant=None):
    features = [
        FeatureConfig("ids", "item.id"),
        FeatureConfig("years", "item.year"),
        FeatureConfig("stars", "event.rating", "FLOAT"),
    ]
    genres = FeatureConfig("genres", "item.genres", "STRING", length=4)
    model = ModelConfig(activity_groups=[GroupConfig(features), GroupConfig([genres])])
    return Config(name="ml", data=DataConfig(source="movielens"), model=model)
"""
RATINGS = [(u, i, (u + i) % 5 + 1, u * i) for u in range(1, 5) for i in range(1, 8)]
GOOD = "the catalogue has 7 items"


def _table(rows: list[tuple], separator: str, header: str = "") -> str:
    return header + "".join(separator.join(map(str, row)) + "\n" for row in rows)


FORMATS = {
    "1m": {
        "ratings.dat": _table(RATINGS, "::"),
        "movies.dat": _table([(i, f"Größe {i} (199{i})", "Drama|War") for i in range(1, 8)], "::"),
        "users.dat": _table([(u, "F", 25, 3, "12345-6") for u in range(1, 5)], "::"),
    },
    "100k": {
        "u.data": _table(RATINGS, "\t"),
        "u.item": _table([(i, f"Größe {i} (199{i})", "1-Jan-1990", "", "http://x", 1,
        0) for i in range(1, 8)], "|"),
        "u.genre": "War|0\nDrama|1\n",
        "u.user": _table([(u, 25, "F", "artist", "12345") for u in range(1, 5)], "|"),
    },
    "20m": {
        "ratings.csv": _table(RATINGS, ",", "userId,movieId,rating,timestamp\n"),
        "movies.csv": _table([(i, f'"Größe, {i} (199{i})"', "Drama|War") for i in range(1, 8)],
        ",", "movieId,title,genres\n"),
    },
}  # fmt: skip
CELLS = ["", " ", "nan", "inf", "1e39", "-0", "+1", "007", "1.0", str(2**53), str(10**18),
str(2**62), str(2**63 - 1), str(2**63), "9" * 400,
         "\0", '"', "x" * 200_000, "\x1b[31m", "\udcff", "::", "|", ",", "1_0", "١", "-1",
         "0"]  # fmt: skip


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Each time another fault in one of a release's files."""
    config = folder / "ml.py"
    config.write_text(CONFIG, encoding="utf-8")
    for number in range(1 << 30):
        name = random.choice(NAMES) if random.random() < 0.2 else "ml"
        name = "ml" if "\udcff" in name else name
        place = folder / str(number) / name
        place.mkdir(parents=True)
        release = FORMATS[random.choice(list(FORMATS))]
        contents = {file: text.encode("latin-1") for file, text in release.items()}
        file = random.choice([*release, next(iter(release))])
        names: tuple[object, ...] = (*release, GOOD, "config.", "catalogue has")
        kind = random.choice(
            ["bytes", "bytes", "cell", "cell", "cell", "twice", "gone", "kind", "name"]
        )
        what = kind
        if kind == "bytes":
            contents[file], what = _change(random, contents[file])
        elif kind == "cell":
            contents[file], what = _cell(random, contents[file])
        elif kind == "twice":
            lines = contents[file].splitlines(keepends=True)
            contents[file] = b"".join([*lines, random.choice(lines)])
        elif kind == "gone":
            del contents[file]
        elif kind == "name":
            names = (GOOD,)
        for one, content in contents.items():
            (place / one).write_bytes(content)
        if kind == "kind":
            (place / file).unlink()
            what = random.choice(["fifo", "folder", "loop", "zero"])
            if what == "fifo":
                os.mkfifo(place / file)
            elif what == "folder":
                (place / file).mkdir()
            else:
                (place / file).symlink_to("/dev/zero" if what == "zero" else place / file)
        given = random.choice([place, place.parent])
        signal.alarm(600)  # nothing waits for ever
        yield Attempt(
            f"{file}: {what}, folder {name!r}",
            ("train", f"--config={config}", f"--config.data.path={given}",
            f"--workdir={folder / 'run'}",
             "--config.export.top_k=1000000"),
            names,
        )  # fmt: skip
        signal.alarm(0)
        shutil.rmtree(folder / str(number))


def _cell(random: random.Random, content: bytes) -> tuple[bytes, str]:
    lines = content.split(b"\n")
    row = random.randrange(max(1, len(lines) - 1))
    separator = next(s for s in (b"::", b"\t", b"|", b",") if s in lines[row])
    cells = lines[row].split(separator)
    column, cell = random.randrange(len(cells)), random.choice(CELLS)
    cells[column] = cell.encode(errors="surrogateescape")
    lines[row] = separator.join(cells)
    return b"\n".join(lines), f"cell {row + 1}, {column} is {cell[:30]!r}"
