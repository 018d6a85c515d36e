"""First values of the item table from the items that stand close together in the timelines.

Items of similar use get similar vectors before the first step, which helps most where an item has
few events. Shapes: C candidates, D width.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.data.timelines import Timelines

_WINDOW = 10  # events
# Counts of the second item to this power: rare ones stand out less (Levy et al. 2015, 'Improving
# distributional similarity with lessons learned from word embeddings').
_POWER = 0.75
_DEVIATION = 0.05  # of the vectors' values


def item_vectors(timelines: Timelines, split: Split, spec: ModelSpec, width: int) -> np.ndarray:
    """Singular vectors of the items' positive pointwise mutual information, float32 [C, D].

    Events a to b of a user, up to ten apart, count 1 / (b - a); only training labels and the event
    before a user's first count. The vectors are U sqrt(S), at a standard deviation of .05; an item
    without neighbours has zeros, and so have all if no two items stand together more than others.
    """
    counts = _counts(timelines, split, spec)
    total = counts.sum()
    of_item = counts.sum(axis=1)
    of_other = of_item**_POWER
    of_other /= max(of_other.sum(), 1e-9)
    counts = counts.tocoo()
    information = np.log(counts.data * total) - np.log(
        of_item[counts.row] * (of_other[counts.col] * total)
    )
    kept = information > 0
    table = sparse.csr_array(
        (information[kept], (counts.row[kept], counts.col[kept])), counts.shape
    )
    vectors = np.zeros((spec.candidates, width), np.float32)
    if table.nnz:
        left, values = _singular(table, min(width, spec.candidates))
        vectors[:, : len(values)] = left * np.sqrt(values)
    return vectors * (_DEVIATION / max(float(vectors.std()), 1e-9))


def _singular(table: sparse.csr_array, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The left singular vectors [C, rank] of the largest singular values [rank], and these."""
    if table.shape[0] <= 4 * rank:  # ARPACK finds few of many
        left, values, _ = np.linalg.svd(table.toarray())
        return left[:, :rank], values[:rank]
    start = np.ones(table.shape[0])  # the same result every time
    left, values, _ = svds(table, rank, v0=start, return_singular_vectors="u")
    return left[:, ::-1], values[::-1]


def _counts(timelines: Timelines, split: Split, spec: ModelSpec) -> sparse.csr_array:
    """Counts of pairs in both orders, float64 [C, C]."""
    train, size = split.train, spec.candidates
    counts = sparse.csr_array((size, size))
    for gap in range(1, _WINDOW + 1):
        later = train[train - gap >= timelines.offsets[timelines.user[train]]]
        ends = timelines.item[later] - spec.first_candidate
        begins = timelines.item[later - gap] - spec.first_candidate
        counts += sparse.csr_array((np.full(len(ends), 1 / gap), (begins, ends)), (size, size))
    return (counts + counts.T).tocsr()
