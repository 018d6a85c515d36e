"""When two ranked lists are the same list: numbers made by hand, neither TensorFlow nor LiteRT."""

import numpy as np
import pytest

from flaxrec.exporting import ranked_lists
from flaxrec.exporting.ranked_lists import Equality, compare, lists_agree, sigmoid, top

# Five candidates; the best three are 3, 1, 2. sigmoid'(0) = 1 / 4 turns logits into scores here.
LOGITS = [0.0, 2.0, 1.0, 3.0, -1.0]
SCORE = {3.0: 0.9525741, 2.0: 0.8807971, 1.0: 0.7310586, 0.0: 0.5, -1.0: 0.2689414}


def agree(candidates, logits, scores=None, top_k=None, **options) -> bool:
    """`lists_agree`; the list's scores are the logits' own unless given."""
    logits = np.array(logits, np.float32)
    if scores is None:
        scores = 1 / (1 + np.exp(-logits[candidates]))
    return lists_agree(
        np.array(candidates, np.int32),
        np.array(scores, np.float32),
        logits,
        len(candidates) if top_k is None else top_k,
        **options,
    )


# ---- the same list, or not ------------------------------------------------------------------


def test_the_very_same_list():
    assert agree([3, 1, 2], LOGITS, [SCORE[3.0], SCORE[2.0], SCORE[1.0]])
    assert agree([3, 1, 2, 0, 4], LOGITS)
    assert agree([3], LOGITS)


@pytest.mark.parametrize("candidates", [[1, 3, 2], [3, 2, 1], [2, 1, 3]])
def test_unequal_scores_swapped(candidates):
    assert not agree(candidates, LOGITS)
    # ... nor with the scores left in descending order, as a file would give them.
    assert not agree(candidates, LOGITS, [SCORE[3.0], SCORE[2.0], SCORE[1.0]])


def test_equal_scores_swapped():
    assert agree([1, 0, 2], [1.0, 1.0, 0.0])
    assert agree([2, 0, 1], [1.0, 1.0, 1.0])
    assert not agree([1, 2, 0], [1.0, 1.0, 0.0])


def test_scores_within_the_tolerance_swapped():
    # A quarter of the logits' distance: 0.8e-5 and 1.2e-5 against the tolerance of 1e-5.
    assert agree([1, 0], [3.2e-5, 0.0])
    assert not agree([1, 0], [4.8e-5, 0.0])
    assert not agree([1, 0], [3.2e-5, 0.0], tolerance=1e-6)
    assert agree([1, 0], [3.2e-6, 0.0], tolerance=1e-6)


def test_a_swap_must_be_within_the_tolerance_under_the_lists_own_scores_too():
    # Equal logits; either score is within 1e-5 of 0.5, but not of the other.
    assert agree([1, 0], [0.0, 0.0], [0.500004, 0.499998])
    assert not agree([1, 0], [0.0, 0.0], [0.500009, 0.499991])


def test_many_small_steps_do_not_add_up_to_a_large_one():
    # Neighbours differ by 0.75e-5, first and last by 1.5e-5.
    assert not agree([2, 1, 0], [6e-5, 3e-5, 0.0])


# ---- the boundary at K ----------------------------------------------------------------------


def test_equal_items_on_both_sides_of_the_boundary():
    assert agree([0, 1], [3.0, 1.0, 1.0, 0.0])
    assert agree([0, 2], [3.0, 1.0, 1.0, 0.0])
    assert agree([0, 2], [3.0, 3.2e-5, 0.0, -1.0])


def test_a_wrong_item_at_the_boundary():
    assert not agree([0, 3], [3.0, 1.0, 1.0, 0.0])
    assert not agree([0, 2], [3.0, 4.8e-5, 0.0, -1.0])
    # The right scores do not make it the right item.
    assert not agree([0, 3], [3.0, 1.0, 1.0, 0.0], [SCORE[3.0], SCORE[1.0]])


def test_the_best_item_left_out_and_the_others_moved_up():
    # Each place differs by 0.8e-5 only, but a left-out item scores no more than the list's last.
    steps = [9.6e-5, 6.4e-5, 3.2e-5, 0.0]
    assert agree([1, 0, 2], steps)
    assert not agree([1, 2, 3], steps)


def test_all_of_a_tied_group_is_beyond_the_boundary():
    assert agree([4, 3], [1.0, 1.0, 1.0, 1.0, 1.0])


# ---- lists that are none --------------------------------------------------------------------


@pytest.mark.parametrize(
    "candidates",
    [[3, 3, 1], [3, 1, 1], [3, 1, -1], [-2, 3, 1], [3, 1, 5], [3, 1, 2**31 - 1]],
    ids=str,
)
def test_repeated_and_impossible_items(candidates):
    assert not agree(candidates, LOGITS, [SCORE[3.0], SCORE[2.0], SCORE[1.0]])


def test_the_last_candidate_is_in_range():
    assert agree([1, 0], [1.0, 2.0])


def test_repeated_items_of_equal_scores():
    assert not agree([0, 0], [1.0, 1.0, 1.0])


def test_too_short_and_too_long_lists():
    assert not agree([3, 1], LOGITS, top_k=3)
    assert not agree([3, 1, 2, 0], LOGITS, top_k=3)


# ---- scores ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("error", "accepted"), [(0.9e-5, True), (2e-5, False), (-2e-5, False)])
def test_every_score_is_compared(place, error, accepted):
    scores = [SCORE[3.0], SCORE[2.0], SCORE[1.0]]
    scores[place] += error
    assert agree([3, 1, 2], LOGITS, scores) == accepted


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers(bad):
    # A file with uninitialised weights answers NaN; the ids may be right by chance.
    assert not agree([3, 1, 2], LOGITS, [bad, bad, bad])
    assert not agree([3, 1, 2], LOGITS, [SCORE[3.0], bad, SCORE[1.0]])


def test_logits_instead_of_scores():
    assert not agree([3, 1, 2], LOGITS, [3.0, 2.0, 1.0])


# ---- saturated sigmoids ---------------------------------------------------------------------


@pytest.mark.parametrize("logits", [[20.0, 15.0, 1.0], [-15.0, -20.0, -30.0], [12.0, 11.9, 0.0]])
def test_saturated_scores_are_equal_but_logits_tell(logits):
    scores = 1 / (1 + np.exp(-np.array(logits)))
    assert abs(scores[0] - scores[1]) < 1e-5
    assert agree([0, 1], logits)
    assert not agree([1, 0], logits)


def test_saturated_and_equal():
    assert agree([1, 0], [20.0, 20.0, 1.0])
    assert agree([1, 0], [-20.0, -20.0])
    # Relative to the logits' size: 1e-5 * 20.
    assert agree([1, 0], [20.0001, 20.0])
    assert not agree([1, 0], [20.001, 20.0])


def test_the_boundary_among_saturated_scores():
    assert not agree([0, 2], [30.0, 20.0, 15.0])
    assert agree([0, 2], [30.0, 20.0, 20.0])


def test_only_both_scores_saturated_at_one_end_count():
    # 1 - 0.99e-4 and 1 - 1.01e-4: one of them can still be told by its score.
    almost_one = np.log(1 / np.array([0.99e-4, 1.01e-4]) - 1)
    assert agree([1, 0], almost_one)


# ---- compare --------------------------------------------------------------------------------

# Four contexts of four candidates; the answers speak ids, one more than the candidate.
TABLE = np.array(
    [[4, 3, 2, 1], [1, 1, 0, 0], [0, 1, 2, 3], [2, 0, 1, -1]], np.float32
)  # fmt: skip
ANSWERS = {
    0: ([1, 2], [4, 3]),  # the very same
    1: ([2, 1], [1, 1]),  # equal ones swapped
    2: ([4, 3], [3, 2]),  # right, but see below
    3: ([1, 4], [2, -1]),  # a wrong item with its own score
}


def runner(score_error=0.0, ids_of_3=None):
    def run(inputs):
        assert set(inputs) == {"context_item_id", "context_rating"}
        assert inputs["context_rating"].tolist() == [inputs["context_item_id"][0] / 2] * 3
        row = int(inputs["context_item_id"][0])
        ids, logits = ANSWERS[row]
        if row == 3 and ids_of_3:
            ids = ids_of_3
        scores = 1 / (1 + np.exp(-np.array(logits, np.float32)))
        return np.array(ids, np.int32), scores + np.float32(score_error if row == 2 else 0)

    return run


def compared(run, top_k=2, **options) -> Equality:
    rows = np.arange(4)
    contexts = {
        "context_item_id": np.repeat(rows[:, None], 2, axis=1).astype(np.int32),
        "context_rating": np.repeat(rows[:, None] / 2, 3, axis=1).astype(np.float32),
    }
    return compare(run, contexts, TABLE, first_candidate=1, top_k=top_k, **options)


def test_compare_counts():
    equality = compared(runner())
    assert (equality.contexts, equality.agree, equality.identical_ids) == (4, 3, 2)
    assert equality.max_score_difference < 1e-6


def test_compare_finds_a_wrong_score():
    equality = compared(runner(score_error=0.01))
    assert (equality.agree, equality.identical_ids) == (2, 2)
    assert equality.max_score_difference == pytest.approx(0.01, rel=1e-4)


def test_compare_takes_the_tolerance():
    assert compared(runner(score_error=5e-6)).agree == 3
    assert compared(runner(score_error=5e-6), tolerance=1e-6).agree == 2


@pytest.mark.parametrize("ids", [[0, 1], [1, 5]])
def test_compare_finds_padding_and_unknown(ids):
    equality = compared(runner(ids_of_3=ids))
    assert (equality.agree, equality.identical_ids) == (3, 2)
    assert equality.max_score_difference == np.inf


def test_compare_finds_lists_of_another_length():
    equality = compared(runner(), top_k=3)
    assert (equality.agree, equality.identical_ids) == (0, 0)


def test_compare_does_not_swallow_scores_that_are_no_numbers():
    equality = compared(runner(score_error=np.nan))
    assert equality.agree == 2
    assert not equality.max_score_difference < 1


def test_first_candidate_is_the_id_of_candidate_0():
    logits = np.array([[0, 2, 1]], np.float32)

    def run(inputs):
        return np.array([1, 2], np.int32), sigmoid(np.array([2, 1], np.float32))

    contexts = {"context_item_id": np.zeros((1, 2), np.int32)}
    for first, agreed in ((0, 1), (1, 0)):
        equality = compare(run, contexts, logits, first_candidate=first, top_k=2)
        assert equality.agree == agreed


# ---- parts ----------------------------------------------------------------------------------


def test_first_cuts_both_lists():
    ids, scores = np.arange(5), np.arange(5) / 10
    run = lambda inputs: (ids + inputs["add"], scores)  # noqa: E731
    (cut,) = ranked_lists.one_by_one(run, {"add": np.array([7])}, 2)
    np.testing.assert_array_equal(cut, ([7, 8], [0.0, 0.1]))


def test_the_worst_of_comparisons_is_taken_number_by_number():
    found = [Equality(9, 9, 4, 2e-7), Equality(9, 8, 9, 1e-7), Equality(9, 9, 9, 3e-7)]
    assert ranked_lists.worst(found) == Equality(9, 8, 4, 3e-7)


def test_top_puts_the_lower_of_equal_candidates_first():
    assert top(np.array([1.0, 3.0, 1.0, 3.0, 2.0]), 4).tolist() == [1, 3, 4, 0]
    assert top(np.zeros(100), 100).tolist() == list(range(100))


@pytest.mark.parametrize("odd", [0.5, -np.inf, np.nan])
def test_top_is_the_beginning_of_a_stable_sort(odd):
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = rng.choice(np.float32([-2, -1, 0, 1, 2, odd]), size=30)
        for k in (1, 7, 29, 30):
            nan = np.flatnonzero(np.isnan(logits)).tolist()
            numbers = [i for i in range(30) if i not in nan]
            expected = sorted(numbers, key=lambda i: (-logits[i], i)) + nan
            assert top(logits, k).tolist() == expected[:k]


def test_sigmoid():
    x = np.array([-1e4, -1.0, 0.0, 1.0, 1e4], np.float32)
    with np.errstate(all="raise"):
        y = sigmoid(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, [0, 0.26894143, 0.5, 0.7310586, 1], rtol=1e-6)


def test_the_contracts_tolerance():
    assert ranked_lists.SCORE_TOLERANCE == 1e-5
