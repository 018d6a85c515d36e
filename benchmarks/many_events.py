"""Measures the preparation of generated events beside plain polars.

    python benchmarks/many_events.py FOLDER [--events=5000000] [--ids=integer|text|both]
                                            [--rounds=3] [--ways=flaxrec,polars]

Writes `events_IDS_N.parquet` into FOLDER once: rows in the order of time, users with a lognormal
number of events (a mean of twenty), a hundredth as many items as events with Zipf's popularity,
times in seconds. Text ids are twelve letters and digits.

A round runs each way in a process of its own. `flaxrec` is `data.dataset.prepare`, from the file to
arrays that are ready for training, with its account of the data. `polars` is what no preparation
goes without: scan, stable sort by user and time, and integers for ids, by each id's first place.
The CPU seconds are those of all threads. The bytes are the process's peak of resident memory, less
that after imports. A figure is the median over rounds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from flaxrec.terminal.text_tables import markdown


def write(path: Path, events: int, ids: str) -> None:
    """Writes the generated events."""
    random = np.random.default_rng(0)
    users = max(1, events // 20)
    weight = random.lognormal(0, 1, users)
    user = np.searchsorted(np.cumsum(weight / weight.sum()), random.random(events)).astype(np.int64)
    item = (random.random(events) ** 3 * max(1, events // 100)).astype(np.int64)
    columns: dict[str, np.ndarray | pl.Series] = {"user": user, "item": item}
    if ids == "text":
        for name, codes in columns.items():
            scrambled = pl.Series((codes * 2_654_435_761) % 2**40)
            columns[name] = pl.select(
                pl.lit(name[0].upper()) + scrambled.cast(pl.String).str.zfill(11)
            ).to_series()
    columns["time"] = np.sort(random.integers(1_500_000_000, 1_700_000_000, events))
    pl.DataFrame(columns).write_parquet(path)


def by_flaxrec(path: Path) -> None:
    """All that `dataset.prepare` does."""
    from flaxrec.config import Config
    from flaxrec.data import dataset

    config = Config()
    config.data.source, config.data.path = "table", str(path)
    dataset.prepare(config)


def by_polars(path: Path) -> None:
    """Scan, sort, factorise."""
    frame = pl.scan_parquet(path).sort("user", "time", maintain_order=True).collect()
    for name in ("user", "item"):
        frame[name].rank("dense") if frame[name].dtype.is_integer() else frame[name].cast(
            pl.Categorical
        ).to_physical()


WAYS = {"flaxrec": by_flaxrec, "polars": by_polars}


def _measured(way: str, path: Path) -> None:
    """Prints what one way costs in this process."""
    import flaxrec.data.dataset  # noqa: F401  (imports do not count)

    before = _resident()
    began, wall = time.process_time(), time.perf_counter()
    WAYS[way](path)
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak - before}))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Prints one row a way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--ids", choices=("integer", "text", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default="flaxrec,polars")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        _measured(given.measure, given.folder)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = [["ids", "way", "CPU s", "s", "of polars' CPU s", "peak, bytes an event"]]
    for ids in ("integer", "text") if given.ids == "both" else (given.ids,):
        path = given.folder / f"events_{ids}_{given.events}.parquet"
        if not path.exists():
            write(path, given.events, ids)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in given.ways.split(",")}
        for _ in range(given.rounds):
            for way, several in found.items():
                command = [sys.executable, __file__, str(path), f"--measure={way}"]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                several.append(json.loads(done.stdout.splitlines()[-1]))
        median = {
            way: {key: statistics.median(one[key] for one in several) for key in several[0]}
            for way, several in found.items()
        }
        for way, one in median.items():
            share = one["cpu"] / median["polars"]["cpu"] if "polars" in median else float("nan")
            rows.append([ids, way, f"{one['cpu']:.1f}", f"{one['wall']:.1f}", f"{share:.2f}"])
            rows[-1].append(f"{one['peak'] / given.events:.0f}")
    print(f"polars {pl.__version__}, numpy {np.__version__}, {given.events:,} events")
    print(markdown(rows))


if __name__ == "__main__":
    main()
