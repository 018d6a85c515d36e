"""Equality of ranked lists, and of an exported file with the model it came from."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

SCORE_TOLERANCE = 1e-5
IMPORT_TOLERANCE = 1e-6  # of an imported file and what is made of it
# Scores this close to 0 or 1 no longer differ: their logits are compared.
_SATURATED = 1e-4

RankedList = tuple[np.ndarray, np.ndarray]  # ids int32 [K], scores float32 [K], best first
Runner = Callable[[dict[str, np.ndarray]], RankedList]  # of [length] by input name


@dataclasses.dataclass(frozen=True)
class Equality:
    """What a comparison on many contexts found.

    Attributes:
      contexts: how many were compared.
      agree: on how many of them the lists agree.
      identical_ids: on how many the ids are the very same.
      max_score_difference: over all contexts and positions, of the same item's scores.
    """

    contexts: int
    agree: int
    identical_ids: int
    max_score_difference: float


def compare(
    runner: Runner, contexts: dict[str, np.ndarray], logits: np.ndarray, **options: Any
) -> Equality:
    """Runs contexts one by one and compares each list with the logits' own.

    Args:
      runner: [length] by input name -> ids int32 [K], scores float32 [K].
      contexts: [n, length] by input name.
      logits: float32 [n, C] of the model.
      **options: as of `compare_lists`.
    """
    return compare_lists(one_by_one(runner, contexts), logits, **options)


def one_by_one(
    runner: Runner, contexts: dict[str, np.ndarray], top_k: int | None = None
) -> Iterator[RankedList]:
    """The list of each of the contexts, [n, length] by input name; its first K only, if given."""
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
    """Compares each list with the logits' own.

    Args:
      lists: n of them.
      logits: float32 [n, C] of the model.
      first_candidate: id of candidate 0.
      top_k: K.
      tolerance: see `lists_agree`.
    """
    agree = identical = 0
    largest = 0.0
    for (ids, scores), row in zip(lists, logits, strict=True):
        candidates = ids - first_candidate
        agree += lists_agree(candidates, scores, row, top_k, tolerance)
        identical += np.array_equal(candidates, top(row, top_k))
        if ((candidates >= 0) & (candidates < len(row))).all():
            difference = np.abs(scores - sigmoid(row[candidates]))
            largest = max(largest, float(np.nan_to_num(difference, nan=np.inf).max()))
        else:
            largest = float("inf")
    return Equality(len(logits), agree, identical, largest)


def worst(found: Sequence[Equality]) -> Equality:
    """What holds of all comparisons, made on the same contexts."""
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
    """Whether a ranked list is the model's own.

    At every position the item is the same or the two items' scores differ by at most the
    tolerance under both models, the boundary at K included; each item has the same score under
    both within the tolerance. Where the sigmoid saturates, logits are compared instead.

    Args:
      candidates: int [K], the list to judge, best first.
      scores: float32 [K], its scores.
      logits: float32 [C], the model's own.
      top_k: K.
      tolerance: largest difference of two scores that are taken for equal.
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
    """How far a ranked list is from the model's own: above `tolerance` where they do not agree.

    Args: as for `lists_agree`, whose verdict it is; infinity for a list that is none (items twice
    or outside the table, NaN) or whose items differ where scores saturate.
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


def top(logits: np.ndarray, k: int) -> np.ndarray:
    """Int [k], best first, equal logits in ascending order of the candidate, NaN last."""
    if k < len(logits):  # sorting a million for the sake of a hundred takes long
        worst_of_them = np.partition(-logits, k - 1)[k - 1]
        among = np.flatnonzero(-logits <= worst_of_them)
        if len(among) >= k:
            return among[np.argsort(-logits[among], kind="stable")[:k]]
    return np.argsort(-logits, kind="stable")[:k]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function, float32, without overflow."""
    return (0.5 * (1.0 + np.tanh(0.5 * x.astype(np.float64)))).astype(np.float32)


def _close(a: float, b: float, tolerance: float) -> bool:
    scores = sigmoid(np.array([a, b]))
    if scores.min() > 1 - _SATURATED or scores.max() < _SATURATED:
        return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    return abs(float(scores[0]) - float(scores[1])) <= tolerance
