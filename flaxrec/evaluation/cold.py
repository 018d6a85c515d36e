"""Labels of cold items: the means of their ranks, and what ranks them without any training.

Shapes: n labels, C candidates, F values of all features.
"""

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from flaxrec.data.dataset import Dataset
from flaxrec.data.item_features import ItemValues
from flaxrec.data.splits import evenly
from flaxrec.data.transitions import CONTEXT
from flaxrec.evaluation import baselines
from flaxrec.evaluation.baselines import Counts
from flaxrec.evaluation.evaluator import PerLabel

BY_USER, BY_ITEM = "by_user/", "by_item/"  # before the names of means
_MOST_SCORES = 10**8  # of content_knn, some 10 s; of more labels an even sample is ranked ...
_FEWEST = 10_000  # ... but never fewer than these


def means(ranks: PerLabel, dataset: Dataset, ks: tuple[int, ...]) -> dict[str, float]:
    """Metrics by name, as means over labels; with a prefix over users, and over items.

    A user's (or an item's) labels are averaged first, then all that have any count alike.
    """
    timelines = dataset.timelines
    found = ranks.means(ks)
    for prefix, groups in ((BY_USER, timelines.user), (BY_ITEM, timelines.item)):
        of_label = groups[ranks.positions]
        weights = 1 / np.bincount(of_label)[of_label]
        found |= {prefix + name: value for name, value in ranks.means(ks, weights).items()}
    return found


def report(dataset: Dataset, lists: np.ndarray) -> dict[str, float]:
    """Counts of cold labels and items, and two shares that tell whether cold items are shown.

    `lists`, int [n, k], are candidates recommended to the users of the test labels. Where the model
    knows what new items are worth, `cold_share_of_lists` is about `cold_share_of_events`.
    """
    timelines, split = dataset.timelines, dataset.split
    events = timelines.account.events if timelines.account else len(timelines.item)
    first = dataset.spec.candidates - split.cold_items
    return {
        "labels": len(split.cold),
        "users": len(np.unique(timelines.user[split.cold])),
        "items": len(np.unique(timelines.item[split.cold])),
        "cold_items": split.cold_items,
        "repeated_share": float((~timelines.first_occurrence[split.cold]).mean()),
        "without_training_event": len(split.cold),
        "cold_share_of_items": split.cold_items / dataset.spec.candidates,
        "cold_share_of_events": 1 - timelines.report["events"] / events,
        "cold_share_of_lists": float((lists >= first).mean()) if lists.size else 0.0,
    }


# ---- baselines ------------------------------------------------------------------------------


def beside_run(dataset: Dataset, seed: int) -> dict[str, PerLabel]:
    """Ranks cold labels (an even sample of very many) without a model, by the baseline's name.

    `content_knn`: by the cosine of an item's features and the mean of those of the context's last
    ten items; left out where the config names no features of items. `new_popularity`: cold items by
    their number of cold labels, before all others; it knows what no one does, but not the user.
    `random`: every order of the items is as likely.
    """
    most = max(_FEWEST, _MOST_SCORES // dataset.spec.candidates)
    labels = evenly(dataset.split.cold, most)
    found = {}
    if dataset.timelines.item_values:
        counts = content_knn(dataset)
        found["content_knn"] = baselines.ranks(counts, labels, what="content_knn")
    counts = new_popularity(dataset)
    found["new_popularity"] = baselines.ranks(counts, labels, what="new_popularity")
    return found | {"random": _at_random(dataset, labels, seed)}


def content_knn(dataset: Dataset, length: int = CONTEXT) -> Counts:
    """Items by their features' likeness to the last `length` items; equal ones share their rank."""
    vectors = feature_vectors(dataset.timelines.item_values)
    nothing = np.zeros(dataset.spec.candidates)
    return Counts(dataset, nothing, vectors, length, 0.0, vectors.T.tocsr())


def new_popularity(dataset: Dataset) -> Counts:
    """Cold items by their number of cold labels, then the others by that of training labels."""
    timelines, split = dataset.timelines, dataset.split
    size, first = dataset.spec.candidates, dataset.spec.first_candidate
    warm, cold = (
        np.bincount(timelines.item[labels] - first, minlength=size)
        for labels in (split.train, split.cold)
    )
    return Counts(dataset, cold + warm / (2 * warm.sum()))


def feature_vectors(item_values: Mapping[str, ItemValues]) -> sparse.csr_array:
    """Unit vectors [C, F]: before the norm 1 where an item has a value, and numbers as they are.

    Numbers are standardised: together they weigh about as much as one value.
    """
    parts = []
    for of in item_values.values():
        if of.known.vocabulary is None:
            parts.append(sparse.csr_array(of.values.astype(np.float64)))
            continue
        known = (of.values > 0) & (of.values < of.rows - 1)  # neither padding nor 'unknown'
        item, _ = np.nonzero(known)
        shape = (len(of.values), of.rows)
        part = sparse.csr_array((np.ones(len(item)), (item, of.values[known])), shape)
        part.data[:] = 1  # a value that an item has twice
        parts.append(part)
    joined = sparse.hstack(parts, format="csr")
    norm = np.sqrt(joined.multiply(joined).sum(axis=1))
    return (sparse.diags_array(1 / np.where(norm, norm, 1)) @ joined).tocsr()


def _at_random(dataset: Dataset, labels: np.ndarray, seed: int) -> PerLabel:
    timelines, candidates = dataset.timelines, dataset.spec.candidates
    distinct = np.cumsum(np.append(0, timelines.first_occurrence))
    seen = distinct[labels] - distinct[timelines.offsets[timelines.user[labels]]]
    seen -= ~timelines.first_occurrence[labels]  # the label itself stays
    drawn = np.random.default_rng(seed).random(len(labels))
    rank, filtered = (np.floor(drawn * (candidates - out)) for out in (0, seen))
    return PerLabel(labels, rank.astype(np.float32), filtered.astype(np.float32), loss=None)
