"""Buckets: blocks of users, each of which gives the same share of every batch.

What is trained when then depends on the seed, the epoch and the number of buckets, and not on how
many machines hold the users.
"""

from collections.abc import Sequence

import numpy as np

from flaxrec.data.timelines import Timelines
from flaxrec.errors import ConfigError

_UNEVEN = 1.1  # times the mean; a larger bucket is told


def divided(timelines: Timelines, labels: np.ndarray, buckets: int) -> list[np.ndarray]:
    """The training labels of each bucket, in the order that they have in `labels`.

    Buckets are blocks of users in the order of the timelines. Each is cut where it comes closest to
    its share of the labels that are left.

    Args:
      timelines: the data.
      labels: int32 [n], their events.
      buckets: how many; 1 is all labels as they are.

    Raises:
      ConfigError: fewer users have training labels.
    """
    if buckets == 1:
        return [labels]
    of_labels = timelines.user[labels]
    users, counts = np.unique(of_labels, return_counts=True)
    if len(users) < buckets:
        raise ConfigError(
            f"config.data.buckets is {buckets}, but only {len(users)} users have training labels; "
            "use at most that."
        )
    ends = np.cumsum(counts)
    cuts = [0]  # each bucket's first user, by place in `users`
    for left in range(buckets, 1, -1):
        done = ends[cuts[-1] - 1] if cuts[-1] else 0
        goal = done + (ends[-1] - done) / left
        cut = int(np.searchsorted(ends, goal))  # with user `cut` the goal is reached
        if ends[cut] - goal <= goal - (ends[cut - 1] if cut else 0):
            cut += 1
        cuts.append(min(max(cut, cuts[-1] + 1), len(users) - left + 1))
    bucket = np.searchsorted(users[cuts], of_labels, side="right") - 1
    order = np.argsort(bucket, kind="stable")
    return np.split(labels[order], np.searchsorted(bucket[order], np.arange(1, buckets)))


def line(parts: Sequence[np.ndarray]) -> str:
    """What to say of the buckets' sizes, given their labels."""
    sizes = [len(part) for part in parts]
    low, high, mean = min(sizes), max(sizes), sum(sizes) / len(sizes)
    told = f"buckets: {len(sizes)} blocks of users with {low:,} to {high:,} training labels"
    if high <= mean * _UNEVEN:
        return told
    return (
        f"{told}; an epoch leaves out {1 - mean / high:.0%} of the largest one's, drawn anew each "
        f"time, and trains the smallest one's {mean / low:.1f} times"
    )
