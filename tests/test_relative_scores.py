"""Probabilities relative to a list's first item, from the sigmoids that a file returns."""

import numpy as np
import pytest

from flaxrec import recommender as recommender_lib
from flaxrec.recommender import Recommender


def test_relative_scores_are_ratios_of_the_softmax(bow_id):
    """Of a list, to its first item; also where some items may not be shown."""
    recommender = Recommender(bow_id.export)
    history = [item["id"] for item in list(recommender.items.values())[3:6]]
    found = recommender.recommend(history, 10)
    logits = [np.log(one.score) - np.log1p(-one.score) for one in found]
    expected = np.exp(np.array(logits) - logits[0])
    np.testing.assert_allclose([one.relative for one in found], expected, rtol=1e-9)
    assert found[0].relative == 1 > found[-1].relative
    others = recommender.recommend(history, 5, without=[found[0].item])
    np.testing.assert_allclose([o.relative for o in others], expected[1:6] / expected[1], rtol=1e-9)


@pytest.mark.parametrize(
    ("score", "best", "expected"),
    [(1.0, 1.0, 1), (1 - 2.0**-24, 1.0, 0.5), (0.0, 0.5, 0), (0.0, 0.0, 1), (0.2, 0.5, 0.25)],
)
def test_relative_scores_where_the_sigmoid_ends(score, best, expected):
    assert recommender_lib._relative(score, best) == pytest.approx(expected, rel=1e-6)
