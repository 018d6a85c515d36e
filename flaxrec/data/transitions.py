"""Which item follows which: a table of normalised transitions, from counts alone.

A transition leads from an event of a user to a later training label of the same user; both may
have any number of other events between them, up to the window. The earlier event may belong to
any split, as in every context; a validation or test label is never the end of one. (In
leave-one-out an event before a training label is itself training data.)

    T = rows ** row_power * pairs * columns ** column_power

`pairs` sums distance ** distance_power over all transitions; `rows` and `columns` are its sums.
Shapes: n labels, N events, C candidates, L context length.
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from flaxrec.data.spec import ModelSpec
from flaxrec.data.timelines import ITEM, Timelines
from flaxrec.errors import ConfigError
from flaxrec.terminal.progress import progress

CONTEXT = 10  # items of a context that are scored
_PAIRS = 2**20  # at a time, some 40 MB; what fits into the caches is faster


def normalized(
    timelines: Timelines,
    train: np.ndarray,
    spec: ModelSpec,
    *,
    window: int = 50,
    distance_power: float = -0.5,
    row_power: float = -0.5,
    column_power: float = -0.25,
    keep_self: bool,
    most: int | None = None,
    dtype: type[np.floating] = np.float32,
) -> sparse.csr_array:
    """The table T: row i says what follows item i.

    Blocks of items are done one after the other, so that the pairs of all events are never held.

    Args:
      timelines: the data.
      train: int32 [n], the training labels' events.
      spec: tells candidates from vocabulary rows.
      window: the widest transition, in events; stored contexts may be shorter.
      distance_power: a pair counts its distance in events to this power; 1 / sqrt by default.
      row_power: a row is multiplied by its sum of pairs to this power.
      column_power: likewise a column.
      keep_self: whether an item's transitions to itself stay, as is right where users come back to
        items, or are left out, also of the sums.
      most: the number of best followers to keep of each item; None: all.
      dtype: of the result; sums are float64.

    Returns:
      [C, C], sorted indices, no explicit zeros.
    """
    sequences = _Sequences(timelines, train, spec, window, distance_power)
    rows, columns, pairs = sequences.sums(keep_self)
    row_factor, column_factor = _power(rows, row_power), _power(columns, column_power)
    parts, total = [], spec.candidates
    with progress("transitions", total, "items") as advance:
        for begin, end in blocks(pairs, _PAIRS):
            shape = (end - begin, total)
            cell, value = _cells(sequences.pairs(begin, end, keep_self), shape, sequences.weights)
            starts = np.searchsorted(cell, np.arange(end - begin + 1) * total)
            column = cell - np.repeat(np.arange(end - begin) * total, np.diff(starts))
            value *= np.repeat(row_factor[begin:end], np.diff(starts)) * column_factor[column]
            part = sparse.csr_array((value.astype(dtype), column, starts), shape)
            parts.append(part if most is None else _best(part, most))
            advance(end - begin)
    table = sparse.vstack(parts, format="csr", dtype=dtype)
    table.has_canonical_format = True
    return table


def followers(table: sparse.csr_array, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Each item's n best followers, best first; of equal ones the smaller candidate.

    Returns:
      Candidates, int32 [C, n], and their weights in the table, float32 [C, n]. Where an item has
      fewer followers, the rest are candidate 0 with weight 0.
    """
    count = table.shape[0]
    candidates, weights = np.zeros((count, n), np.int32), np.zeros((count, n), np.float32)
    for begin, end in blocks(np.diff(table.indptr), _PAIRS):
        low, high = table.indptr[begin], table.indptr[end]
        row, place, index = _ranked(table.indptr[begin : end + 1] - low, table.data[low:high], n)
        candidates[begin + row, place] = table.indices[low:high][index]
        weights[begin + row, place] = table.data[low:high][index]
    return candidates, weights


def weighted(
    contexts: np.ndarray,
    candidates: int,
    dtype: type[np.floating] = np.float32,
    power: float = 1.0,
) -> sparse.csr_array:
    """A table [n, C] of the contexts' weights 1, 1/2, ... 1/L to a power, the latest item's first.

    Times the table of transitions it gives the scores of all candidates. Contexts are int [n, L] as
    from `contexts_before`.
    """
    known = contexts >= 0
    weights = np.arange(1, contexts.shape[1] + 1, dtype=dtype) ** -power
    weights = np.broadcast_to(weights, contexts.shape)
    starts = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    shape = (len(contexts), candidates)
    return sparse.csr_array((weights[known], contexts[known], starts), shape)


def contexts_before(
    timelines: Timelines, positions: np.ndarray, spec: ModelSpec, length: int = CONTEXT
) -> np.ndarray:
    """The last items before labels.

    Args:
      timelines: the data; if they store contexts, those are read.
      positions: int32 [n], the labels' events.
      spec: tells candidates from vocabulary rows, and which stored input holds item ids.
      length: L.

    Returns:
      Candidates, int32 [n, L], the latest first; -1 where there is no item or an unknown one.

    Raises:
      ConfigError: the stored contexts hold no item ids of the label's vocabulary.
    """
    gaps = np.arange(1, length + 1)
    if timelines.contexts_are_stored:
        stored = _stored(timelines, spec)[positions]
        ends = np.max((stored != 0) * np.arange(1, stored.shape[1] + 1), axis=1, initial=0)
        index = ends[:, None] - gaps
        rows = np.take_along_axis(stored, np.maximum(index, 0), axis=1)
        inside = (index >= 0) & (rows != 0)  # not padding
    else:
        index = positions[:, None] - gaps
        inside = index >= timelines.offsets[timelines.user[positions]][:, None]
        rows = timelines.item[np.maximum(index, 0)]
    return _candidates(np.where(inside, rows, -1), spec)


# ---- pairs ----------------------------------------------------------------------------------


class _Sequences:
    """Users' events one after the other, and which pairs of them count how much."""

    def __init__(
        self,
        timelines: Timelines,
        train: np.ndarray,
        spec: ModelSpec,
        window: int,
        distance_power: float,
    ):
        self.weights = np.maximum(np.arange(window + 1.0), 1) ** distance_power  # by distance
        if timelines.contexts_are_stored:  # each label and its context is a sequence
            length = min(window, _stored(timelines, spec).shape[1])
            before = contexts_before(timelines, train, spec, length)[:, ::-1]
            label = _candidates(timelines.item[train], spec)
            item = np.column_stack([before, label]).ravel()
            is_label = np.tile(np.arange(length + 1) == length, len(train))
            later = np.tile(np.arange(length, -1, -1), len(train))
        else:
            item = _candidates(timelines.item, spec)
            is_label = np.zeros(len(item), bool)
            is_label[train] = True
            later = timelines.offsets[timelines.user + 1] - 1 - np.arange(len(item))
        self._item = item  # candidates, -1 for none
        self._label = np.where(is_label, item, -1)  # likewise
        self._later = np.minimum(later, window).astype(np.int32)  # events that a pair may end at
        self._count, self._window = spec.candidates, window
        # Events in the order of their items; those of candidate c begin at _starts[c].
        self._order = np.argsort(item, kind="stable").astype(np.int32)
        self._starts = np.searchsorted(item[self._order], np.arange(self._count + 1))

    def pairs(
        self, begin: int, end: int, keep_self: bool
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Distance, earlier candidates less `begin`, labels' candidates; earlier in begin:end."""
        events = self._order[self._starts[begin] : self._starts[end]]
        events = events[np.argsort(-self._later[events], kind="stable")]
        reach, item = -self._later[events], self._item[events]
        for gap in range(1, self._window + 1):
            n = np.searchsorted(reach, -gap, side="right")
            label = self._label[events[:n] + gap]
            counts = label >= 0
            if not keep_self:
                counts &= item[:n] != label
            yield gap, item[:n][counts] - begin, label[counts]

    def sums(self, keep_self: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights by earlier item and by label, and the number of pairs by earlier item."""
        rows, columns, pairs = np.zeros((3, self._count))
        for gap in range(1, min(self._window, len(self._item) - 1) + 1):
            item, label = self._item[:-gap], self._label[gap:]
            counts = (self._later[:-gap] >= gap) & (label >= 0) & (item >= 0)
            if not keep_self:
                counts &= item != label
            count = np.bincount(item[counts], minlength=self._count)
            pairs += count
            rows += count * self.weights[gap]
            columns += np.bincount(label[counts], minlength=self._count) * self.weights[gap]
        return rows, columns, pairs


def _cells(
    pairs: Iterator[tuple[int, np.ndarray, np.ndarray]], shape: tuple[int, int], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cells row * C + column that occur, ascending, int64, and their sums, float64.

    `pairs` has distances, rows and columns; `weights` is by distance.
    """
    bits = len(weights).bit_length()
    keys = [
        ((item.astype(np.int64) * shape[1] + label) << bits) + gap for gap, item, label in pairs
    ]
    key = np.concatenate(keys)
    keys.clear()
    cells = shape[0] * shape[1]
    if cells <= 2 * len(key):  # a dense block is faster
        sums = np.bincount(key >> bits, weights[key & ((1 << bits) - 1)], minlength=cells)
        cell = np.flatnonzero(sums)
        return cell, sums[cell]
    key.sort()  # much faster than a sort of keys with values beside them
    cell = key >> bits
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    value = weights[key & ((1 << bits) - 1)]
    return cell[first], np.add.reduceat(value, first) if len(first) else value


def blocks(counts: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows that have about `most` entries together, at least one row each."""
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        before = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield begin, end
        begin = end


# ---- tables ---------------------------------------------------------------------------------


def _ranked(
    starts: np.ndarray, values: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row's n largest values: row, place among them from 0, and index in `values`."""
    counts = np.diff(starts)
    least = np.zeros(len(counts), values.dtype)
    for long in np.flatnonzero(counts > n):  # a loop that spares sorting all values
        least[long] = np.partition(values[starts[long] : starts[long + 1]], -n)[-n]
    row = np.repeat(np.arange(len(counts)), counts)
    index = np.flatnonzero(values >= least[row])
    row = row[index]
    index = index[np.lexsort((-values[index], row))]  # stable: equal values in columns' order
    place = np.arange(len(row)) - np.searchsorted(row, row)
    best = place < n
    return row[best], place[best], index[best]


def _best(table: sparse.csr_array, n: int) -> sparse.csr_array:
    """The table with the n largest values of each row."""
    row, _, index = _ranked(table.indptr, table.data, n)
    index.sort()
    starts = np.searchsorted(row, np.arange(table.shape[0] + 1))
    return sparse.csr_array((table.data[index], table.indices[index], starts), table.shape)


def _power(sums: np.ndarray, power: float) -> np.ndarray:
    """The sums to a power; 1 where there is nothing to normalise."""
    return np.where(sums > 0, sums, 1.0) ** power


def _candidates(rows: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """int32: candidates of vocabulary rows, -1 for rows that are none."""
    candidate = rows - spec.first_candidate
    known = (rows >= 0) & (candidate >= 0) & (candidate < spec.candidates)
    return np.where(known, candidate, -1).astype(np.int32)


def _stored(timelines: Timelines, spec: ModelSpec) -> np.ndarray:
    """int32 [N, length]: vocabulary rows of stored contexts, oldest first, 0 for padding."""
    for one in spec.inputs:
        if one.source == "item.id" and one.vocabulary == ITEM:
            return timelines.columns[one.name].values
    raise ConfigError(
        "The records hold no item ids of the context in the label's vocabulary, so that its last "
        "items are not known; add a feature with source 'item.id' to config.model.activity_groups."
    )
