"""Baselines without a network: counts over training labels, ranked as `evaluation` ranks models.

They count training labels only. A transition leads from an earlier event to a training label; that
event may belong to any split, as in every context.
Scores are computed for a few labels at a time; tables of [C, C] are sparse and built in blocks.
Shapes: n labels, B of them at a time, C candidates, L context length.
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from flaxrec.data.dataset import Dataset
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ConfigError
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.exporting import label_ranks

Scorer = Callable[[np.ndarray], np.ndarray]  # positions [B] -> scores, float64 [B, C]

_DENSE = 2**22  # scores at a time, 32 MiB
_NEIGHBOURS = 1000  # kept per item; more gain little and need too much memory in large catalogues
# Weight of popularity, which orders items with equal counts, above all those never counted.
_TIE_BREAK = 1e-7


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
      context_length: L, the number of events before the label that 'last_10_items' and 'item_knn'
        score from, and the widest transition that 'last_10_items' counts.
      top: length of the recommended lists, at most C.

    Raises:
      ConfigError: there is no such baseline, or the data lack what it counts.
    """
    if name not in BASELINES:
        raise ConfigError(f"There is no baseline {name!r}; use one of {', '.join(BASELINES)}.")
    if context_length < 1:
        raise ConfigError(f"The baselines' context_length is {context_length}; use 1 or more.")
    scorer = BASELINES[name](dataset, context_length)
    at_once = max(1, _DENSE // dataset.spec.candidates)
    batches = np.split(positions, range(at_once, len(positions), at_once))
    scores = (row for batch in batches for row in scorer(batch))
    return label_ranks.rank(scores, dataset, positions, top=top, what=name)


# ---- the baselines --------------------------------------------------------------------------


def popularity(dataset: Dataset, context_length: int) -> Scorer:
    """The number of training labels with the item, the same for every context."""
    del context_length
    count = _label_counts(dataset)
    return lambda positions: np.broadcast_to(count, (len(positions), len(count)))


def last_item(dataset: Dataset, context_length: int) -> Scorer:
    """Share of the training labels after the context's last item; ties by popularity."""
    del context_length
    return last_10_items(dataset, 1)


def last_10_items(dataset: Dataset, context_length: int) -> Scorer:
    """A mixture of the transitions from each of the last L items.

    A training label counts 1 / g for the item g events before it, g = 1 to L. Each item's counts
    are divided by their sum. The last item's shares have the weight 1, those of the item before it
    1/2, and so on to 1 / L. Ties are ordered by popularity.
    Both weights and the division were chosen on validation labels of MovieLens-1M.
    """
    return _from_context(dataset, _transitions(dataset, context_length), context_length)


def item_knn(dataset: Dataset, context_length: int) -> Scorer:
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
    return _from_context(dataset, _neighbours(dataset), context_length)


BASELINES: dict[str, Callable[[Dataset, int], Scorer]] = {
    "popularity": popularity,
    "last_item": last_item,
    "last_10_items": last_10_items,
    "item_knn": item_knn,
}


# ---- counts ---------------------------------------------------------------------------------


def _train_labels(dataset: Dataset) -> np.ndarray:
    """Int [N]: the candidates of the training labels."""
    return dataset.timelines.item[dataset.split.train] - dataset.spec.first_candidate


def _label_counts(dataset: Dataset) -> np.ndarray:
    """float64 [C]: training labels with the item."""
    counts = np.bincount(_train_labels(dataset), minlength=dataset.spec.candidates)
    return counts.astype(np.float64)


def _transitions(dataset: Dataset, widest: int) -> sparse.csr_array:
    """[C, C]: from an item to the training labels 1 to `widest` events after it; rows sum to 1."""
    labels, n = _train_labels(dataset), dataset.spec.candidates
    counts = sparse.csr_array((n, n))
    for gap in range(1, widest + 1):
        source = _item_before(dataset, dataset.split.train, gap)
        known = source >= 0
        counts += _cells(source[known], labels[known], 1 / gap, (n, n))
    total = counts.sum(axis=1)
    return sparse.diags_array(1 / np.where(total, total, 1)).tocsr() @ counts


def _neighbours(dataset: Dataset) -> sparse.csr_array:
    """[C, C]: cosines of each item's most similar other items; ties at the cut-off are kept."""
    users = dataset.timelines.user[dataset.split.train]
    shape = (len(dataset.timelines.users), dataset.spec.candidates)
    table = _cells(users, _train_labels(dataset), 1, shape)
    table.data[:] = 1  # several labels of one user with the same item count once
    fans = table.sum(axis=0)
    unit = (table @ sparse.diags_array(1 / np.sqrt(np.where(fans, fans, 1)))).tocsr()
    by_item, rows = unit.T.tocsr(), []
    block = max(1, _DENSE // shape[1])
    for begin in range(0, shape[1], block):
        cosine = (by_item[begin : begin + block] @ unit).toarray()
        own = np.arange(len(cosine))
        cosine[own, begin + own] = 0
        if shape[1] > _NEIGHBOURS:
            least = -np.partition(-cosine, _NEIGHBOURS - 1)[:, _NEIGHBOURS - 1]
            cosine[cosine < least[:, None]] = 0
        rows.append(sparse.csr_array(cosine))
    return sparse.vstack(rows, format="csr")


def _cells(
    rows: np.ndarray, columns: np.ndarray, value: float, shape: tuple[int, int]
) -> sparse.csr_array:
    """The value at each (row, column), summed where a cell occurs several times."""
    return sparse.csr_array((np.full(len(rows), float(value)), (rows, columns)), shape)


# ---- contexts -------------------------------------------------------------------------------


def _from_context(dataset: Dataset, table: sparse.csr_array, length: int) -> Scorer:
    """Sums the rows of [C, C] that belong to the last items, with weights 1, 1/2, 1/3, ..."""
    count = _label_counts(dataset)
    popular = _TIE_BREAK * count / count.sum()

    def scores(positions: np.ndarray) -> np.ndarray:
        context = sparse.csr_array((len(positions), len(count)))
        for gap in range(1, length + 1):
            source = _item_before(dataset, positions, gap)
            known = np.flatnonzero(source >= 0)
            context += _cells(known, source[known], 1 / gap, context.shape)
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
    """Vocabulary rows [n, length], oldest first, padded at the end; and each row's length [n]."""
    for spec in dataset.spec.inputs:
        if spec.source == "item.id" and spec.vocabulary == ITEM:
            rows = dataset.timelines.columns[spec.name].values[positions]
            return rows, np.max((rows != 0) * np.arange(1, rows.shape[1] + 1), axis=1)
    raise ConfigError(
        "The records hold no item ids of the context in the label's vocabulary, so that its last "
        "items are not known; add a feature with source 'item.id' to config.model.activity_groups."
    )
