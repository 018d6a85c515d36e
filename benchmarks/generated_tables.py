"""Writes the generated tables of docs/recipe.md: g_tiny, g_norepeat, g_repeat, g_sessions, g_long.

    python benchmarks/generated_tables.py FOLDER

A user walks over topics; the next item is one met before (with the table's share of repeats), one
of three favourite followers of the last item, or one of the topic, popular ones more often. CSV
with the columns user, item and time.
"""

import csv
import sys
from pathlib import Path

import numpy as np

TOPICS = 24
# Name -> users, items, median of events, share of repeats, seed.
TABLES = {
    "g_repeat": (4000, 2500, 25, 0.45, 1),
    "g_norepeat": (6000, 3000, 10, 0.0, 2),
    "g_sessions": (30000, 8000, 4, 0.15, 3),
    "g_tiny": (400, 300, 12, 0.0, 4),
    "g_long": (1500, 1200, 90, 0.0, 5),
}


def rows(users: int, items: int, median: int, repeats: float, seed: int) -> list[tuple]:
    """(user, item, time) in the order of the users."""
    random = np.random.default_rng(seed)
    topic_of = random.integers(0, TOPICS, items)
    popularity = 1 / np.arange(1.0, items + 1)
    random.shuffle(popularity)
    of_topic = [np.flatnonzero(topic_of == topic) for topic in range(TOPICS)]
    shares = [popularity[found] / popularity[found].sum() for found in of_topic]
    moves = random.dirichlet(np.full(TOPICS, 0.08), TOPICS) * 0.6 + np.eye(TOPICS) * 0.4
    followers = random.integers(0, items, (items, 3))
    found = []
    for user in range(users):
        length = min(max(3, int(random.lognormal(np.log(median), 0.8))), 1000)
        topic, met, clock = random.integers(TOPICS), [], int(random.integers(1.6e9, 1.65e9))
        for _ in range(length):
            topic = random.choice(TOPICS, p=moves[topic])
            drawn = random.random()
            if met and drawn < repeats:
                item = met[-1 - min(int(random.exponential(8)), len(met) - 1)]
            elif met and drawn < repeats + 0.25:
                item = int(followers[met[-1], random.integers(3)])
            else:
                item = int(random.choice(of_topic[topic], p=shares[topic]))
            if repeats == 0 and item in met:
                item = int(random.choice(of_topic[topic], p=shares[topic]))
                if item in met:
                    continue
            met.append(item)
            clock += int(random.exponential(86400))
            found.append((f"u{user}", f"i{item}", clock))
    return found


def main(folder: Path) -> None:
    """Writes all tables."""
    for name, settings in TABLES.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("user", "item", "time"))
            writer.writerows(rows(*settings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
