"""Draws what a pass trains, contexts with their prefixes or packed rows: each label once an epoch.

Shapes: R runs of labels, W windows.
"""

import dataclasses

import numpy as np

from flaxrec.data.timelines import Timelines


@dataclasses.dataclass(frozen=True)
class Runs:
    """The range from each user's first to last training label, R users.

    Attributes:
      first: int64 [R], the event of the first label.
      last: int64 [R], the event of the last.
    """

    first: np.ndarray
    last: np.ndarray


def label_runs(timelines: Timelines, labels: np.ndarray) -> Runs:
    """The runs of training labels, int [n] events."""
    labels = np.sort(labels)
    users = timelines.user[labels]
    begins = np.flatnonzero(np.diff(users, prepend=-1))
    ends = np.append(begins[1:], len(labels)) - 1
    return Runs(labels[begins].astype(np.int64), labels[ends].astype(np.int64))


def expected(runs: Runs, labels: int) -> int:
    """Mean number of windows that `draw` returns, rounded down."""
    lengths = runs.last - runs.first + 1
    return int(np.sum(lengths + labels - 1) / labels)


def draw(runs: Runs, labels: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Divides every run into windows of n labels with a random offset.

    Args:
      runs: R of them.
      labels: n; the first and last window of a run may have fewer.
      random: draws the offsets, so that a label's context length varies between epochs.

    Returns:
      The event of each window's last label, int32 [W], ascending, and the window's number of
      labels, int32 [W]; each label is in one window.
    """
    # The first window of a run holds its first 1 to n labels.
    in_first = random.integers(1, labels + 1, len(runs.first))
    counts = 1 + np.maximum(0, -(-(runs.last - runs.first + 1 - in_first) // labels))
    run = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)
    ends = runs.first[run] + in_first[run] - 1 + place * labels
    before = np.where(place > 0, ends - labels, runs.first[run] - 1)
    ends = np.minimum(ends, runs.last[run])
    return ends.astype(np.int32), (ends - before).astype(np.int32)


def pack(
    timelines: Timelines, labels: np.ndarray, length: int, random: np.random.Generator
) -> np.ndarray:
    """Fills rows with the training labels of one user after another, in a drawn order of users.

    Args:
      timelines: the data.
      labels: int32 [n], their events, ascending: each user's lie together.
      length: L, labels of a row.
      random: draws the order. A user whose labels do not fit into the row goes on in the next.

    Returns:
      int32 [n // L, L]; the labels of the last row are left out if they do not fill it.
    """
    users = timelines.user[labels]
    begins = np.flatnonzero(np.diff(users, prepend=-1))
    sizes = np.diff(begins, append=len(labels))
    order = random.permutation(len(begins))
    ends = np.cumsum(sizes[order])
    steps = np.arange(len(labels)) - np.repeat(ends - sizes[order], sizes[order])
    packed = labels[np.repeat(begins[order], sizes[order]) + steps]
    rows = len(labels) // length
    return packed[: rows * length].reshape(rows, length)
