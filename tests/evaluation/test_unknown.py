"""Contexts with something unknown: exactly what should change does, and padding stays."""

import numpy as np
import pytest

from flaxrec.data.spec import InputSpec
from flaxrec.evaluation import unknown

ID = InputSpec("id", "item.id", "INT", 4, rows=9, vocabulary="item")
GAP = InputSpec("gap", "event.gap", "INT", 4, rows=8, vocabulary="gap")
AFTER = InputSpec("after", "event.gap_after", "INT", 4, rows=7, vocabulary="after")
AGO = InputSpec("ago", "event.seconds_ago", "INT", 4)
SINCE = InputSpec("since", "ask.since", "INT", 1, rows=6, vocabulary="since")
HOUR = InputSpec("hour", "ask.hour", "INT", 1, rows=26, vocabulary="hour")
RATING = InputSpec("rating", "event.rating", "FLOAT", 3, default=3.5)
INPUTS = (ID, GAP, AFTER, AGO, SINCE, HOUR, RATING)
# Two activities, four, and none.
CONTEXT = {
    "id": np.array([[3, 8, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0]], np.int32),
    "gap": np.array([[1, 2, 0, 0], [1, 7, 3, 4], [0, 0, 0, 0]], np.int32),
    "after": np.array([[2, 1, 0, 0], [1, 6, 3, 4], [0, 0, 0, 0]], np.int32),
    "ago": np.array([[9, 0, 0, 0], [9, 8, 0, 0], [0, 0, 0, 0]], np.int32),
    "since": np.array([[1], [4], [5]], np.int32),
    "hour": np.array([[1], [24], [7]], np.int32),
    "rating": np.array([[5, 0, 0], [1, 0, 3], [0, 0, 0]], np.float32),
}
NO_SECONDS = [[-1, -1, 0, 0], [-1, -1, -1, -1], [0, 0, 0, 0]]
OF_MOMENT = {"ago": NO_SECONDS, "since": [[5]] * 3, "hour": [[25]] * 3}
CHANGED = {
    "moment": OF_MOMENT | {"after": [[2, 6, 0, 0], [1, 6, 3, 6], [0, 0, 0, 0]]},
    "times": OF_MOMENT
    | {
        "gap": [[7, 7, 0, 0], [7, 7, 7, 7], [0, 0, 0, 0]],
        "after": [[6, 6, 0, 0], [6, 6, 6, 6], [0, 0, 0, 0]],
    },
    "ratings": {"rating": [[3.5, 3.5, 0], [3.5, 3.5, 3.5], [0, 0, 0]]},
}


@pytest.mark.parametrize("what", CHANGED)
def test_by_hand(what):
    before = {name: values.copy() for name, values in CONTEXT.items()}
    found = unknown.without(what, CONTEXT, INPUTS)
    for name, values in CONTEXT.items():
        assert found[name].tolist() == CHANGED[what].get(name, values.tolist()), name
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(values, before[name])  # not written into
    assert found.keys() == CONTEXT.keys()


def test_without_ids_padding_cannot_be_told():
    found = unknown.without("ratings", CONTEXT, (RATING,))
    assert found["rating"].tolist() == [[3.5] * 3] * 3


def test_what_a_model_knows():
    assert set(unknown.TITLES) == set(CHANGED)
    known = {spec.source: [w for w in CHANGED if unknown.concerns(w, (spec,))] for spec in INPUTS}
    assert known == {
        "item.id": [],
        "event.gap": ["times"],
        "event.rating": ["ratings"],
    } | {spec.source: ["moment", "times"] for spec in (AFTER, AGO, SINCE, HOUR)}
