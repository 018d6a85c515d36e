"""Contexts against plain Python, and the promise that nothing from the label on is in them.

Here timelines are lists: of each user a list of events, of each event a dict of its values.
"""

import functools
import json
from collections import Counter

import jax
import numpy as np
import pytest

from flaxrec.config import Config, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data import contexts
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.sources import synthetic
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.devices import Mesh
from tests.support.builders import make_config, random_model
from tests.support.places import GOLDEN

DATAGEN = GOLDEN / "datagen"

CONTEXT_LENGTH = 5
ITEMS, GENRES = 20, 6  # values are 1..ITEMS and 1..GENRES; the rows around them are special

INPUTS = (
    InputSpec("id", "item.id", "INT", CONTEXT_LENGTH, ITEMS + 2, "item"),
    InputSpec("rating", "event.rating", "FLOAT", CONTEXT_LENGTH),
    InputSpec("last", "item.id", "INT", 2, ITEMS + 2, "item"),
    InputSpec("longer", "item.id", "INT", 9, ITEMS + 2, "item"),
    InputSpec("genres", "item.genres", "STRING", 4, GENRES + 2, "genres", multi_valued=True),
    InputSpec("sizes", "event.sizes", "FLOAT", 12, multi_valued=True),
    InputSpec("likes", "user.likes", "STRING", 3, GENRES + 2, "likes"),
    InputSpec("age", "user.age", "FLOAT", 1),
)
_MOST_VALUES = 400  # of a multi-valued feature over all events: one shape, one compilation

_gather = jax.jit(contexts.gather, static_argnames=("inputs", "context_length", "keep_oldest"))


def gather(*arguments, **options):
    """The contexts as NumPy arrays."""
    return jax.device_get(_gather(*arguments, **options))


def random_event(rng):
    return {
        "id": int(rng.integers(1, ITEMS + 1)),
        "rating": float(rng.integers(1, 9) / 8),
        "genres": rng.integers(1, GENRES + 1, rng.integers(0, 4)).tolist(),
        "sizes": rng.uniform(1, 2, rng.integers(0, 4)).astype(np.float32).tolist(),
    }


def random_user(rng):
    return {"likes": rng.integers(1, GENRES + 1, 3).tolist(), "age": [float(rng.integers(9, 99))]}


def random_timelines(seed, users=8, events=60):
    """(events by user, users): some users have a single event, some dozens."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.choice(np.arange(1, events), users - 1, replace=False))
    lengths = np.diff([0, *cuts, events])
    histories = [[random_event(rng) for _ in range(length)] for length in lengths]
    return histories, [random_user(rng) for _ in lengths]


def value_of(event, name):
    return event["id"] if name in ("last", "longer") else event[name]


def on_device(histories, users):
    """The lists as the arrays that `gather` takes; item rows are the ids."""
    flat = [event for history in histories for event in history]
    columns = {}
    for spec in INPUTS:
        if spec.source.startswith("user."):
            columns[spec.name] = (np.array([user[spec.name] for user in users], spec.dtype), None)
            continue
        values = [value_of(event, spec.name) for event in flat]
        offsets = None
        if spec.multi_valued:
            offsets = np.cumsum([0, *map(len, values)]).astype(np.int32)
            values = [value for event in values for value in event]
            values += [77] * (_MOST_VALUES - len(values))  # never to be seen
        columns[spec.name] = (np.array(values, spec.dtype), offsets)
    lengths = [len(history) for history in histories]
    return DeviceTimelines(
        offsets=np.cumsum([0, *lengths]).astype(np.int32),
        user=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        item=np.array([event["id"] for event in flat], np.int32),
        first_occurrence=np.ones(len(flat), bool),
        columns=columns,
    )


def naive_context(spec, history, user, keep_oldest):
    """The values of one input before a label, whose user's earlier events are `history`."""
    if spec.source.startswith("user."):
        return user[spec.name]
    if spec.multi_valued:
        values = [v for event in history[-CONTEXT_LENGTH:] for v in event[spec.name]]
        values = values[: spec.length] if keep_oldest else values[-spec.length :]
    else:
        values = [value_of(event, spec.name) for event in history][-spec.length :]
    return values + [0] * (spec.length - len(values))


# ---- gather ---------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_oldest", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_gather_is_the_naive_one(seed, keep_oldest):
    """For every event of every user as the label, the first ones (with nothing before) included."""
    histories, users = random_timelines(seed)
    found = gather(
        on_device(histories, users),
        np.arange(60, dtype=np.int32),
        INPUTS,
        context_length=CONTEXT_LENGTH,
        keep_oldest=keep_oldest,
    )
    assert set(found) == {spec.name for spec in INPUTS}
    for spec in INPUTS:
        expected = [
            naive_context(spec, history[:place], user, keep_oldest)
            for history, user in zip(histories, users, strict=True)
            for place in range(len(history))
        ]
        np.testing.assert_array_equal(
            found[spec.name], np.array(expected, spec.dtype), err_msg=spec.name
        )
        assert found[spec.name].dtype == spec.dtype


def test_the_samples_are_not_trivial():
    """What the comparison above must have seen: flattened values cut, kept and missing."""
    histories, _ = random_timelines(0)
    before = [h[max(0, p - CONTEXT_LENGTH) : p] for h in histories for p in range(len(h))]
    numbers = Counter(min(sum(len(e["genres"]) for e in context), 5) for context in before)
    assert all(numbers[n] for n in range(6))
    assert sum(len(history) > 9 for history in histories) >= 2


def test_positions_come_in_any_order():
    histories, users = random_timelines(1)
    positions = np.array([33, 2, 59, 2, 17], np.int32)
    timelines, every = on_device(histories, users), np.arange(60, dtype=np.int32)
    all_of_them = gather(timelines, every, INPUTS, context_length=CONTEXT_LENGTH)
    some = gather(timelines, positions, INPUTS, context_length=CONTEXT_LENGTH)
    for name, values in some.items():
        np.testing.assert_array_equal(values, all_of_them[name][positions])


def test_a_feature_without_any_value_is_padding():
    """As the genres are where no item of one's data has any."""
    histories, users = random_timelines(0)
    timelines = on_device(histories, users)
    spec = INPUTS[4]
    timelines.columns["genres"] = (np.zeros(0, np.int32), np.zeros(61, np.int32))
    found = gather(timelines, np.array([0, 30], np.int32), (spec,), context_length=CONTEXT_LENGTH)
    np.testing.assert_array_equal(found["genres"], np.zeros((2, 4)))


# ---- from the data to contexts --------------------------------------------------------------


def test_contexts_of_data_in_their_own_values():
    """Rows and numbers are put back into ids, names and ratings, then compared with the tables."""
    data = synthetic.generate(users=12, items=40, mean_events=8, seed=3)
    features = (
        FeatureConfig("id", "item.id", "INT"),
        FeatureConfig("rating", "event.rating", "FLOAT"),
        FeatureConfig("genres", "item.genres", "STRING", length=7),
        FeatureConfig("age_group", "user.age_group", "STRING"),
    )
    built = timelines_lib.build(data, make_config(*features, context_length=4))
    device = contexts.to_device(built, Mesh(1, 1).replicated)
    positions = np.arange(len(built.item), dtype=np.int32)
    found = gather(device, positions, built.inputs, context_length=4)

    genres_of = dict(zip(data.items["item"], data.items["genres"].to_list(), strict=True))
    age_of = dict(zip(data.users["user"], data.users["age_group"], strict=True))
    position = 0
    for (user,), events in data.events.group_by("user", maintain_order=True):
        ids, ratings = events["item"].to_list(), events["rating"].to_list()
        for place in range(len(ids)):
            window = ids[max(0, place - 4) : place]
            flat = [genre for item in window for genre in genres_of[item]]
            assert named(found, built, "id", position) == [str(item) for item in window]
            assert named(found, built, "genres", position) == flat[-7:]
            assert named(found, built, "age_group", position) == [age_of[user]]
            padded = np.zeros(4)
            padded[: len(window)] = ratings[max(0, place - 4) : place]
            np.testing.assert_array_equal(found["rating"][position], padded)
            position += 1
    assert position == len(built.item) > 60


def named(features, timelines, name, position):
    """The entries of an input's vocabulary, without the padding at the end."""
    spec = next(spec for spec in timelines.inputs if spec.name == name)
    rows = features[name][position].tolist()
    entries = timelines.vocabularies[spec.vocabulary].entries
    present = [entries[row] for row in rows if row]
    assert rows[len(present) :] == [0] * (len(rows) - len(present))
    return present


@pytest.mark.skipif(not DATAGEN.exists(), reason=f"{DATAGEN} is not there")
@pytest.mark.parametrize("min_rating", [None, 3])
def test_reference_mode_makes_the_references_examples(min_rating):
    """Contexts of five activities and eight genres, the oldest genres kept."""
    features = (
        FeatureConfig("context_movie_id", "item.id", "INT"),
        FeatureConfig("context_movie_rating", "event.rating", "FLOAT"),
        FeatureConfig("context_movie_year", "item.year", "INT"),
        FeatureConfig("context_movie_genre", "item.genres", "STRING", length=8),
    )
    config = make_config(
        *features, context_length=5, min_timeline_length=3, min_rating=float(min_rating or 0)
    )
    config.reference_mode = True
    built = timelines_lib.build(read_movielens(DATAGEN), config)
    first = np.zeros(len(built.item), bool)
    first[built.offsets[:-1]] = True
    labels = np.flatnonzero(~first).astype(np.int32)
    found = gather(
        contexts.to_device(built, Mesh(1, 1).replicated),
        labels,
        built.inputs,
        context_length=5,
        keep_oldest=True,
    )
    examples = []
    for row, label in enumerate(labels):
        example = {"label_movie_id": [int(built.item[label])]}
        for name, values in found.items():
            example[name] = values[row].tolist()
        for name in ("context_movie_year", "context_movie_genre"):
            entries = built.vocabularies[name].entries
            example[name] = [entries[value] for value in example[name]]
        example["context_movie_year"] = [int(year) for year in example["context_movie_year"]]
        examples.append(example)

    parts = json.loads((DATAGEN / "expected.json").read_text(encoding="utf-8"))
    expected = parts[f"minrating_{min_rating}_shuffle_False_seed_None"]
    assert sorted(map(canonical, examples)) == sorted(
        map(canonical, expected["train"] + expected["test"])
    )


def canonical(example):
    return json.dumps(example, sort_keys=True)


# ---- the label and what follows -------------------------------------------------------------

GROUPS = (  # names and encoder; global ones first
    (("likes",), "bow"),
    (("age",), "bow"),
    (("id", "rating"), "cnn"),
    (("id", "rating"), "lstm"),
    (("genres",), "lstm"),
    (("longer",), "bow"),
)


@functools.cache
def make_model():
    """A dual encoder with all encoders: (timelines, positions) -> contexts, encodings, logits."""
    source = {spec.name: spec for spec in INPUTS}
    groups = [
        GroupConfig([FeatureConfig(n, source[n].source, source[n].type, 4) for n in names], encoder)
        for names, encoder in GROUPS
    ]
    model = ModelConfig(
        context_length=CONTEXT_LENGTH,
        embedding_dim=4,
        global_groups=groups[:2],
        activity_groups=groups[2:],
        hidden_dims=(8,),
    )
    used = tuple(spec for spec in INPUTS if spec.name not in ("last", "sizes"))
    spec = ModelSpec(used, candidates=ITEMS, first_candidate=1)
    structure, params = random_model(Config(model=model), spec)

    @jax.jit
    def run(timelines, positions):
        found = contexts.gather(timelines, positions, used, context_length=CONTEXT_LENGTH)
        model = structure.merge(params)
        encodings = [group(found) for group in model.context_encoder.groups]
        return found, encodings, model.logits(found)

    return lambda *arguments: jax.device_get(run(*arguments))


def longest_history():
    """Timelines, the user with the most events, and the position of that user's first one."""
    histories, users = random_timelines(4)
    user = int(np.argmax([len(history) for history in histories]))
    return histories, users, user, sum(map(len, histories[:user]))


@pytest.mark.parametrize("place", [1, 2, 6, -1])
def test_nothing_from_the_label_on_moves_the_logits(place):
    """The label, later events and other users become random: all stays, to the bit."""
    histories, users, own, start = longest_history()
    place %= len(histories[own])
    position = np.array([start + place], np.int32)
    before, _, logits = make_model()(on_device(histories, users), position)

    rng = np.random.default_rng(0)
    for user, history in enumerate(histories):
        for event in range(place if user == own else 0, len(history)):
            history[event] = random_event(rng)
        if user != own:
            users[user] = random_user(rng)
    after, _, moved = make_model()(on_device(histories, users), position)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name], err_msg=name)
    np.testing.assert_array_equal(logits, moved)


@pytest.mark.parametrize(
    ("back", "name", "value", "reads"),
    [
        (1, "id", 13, ("id", "longer")),
        (5, "id", 13, ("id", "longer")),
        (6, "id", 13, ("longer",)),
        (1, "rating", 2.0, ("rating",)),
        (1, "genres", [5], ("genres",)),
        (0, "likes", [6, 6, 6], ("likes",)),
        (0, "age", [10.0], ("age",)),
    ],
)
def test_what_comes_before_the_label_moves_what_reads_it(back, name, value, reads):
    """Else the property above would hold for a model that looks at nothing."""
    histories, users, own, start = longest_history()
    place = len(histories[own]) - 1
    position = np.array([start + place], np.int32)
    _, encodings, logits = make_model()(on_device(histories, users), position)
    (histories[own][place - back] if back else users[own])[name] = value
    _, moved, moved_logits = make_model()(on_device(histories, users), position)
    found = [bool((a != b).any()) for a, b in zip(encodings, moved, strict=True)]
    assert found == [bool(set(names) & set(reads)) for names, _ in GROUPS]
    assert np.abs(moved_logits - logits).max() > 1e-6
