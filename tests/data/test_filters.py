"""Filters, each on a table made by hand. (user, item, time) is written as it stands in the file."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data import account as account_lib
from flaxrec.data import filters
from flaxrec.errors import ConfigError, DataError
from tests.support.builders import make_config, make_interactions

EVENT = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3))


def left(events, users=None, further=None, **settings):
    """(user, item) of the events that are left, in order, and the counts of the filters."""
    config = DataConfig(**{"min_timeline_length": 1, **settings})
    kept, dropped = filters.filtered(
        make_interactions(events, users=users, **further or {}), config
    )
    return kept.with_ids().events.select("user", "item").rows(), dropped.events


def test_types_of_events():
    kinds = {"event_type": ["view", "buy", None, "rent", "view"]}
    events = [(1, item, item) for item in range(5)]
    assert left(events, further=kinds, event_types=("buy", "rent")) == (
        [(1, 1), (1, 3)],
        {"event_types": 3},
    )
    assert left(events, further={"event_type": [1, 2, 1, 1, 1]}, event_types=("2",))[0] == [(1, 1)]


def test_sessions_by_a_column():
    """User 1 has the sessions a and b at the same times; user 2 a session a of her own."""
    events = [(1, 10, 5), (1, 20, 1), (1, 30, 2), (2, 10, 0), (1, 40, 3)]
    columns = {"session": ["b", "a", "b", "a", "a"]}
    sessions = ColumnsConfig(session="visit")
    assert left(events, {"user": [2, 1]}, columns, columns=sessions)[0] == [
        ("1/a", 20), ("1/a", 40), ("1/b", 30), ("1/b", 10), ("2/a", 10)
    ]  # fmt: skip


def test_sessions_by_a_pause():
    """A pause of exactly the gap is none."""
    events = [("u", 1, 0), ("u", 2, 10), ("u", 3, 21), ("v", 4, 22), ("u", 5, 40)]
    expected = [("u/1", 1), ("u/1", 2), ("u/2", 3), ("u/3", 5), ("v/1", 4)]
    assert left(events, session_gap=10) == (expected, {})
    assert left(events, session_gap=10, min_timeline_length=2)[0] == expected[:2]


def test_sessions_have_the_features_of_their_user():
    interactions = make_interactions(
        [(1, 10, 0), (2, 10, 0), (1, 20, 99), (3, 10, 0)],
        users={"user": [2, 1], "age": ["old", "young"]},
    )
    kept, _ = filters.filtered(interactions, DataConfig(session_gap=9, min_timeline_length=1))
    assert kept.users.sort("user").rows() == [("1/1", "young"), ("1/2", "young"), ("2/1", "old")]
    assert kept.events.columns == ["user", "item", "time"]


def test_consecutive_repeats_are_merged():
    """Other items between keep a repeat, and so does another user; order is by time."""
    events = [(1, 7, 0), (1, 7, 5), (1, 8, 3), (1, 8, 4), (1, 8, 9), (2, 8, 1), (2, 8, 1)]
    assert left(events, merge_repeats=True) == (
        [(1, 7), (1, 8), (1, 7), (1, 8), (2, 8)],
        {"merge_repeats": 2},
    )


def test_rare_items_are_dropped():
    """Item 2 has two events."""
    events = [(1, 1, 0), (1, 1, 1), (2, 1, 0), (2, 2, 1), (3, 2, 0)]
    dropped = {"min_item_count": 2, "min_timeline_length": 0}
    assert left(events, min_item_count=3) == ([(1, 1), (1, 1), (2, 1)], dropped)


def test_rare_items_and_short_timelines_until_both_are_gone():
    """Item 30 is rare, then user 3 has one event, then item 20 two; users 1 and 2 keep two each."""
    events = [(1, 10, 0), (1, 20, 1), (1, 10, 2), (2, 20, 0), (2, 10, 1), (2, 10, 2)]
    events += [(3, 20, 0), (3, 30, 1)]
    assert left(events, min_item_count=3, min_timeline_length=2) == (
        [(1, 10), (1, 10), (2, 10), (2, 10)],
        {"min_item_count": 3, "min_timeline_length": 1},
    )


def test_the_core_repeats_until_it_is_stable():
    """User 3 goes for one event, then item 30 has one left, then user 2 has one."""
    events = [(1, 10, 0), (1, 20, 1), (4, 10, 0), (4, 20, 1), (2, 20, 0), (2, 30, 1), (3, 30, 0)]
    core = [(1, 10), (1, 20), (4, 10), (4, 20)]
    assert left(events, k_core=2) == (core, {"k_core": 3})
    assert left(events, k_core=1)[0] == left(events)[0]


@given(st.lists(EVENT, min_size=1, max_size=25), st.integers(2, 3))
def test_the_core_is_the_naive_one(events, k):
    expected = sorted(events, key=lambda event: (event[0], event[2]))
    while True:
        users, items = (Counter(event[i] for event in expected) for i in (0, 1))
        again = [e for e in expected if users[e[0]] >= k and items[e[1]] >= k]
        if again == expected:
            break
        expected = again
    if expected:
        assert left(events, k_core=k)[0] == [event[:2] for event in expected]
    else:
        with pytest.raises(
            DataError, match=f"filters of config.data, which left out k_core {len(events)}"
        ):
            left(events, k_core=k)


def test_the_latest_of_a_long_timeline_are_kept():
    events = [(1, item, item) for item in range(5)] + [(2, 9, 0), (2, 8, 1), (3, 7, 0)]
    assert left(events, max_timeline_length=2) == (
        [(1, 3), (1, 4), (2, 9), (2, 8), (3, 7)],
        {"max_timeline_length": 3},
    )


def test_the_order_of_filters():
    """Each needs what the one before it leaves.

    Without the type 'ad', items 6 and 5 stand twice in a row. Merged, 6 occurs once and is rare.
    Without 9, user 2 has one event, too few; user 1 has two, of which the latest stays.
    """
    events = [(1, 5, 0), (1, 6, 1), (1, 7, 2), (1, 6, 3), (1, 5, 4), (1, 8, 5), (1, 5, 6)]
    events += [(2, 9, 0), (2, 5, 9)]
    kinds = {"event_type": ["in", "in", "ad", "in", "in", "ad", "in", "in", "in"]}
    interactions = make_interactions(events, **kinds)
    config = make_config(
        event_types=("in",),
        merge_repeats=True,
        min_item_count=2,
        min_timeline_length=2,
        max_timeline_length=1,
    )
    kept, account = account_lib.of(interactions, config.data)
    assert list(account.dropped) == [
        "event_types", "merge_repeats", "min_item_count", "min_timeline_length",
        "max_timeline_length",
    ]  # fmt: skip
    assert list(account.dropped.values()) == [2, 2, 2, 1, 1]
    assert kept.with_ids().events.select("user", "item", "time").rows() == [(1, 5, 4)]


@pytest.mark.parametrize(
    ("settings", "further", "words"),
    [
        ({"event_types": ("buy",)}, {}, r"no types of events; name their column in"),
        ({"event_types": ("by",)}, {"event_type": ["buy"]}, r"has no 'by'; it has 'buy'\."),
        ({"columns": ColumnsConfig(session="s")}, {}, r"columns\.session is 's', but test data"),
        ({"min_rating": 2.0}, {}, r"has no ratings"),
    ],
)
def test_what_the_data_lack_is_refused(settings, further, words):
    with pytest.raises(ConfigError, match=words):
        left([(1, 1, 1)], further=further, **settings)
