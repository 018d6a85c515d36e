"""Timelines: filters, order and items, by hand and against plain Python."""

import dataclasses
import logging
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxrec.config import FeatureConfig, SplitConfig
from flaxrec.data import splits
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.vocabulary import PADDING
from flaxrec.errors import ConfigError, DataError
from tests.support.builders import (
    CATALOGUE,
    GENRES,
    ITEM_ID,
    WATCHED,
    YEAR,
    histories_of,
    ids_of,
    make_config,
    make_interactions,
    make_timelines,
)


def built(events, *, ratings=None, items=None, users=None, features=(), **data):
    """Timelines of events with ratings, after the filters of `data`."""
    columns = {} if ratings is None else {"rating": ratings}
    interactions = make_interactions(events, items, users, **columns)
    return timelines_lib.build(interactions, make_config(*features, **data))


# ---- order ----------------------------------------------------------------------------------


def test_events_are_sorted_by_user_and_time_and_ties_keep_file_order():
    events = [(2, 7, 5), (1, 9, 3), (2, 8, 5), (1, 4, 1), (2, 9, 5), (1, 5, 3), (2, 4, 0)]
    timelines = make_timelines(events)
    assert histories_of(timelines) == {1: [4, 9, 5], 2: [4, 7, 8, 9]}
    assert timelines.offsets.tolist() == [0, 3, 7]
    assert timelines.user.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert timelines.time.tolist() == [1, 3, 3, 0, 5, 5, 5]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99), st.integers(0, 3)), min_size=1))
def test_sorting_is_the_stable_one(events):
    expected = sorted(events, key=lambda event: (event[0], event[2]))
    timelines = make_timelines(events)
    assert ids_of(timelines) == [item for _, item, _ in expected]
    assert timelines.time.tolist() == [time for _, _, time in expected]
    users = timelines.users["user"].to_list()
    assert [users[index] for index in timelines.user] == [user for user, _, _ in expected]
    assert {a.dtype for a in (timelines.offsets, timelines.user, timelines.item)} == {
        np.dtype(np.int32)
    }


def test_what_needs_times_is_refused_without_them():
    interactions = make_interactions([(1, 10, 0), (1, 20, 1), (1, 30, 2)])
    interactions = dataclasses.replace(interactions, has_time=False)
    with_gaps = make_config(ITEM_ID, FeatureConfig("since", "event.gap", "INT"))
    with pytest.raises(ConfigError, match=r"event\.gap, but test data has no times; leave the"):
        timelines_lib.build(interactions, with_gaps)
    timelines = timelines_lib.build(interactions, make_config())
    with pytest.raises(ConfigError, match="'global_time', but the data have no times; use"):
        splits.split(timelines, SplitConfig("global_time"))


def test_user_ids_may_be_strings_and_times_fractions():
    timelines = make_timelines([("ü", "b", 0.5), ("Z", "a", 2.0), ("ü", "a", 0.25)])
    assert histories_of(timelines) == {"Z": ["a"], "ü": ["a", "b"]}


# ---- filters --------------------------------------------------------------------------------


def test_min_rating_removes_events_from_labels_and_contexts():
    events = [(1, 10, 0), (1, 20, 1), (1, 30, 2), (2, 20, 0), (2, 10, 1)]
    timelines = built(events, ratings=[4.0, 2.5, 3.0, 3.0, 2.9], min_rating=3.0)
    assert histories_of(timelines) == {1: [10, 30], 2: [20]}
    assert timelines.items["count"].to_list() == [1, 1, 1]  # counts are those after the filter
    assert timelines.report["events_read"] == 5
    assert timelines.report["events_below_min_rating"] == 2
    assert timelines.report["events"] == 3


def test_an_item_that_is_rated_low_only_is_in_no_vocabulary():
    timelines = built([(1, 10, 0), (1, 20, 1)], ratings=[4.0, 1.0], min_rating=2.0)
    assert timelines.vocabularies["item"].entries == (PADDING, "10")
    assert timelines.items["item"].to_list() == [10]


def test_min_rating_of_zero_keeps_everything():
    timelines = built([(1, 10, 0), (1, 20, 1), (1, 30, 2)], ratings=[0.0, None, -1.0])
    assert histories_of(timelines) == {1: [10, 20, 30]}


def test_min_rating_without_ratings_is_refused():
    with pytest.raises(ConfigError) as error:
        built([(1, 10, 0)], min_rating=2.0)
    assert str(error.value) == (
        "config.data.min_rating is 2.0, but test data has no ratings; set it to 0 or name the "
        "rating's column."
    )


def test_min_timeline_length_counts_what_the_other_filters_left():
    """User 1 has three events but two above min_rating; user 2 three, of them one twice."""
    events = [(1, 10, 0), (1, 20, 1), (1, 30, 2), (2, 10, 0), (2, 10, 0), (2, 20, 1)]
    ratings = [5.0, 5.0, 1.0, 5.0, 5.0, 5.0]
    filters = {"min_timeline_length": 3, "min_rating": 2.0}
    kept = built(events, ratings=ratings, **filters)
    assert histories_of(kept) == {2: [10, 10, 20]}
    assert kept.vocabularies["item"].entries == (PADDING, "10", "20")
    with pytest.raises(DataError) as error:
        built(events, ratings=ratings, drop_duplicates=True, **filters)
    assert str(error.value) == (
        "test data: no user is left with config.data.min_timeline_length=3 interactions and "
        "config.data.min_rating=2.0; lower them."
    )


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_min_timeline_length(length):
    events = [(user, step, step) for user in range(1, 5) for step in range(user)]
    timelines = built(events, min_timeline_length=length)
    assert list(histories_of(timelines)) == list(range(length, 5))
    assert timelines.report["users"] == 5 - length


DUPLICATED = [(1, 10, 0), (1, 20, 0), (1, 10, 0), (2, 10, 0), (1, 10, 1), (1, 10, 0)]


def test_duplicates_are_kept_and_counted(caplog):
    with caplog.at_level(logging.INFO):
        timelines = make_timelines(DUPLICATED)
    assert histories_of(timelines) == {1: [10, 20, 10, 10, 10], 2: [10]}
    assert timelines.report["duplicate_events"] == 2
    assert timelines.items["count"].to_list() == [5, 1]
    assert "2 events repeat" in caplog.text
    assert "config.data.drop_duplicates=True" in caplog.text


def test_duplicates_are_dropped_and_counted():
    """The first in the file stays, with what is known of it."""
    timelines = built(
        DUPLICATED,
        ratings=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        features=[FeatureConfig("rating", "event.rating", "FLOAT")],
        drop_duplicates=True,
    )
    assert histories_of(timelines) == {1: [10, 20, 10], 2: [10]}
    assert timelines.columns["rating"].values.tolist() == [1.0, 2.0, 5.0, 4.0]
    assert timelines.report["duplicate_events"] == 2
    assert timelines.report["events"] == 4


def test_no_interactions_are_refused():
    empty = pl.DataFrame(schema={"user": pl.Int64, "item": pl.Int64, "time": pl.Int64})
    with pytest.raises(DataError, match=r"^test data: there are no interactions.*[;,] .+\.$"):
        timelines_lib.build(Interactions(empty, source="test data"), make_config())


# ---- items ----------------------------------------------------------------------------------


def test_items_are_ordered_by_count_then_id():
    """As numbers, not as text: 9 stands before 10."""
    events = [(1, 10, 0), (1, 9, 1), (1, 7, 2), (2, 7, 0), (2, 11, 1), (2, 11, 2), (2, 11, 3)]
    timelines = make_timelines(events, items={"item": [7, 9, 99], "title": ["A", "B", "C"]})
    assert timelines.vocabularies["item"].entries == (PADDING, "11", "7", "9", "10")
    assert timelines.items.to_dict(as_series=False) == {
        "row": [1, 2, 3, 4],
        "item": [11, 7, 9, 10],
        "count": [3, 2, 1, 1],
        "title": [None, "A", "B", None],
    }


ids = st.integers(-5, 2**40) | st.just(2**63 - 1)
names = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), max_size=4)


@settings(max_examples=30)
@given(st.lists(ids, min_size=1, max_size=40) | st.lists(names, min_size=1, max_size=40))
def test_the_item_vocabulary_is_the_naive_one(items):
    """Integers and strings, unicode among them; each event's row is its item's line."""
    count = Counter(items)
    expected = sorted(count, key=lambda item: (-count[item], item))
    timelines = make_timelines([(1, item, time) for time, item in enumerate(items)])
    vocabulary = timelines.vocabularies["item"]
    assert vocabulary.entries == (PADDING, *map(str, expected))
    assert timelines.items["item"].to_list() == expected
    assert timelines.items["count"].to_list() == [count[item] for item in expected]
    assert timelines.item.tolist() == [1 + expected.index(item) for item in items]
    np.testing.assert_array_equal(vocabulary.lookup(items), timelines.item)


def test_strings_that_look_alike_stay_apart():
    """Numbers written in several ways, and an é in one and in two code points."""
    ids = ["7", "07", "7.0", "\u00e9", "e\u0301"]
    timelines = make_timelines([(1, item, time) for time, item in enumerate(ids)])
    expected = (PADDING, "07", "7", "7.0", "e\u0301", "\u00e9")
    assert timelines.vocabularies["item"].entries == expected
    assert ids_of(timelines) == ids


def test_an_item_that_is_no_line_is_refused():
    with pytest.raises(DataError, match=r"'a\\nb' of the items' ids .*; rename it"):
        make_timelines([(1, "a\nb", 0)])


def test_first_occurrence_is_by_user():
    timelines = make_timelines([(1, 5, 0), (1, 6, 1), (1, 5, 2), (2, 5, 0), (2, 5, 1), (2, 6, 2)])
    assert timelines.first_occurrence.tolist() == [True, True, False, True, False, True]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.just(0)), min_size=1))
def test_first_occurrence_is_the_naive_one(events):
    timelines = make_timelines(events)
    seen: set = set()
    expected = []
    for pair in zip(timelines.user.tolist(), timelines.item.tolist(), strict=True):
        expected.append(pair not in seen)
        seen.add(pair)
    assert timelines.first_occurrence.tolist() == expected


# ---- reference mode -------------------------------------------------------------------------


def reference_timelines(events, *features, items=None):
    config = make_config(*features)
    config.reference_mode = True
    return timelines_lib.build(make_interactions(events, items), config)


def test_reference_mode_uses_raw_ids():
    timelines = reference_timelines([(1, 5, 0), (1, 2, 1), (2, 5, 0)], ITEM_ID)
    assert timelines.item.tolist() == [5, 2, 5]
    assert timelines.vocabularies["item"].entries == ("0", "1", "2", "3", "4", "5")
    assert timelines.items.select("row", "item", "count").rows() == [(2, 2, 1), (5, 5, 2)]
    assert timelines.inputs[0].rows == 6  # ids 0..5, and no row for 'unknown'


def test_reference_mode_counts_the_catalogues_ids():
    """An item without an event has its row, too: 3,953 rows for MovieLens-1M."""
    timelines = reference_timelines([(1, 5, 0)], ITEM_ID, items={"item": [9, 5]})
    assert len(timelines.vocabularies["item"].entries) == 10


def test_reference_mode_pads_with_the_references_entries():
    items = {
        "item": [1, 2, 3],
        "genres": [["Drama", "UNK"], ["Drama"], []],
        "year": [1990, 0, 1990],
    }
    timelines = reference_timelines([(1, 1, 0), (1, 2, 1), (1, 3, 2)], GENRES, YEAR, items=items)
    assert timelines.vocabularies["genres"].entries == ("UNK", "Drama")
    assert timelines.columns["genres"].values.tolist() == [1, 0, 1]
    assert timelines.vocabularies["year"].entries == ("0", "1990")
    assert timelines.columns["year"].values.tolist() == [1, 0, 1]


@pytest.mark.parametrize("item", ["a", 0, -1])
def test_reference_mode_needs_ids_from_one(item):
    with pytest.raises(DataError, match=r"^config\.reference_mode needs .* ids from 1 on; found"):
        reference_timelines([(1, item, 0)])


# ---- interactions ---------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["user", "item", "time"])
def test_events_need_their_columns(column):
    events = pl.DataFrame({"user": [1], "item": [1], "time": [1]}).drop(column)
    with pytest.raises(DataError, match=f"^test: the events have no column '{column}'"):
        Interactions(events, source="test")


@pytest.mark.parametrize("key", ["item", "user"])
def test_tables_have_one_row_a_key(key):
    with pytest.raises(DataError, match=f"{key} 7 stands more than once .*; keep one row"):
        make_interactions([(1, 1, 1)], **{f"{key}s": {key: [7, 8, 7]}})
    with pytest.raises(DataError, match=f"^test data: the {key} table has no column '{key}'"):
        make_interactions([(1, 1, 1)], **{f"{key}s": {"id": [7]}})


@pytest.mark.parametrize("key", ["item", "user"])
def test_ids_of_two_types_are_refused(key):
    """A message, not a stack of polars frames."""
    with pytest.raises(DataError, match=f"^test data: .*{key}"):
        make_timelines([(1, 1, 1)], **{f"{key}s": {key: ["1"]}})


# ---- fingerprint ----------------------------------------------------------------------------


def fingerprints_of_changes():
    """(what changed, fingerprint), the unchanged one first."""
    features = GENRES, YEAR, FeatureConfig("age", "user.age", "STRING")
    users = {"user": [1, 2], "age": ["old", "old"]}

    def fingerprint(events=WATCHED, items=CATALOGUE, users=users):
        return make_timelines(events, *features, items=items, users=users).fingerprint()

    yield "nothing", fingerprint()
    yield "a time", fingerprint(events=[*WATCHED[:-1], (2, 50, 3)])
    yield "an item", fingerprint(events=[*WATCHED[:-1], (2, 10, 2)])
    yield "a user", fingerprint(events=[*WATCHED[:-1], (3, 50, 2)])
    yield "a year", fingerprint(items=CATALOGUE | {"year": [1999, 1950, 1950, 1999]})
    regrouped = [["Drama"], ["War"], None, ["War", None, "Sci-Fi"]]
    yield "a genre", fingerprint(items=CATALOGUE | {"genres": regrouped})
    yield "an age", fingerprint(users=users | {"age": ["old", "young"]})


def test_the_fingerprint_sees_every_change():
    (_, unchanged), *changed = fingerprints_of_changes()
    assert dict(fingerprints_of_changes())["nothing"] == unchanged
    values = [unchanged, *(value for _, value in changed)]
    assert len(set(values)) == len(values), changed
