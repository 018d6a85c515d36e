"""Timelines: filters, order, vocabularies and feature columns, by hand and against plain Python."""

import logging
from collections import Counter

import numpy as np
import polars as pl
import pytest
from helpers import ITEM_ID, histories_of, ids_of, make_config, make_interactions, make_timelines
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxrec.config import FeatureConfig, GroupConfig
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.interactions import Interactions
from flaxrec.data.vocabulary import PADDING
from flaxrec.errors import ConfigError, DataError

GENRES = FeatureConfig("genres", "item.genres", "STRING", length=6)
YEAR = FeatureConfig("year", "item.year", "INT")


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


# ---- item features --------------------------------------------------------------------------

CATALOGUE = {
    "item": [10, 20, 30, 40],
    "genres": [["Drama", "War"], [], None, ["War", None, "Sci-Fi"]],
    "year": [1999, None, 1950, 1999],
    "score": [1.0, None, 4.0, float("nan")],
}
WATCHED = [(1, 10, 0), (1, 20, 1), (1, 40, 2), (2, 40, 0), (2, 30, 1), (2, 50, 2)]  # 50: no row


def test_multi_valued_item_features_are_flat_values_and_offsets():
    """Counted by events: War 3, Sci-Fi 2, Drama 1; a missing value is 'unknown', row 4."""
    timelines = make_timelines(WATCHED, GENRES, items=CATALOGUE)
    assert timelines.vocabularies["genres"].entries == (PADDING, "War", "Sci-Fi", "Drama")
    column = timelines.columns["genres"]
    assert column.offsets.tolist() == [0, 2, 2, 5, 8, 8, 8]
    assert column.values.tolist() == [3, 1, 1, 4, 2, 1, 4, 2]
    assert {column.offsets.dtype, column.values.dtype} == {np.dtype(np.int32)}
    (spec,) = timelines.inputs
    assert (spec.multi_valued, spec.rows, spec.vocabulary, spec.length) == (True, 5, "genres", 6)
    assert spec.dtype == "int32"


def test_a_missing_year_is_unknown():
    """Of item 20 and of item 50, which has no row in the table."""
    timelines = make_timelines(WATCHED, YEAR, items=CATALOGUE)
    assert timelines.vocabularies["year"].entries == (PADDING, "1999", "1950")
    assert timelines.columns["year"].values.tolist() == [1, 3, 1, 1, 2, 3]
    assert timelines.columns["year"].offsets is None
    assert timelines.inputs[0].rows == 4


def test_a_missing_number_is_the_mean_over_the_events():
    feature = FeatureConfig("score", "item.score", "FLOAT")
    timelines = make_timelines([*WATCHED, (3, 30, 0)], feature, items=CATALOGUE)
    mean = (1.0 + 4.0 + 4.0) / 3  # item 10 once, item 30 twice
    values = timelines.columns["score"].values
    np.testing.assert_allclose(values, [1.0, mean, mean, mean, 4.0, mean, 4.0])
    assert values.dtype == np.float32
    (spec,) = timelines.inputs
    assert spec.default == pytest.approx(mean)
    assert (spec.dtype, spec.rows, spec.vocabulary) == ("float32", 0, "")


def test_multi_valued_numbers():
    feature = FeatureConfig("sizes", "item.sizes", "FLOAT")
    items = {"item": [1, 2], "sizes": [[1.0, 3.0], [None]]}
    timelines = make_timelines([(1, 2, 0), (1, 1, 1)], feature, items=items)
    column = timelines.columns["sizes"]
    assert column.values.tolist() == [2.0, 1.0, 3.0]
    assert column.offsets.tolist() == [0, 1, 3]


def test_vocab_size_keeps_the_most_frequent():
    feature = FeatureConfig("year", "item.year", "INT", vocab_size=1)
    timelines = make_timelines(WATCHED, feature, items=CATALOGUE)
    assert timelines.vocabularies["year"].entries == (PADDING, "1999")
    assert timelines.columns["year"].values.tolist() == [1, 2, 1, 1, 2, 2]
    assert timelines.inputs[0].rows == 3


@pytest.mark.parametrize(("first", "kind"), [(10, "INT"), ("10", "STRING")])
def test_vocab_size_of_the_item_ids_leaves_the_labels_alone(first, kind):
    feature = FeatureConfig("recent", "item.id", kind, vocab_size=1)
    other = type(first)(20)
    events = [(1, other, 0), (1, first, 1), (1, other, 2)]
    timelines = make_timelines(events, feature)
    assert timelines.vocabularies["item"].entries == (PADDING, "20", "10")
    assert timelines.item.tolist() == [1, 2, 1]
    assert timelines.vocabularies["recent"].entries == (PADDING, "20")
    assert timelines.columns["recent"].values.tolist() == [1, 2, 1]
    assert (timelines.inputs[0].rows, timelines.inputs[0].vocabulary) == (3, "recent")


def test_vocab_size_keeps_ids_that_differ_as_text():
    """'7' and '07' are two items; INT, as all ids are in the presets, must not make them one."""
    feature = FeatureConfig("recent", "item.id", "INT", vocab_size=1)
    timelines = make_timelines([(1, "07", 0), (1, "7", 1), (1, "07", 2)], feature)
    assert timelines.vocabularies["recent"].entries == (PADDING, "07")
    assert timelines.columns["recent"].values.tolist() == [1, 2, 1]


def test_item_ids_share_the_labels_vocabulary():
    timelines = make_timelines(WATCHED, ITEM_ID)
    (spec,) = timelines.inputs
    assert (spec.vocabulary, spec.rows) == ("item", 1 + 5 + 1)
    assert timelines.columns["context_item_id"].values is timelines.item


def test_no_values_at_all():
    items = {"item": [10], "genres": pl.Series([[]], dtype=pl.List(pl.String)), "year": [None]}
    timelines = make_timelines([(1, 10, 0)], GENRES, YEAR, items=items)
    assert timelines.vocabularies["genres"].entries == (PADDING,)
    assert timelines.columns["genres"].offsets.tolist() == [0, 0]
    assert timelines.columns["year"].values.tolist() == [1]


# ---- event and user features ----------------------------------------------------------------


def test_event_features_follow_their_events():
    """The file's order is not the timeline's."""
    timelines = make_timelines(
        [(2, 1, 5), (1, 1, 9), (1, 1, 3), (1, 2, 4)],
        FeatureConfig("device", "event.device", "STRING"),
        FeatureConfig("rating", "event.rating", "FLOAT"),
        FeatureConfig("hour", "event.hour", "INT"),
        device=["phone", "tv", "phone", None],
        rating=[1.0, 2.0, None, 4.5],
        hour=[7, 7, 8, None],
    )
    assert timelines.vocabularies["device"].entries == (PADDING, "phone", "tv")
    assert timelines.columns["device"].values.tolist() == [1, 3, 2, 1]
    np.testing.assert_allclose(timelines.columns["rating"].values, [2.5, 4.5, 2.0, 1.0])
    assert timelines.columns["hour"].values.tolist() == [2, 3, 1, 1]
    assert timelines.activities.to_dict(as_series=False) == {
        "item": [1, 2, 1, 1],
        "device": ["phone", None, "tv", "phone"],
        "hour": [8, None, 7, 7],
        "rating": [None, 4.5, 2.0, 1.0],
    }


def test_multi_valued_event_features():
    feature = FeatureConfig("tags", "event.tags", "STRING")
    tags = [["new"], ["x", "new"], [], None]
    timelines = make_timelines([(1, 1, 3), (1, 1, 0), (1, 1, 1), (1, 1, 2)], feature, tags=tags)
    assert timelines.columns["tags"].values.tolist() == [2, 1, 1]
    assert timelines.columns["tags"].offsets.tolist() == [0, 2, 2, 2, 3]


PEOPLE = {
    "user": [3, 1],
    "age": ["old", "young"],
    "likes": [["a"], ["b", "a", "c"]],
    "iq": [90, 120],
}


def test_user_features_are_one_row_a_user():
    """User 2 is not in the table: its age is 'unknown', its list empty, its number the mean."""
    timelines = make_timelines(
        [(2, 1, 0), (1, 1, 0), (3, 1, 0)],
        FeatureConfig("age", "user.age", "STRING"),
        FeatureConfig("likes", "user.likes", "STRING", length=2),
        FeatureConfig("iq", "user.iq", "FLOAT"),
        users=PEOPLE,
    )
    entries = timelines.vocabularies["age"].entries
    assert [entries[row] if row < 3 else None for row in timelines.columns["age"].values[:, 0]] == [
        "young", None, "old"
    ]  # fmt: skip
    assert timelines.columns["age"].values.shape == (3, 1)
    # Likes: a is most frequent, then b; the first two of a user are kept, 0 pads.
    assert timelines.vocabularies["likes"].entries == (PADDING, "a", "b", "c")
    assert timelines.columns["likes"].values.tolist() == [[2, 1], [0, 0], [1, 0]]
    assert timelines.columns["iq"].values.tolist() == [[120.0], [105.0], [90.0]]
    assert timelines.users.columns == ["user", "age", "iq", "likes"]


def test_user_features_in_global_groups_come_first():
    config = make_config(ITEM_ID)
    config.model.global_groups = [GroupConfig([FeatureConfig("age", "user.age", "STRING")])]
    timelines = timelines_lib.build(make_interactions([(1, 5, 0)], users=PEOPLE), config)
    assert [spec.name for spec in timelines.inputs] == ["age", "context_item_id"]
    assert [spec.length for spec in timelines.inputs] == [1, 3]


def test_a_name_in_two_groups_is_one_input():
    config = make_config(ITEM_ID, YEAR, ITEM_ID)
    timelines = timelines_lib.build(make_interactions(WATCHED, CATALOGUE), config)
    assert [spec.name for spec in timelines.inputs] == ["context_item_id", "year"]
    assert set(timelines.columns) == {"context_item_id", "year"}


@pytest.mark.parametrize("name", ["count", "row"])
@pytest.mark.parametrize("kind", ["event", "user"])
def test_names_of_the_item_table_are_free_in_others(kind, name):
    """A column of how many were bought is nothing out of the ordinary."""
    feature = FeatureConfig("bought", f"{kind}.{name}", "INT")
    columns = {name: [3, 3]} if kind == "event" else {"users": {"user": [1], name: [3]}}
    timelines = make_timelines([(1, 5, 0), (1, 5, 1)], feature, **columns)
    assert set(timelines.columns["bought"].values.ravel().tolist()) == {1}


# ---- values that do not fit -----------------------------------------------------------------


def test_a_source_that_is_not_there():
    with pytest.raises(ConfigError) as error:
        make_timelines(WATCHED, FeatureConfig("x", "item.colour"), items=CATALOGUE)
    assert str(error.value) == (
        "The source 'item.colour' of the feature 'x' is not in the data; there are item.id, "
        "item.genres, item.year, item.score."
    )
    with pytest.raises(ConfigError, match=r"'user\.age' of .* 'x' .* there are no user features\."):
        make_timelines(WATCHED, FeatureConfig("x", "user.age"))
    with pytest.raises(ConfigError, match=r"'event\.item' of the feature 'x' is not in the data"):
        make_timelines(WATCHED, FeatureConfig("x", "event.item"))


def test_numbers_must_be_numbers():
    with pytest.raises(DataError, match=r"'x' \(event\.s\) is FLOAT, .* use type STRING\."):
        make_timelines([(1, 1, 0)], FeatureConfig("x", "event.s", "FLOAT"), s=["much"])
    timelines = make_timelines([(1, 1, 0)], FeatureConfig("x", "event.s", "FLOAT"), s=["2.5"])
    assert timelines.columns["x"].values.tolist() == [2.5]


def test_whole_numbers_must_be_whole():
    feature = FeatureConfig("x", "event.s", "INT")
    with pytest.raises(DataError, match=r"'x' \(event\.s\) is INT, .* use type STRING\."):
        make_timelines([(1, 1, 0)], feature, s=["much"])
    timelines = make_timelines([(1, 1, 0), (1, 1, 1)], feature, s=[7.0, None])
    assert timelines.vocabularies["x"].entries == (PADDING, "7")
    assert timelines.columns["x"].values.tolist() == [1, 2]


def test_fractions_are_not_whole():
    """3.5 stars are not 3 stars, least of all in training alone."""
    with pytest.raises(DataError, match=r"'x' \(event\.s\) is INT, .* use type STRING\."):
        make_timelines([(1, 1, 0)], FeatureConfig("x", "event.s", "INT"), s=[3.5])


@pytest.mark.parametrize(
    ("values", "type"),
    [
        (["b", "", "a\r", "b"], "STRING"),
        ([7, -3, 7], "INT"),
        ([7, -3, 7], "STRING"),
        ([7.0, 2.0], "INT"),
        ([3.5, 4.0], "STRING"),
        (["7", "12"], "INT"),
        (["07", "7"], "INT"),
        (pl.Series([4.2, 3.1, 4.0], dtype=pl.Float32), "STRING"),
        ([True, False], "STRING"),
    ],
)
def test_the_vocabulary_finds_a_value_as_the_data_hold_it(values, type):
    """Else the exported model would take for 'unknown' what training knew; an error is fine."""
    events = [(1, 1, time) for time in range(len(values))]
    try:
        timelines = make_timelines(events, FeatureConfig("x", "event.s", type), s=values)
    except DataError:
        return
    given = [4.2, 3.1, 4.0] if isinstance(values, pl.Series) else values
    found = timelines.vocabularies["x"].lookup(given)
    assert found.tolist() == timelines.columns["x"].values.tolist()
    assert timelines.vocabularies["x"].unknown_row not in found


@pytest.mark.parametrize("vocab_size", [0, 2])
def test_item_ids_are_no_quantity(vocab_size):
    feature = FeatureConfig("x", "item.id", "FLOAT", vocab_size=vocab_size)
    with pytest.raises(ConfigError, match="'x' takes item ids as FLOAT; use INT"):
        make_timelines([(1, 1, 0)], feature)


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
