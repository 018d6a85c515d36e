"""Baselines without a network: counts over training labels, ranked as `Evaluator` ranks models.

They count training labels only. A transition leads from an earlier event to a training label; that
event may belong to any split, as in every context.
A score is a sum of rows of a sparse table [C, C], and nearly all others are zero: those are ordered
by popularity, and a label's rank is computed from the others alone.
Shapes: n labels, B of them at a time, C candidates, L context length.
"""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy import sparse

from flaxrec.data import transitions as transitions_lib
from flaxrec.data.dataset import Dataset
from flaxrec.data.splits import evenly
from flaxrec.errors import ConfigError
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.scoring.metrics import top as best_of
from flaxrec.terminal.progress import progress

_ENTRIES = 2**18  # scores at a time; what fits into the caches is faster
_NEIGHBOURS = 1000  # kept per item; more gain little and need too much memory in large catalogues
# Weight of popularity, which orders items with equal counts, above all those never counted.
_TIE_BREAK = 1e-7
_MOST_SCORES = 10**8  # that are not zero; more labels beside a run are sampled, some 10 s ...
_FEWEST = 10_000  # ... but never to fewer than these
OLD_NAMES = {"last_10_items": "last_ten"}  # of version 0.1
_NOTHING = np.zeros(0, np.int64), np.zeros(0, np.int64)  # row and candidate


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a baseline has counted.

    Attributes:
      dataset: the data.
      popular: float64 [C], a score for every context.
      table: [C, C], what follows or resembles an item; None: nothing but `popular` counts.
      length: L; the table's row of the last item weighs 1, that before it 1 / 2, ... 1 / L.
      power: of these weights.
      onto: [F, C]; `table` is [C, F] then, and the scores are those of their product.
    """

    dataset: Dataset
    popular: np.ndarray
    table: sparse.csr_array | None = None
    length: int = 0
    power: float = 1.0
    onto: sparse.csr_array | None = None

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Scores, float64 [n, C], before the labels at `positions`."""
        return self.cells(self.contexts(positions)).toarray() + self.popular

    def contexts(self, positions: np.ndarray) -> np.ndarray:
        """Candidates before labels, int32 [n, L], the latest first, -1 for none."""
        if self.table is None:
            return np.zeros((len(positions), 0), np.int32)
        return transitions_lib.contexts_before(
            self.dataset.timelines, positions, self.dataset.spec, self.length
        )

    def cells(self, contexts: np.ndarray) -> sparse.csr_array:
        """Scores that are not zero, [n, C], without `popular`."""
        if self.table is None:
            return sparse.csr_array((len(contexts), len(self.popular)))
        kind, count = self.table.dtype.type, len(self.popular)
        chosen = transitions_lib.weighted(contexts, count, kind, self.power)
        found = chosen @ self.table
        if self.onto is None:
            return found
        found = (found @ self.onto).tocsr()
        found.data = found.data.round(9)  # what is equal but for rounding is equal
        return found

    def entries(self, contexts: np.ndarray) -> np.ndarray:
        """The number of entries in `cells` by context, int64 [n], at most."""
        if self.table is None or not len(contexts):
            return np.zeros(len(contexts), np.int64)
        if self.onto is not None:
            return np.full(len(contexts), len(self.popular))
        of_item = np.append(np.diff(self.table.indptr), 0)  # -1 is the last
        return np.minimum(of_item[contexts].sum(axis=1), len(self.popular))


def rank(
    name: str,
    dataset: Dataset,
    positions: np.ndarray,
    *,
    context_length: int = 10,
    top: int = 10,
) -> PerLabel:
    """Ranks every candidate for every label and lists the best; ties are in ascending order.

    Args:
      name: one of `BASELINES`.
      dataset: timelines and the split whose training labels are counted.
      positions: int32 [n], the labels' events.
      context_length: L, the number of events before the label that `last_ten`, `transitions` and
        `item_knn` score from, and the widest transition that `last_ten` counts.
      top: length of the recommended lists, at most C; 0: none.

    Raises:
      ConfigError: there is no such baseline, or the data lack what it counts.
    """
    if name in OLD_NAMES:
        warnings.warn(
            f"The baseline {name!r} is called {OLD_NAMES[name]!r} now; the old name will go.",
            FutureWarning,
            stacklevel=2,
        )
        name = OLD_NAMES[name]
    if name not in BASELINES:
        raise ConfigError(f"There is no baseline {name!r}; use one of {', '.join(BASELINES)}.")
    if context_length < 1:
        raise ConfigError(f"The baselines' context_length is {context_length}; use 1 or more.")
    return ranks(BASELINES[name](dataset, context_length), positions, top=top, what=name)


# ---- the baselines --------------------------------------------------------------------------


def popularity(dataset: Dataset, context_length: int) -> Counts:
    """The number of training labels with the item, the same for every context."""
    del context_length
    return Counts(dataset, _label_counts(dataset))


def last_item(dataset: Dataset, context_length: int) -> Counts:
    """Share of the training labels after the context's last item; ties by popularity."""
    del context_length
    return last_ten(dataset, 1)


def last_ten(dataset: Dataset, context_length: int) -> Counts:
    """A mixture of the transitions from each of the last L items, ten by default.

    A training label counts 1 / g for the item g events before it, g = 1 to L. Each item's counts
    are divided by their sum. The last item's shares have the weight 1, those of the item before it
    1/2, and so on to 1 / L. Ties are ordered by popularity.
    Both weights and the division were chosen on validation labels of MovieLens-1M.
    """
    table = transitions_lib.normalized(
        dataset.timelines,
        dataset.split.train,
        dataset.spec,
        window=context_length,
        distance_power=-1,
        row_power=-1,
        column_power=0,
        keep_self=True,
        # Figures of small catalogues are quoted, also those of MovieLens.
        most=None if dataset.spec.candidates <= 10 * _NEIGHBOURS else _NEIGHBOURS,
        dtype=np.float64,
    )
    return from_context(dataset, table, context_length)


def transitions(dataset: Dataset, context_length: int) -> Counts:
    """Normalised transitions, see `data.transitions`: up to 50 events wide, popular items damped.

    The table's rows of the last L items are summed with weights 1, 1/2, ... 1 / L. Transitions of
    an item to itself count; where nobody comes back to an item there are none. Ties are ordered by
    popularity.
    """
    table = transitions_lib.normalized(
        dataset.timelines, dataset.split.train, dataset.spec, keep_self=True, most=_NEIGHBOURS
    )
    return from_context(dataset, table, context_length)


def item_knn(dataset: Dataset, context_length: int) -> Counts:
    """Items with users in common with the last L items (Sarwar et al. 2001).

    The similarity of two items is the cosine of their 0/1 columns in the users-by-items table of
    training labels. Each item keeps its thousand most similar items, itself excluded. The last
    item's similarities weigh 1, those of the item before it 1/2, and so on. Ties are ordered by
    popularity.
    """
    if dataset.timelines.contexts_are_stored:
        raise ConfigError(
            "The baseline 'item_knn' needs whole timelines, which TFRecords do not hold; use "
            "config.data.source=movielens or table, or another baseline."
        )
    return from_context(dataset, _neighbours(dataset), context_length)


BASELINES: dict[str, Callable[[Dataset, int], Counts]] = {
    "popularity": popularity,
    "last_item": last_item,
    "last_ten": last_ten,
    "transitions": transitions,
    "item_knn": item_knn,
}


# ---- beside a run ---------------------------------------------------------------------------

BESIDE_RUNS = ("popularity", "last_item", "last_ten", "transitions")


@dataclasses.dataclass(frozen=True)
class Beside:
    """The baselines on the labels of a run.

    Attributes:
      metrics: by baseline and split ('validation', 'test'), as in metrics.jsonl but without loss.
      labels: by split, how many were ranked.
      sampled: whether some splits have more labels, of which these are evenly spaced.
      seconds: that all took.
    """

    metrics: dict[str, dict[str, dict[str, float]]]
    labels: dict[str, int]
    sampled: bool
    seconds: float


def beside_run(dataset: Dataset, ks: tuple[int, ...]) -> Beside:
    """Ranks the labels of validation and test with each of `BESIDE_RUNS` that the data allow."""
    start, split = time.perf_counter(), dataset.split
    every = {"validation": split.validation, "test": split.test}
    every = {part: labels for part, labels in every.items() if len(labels)}
    counted = {}
    for name in BESIDE_RUNS:
        with contextlib.suppress(ConfigError):  # stored contexts without ids
            counted[name] = BASELINES[name](dataset, transitions_lib.CONTEXT)
    some = evenly(split.test, _FEWEST)
    scores = max(c.entries(c.contexts(some)).mean() for c in counted.values())  # of a label
    most = max(_FEWEST, int(_MOST_SCORES / max(scores, 1)))
    ranked = {part: evenly(labels, most) for part, labels in every.items()}
    metrics = {
        name: {part: ranks(counts, labels, what=name).means(ks) for part, labels in ranked.items()}
        for name, counts in counted.items()
    }
    return Beside(
        metrics,
        {part: len(labels) for part, labels in ranked.items()},
        any(len(ranked[part]) < len(every[part]) for part in ranked),
        time.perf_counter() - start,
    )


# ---- counts ---------------------------------------------------------------------------------


def _train_labels(dataset: Dataset) -> np.ndarray:
    """Int [N]: the candidates of the training labels."""
    return dataset.timelines.item[dataset.split.train] - dataset.spec.first_candidate


def _label_counts(dataset: Dataset) -> np.ndarray:
    """float64 [C]: training labels with the item."""
    counts = np.bincount(_train_labels(dataset), minlength=dataset.spec.candidates)
    return counts.astype(np.float64)


def from_context(
    dataset: Dataset, table: sparse.csr_array, length: int, power: float = 1.0
) -> Counts:
    """A table's rows of the last items, ties by popularity; see `Counts`."""
    count = _label_counts(dataset)
    return Counts(dataset, _TIE_BREAK * count / count.sum(), table, length, power)


def _neighbours(dataset: Dataset) -> sparse.csr_array:
    """[C, C]: cosines of each item's most similar other items; ties at the cut-off are kept."""
    users = dataset.timelines.user[dataset.split.train]
    shape = (len(dataset.timelines.users), dataset.spec.candidates)
    labels = _train_labels(dataset)
    table = sparse.csr_array((np.ones(len(users)), (users, labels)), shape)
    table.data[:] = 1  # several labels of one user with the same item count once
    fans = table.sum(axis=0)
    unit = (table @ sparse.diags_array(1 / np.sqrt(np.where(fans, fans, 1)))).tocsr()
    by_item, rows = unit.T.tocsr(), []
    block = max(1, _ENTRIES // shape[1])
    for begin in range(0, shape[1], block):
        cosine = (by_item[begin : begin + block] @ unit).toarray()
        own = np.arange(len(cosine))
        cosine[own, begin + own] = 0
        if shape[1] > _NEIGHBOURS:
            least = -np.partition(-cosine, _NEIGHBOURS - 1)[:, _NEIGHBOURS - 1]
            cosine[cosine < least[:, None]] = 0
        rows.append(sparse.csr_array(cosine))
    return sparse.vstack(rows, format="csr")


# ---- ranks ----------------------------------------------------------------------------------


def ranks(counts: Counts, positions: np.ndarray, *, top: int = 0, what: str = "") -> PerLabel:
    """Ranks labels among all candidates, as `Evaluator` does; equal scores count half a place.

    Args:
      counts: of a baseline.
      positions: int32 [n], the labels' events.
      top: length of the lists with seen items left out; 0: none. They take most of the time.
      what: names the progress.
    """
    dataset = counts.dataset
    timelines, candidates = dataset.timelines, dataset.spec.candidates
    found = np.zeros(len(positions), np.float32)
    filtered = None if timelines.contexts_are_stored else np.zeros_like(found)
    lists = np.zeros((len(positions), min(top, candidates)), np.int32)
    in_order = np.sort(counts.popular)
    contexts = counts.contexts(positions)
    work = counts.entries(contexts) + (candidates if top else candidates // 16)
    with progress(what, len(positions), "labels") as advance:
        for begin, end in transitions_lib.blocks(work, _ENTRIES):
            block = _Block(counts, contexts[begin:end], positions[begin:end])
            # The label is equal to itself.
            found[begin:end] = block.popular_places(in_order) + block.places() - 0.5
            row, seen = _NOTHING if filtered is None else _seen(dataset, positions[begin:end])
            if filtered is not None:
                filtered[begin:end] = found[begin:end] - block.places_of(row, seen)
            if top:
                lists[begin:end] = block.lists(row, seen, top)
            advance(end - begin)
    return PerLabel(positions, found, filtered, loss=None, top=lists if top else None)


class _Block:
    """B contexts: their scores that differ from `popular`, and their labels' scores."""

    def __init__(self, counts: Counts, contexts: np.ndarray, positions: np.ndarray):
        self._popular, self._cells = counts.popular, counts.cells(contexts)
        dataset = counts.dataset
        self._label = dataset.timelines.item[positions] - dataset.spec.first_candidate
        self._row = np.repeat(np.arange(len(positions)), np.diff(self._cells.indptr))
        self._popular_of = self._popular[self._cells.indices]
        self._score = self._cells.data + self._popular_of
        self._own = self._popular[self._label]
        of_label = np.flatnonzero(self._cells.indices == self._label[self._row])
        self._own[self._row[of_label]] = self._score[of_label]
        # Places that a candidate takes before the label, less those by popularity alone.
        own = self._own[self._row]
        self._further = _places(self._score, own) - _places(self._popular_of, own)

    def popular_places(self, in_order: np.ndarray) -> np.ndarray:
        """[B]: places before the label if all had only `popular`, which `in_order` is, sorted."""
        lower = np.searchsorted(in_order, self._own, "left")
        not_higher = np.searchsorted(in_order, self._own, "right")
        return len(in_order) - (lower + not_higher) / 2

    def places(self) -> np.ndarray:
        """[B]: further places before the label, by the scores that differ."""
        return np.bincount(self._row, self._further, minlength=len(self._own))

    def places_of(self, row: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        """[B]: places before the label that these candidates of the rows take, itself excepted."""
        other = candidate != self._label[row]
        row, candidate = row[other], candidate[other]
        chosen = np.zeros((len(self._own), len(self._popular)), bool)
        chosen[row, candidate] = True
        further = chosen[self._row, self._cells.indices]
        n = len(self._own)
        places = _places(self._popular[candidate], self._own[row])
        return np.bincount(row, places, minlength=n) + np.bincount(
            self._row[further], self._further[further], minlength=n
        )

    def lists(self, row: np.ndarray, seen: np.ndarray, top: int) -> np.ndarray:
        """Int [B, top]: the best candidates, those `seen` last."""
        scores = self._cells.toarray() + self._popular
        scores[row, seen] = -np.inf
        return np.stack([best_of(own, top) for own in scores])


def _places(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """1 where a score is higher than the own one, 1/2 where it is equal, else 0."""
    return (scores > own) + 0.5 * (scores == own)


def _seen(dataset: Dataset, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The candidates of all earlier events of the labels' users, each once: row and candidate."""
    timelines = dataset.timelines
    starts = timelines.offsets[timelines.user[positions]].astype(np.int64)
    counts = positions - starts
    row = np.repeat(np.arange(len(positions)), counts)
    event = np.arange(len(row)) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    first = timelines.first_occurrence[event]
    return row[first], timelines.item[event[first]] - dataset.spec.first_candidate
