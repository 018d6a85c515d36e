"""Baselines without a network: counts over training labels, ranked as `evaluation` ranks models.

Only training labels are counted: as what is popular, as what a transition leads to, as what a user
has in common with others. The item that a transition comes from is an event before its label and
may belong to any split, as in every context; of validation and test labels nothing is counted.
Scores are made for a few labels at a time; tables of [C, C] are sparse and made in blocks.
Shapes: n labels, B of them at a time, C candidates, L context length, k length of the lists.
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from flaxrec.data.dataset import Dataset
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ConfigError
from flaxrec.evaluation.evaluator import PerLabel

Scorer = Callable[[np.ndarray], np.ndarray]  # positions [B] -> scores, float64 [B, C]

_DENSE = 2**22  # scores at a time, 32 MiB
_MOST_LABELS = 1024  # labels at a time, whose whole histories are looked at
_NEIGHBOURS = 1000  # kept of an item; more gain little, and large catalogues could not hold them
# What the counts leave equal (most of all: what they have never seen) is ordered by popularity.
_TIE_BREAK = 1e-7


def rank(
    name: str,
    dataset: Dataset,
    positions: np.ndarray,
    *,
    context_length: int = 10,
    top: int = 10,
) -> PerLabel:
    """Ranks every candidate for every label, and lists the best, equal ones by number.

    Args:
      name: one of `BASELINES`.
      dataset: timelines and the split whose training labels are counted.
      positions: int32 [n], the labels' events.
      context_length: L, the number of events before the label that 'last_10_items' and 'item_knn'
        score from, and the widest transition that the former counts.
      top: length of the recommended lists; fewer if there are fewer candidates.

    Raises:
      ConfigError: there is no such baseline, or the data do not hold what it counts.
    """
    if name not in BASELINES:
        raise ConfigError(f"There is no baseline {name!r}; use one of {', '.join(BASELINES)}.")
    if context_length < 1:
        raise ConfigError(f"The baselines' context_length is {context_length}; use 1 or more.")
    scorer = BASELINES[name](dataset, context_length)
    k = min(top, dataset.spec.candidates)
    batch_size = min(max(1, _DENSE // dataset.spec.candidates), _MOST_LABELS)
    batches = [
        _rank_batch(scorer, dataset, positions[begin : begin + batch_size], k)
        for begin in range(0, max(1, len(positions)), batch_size)
    ]
    ranks, filtered, tops = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    seen_is_known = not dataset.timelines.contexts_are_stored
    return PerLabel(positions, ranks, filtered if seen_is_known else None, loss=None, top=tops)


# ---- the baselines --------------------------------------------------------------------------


def popularity(dataset: Dataset, context_length: int) -> Scorer:
    """The same for all: number of training labels with the item."""
    del context_length
    count = _label_counts(dataset)
    return lambda positions: np.broadcast_to(count, (len(positions), len(count)))


def last_item(dataset: Dataset, context_length: int) -> Scorer:
    """How often the training labels whose preceding item is the last one are this item.

    Divided by the number of such labels, which changes no rank; equal counts by popularity.
    """
    del context_length
    return _from_context(dataset, _transitions(dataset, 1), np.ones(1))


def last_10_items(dataset: Dataset, context_length: int) -> Scorer:
    """A mixture of the transitions from each of the last L items; L is 10 unless told otherwise.

    A training label counts 1 / g for the item that stands g events before it, g = 1 to L. An
    item's counts are divided by their sum: shares of where it leads. The last item's shares have
    the weight 1, those of the item before it 1/2, and so on to 1 / L. Equal sums by popularity.
    Both weights and the division were chosen by validation labels of MovieLens-1M.
    """
    weights = 1 / np.arange(1, context_length + 1)
    return _from_context(dataset, _transitions(dataset, context_length), weights)


def item_knn(dataset: Dataset, context_length: int) -> Scorer:
    """Items with users in common with the last L items (Sarwar et al. 2001).

    The similarity of two items is the cosine of their 0/1 columns in the table of users and items
    that holds the training labels; an item is none of its own neighbours. The thousand most
    similar to each are kept. The last item's similarities weigh 1, those of the one before it 1/2,
    and so on. Equal sums by popularity.
    """
    if dataset.timelines.contexts_are_stored:
        raise ConfigError(
            "The baseline 'item_knn' needs whole timelines, which TFRecords do not hold; use "
            "config.data.source=movielens or table, or another baseline."
        )
    weights = 1 / np.arange(1, context_length + 1)
    return _from_context(dataset, _neighbours(dataset), weights)


BASELINES: dict[str, Callable[[Dataset, int], Scorer]] = {
    "popularity": popularity,
    "last_item": last_item,
    "last_10_items": last_10_items,
    "item_knn": item_knn,
}


# ---- counts ---------------------------------------------------------------------------------


def _label_counts(dataset: Dataset) -> np.ndarray:
    """float64 [C]: training labels with the item."""
    labels = dataset.timelines.item[dataset.split.train] - dataset.spec.first_candidate
    return np.bincount(labels, minlength=dataset.spec.candidates).astype(np.float64)


def _transitions(dataset: Dataset, widest: int) -> sparse.csr_array:
    """[C, C]: from an item to the training labels 1 to `widest` events after it; rows sum to 1."""
    labels = dataset.timelines.item[dataset.split.train] - dataset.spec.first_candidate
    shape = (dataset.spec.candidates, dataset.spec.candidates)
    counts = sparse.csr_array(shape)
    for gap in range(1, widest + 1):
        source = _item_before(dataset, dataset.split.train, gap)
        known = source >= 0
        weight = np.full(known.sum(), 1 / gap)
        counts = counts + sparse.csr_array((weight, (source[known], labels[known])), shape)
    total = counts.sum(axis=1)
    return sparse.diags_array(1 / np.where(total, total, 1)).tocsr() @ counts


def _neighbours(dataset: Dataset) -> sparse.csr_array:
    """[C, C]: the cosines of each item's most similar others; equals at the boundary are kept."""
    timelines, n = dataset.timelines, dataset.spec.candidates
    train = dataset.split.train
    cells = (timelines.user[train], timelines.item[train] - dataset.spec.first_candidate)
    table = sparse.csr_array((np.ones(len(train)), cells), (len(timelines.users), n))
    table.data[:] = 1  # a user who met an item twice is still one user
    users = table.sum(axis=0)
    unit = (table @ sparse.diags_array(1 / np.sqrt(np.where(users, users, 1)))).tocsr()
    by_item = unit.T.tocsr()
    rows = []
    block = max(1, _DENSE // n)
    for begin in range(0, n, block):
        cosine = (by_item[begin : begin + block] @ unit).toarray()
        own = np.arange(len(cosine))
        cosine[own, begin + own] = 0
        if n > _NEIGHBOURS:
            least = -np.partition(-cosine, _NEIGHBOURS - 1)[:, _NEIGHBOURS - 1]
            cosine[cosine < least[:, None]] = 0
        rows.append(sparse.csr_array(cosine))
    return sparse.vstack(rows, format="csr")


# ---- contexts -------------------------------------------------------------------------------


def _from_context(dataset: Dataset, table: sparse.csr_array, weights: np.ndarray) -> Scorer:
    """Weighted sum of the rows of [C, C] that belong to the last items, most recent first."""
    count = _label_counts(dataset)
    popular = _TIE_BREAK * count / count.sum()

    def scores(positions: np.ndarray) -> np.ndarray:
        context = sparse.csr_array((len(positions), dataset.spec.candidates))
        for gap, weight in enumerate(weights, start=1):
            source = _item_before(dataset, positions, gap)
            known = np.flatnonzero(source >= 0)
            cells = (np.full(len(known), weight), (known, source[known]))
            context = context + sparse.csr_array(cells, context.shape)
        return (context @ table).toarray() + popular

    return scores


def _item_before(dataset: Dataset, positions: np.ndarray, gap: int) -> np.ndarray:
    """Int [n]: candidate of the item `gap` events before each label, -1 where there is none."""
    timelines, spec = dataset.timelines, dataset.spec
    if timelines.contexts_are_stored:
        rows, ends = _stored_context(dataset, positions)
        inside = ends >= gap
        row = rows[np.arange(len(rows)), np.maximum(ends - gap, 0)]
        inside &= row != 0  # padding
    else:
        inside = positions - gap >= timelines.offsets[timelines.user[positions]]
        row = timelines.item[np.maximum(positions - gap, 0)]
    candidate = row - spec.first_candidate
    known = inside & (candidate >= 0) & (candidate < spec.candidates)  # not 'unknown'
    return np.where(known, candidate, -1)


def _stored_context(dataset: Dataset, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vocabulary rows [n, length], oldest first, padded at the end, and how many stand there."""
    for spec in dataset.spec.inputs:
        if spec.source == "item.id" and spec.vocabulary == ITEM:
            rows = dataset.timelines.columns[spec.name].values[positions]
            return rows, np.max((rows != 0) * np.arange(1, rows.shape[1] + 1), axis=1)
    raise ConfigError(
        "The records hold no item ids of the context in the label's vocabulary, so that its last "
        "items are not known; add a feature with source 'item.id' to config.model.activity_groups."
    )


# ---- ranks ----------------------------------------------------------------------------------


def _rank_batch(
    scorer: Scorer, dataset: Dataset, positions: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks, filtered ranks (float32 [B]) and lists (int32 [B, k])."""
    scores = scorer(positions)
    labels = dataset.timelines.item[positions] - dataset.spec.first_candidate
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    better, equal = (scores > own).sum(axis=1), (scores == own).sum(axis=1) - 1
    ranks = better + 0.5 * equal

    label, seen = _seen(dataset, positions)
    theirs, others = scores[label, seen], seen != labels[label]
    places = (theirs > own[label, 0]) + 0.5 * (theirs == own[label, 0])
    filtered = ranks - np.bincount(label, places * others, minlength=len(positions))

    unseen = scores.copy()
    unseen[label, seen] = -np.inf
    return ranks.astype(np.float32), filtered.astype(np.float32), _top(unseen, k)


def _seen(dataset: Dataset, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All distinct earlier items: index of the label among `positions`, and candidate."""
    timelines = dataset.timelines
    start = timelines.offsets[timelines.user[positions]].astype(np.int64)
    length = positions - start  # 0 where contexts are stored
    label = np.repeat(np.arange(len(positions)), length)
    event = np.arange(len(label)) - np.repeat(np.cumsum(length) - length - start, length)
    first = timelines.first_occurrence[event]
    return label[first], timelines.item[event[first]] - dataset.spec.first_candidate


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """int32 [B, k]: the best candidates, equal ones by number."""
    least = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    row, candidate = np.nonzero(scores >= least)  # k a row, or more: equals at the boundary
    order = np.lexsort((candidate, -scores[row, candidate], row))
    row, candidate = row[order], candidate[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    return candidate[place < k].reshape(len(scores), k).astype(np.int32)
