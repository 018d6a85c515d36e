"""No input of a label tells anything of what happens at or after it, its own time excepted.

Everything from the label on is changed in many ways, and the label's inputs are compared in the
data's own values: vocabularies differ where the data do.
"""

import dataclasses

import jax
import numpy as np
import polars as pl
import pytest

from flaxrec.config import FeatureConfig, SplitConfig
from flaxrec.config.validation import OF_NOW
from flaxrec.data import contexts, moments, splits, windows
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.vocabulary import PADDING
from tests.support.builders import make_config, make_interactions

FEATURES = (
    FeatureConfig("items", "item.id"),
    FeatureConfig("genres", "item.genres", "STRING", length=5),
    FeatureConfig("rating", "event.rating", "INT"),
    FeatureConfig("score", "event.score", "FLOAT"),
    FeatureConfig("country", "user.country", "STRING"),
    *(
        FeatureConfig(source.replace(".", "_"), source)
        for source in ("event.gap", "event.gap_after", "event.seconds_ago")
    ),
    *(FeatureConfig(source.replace(".", "_"), source) for source in OF_NOW if "ask" in source),
)
START = 1_700_000_000
HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
USERS, LENGTH, CONTEXT = 5, 9, 4


def _events(seed=0):
    """Rows by user, oldest first: user, item, time, rating, score."""
    random = np.random.default_rng(seed)
    steps = np.cumsum(random.integers(0, 2, (USERS, LENGTH)) * 10 ** random.integers(0, 6), axis=1)
    return [
        [
            user,
            int(random.integers(1, 9)),
            START + int(time),
            int(random.integers(1, 6)),
            0.5 * time,
        ]
        for user, of_user in enumerate(steps)
        for time in of_user
    ]


def _build(rows):
    user, item, time, rating, score = zip(*rows, strict=True)
    interactions = make_interactions(
        list(zip(user, item, time, strict=True)),
        {"item": list(range(1, 20)), "genres": [[f"g{i % 3}", "all"] for i in range(1, 20)]},
        {"user": list(range(USERS)), "country": [f"c{user}" for user in range(USERS)]},
        rating=list(rating),
        score=list(score),
    )
    config = make_config(*FEATURES, context_length=CONTEXT)
    built = timelines_lib.build(interactions, config)
    return built, config


def _changed(rows, at, seed):
    """Rows with everything from row `at` on different, but for the label's user and time."""
    random = np.random.default_rng(seed)
    user, _, time, _, _ = rows[at]
    label = [user, int(random.integers(9, 20)), time, int(random.integers(6, 9)), -1.0]
    later = [
        [user, int(random.integers(9, 20)), time + int(gap), 9, -2.0]
        for gap in np.cumsum(random.integers(0, 10**6, seed % 4))
    ]
    others = [list(row) for row in rows if row[0] != user]
    for row in others:  # what other users do later is later too
        row[1] = 19 if row[2] >= time else row[1]
    before = [row for row in rows[:at] if row[0] == user]
    return sorted([*before, label, *later, *others], key=lambda row: row[0])


def _values(timelines, features, inputs, row):
    """A context's inputs in the data's own values, None for 'unknown', padding left out."""
    found = {}
    for spec in inputs:
        values = np.asarray(features[spec.name])[row].tolist()
        if spec.vocabulary:
            entries = dict(enumerate(timelines.vocabularies[spec.vocabulary].entries))
            values = [entries.get(value) for value in values]
            values = [value for value in values if value != PADDING]
        elif spec.source == "event.score":
            values = values[: sum(x != 0 for x in np.asarray(features["items"])[row])]
        found[spec.name] = values
    return found


def _place(timelines, user, place):
    return int(timelines.offsets[user]) + place


def _alone(rows, user, place):
    """The inputs of one label, gathered by itself."""
    timelines, config = _build(rows)
    positions = np.array([_place(timelines, user, place)], np.int32)
    gather = contexts.gatherer(config, timelines.inputs)
    features = gather(contexts.to_device(timelines, HERE), positions)
    return _values(timelines, features, timelines.inputs, 0)


def _in_a_window(rows, user, place, last):
    """What the prefix of one label holds in a window that ends at `last`."""
    timelines, _ = _build(rows)
    inputs = tuple(s for s in timelines.inputs if not s.multi_valued and s.name != "score")
    positions = np.array([_place(timelines, user, last)], np.int32)
    features, prefixes = contexts.gather_windows(
        contexts.to_device(timelines, HERE),
        positions,
        inputs,
        context_length=CONTEXT,
        labels=CONTEXT,
        most_values={},
    )
    of_label = int(
        np.flatnonzero(np.asarray(prefixes.positions)[0] == _place(timelines, user, place))[-1]
    )
    count = int(prefixes.take[0, of_label]) + 1
    ago = np.asarray(features["event_seconds_ago"])[0]
    held = {}
    for spec in inputs:
        values = np.asarray(features[spec.name])
        if spec.of_label:
            held[spec.name] = values[:, of_label : of_label + 1]
        elif spec.name == "event_seconds_ago":  # to the prefix's own label
            own = ago[count] if count < CONTEXT else 0
            held[spec.name] = (ago[:count] - own)[None]
        elif spec.of_activity:
            held[spec.name] = values[:, :count]
        else:
            held[spec.name] = values
    return _values(timelines, held, inputs, 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("user", "place"), [(0, 1), (1, 4), (2, 7), (3, 8)])
def test_what_comes_later_changes_no_input(user, place, seed):
    rows = _events()
    changed = _changed(rows, user * LENGTH + place, seed)
    assert changed != rows
    assert _alone(changed, user, place) == _alone(rows, user, place)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("last", [4, 6])
def test_what_comes_later_changes_no_prefix(last, seed):
    """With several labels a context, those in the middle as well as the last."""
    rows, user, place = _events(1), 2, 4
    changed = _changed(rows, user * LENGTH + place, seed | 3)  # three later events at least
    assert _in_a_window(changed, user, place, last) == _in_a_window(rows, user, place, last)


def test_the_time_of_the_label_is_known():
    """The exception: it changes what tells of the moment, and nothing else."""
    rows, user, place = _events(), 1, 8
    later = [list(row) for row in rows]
    later[user * LENGTH + place][2] += 40 * 86_400 + 7200
    before, after = _alone(rows, user, place), _alone(later, user, place)
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {source.replace(".", "_") for source in OF_NOW}
    assert before["event_gap_after"][:-1] == after["event_gap_after"][:-1]
    assert after["event_gap_after"][-1] == after["ask_since"][0] == str(21)
    assert after["event_seconds_ago"][-1] >= 40 * 86_400


@pytest.mark.parametrize("source", [moments.GAP_AFTER, moments.SINCE, moments.HOUR])
def test_a_source_that_looks_ahead_is_caught(monkeypatch, source):
    """The control: each of these, one event too late, tells what comes after the label."""

    def one_later(function):
        return lambda *given: np.append(function(*given)[1:], 0)

    name = {moments.GAP_AFTER: "gap_after", moments.SINCE: "since"}.get(source, "calendar")
    monkeypatch.setattr(moments, name, one_later(getattr(moments, name)))
    rows, user, place = _events(), 1, 4
    changed = [_changed(rows, user * LENGTH + place, seed) for seed in range(8)]
    assert any(_alone(other, user, place) != _alone(rows, user, place) for other in changed)


@pytest.mark.parametrize("protocol", ["leave_one_out", "random", "global_time"])
def test_every_label_of_a_protocol_is_asked_at_its_own_time(protocol):
    timelines, config = _build(_events())
    split = splits.split(timelines, SplitConfig(protocol))
    positions = np.concatenate([split.train, split.validation, split.test]).astype(np.int32)
    features = contexts.gatherer(config, timelines.inputs)(
        contexts.to_device(timelines, HERE), positions
    )
    waited = timelines.time[positions] - timelines.time[positions - 1]
    expected = [str(step) for step in moments.steps(waited)]
    for name in ("ask_since", "event_gap_after"):
        values = [
            _values(timelines, features, timelines.inputs, row)[name][-1]
            for row in range(len(positions))
        ]
        assert values == expected
    ago = np.asarray(features["event_seconds_ago"])
    length = np.minimum(positions - timelines.offsets[timelines.user[positions]], CONTEXT)
    assert ago[np.arange(len(ago)), length - 1].tolist() == waited.tolist()


@pytest.mark.parametrize("protocol", ["leave_one_out", "random", "global_time"])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_no_label_of_a_protocol_sees_what_comes_later(protocol, part):
    rows = _events()
    timelines, _ = _build(rows)
    split = splits.split(timelines, SplitConfig(protocol, test_fraction=0.3))
    positions = getattr(split, part)
    assert len(positions)
    label = int(positions[len(positions) // 2])
    user, place = divmod(label, LENGTH)
    assert _alone(_changed(rows, label, 3), user, place) == _alone(rows, user, place)


def test_packed_rows_ask_at_each_labels_time():
    timelines, _ = _build(_events())
    inputs = tuple(
        s for s in timelines.inputs if s.of_label or (s.of_activity and not s.multi_valued)
    )
    inputs = tuple(s for s in inputs if s.source != moments.SECONDS_AGO)
    train = splits.split(timelines, SplitConfig()).train
    positions = windows.pack(timelines, train, CONTEXT, np.random.default_rng(0))
    features, _ = contexts.gather_packed(contexts.to_device(timelines, HERE), positions, inputs)
    assert features["ask_since"].tolist() == features["event_gap_after"].tolist()
    waited = timelines.time[positions] - timelines.time[positions - 1]
    assert (np.asarray(features["ask_since"]) - 1).tolist() == moments.steps(waited).tolist()


def test_the_names_of_sources_are_the_same_in_config_and_data():
    assert sorted(OF_NOW) == sorted(moments.OF_NOW)
    spec = dataclasses.replace(_build(_events())[0].inputs[0], source="ask.hour")
    assert (spec.of_label, spec.of_activity) == (True, False)


def test_values_have_their_natural_order():
    """All from 0 to the largest, those that never occur too; hours and weekdays whole."""
    timelines, _ = _build(_events())
    largest = max(moments.steps(np.diff(timelines.time)).tolist())
    for name in ("event_gap_after", "ask_since"):
        entries = timelines.vocabularies[name].entries
        assert entries[:3] == (PADDING, "0", "1")
        assert len(entries) <= largest + 2
    assert timelines.vocabularies["ask_hour"].entries[1:] == tuple(map(str, range(24)))
    assert timelines.vocabularies["ask_weekday"].entries[1:] == tuple(map(str, range(7)))
    last = timelines.offsets[1:] - 1
    unknown = timelines.vocabularies["event_gap_after"].unknown_row
    assert (timelines.columns["event_gap_after"].values[last] == unknown).all()
    assert isinstance(timelines.activities, pl.DataFrame)
    assert set(timelines.activities.columns) == {"item", "rating", "score", "gap", "time"}
