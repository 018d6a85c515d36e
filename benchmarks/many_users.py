"""Measures lists a second of `Recommender.recommend_many` and of the SavedModel's `serve_batch`.

    python benchmarks/many_users.py EXPORT_DIR [--rounds=7] [--users=2000]

Histories have 20 random items, lists 10. A round goes through all ways; a figure is the median over
rounds of the rate as a multiple of that of a loop of `recommend` in the same round: users a second
of the clock, and of the processor, which other work on the machine disturbs less. `serve_batch`
is asked for 256 contexts at once, which are encoded as for the file; its lists are those of the
float32 form. The lists of `recommend_many` are compared with those of the loop.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec import Recommender
from flaxrec.terminal.text_tables import markdown

BATCH = 256


def batched(recommender: Recommender, folder: Path) -> Callable[[list[list[Any]]], object]:
    """Encodes, stacks, and calls `serve_batch`."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "saved_model"))
    serve = loaded.signatures["serve_batch"]

    def call(histories: list[list[Any]]) -> object:
        out = loaded  # kept as long as its signature is used
        for start in range(0, len(histories), BATCH):
            encoded = [
                recommender.encode([{"item": item} for item in history])
                for history in histories[start : start + BATCH]
            ]
            stacked = {n: tf.constant(np.stack([e[n] for e in encoded])) for n in encoded[0]}
            out = {name: value.numpy() for name, value in serve(**stacked).items()}
        return out

    return call


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("export_dir", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--users", type=int, default=2000)
    given = parser.parse_args()
    recommender = Recommender.load(given.export_dir)
    ids, rng = [item["id"] for item in recommender.items.values()], random.Random(0)
    histories = [rng.choices(ids, k=20) for _ in range(given.users)]
    many = recommender.recommend_many
    ways: dict[str, Callable[[list[list[Any]]], object]] = {
        "recommend": lambda several: [recommender.recommend(one) for one in several],
        "recommend_many, 1 thread": lambda several: list(many(several)),
        "2 threads": lambda several: list(many(several, threads=2)),
        "serve_batch": batched(recommender, given.export_dir),
    }
    lists = ways["recommend"](histories)
    equal = all(ways[name](histories) == lists for name in list(ways)[1:3])
    clocks = {"clock": time.perf_counter, "processor": time.process_time}
    rates: dict[tuple[str, str], list[float]] = {(c, way): [] for c in clocks for way in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            start = [clock() for clock in clocks.values()]
            way(histories)
            for (which, clock), began in zip(clocks.items(), start, strict=True):
                rates[which, name].append(len(histories) / (clock() - began))
    rows = [[str(given.export_dir), *ways]]
    for which in clocks:
        loop = rates[which, "recommend"]
        medians = [
            statistics.median(a / b for a, b in zip(rates[which, name], loop, strict=True))
            for name in ways
        ]
        rows.append([f"{which}: {statistics.median(loop):,.0f} users a second are 1"])
        rows[-1] += [f"{median:.2f}" for median in medians]
    print(markdown(rows))
    print(f"lists equal: {equal}")


if __name__ == "__main__":
    main()
