"""Splits against one-user-at-a-time Python, on random timelines."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.config import SplitConfig
from flaxrec.data import splits
from flaxrec.errors import DataError
from tests.support.builders import make_timelines

# Lengths of the timelines; users with 1, 2 and 3 events are the interesting ones.
lengths = st.lists(st.integers(1, 6), min_size=1, max_size=12)
fractions = st.tuples(st.floats(0, 0.49), st.floats(0.01, 0.49))


def offsets_of(lengths):
    return np.cumsum([0, *lengths]).astype(np.int32)


def users_of(lengths):
    """The events' positions of each user."""
    offsets = offsets_of(lengths).tolist()
    return [range(a, b) for a, b in pairwise(offsets)]


def parts(made):
    return [made.train.tolist(), made.validation.tolist(), made.test.tolist()]


def assert_sound(made, lengths):
    """No label twice, every label with an event of its user before it, int32 positions."""
    labels = list(chain(*parts(made)))
    assert len(labels) == len(set(labels))
    assert set(labels) <= {event for user in users_of(lengths) for event in user[1:]}
    assert {part.dtype for part in (made.train, made.validation, made.test)} == {np.dtype(np.int32)}


# ---- leave one out --------------------------------------------------------------------------


@given(lengths)
def test_leave_one_out_is_the_naive_one(lengths):
    expected = [[], [], []]
    for user in users_of(lengths):
        labels = list(user)[1:]
        expected[2] += labels[-1:]
        expected[1] += labels[-2:-1]
        expected[0] += labels[:-2]
    made = splits.leave_one_out(offsets_of(lengths))
    assert parts(made) == expected
    assert_sound(made, lengths)
    assert made.protocol == "leave_one_out"


def test_leave_one_out_of_short_timelines():
    """One event: none; two: test; three: validation and test; four: one to train on."""
    made = splits.leave_one_out(offsets_of([1, 2, 3, 4]))
    assert parts(made) == [[7], [4, 8], [2, 5, 9]]


# ---- users' first events --------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["leave_one_out", "random", "global_time"])
@given(lengths=lengths, fractions=fractions)
def test_first_events_are_added_to_the_training_labels_alone(protocol, lengths, fractions):
    """All of them; of a split by time those of its training's time."""
    validation, test = fractions
    events = [(u, 1, u + t) for u, n in enumerate([9, *lengths]) for t in range(n)]
    timelines = make_timelines(events)
    config = SplitConfig(protocol, validation, test)
    try:
        plain = splits.split(timelines, config)
    except DataError:
        return
    made = splits.split(timelines, config, first_events=True)
    assert parts(made)[1:] == parts(plain)[1:]
    firsts = set(timelines.offsets[:-1].tolist())
    added = set(made.train.tolist()) - set(plain.train.tolist())
    assert len(made.train) == len(plain.train) + len(added)
    assert made.train.dtype == np.int32
    assert added <= firsts
    if protocol == "global_time":
        later = timelines.time[np.concatenate([plain.validation, plain.test])]
        firsts = {at for at in firsts if timelines.time[at] < later.min()}
    assert firsts <= added


# ---- random ---------------------------------------------------------------------------------


@given(lengths, fractions, st.integers(0, 99))
def test_random_takes_every_label_once(lengths, fractions, seed):
    validation, test = fractions
    made = splits.random(offsets_of(lengths), validation, test, seed)
    assert_sound(made, lengths)
    n = sum(length - 1 for length in lengths)
    assert len(made.train) + len(made.validation) == round(n * (1 - test))
    assert len(made.validation) == round(n * validation)
    assert sum(len(part) for part in parts(made)) == n
    assert made.protocol == "random"


def test_random_is_the_references_share():
    """10 users with 14 events are 130 labels: round(130 * 0.9) = 117 are not test."""
    made = splits.random(offsets_of([14] * 10), 0.1, 0.1, seed=0)
    assert [len(part) for part in parts(made)] == [104, 13, 13]


def test_random_follows_the_seed():
    offsets = offsets_of([9] * 20)
    first, again = (splits.random(offsets, 0.1, 0.1, seed=3) for _ in range(2))
    assert parts(first) == parts(again)
    other = splits.random(offsets, 0.1, 0.1, seed=4)
    assert set(first.test.tolist()) != set(other.test.tolist())


def test_random_mixes_users_and_times():
    made = splits.random(offsets_of([101] * 10), 0.1, 0.2, seed=0)
    users, places = made.test // 101, made.test % 101
    assert set(users.tolist()) == set(range(10))
    assert 40 < places.mean() < 60
    assert made.train.tolist() != sorted(made.train.tolist())


# ---- global time ----------------------------------------------------------------------------


@given(lengths, fractions, st.data())
def test_global_time_is_the_naive_one(lengths, fractions, data):
    """Few different times: the cuts fall into ties."""
    times = [
        sorted(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))) for n in lengths
    ]
    flat = list(chain(*times))
    n, (validation, test) = len(flat), fractions
    moments = [
        sorted(flat)[min(n - 1, round(n * (1 - share)))] for share in (validation + test, test)
    ]
    expected = [[], [], []]
    for user in users_of(lengths):
        for event in user[1:]:
            expected[sum(flat[event] >= moment for moment in moments)].append(event)
    made = splits.global_time(offsets_of(lengths), np.array(flat), validation, test)
    assert parts(made) == expected
    assert_sound(made, lengths)
    assert made.protocol == "global_time"


def test_global_time_by_hand():
    """Ten events at 0..9: train before 7, validation 7 and 8, test from 9 on."""
    time = np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9])
    made = splits.global_time(np.array([0, 5, 10], np.int32), time, 0.2, 0.1)
    assert [time[part].tolist() for part in parts(made)] == [[2, 4, 6, 3, 5], [8, 7], [9]]


def test_global_time_separates_the_future():
    time = np.sort(np.random.default_rng(0).normal(size=(30, 20)), axis=1).ravel()
    made = splits.global_time(offsets_of([20] * 30), time, 0.1, 0.1)
    assert min(len(part) for part in parts(made)) > 30
    assert time[made.train].max() < time[made.validation].min()
    assert time[made.validation].max() < time[made.test].min()


# ---- by the config --------------------------------------------------------------------------

EVENTS = [(user, user + step, step) for user in range(6) for step in range(8)]


@pytest.mark.parametrize("protocol", ["leave_one_out", "random", "global_time"])
def test_the_config_chooses(protocol):
    timelines = make_timelines(EVENTS)
    config = SplitConfig(protocol, validation_fraction=0.2, test_fraction=0.25, seed=5)
    made = splits.split(timelines, config)
    expected = {
        "leave_one_out": lambda: splits.leave_one_out(timelines.offsets),
        "random": lambda: splits.random(timelines.offsets, 0.2, 0.25, 5),
        "global_time": lambda: splits.global_time(timelines.offsets, timelines.time, 0.2, 0.25),
    }[protocol]()
    assert parts(made) == parts(expected)
    assert made.protocol == protocol


@pytest.mark.parametrize(
    ("events", "config", "missing"),
    [
        (EVENTS[:2], SplitConfig("leave_one_out"), "train"),
        ([(1, 1, 1), (2, 1, 1)], SplitConfig("leave_one_out"), "train"),
        (EVENTS, SplitConfig("random", test_fraction=0.0), "test"),
        (EVENTS, SplitConfig("global_time", test_fraction=0.0), "test"),
        (EVENTS, SplitConfig("global_time", 0.45, 0.5), "train"),
        ([(1, 1, 7), (1, 2, 7), (1, 3, 7), (1, 4, 7)], SplitConfig("global_time"), "train"),
    ],
)
def test_a_split_without_labels_is_refused(events, config, missing):
    timelines = make_timelines(events)
    with pytest.raises(DataError) as error:
        splits.split(timelines, config)
    users = len({user for user, _, _ in events})
    remedy = "use more data, lower filters or other config.split fractions"
    if config.protocol == "leave_one_out":
        remedy = (
            "only users with four events or more teach, as the last is for the test, the one "
            "before for validation, and the first has no context; use more data or lower filters"
        )
    assert str(error.value) == (
        f"The split {config.protocol!r} leaves no {missing} labels of {len(events)} events of "
        f"{users} users; {remedy}."
    )


def test_a_sample_of_the_labels_is_the_same_for_every_model():
    """It follows the split's seed; training labels stay, and small parts are whole."""
    whole = splits.Split(
        np.arange(50, dtype=np.int32),
        np.arange(50, 90, dtype=np.int32),
        np.arange(100, 110, dtype=np.int32),
        "random",
        cold=np.arange(200, 230, dtype=np.int32),
    )
    made = splits.sampled(whole, 10, 3)
    assert made.sampled_from == {"validation": 40, "cold": 30}
    assert made.train is whole.train
    assert made.test is whole.test
    for part in ("validation", "cold"):
        labels = getattr(made, part)
        assert labels.dtype == np.int32
        assert len(np.unique(labels)) == 10
        assert (np.diff(labels) > 0).all()
        assert np.isin(labels, getattr(whole, part)).all()
    assert np.array_equal(splits.sampled(whole, 10, 3).cold, made.cold)
    assert not np.array_equal(splits.sampled(whole, 10, 4).cold, made.cold)
    assert splits.sampled(whole, 0, 3) is splits.sampled(whole, 40, 3) is whole


def test_no_validation_labels_are_allowed():
    made = splits.split(make_timelines(EVENTS), SplitConfig("random", validation_fraction=0.0))
    assert len(made.validation) == 0


def test_later_labels_are_dropped_or_matched_user_by_user():
    timelines = make_timelines([(u, i % 7, i) for u in range(9) for i in range(4 + 3 * u)])
    made = splits.random(timelines.offsets, 0.05, 0.1, seed=2)
    ranked = np.concatenate([made.validation, made.test])
    first = {u: min(ranked[timelines.user[ranked] == u], default=10**9) for u in range(9)}

    def of_user(labels: np.ndarray, user: int) -> set[int]:
        return set(labels[timelines.user[labels] == user].tolist())

    dropped = splits.without_later(made, timelines, "drop", seed=1)
    matched = splits.without_later(made, timelines, "match", seed=1)
    for user in range(9):
        before = of_user(made.train, user)
        assert of_user(dropped.train, user) == {p for p in before if p < first[user]}
        assert of_user(matched.train, user) <= before
        assert len(of_user(matched.train, user)) == len(of_user(dropped.train, user))
    assert set(matched.train.tolist()) != set(dropped.train.tolist())
    for other in (dropped, matched):
        assert np.array_equal(other.test, made.test)
        assert np.array_equal(other.validation, made.validation)
    assert splits.without_later(made, timelines, "keep", seed=1) is made
    config = SplitConfig("random", 0.05, 0.1, seed=2, later="drop")
    assert np.array_equal(splits.split(timelines, config).train, dropped.train)
