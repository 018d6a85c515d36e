"""Feature columns and their vocabularies: of items, events and users, by hand."""

import numpy as np
import polars as pl
import pytest

from flaxrec.config import FeatureConfig, GroupConfig
from flaxrec.data import columns
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.vocabulary import PADDING
from flaxrec.errors import ConfigError, DataError
from tests.support.builders import (
    CATALOGUE,
    GENRES,
    ITEM_ID,
    WATCHED,
    YEAR,
    make_config,
    make_interactions,
    make_timelines,
)

# ---- item features --------------------------------------------------------------------------


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


# ---- item features as the reference counts them ---------------------------------------------

MOVIES = {
    "item": [9, 4, 7, 2, 5],
    "genres": [["Sci-Fi", "War"], ["War"], ["Drama"], ["UNK", "Drama"], None],
    "year": [1956, 0, 1999, 1956, 1930],
}


def movie_timelines(reference_mode):
    """Item 7 alone has events: two by user 1, one by user 2."""
    config = make_config(GENRES, YEAR, FeatureConfig("hour", "event.hour", "INT"))
    config.reference_mode = reference_mode
    events = [(1, 7, 0), (1, 7, 1), (2, 7, 0)]
    return timelines_lib.build(make_interactions(events, MOVIES, hour=[3, 2, 2]), config)


def test_reference_vocabularies_count_items():
    """All of them, by their order in the table: War 2 before Drama 2, 1999 before 1930."""
    timelines = movie_timelines(True)
    assert timelines.vocabularies["genres"].entries == ("UNK", "War", "Drama", "Sci-Fi")
    assert timelines.vocabularies["year"].entries == ("0", "1956", "1999", "1930")
    assert timelines.columns["genres"].values.tolist() == [2, 2, 2]
    assert timelines.columns["year"].values.tolist() == [2, 2, 2]
    # Events are still counted for their own features, ties by value.
    assert timelines.vocabularies["hour"].entries == ("0", "2", "3")


def test_other_vocabularies_count_events():
    timelines = movie_timelines(False)
    assert timelines.vocabularies["genres"].entries == (PADDING, "Drama")
    assert timelines.vocabularies["year"].entries == (PADDING, "1999")


def sized_timelines(genres, ids):
    """In reference mode, with these vocab_size; user 1 met the items 7 and 4."""
    config = make_config(
        FeatureConfig("genres", "item.genres", "STRING", length=6, vocab_size=genres),
        FeatureConfig("recent", "item.id", "INT", vocab_size=ids),
    )
    config.reference_mode = True
    return timelines_lib.build(make_interactions([(1, 7, 0), (1, 4, 1)], MOVIES), config)


def test_reference_vocab_size_is_the_tables_rows():
    """Not the number of values kept, nor a vocabulary of the ids' own."""
    timelines = sized_timelines(4, 12)
    assert timelines.vocabularies["genres"].entries == ("UNK", "War", "Drama", "Sci-Fi")
    assert [(i.name, i.rows, i.vocabulary) for i in timelines.inputs] == [
        ("genres", 4, "genres"),  # no row for 'unknown', which no event has
        ("recent", 12, "item"),
    ]
    assert timelines.columns["recent"].values.tolist() == [7, 4]
    assert timelines.columns["genres"].values.tolist() == [2, 1]
    # Without it the data decide: four lines and 'unknown', the ids 0 to 9 of the table.
    assert [spec.rows for spec in sized_timelines(0, 0).inputs] == [5, 10]


@pytest.mark.parametrize(
    ("genres", "ids", "message"),
    [
        (2, 10, "The feature 'genres' has vocab_size 2, in .*, but the data need 3; set it to 5."),
        (5, 7, "The feature 'recent' has vocab_size 7, in .*, but the data need 8; set it to 10."),
    ],
)
def test_a_reference_vocab_size_that_is_too_small(genres, ids, message):
    with pytest.raises(DataError, match=message):
        sized_timelines(genres, ids)


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


@pytest.mark.parametrize("of", ["item", "event"])
def test_more_values_than_positions_count(of, monkeypatch):
    """Lists of items, which repeat by event, and of events themselves."""
    monkeypatch.setattr(columns, "MOST_POSITIONS", 3)
    feature = FeatureConfig("tags", f"{of}.tags", "STRING")
    tags = [["a", "b"]] * 2
    of_items = {"items": {"item": [1], "tags": tags[:1]}} if of == "item" else {"tags": tags}
    with pytest.raises(DataError, match="has 4 values over all events, and positions of 32 bits"):
        make_timelines([(1, 1, 3), (1, 1, 0)], feature, **of_items)


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
