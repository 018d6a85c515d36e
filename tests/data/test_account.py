"""The account of the data, by hand."""

import dataclasses

import polars as pl
import pytest

from flaxrec.data import account as account_lib
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.account import Account
from flaxrec.errors import DataError
from tests.support.builders import make_config, make_interactions, make_timelines

# User 1 takes item 10 three times, two of them at one time; user 2 has three items.
EVENTS = [(2, 30, 5), (1, 10, 2), (1, 10, 2), (1, 20, 4), (1, 10, 9), (2, 40, 5), (2, 10, 5)]


def account_of(events, items=None, **data) -> Account:
    return account_lib.of(make_interactions(events, items), make_config(**data).data)[1]


def test_every_number_by_hand():
    account = account_of(
        EVENTS, {"item": [10, 20, 99], "title": ["A", "B", "C"], "year": [1, 2, 3]}
    )
    assert account == Account(
        rows_read=7,
        bad_rows=0,
        dropped={},
        repeated_events=1,
        users=2,
        are_sessions=False,
        items=4,
        events=7,
        median_length=3.5,
        p95_length=pytest.approx(3.95),
        repeat_share=pytest.approx(2 / 7),
        has_time=True,
        span=7.0,
        equal_time_share=pytest.approx(3 / 7),
        heaviest_user="1",
        heaviest_user_share=pytest.approx(4 / 7),
        single_item_share=0.75,
        described_item_share=0.5,
        item_features=("year",),
    )
    assert make_timelines(EVENTS).account == account_of(EVENTS)
    assert account.to_json()["item_features"] == ["year"]


def test_more_events_than_positions_count(monkeypatch):
    """The filters may make them few enough."""
    monkeypatch.setattr(account_lib, "MOST_POSITIONS", 6)
    with pytest.raises(DataError, match="test data has 7 events, and positions of 32 bits"):
        account_of(EVENTS)
    assert account_of(EVENTS, drop_duplicates=True).events == 6


def test_rows_that_each_filter_leaves_out_are_counted():
    account = account_of([*EVENTS, (3, 10, 0)], drop_duplicates=True, min_timeline_length=3)
    assert account.dropped == {"drop_duplicates": 1, "min_timeline_length": 1}
    assert (account.rows_read, account.events) == (8, 6)
    assert account.lines()[:2] == [
        "6 events of 2 users with 4 items (8 rows read)",
        "left out: drop_duplicates 1, min_timeline_length 1",
    ]


@pytest.mark.parametrize("stranger", [0, 3])
@pytest.mark.parametrize("item", [1, 99])
@pytest.mark.parametrize(
    "filters", [{"min_timeline_length": 2}, {"k_core": 2}, {"max_timeline_length": 3}]
)
def test_ids_that_filters_leave_without_events_are_no_items(filters, item, stranger):
    """The first or the last of all ids, of items that a table describes, and of users."""
    more = [(stranger, item, 0)] if "max_timeline_length" not in filters else [(1, item, 0)]
    described = {"item": [10, 20, 30, 40, item], "title": list("ABCDE")}
    events = [*EVENTS, (2, 30, 6), (1, 40, 7), (2, 20, 8)]
    account = account_of([*events, *more], described, **filters)
    built = timelines_lib.build(
        make_interactions([*events, *more], described, {"user": [1, 2, stranger]}),
        make_config(**filters),
    )
    assert account.users == 2
    assert account.described_item_share == 1
    assert account.items == len(built.vocabularies["item"].entries) - 1
    assert str(item) not in built.vocabularies["item"].entries


def test_rows_that_the_reader_left_out_are_counted():
    bad = pl.DataFrame({"file": ["a.csv"], "line": [3], "column": ["item"], "reason": ["empty"]})
    interactions = dataclasses.replace(make_interactions(EVENTS), bad_rows=bad)
    account = account_lib.of(interactions, make_config().data)[1]
    assert (account.rows_read, account.bad_rows, account.events) == (8, 1, 7)
    assert account.lines() == [
        "7 events of 2 users with 4 items (8 rows read, 1 repeated)",
        "left out: unusable rows 1",
        "half of the users have 4 events or more, 95% have 4 or fewer; 28.6% of events repeat an "
        "item of the user",
        "times span 7; 42.9% of events have the time of the one before",
    ]


def test_sessions_are_called_so():
    account = account_of(EVENTS, session_gap=3)
    assert (account.users, account.are_sessions, account.heaviest_user) == (3, True, "1/1")
    assert account.lines()[0].startswith("7 events of 3 sessions with 4 items")


def test_plain_data_give_no_warning():
    events = [(user, item, item) for user in range(40) for item in range(5)]
    assert account_of(events).warnings() == []


def test_one_user_with_many_events():
    events = [(f"u{user}", item, item) for user in range(80) for item in range(5)]
    guest = [("guest", item, 9) for item in range(60)]
    (warning,) = account_of(events + guest).warnings()
    assert warning.startswith("User 'guest' has 13% of all events;")


@pytest.mark.parametrize(
    ("change", "start"),
    [
        ({"dropped": {"min_rating": 9, "k_core": 9000}}, "The filters left out 83% of the events"),
        ({"has_time": False}, "The data have no times"),
        ({"span": 0.0}, "All times are equal"),
        ({"equal_time_share": 0.7}, "70% of events have the time of the user's event before"),
        ({"described_item_share": 0.021}, "The table of items describes 2.1% of the 200 items"),
        ({"single_item_share": 0.95}, "95% of the items occur once: do the item ids number"),
    ],
)
def test_each_warning(change, start):
    plain = account_of([(user, item, item) for user in range(9) for item in range(200)])
    assert plain.warnings() == []
    (warning,) = dataclasses.replace(plain, **change).warnings()
    assert warning.startswith(start)


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (86_399.0, "86,399; "),
        (129_600.0, "129,600 (1.5 days, if seconds); "),
        (31_536_000_000.0, "31,536,000,000 (365.0 days, if milliseconds); "),
    ],
)
def test_the_span_in_days(span, shown):
    account = dataclasses.replace(account_of(EVENTS), span=span)
    assert account.lines()[-1].startswith(f"times span {shown}")


def test_ids_of_any_size_count_alike():
    """Ids too far apart to count from the smallest, and text."""
    for scale in (1, 2**61, -(2**61)):
        far = [(user, item % 3 * scale, time) for user, item, time in EVENTS]
        assert account_of(far).repeat_share == pytest.approx(3 / 7)
    text = [(user, f"i{item % 3}", time) for user, item, time in EVENTS]
    assert account_of(text).repeat_share == pytest.approx(3 / 7)
