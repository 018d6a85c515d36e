"""Calls with arguments of any kind: a right answer, or a sentence that names the argument."""

import collections
import decimal
import logging
import random
import uuid

import numpy as np
import polars as pl
import pytest

from flaxrec.errors import ExportError
from tests.fuzz import calls
from tests.fuzz.attempts import search


def kind_of(value: object) -> str:
    """A case's name: not every value has a text."""
    return type(value).__name__


@pytest.fixture(scope="module")
def recommender() -> calls.EveryKind:
    return calls.EveryKind()


def refused(recommender, *words, history=(1, 2), **arguments):
    with pytest.raises(ExportError) as error:
        recommender.recommend(history, **arguments)
    sentence = str(error.value)
    assert all(word in sentence for word in words), sentence
    assert "; " in sentence
    assert len(sentence) < 400
    assert sentence.isprintable()


# ---- histories ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        "abc",
        b"abc",
        {},
        {"item": 1},
        None,
        5,
        {1, 2},
        frozenset(),
        np.array(5),
        np.zeros((2, 2)),
        pl.DataFrame({"item": [1]}),
        object(),
    ],
    ids=kind_of,
)
def test_what_is_no_history(recommender, history):
    refused(recommender, "history is", "give a list of item ids", history=history)


@pytest.mark.parametrize(
    "item", [[1, 2], (1, 4.0), {1}, {"item": {}}, {"item": [1]}, np.zeros(2), pl.Series([1])]
)
def test_what_is_no_item(recommender, item):
    refused(recommender, "The item of history[1] is", "no id", history=[3, item])


def test_a_mapping_without_an_item(recommender):
    refused(recommender, "history[2] has no 'item'", history=[1, 2, {"id": 3}])


@pytest.mark.parametrize(
    "kind",
    [
        tuple,
        iter,
        np.array,
        pl.Series,
        collections.deque,
        dict.fromkeys,
        lambda items: (item for item in items),
        lambda items: [{"item": item, "other": object()} for item in items],
        lambda items: [collections.UserDict(item=item) for item in items],
        lambda items: [decimal.Decimal(item) for item in items],
        lambda items: [np.array(item) for item in items],
    ],
)
def test_a_history_may_be_anything_with_an_order(recommender, kind):
    made = kind([3, 1, 4])
    history = made.keys() if isinstance(made, dict) else made
    assert recommender.recommend(history, now=5) == recommender.recommend([3, 1, 4], now=5)


def test_an_empty_history_is_one(recommender):
    assert [one.item for one in recommender.recommend([])] == list(range(1, 10))


def test_of_a_long_history_the_last_activities_count(recommender):
    recent = [{"item": 4, "time": 7, "rating": 2.0}, {"item": 5, "time": 60}] * 3
    older = [{"item": 9, "time": 0, "rating": "not read"}] * 50_000
    found = recommender.encode([*older, *recent], now=100)
    for name, values in recommender.encode([older[0], *recent], now=100).items():
        np.testing.assert_array_equal(found[name], values)
    items = [one.item for one in recommender.recommend([*older, *recent], now=100)]
    assert items == [1, 2, 3, 6, 7, 8]  # all that were seen are left out


def test_a_warning_names_a_few_unknown_items(recommender, caplog):
    with caplog.at_level(logging.WARNING):
        recommender.recommend(["\x1b[31m", "y" * 10_000, uuid.UUID(int=7), *range(10, 1_000)])
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(r"Not in the catalogue, taken as 'unknown': ['\x1b[31m', 'yyyyy")
    assert message.endswith("UUID('00000000-0000-0000-0000-000000000007'), 10, 11, and 988 more]")
    assert len(message) < 300


# ---- the other arguments --------------------------------------------------------------------


@pytest.mark.parametrize(
    "top_k", [True, 3.0, "3", [], 0, -(10**30), 10**30, 10**5_000, np.zeros(2)], ids=kind_of
)
def test_what_is_no_top_k(recommender, top_k):
    refused(recommender, "top_k is", top_k=top_k)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array])
def test_top_k_may_be_any_whole_number(recommender, kind):
    assert len(recommender.recommend([], kind(3))) == 3


@pytest.mark.parametrize("user", ["", "x", [], 5, [("age", 5)], False])
def test_what_is_no_user(recommender, user):
    refused(recommender, "user is", user=user)


@pytest.mark.parametrize("exclude", ["no", "", [], 0.0, {}])
def test_what_is_no_choice(recommender, exclude):
    refused(recommender, "exclude_history is", "True, False or None", exclude_history=exclude)


@pytest.mark.parametrize(
    "now",
    ["soon", "x" * 10_000, [], {}, True, 10**5_000, float("nan"), pl.Series([1, 2]), object()],
    ids=kind_of,
)
def test_what_is_no_moment(recommender, now):
    refused(recommender, "now is no number, date or date-time", now=now)


@pytest.mark.parametrize(
    "value", ["good", [3, 4], {}, 10**400, b"x" * 1_000, object()], ids=kind_of
)
def test_what_is_no_number(recommender, value):
    told = "The input event.rating (event.rating) takes numbers, not"
    refused(recommender, told, history=[{"item": 1, "rating": value}])
    told = "The input user.age (user.age) takes numbers, not"
    refused(recommender, told, user={"age": [value] if isinstance(value, list) else value})


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyError])
def test_what_has_no_text(recommender, error):
    refused(recommender, "type Hostile has no text", history=[calls.Hostile(error)])
    refused(recommender, "type Hostile has no text", user={"tags": [calls.Hostile(error)]})
    refused(recommender, "type int has no text", history=[10**5_000])


# ---- any of them ----------------------------------------------------------------------------


def test_drawn_calls_have_a_right_answer_or_a_sentence(tmp_path):
    found = search(calls.attempts(random.Random(3), tmp_path), 500, seconds=20)
    assert not found.faults
    assert found.tried == 500
    assert 100 < found.refused < 400
