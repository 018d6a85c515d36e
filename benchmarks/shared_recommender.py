"""Measures recommendations a second of one Recommender that threads share.

    python benchmarks/shared_recommender.py EXPORT_DIR [--rounds=7] [--seconds=1]

Compares it with one interpreter behind a lock, and with a Recommender for each thread. Histories
have 20 random items, lists 10. Rounds go through all ways and numbers of threads in turns; a figure
is the median over rounds of the rate as a multiple of that of one thread in the same round. With
other work on the machine, multiples compare better than rates. Memory is what the process gains by
an interpreter that has run, mean of 20.
"""

import argparse
import os
import random
import statistics
import threading
import time
from pathlib import Path

from flaxrec import Recommender
from flaxrec.terminal.text_tables import markdown
from flaxrec.tflite.runtime import TfliteModel

THREADS = (1, 2, 8)


class Locked:
    """One interpreter behind a lock."""

    def __init__(self, file: Path):
        self._model = TfliteModel(file)
        self._lock = threading.Lock()

    def __call__(self, inputs):
        """One thread's call at a time."""
        with self._lock:
            return self._model(inputs)


def rate(recommenders: list[Recommender], histories: list[list], seconds: float) -> float:
    """Recommendations a second of a thread for each of these, at once."""
    counts = [0] * len(recommenders)
    start, end = threading.Barrier(len(recommenders) + 1), threading.Event()

    def ask(place: int) -> None:
        start.wait()
        while not end.is_set():
            recommenders[place].recommend(histories[counts[place] % len(histories)], 10)
            counts[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(counts))]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    end.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def resident() -> int:
    """Bytes of memory that the process holds; Linux only."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("export_dir", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1)
    given = parser.parse_args()
    file = given.export_dir / "model.tflite"

    def load() -> Recommender:
        return Recommender.load(given.export_dir)

    shared, locked, own = load(), load(), [load() for _ in range(max(THREADS))]
    locked._model = Locked(file)  # type: ignore[assignment]
    ids = [item["id"] for item in shared.items.values()]
    histories = [random.Random(seed).choices(ids, k=20) for seed in range(500)]
    ways = {
        "one Recommender, shared": lambda count: [shared] * count,
        "one interpreter behind a lock": lambda count: [locked] * count,
        "a Recommender for each thread": lambda count: own[:count],
    }
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(given.rounds):
        for way, of in ways.items():
            for count in THREADS:
                found = rate(of(count), histories, given.seconds)
                rates.setdefault((way, count), []).append(found)
    ones = rates["one Recommender, shared", 1]
    rows = [["", *(f"{count} threads" for count in THREADS)]]
    for way in ways:
        row = [way]
        for count in THREADS:
            ratios = [found / one for found, one in zip(rates[way, count], ones, strict=True)]
            row.append(f"{statistics.median(ratios):.2f}")
        rows.append(row)
    print(markdown(rows))
    print(f"1.00 is {statistics.median(ones):,.0f} recommendations a second.")
    inputs = shared.encode([{"item": item} for item in histories[0]])
    content, before, kept = file.read_bytes(), resident(), []
    for _ in range(20):
        kept.append(TfliteModel(content))
        kept[-1](inputs)
    print(f"An interpreter takes {(resident() - before) / 20 / 1e6:.2f} MB.")


if __name__ == "__main__":
    main()
