"""Compares ranked lists, such as an exported file's with its model's."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flaxrec.scoring.metrics import top

SCORE_TOLERANCE = 1e-5
IMPORT_TOLERANCE = 1e-6  # between an imported file and its export
# Scores this close to 0 or 1 no longer differ, so their logits are compared.
_SATURATED = 1e-4

RankedList = tuple[np.ndarray, np.ndarray]  # ids int32 [K], scores float32 [K], best first
Runner = Callable[[dict[str, np.ndarray]], RankedList]  # takes [length] by input name


@dataclasses.dataclass(frozen=True)
class Equality:
    """The result of a comparison on many contexts.

    Attributes:
      contexts: number compared.
      agree: number on which the lists agree.
      identical_ids: number on which the ids are identical.
      max_score_difference: of one item's two scores, over all contexts and positions.
    """

    contexts: int
    agree: int
    identical_ids: int
    max_score_difference: float


def compare(
    runner: Runner, contexts: dict[str, np.ndarray], logits: np.ndarray, **options: Any
) -> Equality:
    """Runs contexts, [n, length] by input name, one by one, and compares as `compare_lists`."""
    return compare_lists(one_by_one(runner, contexts), logits, **options)


def one_by_one(
    runner: Runner, contexts: dict[str, np.ndarray], top_k: int | None = None
) -> Iterator[RankedList]:
    """Yields the list of each context, [n, length] by input name; its first K if given."""
    for row in range(len(next(iter(contexts.values())))):
        ids, scores = runner({name: values[row] for name, values in contexts.items()})
        yield ids[:top_k], scores[:top_k]


def compare_lists(
    lists: Iterable[RankedList],
    logits: np.ndarray,
    *,
    first_candidate: int,
    top_k: int,
    tolerance: float = SCORE_TOLERANCE,
) -> Equality:
    """Compares n lists with the model's logits, float32 [n, C]; see `lists_agree`.

    `first_candidate` is the id of candidate 0, `top_k` is K. Items whose logit is minus infinity
    are left out. Where fewer than K are not, the list goes on with others, whose score is 0.
    """
    agree = identical = 0
    largest = 0.0
    for (ids, scores), row in zip(lists, logits, strict=True):
        candidates = ids - first_candidate
        left = min(top_k, int((row > -np.inf).sum()))
        if left < top_k:
            if len(ids) != top_k or not _goes_on(candidates, scores, row, left):
                largest = float("inf")
                continue
            candidates, scores = candidates[:left], scores[:left]
        identical += np.array_equal(candidates, top(row, left))
        if not left:
            agree += 1
            continue
        agree += lists_agree(candidates, scores, row, left, tolerance)
        if ((candidates >= 0) & (candidates < len(row))).all():
            difference = np.abs(scores - sigmoid(row[candidates]))
            largest = max(largest, float(np.nan_to_num(difference, nan=np.inf).max()))
        else:
            largest = float("inf")
    return Equality(len(logits), agree, identical, largest)


def _goes_on(candidates: np.ndarray, scores: np.ndarray, logits: np.ndarray, left: int) -> bool:
    """Whether a list goes on with what is left out, once each, with a score of 0.

    With exclude_context, that may be rows that are no candidates.
    """
    if len(np.unique(candidates)) < len(candidates) or scores[left:].any():
        return False
    inside = (candidates >= 0) & (candidates < len(logits))
    out = candidates[left:][inside[left:]]
    return bool(inside[:left].all() and np.isneginf(logits[out]).all())


def worst(found: Sequence[Equality]) -> Equality:
    """The worst of comparisons on the same contexts."""
    return Equality(
        found[0].contexts,
        min(equality.agree for equality in found),
        min(equality.identical_ids for equality in found),
        max(equality.max_score_difference for equality in found),
    )


def lists_agree(
    candidates: np.ndarray,
    scores: np.ndarray,
    logits: np.ndarray,
    top_k: int,
    tolerance: float = SCORE_TOLERANCE,
) -> bool:
    """Whether a ranked list agrees with the model's logits.

    At every position, the last included, the item is the model's or the two items' scores differ
    by at most the tolerance under both. Each item's two scores differ by at most the tolerance.
    Where the sigmoid saturates, logits are compared instead.

    Args:
      candidates: int [K], the list to judge, best first.
      scores: float32 [K], its scores.
      logits: float32 [C], the model's own.
      top_k: K.
      tolerance: largest difference of two scores that count as equal.
    """
    if len(candidates) != top_k or len(set(candidates.tolist())) != top_k:
        return False
    if candidates.min() < 0 or candidates.max() >= len(logits):
        return False
    own = top(logits, top_k)
    # Written so that NaN does not pass.
    if not (np.abs(scores - sigmoid(logits[candidates])) <= tolerance).all():
        return False
    score_of = dict(zip(candidates.tolist(), scores.tolist(), strict=True))
    for position in np.flatnonzero(candidates != own):
        theirs, ours = int(candidates[position]), int(own[position])
        if not _close(float(logits[theirs]), float(logits[ours]), tolerance):
            return False
        # An item beyond the list's end scores at most as much as the last one.
        if abs(score_of[theirs] - score_of.get(ours, float(scores[-1]))) > tolerance:
            return False
    return True


def list_difference(
    candidates: np.ndarray,
    scores: np.ndarray,
    logits: np.ndarray,
    tolerance: float = SCORE_TOLERANCE,
) -> float:
    """How far a ranked list is from the model's: above `tolerance` if `lists_agree` is False.

    Args: see `lists_agree`.

    Returns:
      The largest difference of scores; infinity for an invalid list (repeated items, items outside
      the table, NaN) and for items that differ where scores saturate.
    """
    k = len(candidates)
    inside = k and candidates.min() >= 0 and candidates.max() < len(logits)
    if not inside or len(set(candidates.tolist())) != k:
        return float("inf")
    theirs = np.abs(scores - sigmoid(logits[candidates]))
    items = np.abs(sigmoid(logits[candidates]) - sigmoid(logits[top(logits, k)]))
    largest = float(np.nan_to_num(np.maximum(theirs, items), nan=np.inf).max())
    if lists_agree(candidates, scores, logits, k, tolerance):
        return min(largest, tolerance)
    return largest if largest > tolerance else float("inf")


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function, float32, without overflow."""
    return (0.5 * (1.0 + np.tanh(0.5 * x.astype(np.float64)))).astype(np.float32)


def _close(a: float, b: float, tolerance: float) -> bool:
    scores = sigmoid(np.array([a, b]))
    if scores.min() > 1 - _SATURATED or scores.max() < _SATURATED:
        return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    return abs(float(scores[0]) - float(scores[1])) <= tolerance
