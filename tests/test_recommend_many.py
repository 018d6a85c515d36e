"""Recommender.recommend_many: the lists of `recommend`, for many histories."""

import itertools
import logging
import random
import shutil

import numpy as np
import pytest

from flaxrec.data import moments
from flaxrec.errors import ExportError
from flaxrec.recommender import Recommender
from flaxrec.tflite import threads
from tests.support.exports import exported
from tests.support.places import ROOT

FOLDER = ROOT / "tests/compatibility/version_0_1_0/run/export"


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    pytest.importorskip("ai_edge_litert", reason="running a .tflite needs ai-edge-litert")
    return Recommender.load(FOLDER)


def drawn(recommender: Recommender, count: int) -> list[list]:
    """Histories of 0 to 12 items."""
    ids, rng = [item["id"] for item in recommender.items.values()], random.Random(0)
    return [rng.choices(ids, k=rng.randint(0, 12)) for _ in range(count)]


def message_of(lists) -> str:
    with pytest.raises(ExportError) as error:
        list(lists())
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- the lists ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("options", [{}, {"top_k": 3, "exclude_history": False}])
def test_they_are_those_of_recommend(recommender, count, options):
    histories = drawn(recommender, 200)  # more than a block for each thread
    expected = [recommender.recommend(history, **options) for history in histories]
    assert len({tuple(one) for one in expected}) > 150
    found = recommender.recommend_many(iter(histories), threads=count, **options)
    assert list(found) == expected


@pytest.mark.parametrize("name", ["bow_user", "bow_time"])
def test_users_and_moments_are_of_each_history(tmp_path_factory, name):
    recommender = Recommender.load(exported(tmp_path_factory, name).export)
    groups = recommender.entries("vocabularies/age_group.txt")[1:] if name == "bow_user" else (7,)
    rng = random.Random(1)
    histories = [
        [{"item": item, "time": 10 * n, "rating": n} for n, item in enumerate(history)]
        for history in drawn(recommender, 150)
    ]
    users = [rng.choice([{"age_group": rng.choice(groups)}, None]) for _ in histories]
    nows = [rng.choice([200, 3_000, 10**6, "unknown"]) for _ in histories]
    expected = [
        recommender.recommend(history, user=user, now=now)
        for history, user, now in zip(histories, users, nows, strict=True)
    ]
    for given in (users, iter(users)):
        found = recommender.recommend_many(histories, user=given, now=np.array(nows, object))
        assert list(found) == expected
    one = recommender.recommend_many(histories, user=users[0], now=3_000, threads=2)
    assert list(one) == [recommender.recommend(h, user=users[0], now=3_000) for h in histories]


def test_without_a_moment_it_is_the_clocks_once(tmp_path_factory, monkeypatch):
    export = exported(tmp_path_factory, "bow_time").export
    recommender = Recommender.load(export)
    recommender.metadata["time"] = {"unit": "s", "moments": True}
    calls = itertools.count(1_000_000_000)
    monkeypatch.setattr(moments.time_lib, "time", lambda: next(calls))
    item = next(iter(recommender.items.values()))["id"]
    history = [{"item": item, "time": 999_999_000}]
    list(recommender.recommend_many([history] * 100))
    assert next(calls) == 1_000_000_001


def test_histories_are_read_a_few_blocks_ahead(recommender):
    taken = itertools.count()
    item = next(iter(recommender.items.values()))["id"]
    for number in (1, 2):
        lists = recommender.recommend_many(([item] for _ in taken), threads=number)
        assert next(lists) == recommender.recommend([item])
        assert next(taken) < 1_000 * number
        lists.close()


def test_threads_end_where_nobody_takes_more():
    started = []

    def work(thing: int) -> int:
        started.append(thing)
        return thing

    results = threads.in_order(work, itertools.count(), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()
    count = len(started)
    assert count < 12
    assert len(started) == count


# ---- words ----------------------------------------------------------------------------------


def test_unknown_items_are_told_once(recommender, caplog):
    histories = [["x", "y"], ["x"], *drawn(recommender, 100)]
    list(recommender.recommend_many(histories, threads=2))
    told = "Not in the catalogue, taken as 'unknown': 3 activities of 2 items ['x', 'y']"
    assert [record.message for record in caplog.records] == [told]
    caplog.clear()
    recommender.recommend(["x"])  # of one history, as before
    assert [r.message for r in caplog.records] == [
        "Not in the catalogue, taken as 'unknown': ['x']"
    ]


def test_odd_moments_are_told_once(tmp_path_factory, caplog):
    recommender = Recommender.load(exported(tmp_path_factory, "bow_time").export)
    item = next(iter(recommender.items.values()))["id"]
    with caplog.at_level(logging.WARNING):
        list(recommender.recommend_many([[{"item": item, "time": 100}]] * 70, now=50))
    (record,) = caplog.records
    assert "lies before the latest activity" in record.message
    assert record.message.endswith("(the first of 70 histories)")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"histories": [[1], 5]}, "histories[1]: history is 5; give a list"),
        ({"histories": [[1]] * 70 + [[{}]]}, "histories[70]: history[0] has no 'item'"),
        ({"histories": "ab"}, "histories is 'ab'; give an iterable of histories."),
        ({"histories": 7}, "histories is 7; give"),
        ({"histories": [[1], [2]], "user": [{}]}, "user ends after 1, but there are more"),
        ({"histories": [[1]], "user": [{}, {}]}, "user has more than 1, but there are 1 hist"),
        ({"histories": [[1]], "now": [1, 2]}, "now has more than 1"),
        ({"histories": [[1]], "user": 5}, "histories[0]: user is 5; give a mapping"),
        ({"histories": [[1]], "threads": 0}, "threads is 0; use 1 to 64."),
        ({"histories": [[1]], "threads": True}, "threads is True"),
        ({"histories": [[1]], "top_k": 10**6}, "top_k is 1000000"),
        ({"histories": [[1]], "exclude_history": "no"}, "histories[0]: exclude_history is 'no'"),
    ],
)
def test_refusals(recommender, arguments, sentence):
    assert message_of(lambda: recommender.recommend_many(**arguments)).startswith(sentence)


def test_flags_of_all_are_refused_at_the_call(recommender):
    with pytest.raises(ExportError):
        recommender.recommend_many([], top_k=0)


def test_nobody_has_no_lists(recommender):
    assert list(recommender.recommend_many([])) == []


def test_it_goes_on_without_the_folder(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="running a .tflite needs ai-edge-litert")
    folder = shutil.copytree(FOLDER, tmp_path / "export")
    loaded = Recommender.load(folder)
    shutil.rmtree(folder)
    assert len(list(loaded.recommend_many([[]] * 130, threads=2))) == 130
