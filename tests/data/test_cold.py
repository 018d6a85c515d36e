"""Cold items: no training label, context or count has them, and each of their labels is ranked."""

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    SplitConfig,
    TrainConfig,
)
from flaxrec.data import account as account_lib
from flaxrec.data import cold, contexts, splits
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import ModelSpec
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError, DataError
from flaxrec.training import objective, steps
from flaxrec.training.steps import Job, TrainState
from flaxrec.training.validation import validate
from tests.support.builders import make_interactions, random_model

FEATURES = (
    FeatureConfig("context", "item.id", embedding_dim=4),
    FeatureConfig("genres", "item.genres", "STRING", 4, length=6),
    FeatureConfig("rating", "event.rating", "INT", 4),
    FeatureConfig("score", "event.score", "FLOAT"),
    *(FeatureConfig(f.replace(".", "_"), f, "INT", 4) for f in ("event.gap", "event.gap_after")),
    FeatureConfig("since", "ask.since", "INT", 4),
    FeatureConfig("country", "user.country", "STRING", 4),
)
LABEL_FEATURES = [FeatureConfig("genre", "item.genres", "STRING")]
USERS, ITEMS, LENGTH = 14, 20, 4
EMPTY = (1, 12)  # users of one event


def drawn(seed=0):
    """Users of 1 to 12 events."""
    random = np.random.default_rng(seed)
    lengths = random.integers(4, 13, USERS)
    lengths[list(EMPTY)] = 1
    events = [
        (user, 1 + int(item), 1_600_000_000 + 86400 * user + 3600 * t * int(random.integers(1, 9)))
        for user, n in enumerate(lengths)
        for t, item in enumerate(random.integers(0, ITEMS, n))
    ]
    return interactions_of(events, random)


def interactions_of(events, random):
    items = {"item": list(range(1, ITEMS + 1)), "genres": [[f"g{i % 7}"] for i in range(ITEMS)]}
    users = {"user": list(range(USERS)), "country": [f"c{u % 3}" for u in range(USERS)]}
    more = {
        "rating": random.integers(1, 6, len(events)).tolist(),
        "score": random.uniform(0, 1, len(events)).tolist(),
    }
    return make_interactions(events, items, users, **more)


def config_of(*features, encoder="bow", **split):
    features = features or (FEATURES[0],)
    groups = [GroupConfig([feature], encoder) for feature in features]
    return Config(
        data=DataConfig(min_timeline_length=1, time_unit="s"),
        split=SplitConfig(**{"protocol": "cold_items", "cold_fraction": 0.25, **split}),
        model=ModelConfig(
            context_length=LENGTH,
            embedding_dim=4,
            activity_groups=[g for g in groups if not g.features[0].source.startswith("user.")],
            global_groups=[g for g in groups if g.features[0].source.startswith("user.")],
            label_features=LABEL_FEATURES,
            tied_tables=True,
        ),
        train=TrainConfig(batch_size=2),
    )


def dataset_of(interactions, config, *, removed=()):
    """As `dataset.prepare`; with `removed` items, leave-one-out of the others alone."""
    kept, account = account_lib.of(interactions, config.data)
    if removed:
        gone = kept.with_ids().events["item"].is_in(removed)
        kept = dataclasses.replace(kept, events=kept.events.filter(~gone), first=None)
        built = timelines_lib.build(kept, config, account)
        split = splits.split(built, SplitConfig(), first_events=config.train.first_events)
    else:
        kept, warm = cold.apart(kept, config.split)
        built = timelines_lib.build(kept, config, account, warm)
        split = splits.split(built, config.split, first_events=config.train.first_events)
    spec = ModelSpec(built.inputs, len(built.items), 1, built.clock)
    return Dataset(built, split, spec, config=config)


def cold_of(interactions, config):
    return cold.choose(account_lib.of(interactions, config.data)[0], config.split).to_list()


def by_user(interactions):
    """(time, item) of each user, oldest first."""
    found = {}
    for user, item, time in interactions.events.select("user", "item", "time").rows():
        found.setdefault(user, []).append((time, item))
    return {user: sorted(own, key=lambda event: event[0]) for user, own in sorted(found.items())}


# ---- which items ----------------------------------------------------------------------------


def test_the_items_whose_first_event_is_the_latest():
    """Of items with equal first events the rarer ones, and of these the larger ids."""
    events = [(1, 10, 5), (1, 20, 9), (1, 30, 9), (1, 40, 9), (2, 40, 9), (2, 10, 99), (2, 50, 7)]
    chosen = {
        n: cold_of(make_interactions(events), config_of(cold_fraction=n / 5)) for n in range(1, 5)
    }
    assert chosen == {1: [30], 2: [20, 30], 3: [40, 20, 30], 4: [50, 40, 20, 30]}


def test_drawn_items_follow_the_seed():
    one, same, other = (
        cold_of(drawn(), config_of(cold_by="random", cold_fraction=0.3, seed=seed))
        for seed in (1, 1, 2)
    )
    assert one == same != other
    assert len(set(one)) == len(one) == 6


@pytest.mark.parametrize("cold_by", ["first", "random"])
@pytest.mark.parametrize(("fraction", "count"), [(1e-9, 1), (0.5, 10), (1 - 1e-9, ITEMS - 1)])
def test_at_least_one_item_is_cold_and_not_all(cold_by, fraction, count):
    chosen = cold_of(drawn(), config_of(cold_by=cold_by, cold_fraction=fraction))
    assert len(chosen) == count


# ---- the two parts --------------------------------------------------------------------------


@pytest.mark.parametrize("first_events", [False, True])
@pytest.mark.parametrize("cold_by", ["first", "random"])
def test_training_is_that_of_data_without_the_cold_items(cold_by, first_events):
    """All that training reads, and the vocabularies; no event of a cold item leaves a trace."""
    interactions, config = drawn(), config_of(*FEATURES, cold_by=cold_by)
    config.train.first_events = first_events
    chosen = cold_of(interactions, config)
    made = dataset_of(interactions, config)
    alone = dataset_of(interactions, config, removed=chosen)
    here, there = made.timelines, alone.timelines
    n, users = len(there.item), len(there.users)
    assert users == here.whole_from
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(made.split, part), getattr(alone.split, part))
    for name in ("item", "user", "time"):
        np.testing.assert_array_equal(getattr(here, name)[:n], getattr(there, name))
    np.testing.assert_array_equal(here.offsets[: users + 1], there.offsets)
    for name, column in there.columns.items():
        own = here.columns[name]
        if column.offsets is not None:
            np.testing.assert_array_equal(own.offsets[: n + 1], column.offsets)
        np.testing.assert_array_equal(own.values[: len(column.values)], column.values)
    warm = len(there.items)
    entries = {name: of.entries for name, of in here.vocabularies.items()}
    assert entries.pop("item")[: warm + 1] == there.vocabularies["item"].entries
    assert entries == {n: of.entries for n, of in there.vocabularies.items() if n != "item"}
    inputs = [[i for i in of.inputs if i.vocabulary != "item"] for of in (here, there)]
    assert inputs[0] == inputs[1]
    assert here.items.head(warm).drop("item").equals(there.items.drop("item"))
    assert here.items["count"].to_list()[warm:] == [0] * len(chosen)
    assert here.items["item"].to_list()[warm:] == sorted(chosen)
    np.testing.assert_array_equal(
        here.item_values["genre"].values[:warm], there.item_values["genre"].values
    )


@pytest.mark.parametrize("cold_by", ["first", "random"])
def test_every_event_of_a_cold_item_with_a_context_is_a_label(cold_by):
    interactions, config = drawn(3), config_of(cold_by=cold_by)
    chosen = cold_of(interactions, config)
    made = dataset_of(interactions, config)
    timelines, first = made.timelines, made.timelines.whole_from
    ids = np.array(["", *timelines.items["item"].to_list()])[timelines.item].tolist()
    expected = []
    for user, own in by_user(interactions).items():
        items = [str(item) for _, item in own]
        places = [p for p, (_, item) in enumerate(own) if p and item in chosen]
        expected += [(user, items[:p], items[p]) for p in places]
    found = []
    for label in made.split.cold.tolist():
        user = timelines.user[label]
        assert user >= first
        begin = timelines.offsets[user]
        found.append((timelines.users["user"][int(user)], ids[begin:label], ids[label]))
    assert found == expected
    assert made.split.cold_items == len(chosen) == 5
    ends = timelines.offsets[first + 1 :] - 1
    assert {int(ids[end]) for end in ends} <= set(chosen)  # nothing beyond is kept


PREFIXES = {"labels_per_context": 3, "first_events": True}


@pytest.mark.parametrize(
    ("cold_by", "options"),
    [
        ("random", PREFIXES),
        ("first", {}),
        ("first", {"packed": True}),
        pytest.param("first", PREFIXES, marks=pytest.mark.long),
        pytest.param("random", {}, marks=pytest.mark.long),
        pytest.param("random", {"packed": True}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_no_step_reads_a_cold_item(cold_by, options):
    """Neither as an activity nor as a label nor as a candidate."""
    config = config_of(cold_by=cold_by)
    for name, value in options.items():
        setattr(config.train, name, value)
    made = dataset_of(drawn(), config)
    warm = made.spec.candidates - made.split.cold_items
    job = Job(config, made)
    assert job.targets.log_q.shape == (warm,)
    read = jax.jit(read_of(objective.reader(config, made.spec, job.most_values)))
    labels = set()
    for epoch in range(3):
        batches = job.epoch(0, epoch)
        positions = batches.positions.reshape(-1, *batches.positions.shape[2:])
        for at, counts in zip(positions, batches.counts.reshape(len(positions), -1), strict=True):
            rows, found, weights = read(job.timelines, job.targets.trained, at, counts)
            assert rows.max() <= warm
            labels |= set(found[weights > 0].tolist())
    assert max(labels) < warm
    assert len(labels) > warm / 2


def read_of(read):
    def parts(*arguments):
        examples = read(*arguments)
        return examples.features["context"], examples.labels, examples.weights

    return parts


@pytest.mark.long
@pytest.mark.parametrize("loss", ["global_softmax", "sampled_softmax", "batch_softmax"])
def test_a_step_is_that_of_data_without_the_cold_items(loss):
    """Loss and new parameters; those of cold items stay as they are."""
    interactions, config = drawn(), config_of()
    config.loss.name, config.loss.label_smoothing = loss, 0.0 if loss == "batch_softmax" else 0.1
    made = dataset_of(interactions, config)
    alone = dataset_of(interactions, config, removed=cold_of(interactions, config))
    _, params = random_model(config, made.spec)
    warm = alone.spec.candidates
    cut = {name: value for name, value in params.items() if not name.startswith("item_features")}
    (table,) = [name for name, value in cut.items() if len(value) == made.spec.candidates + 2]
    rows = np.r_[0 : warm + 1, made.spec.candidates + 1]  # padding, warm ones, unknown
    genre = {"item_features/genre": jnp.ones((made.timelines.item_values["genre"].rows, 4))}
    results = []
    for data, own in ((made, cut), (alone, cut | {table: cut[table][rows]})):
        structure, _ = random_model(config, data.spec)
        optimizer = optax.with_extra_args_support(optax.sgd(0.5))
        scan = steps.make_scan(structure, data.spec, config, optimizer)
        state = TrainState(jax.tree.map(jnp.array, own | genre), optimizer.init(own | genre))
        batches = steps.ones_of(jnp.asarray(data.split.train[:8])[None])
        device = contexts.to_device(data.timelines, Mesh(1, 2).replicated)
        targets = jax.tree.map(jnp.asarray, steps.targets_of(data, config))
        results.append(scan(state, device, targets, batches))
    (with_cold, loss_with), (without, loss_without) = results
    np.testing.assert_allclose(loss_with, loss_without, rtol=1e-6)
    for name, value in without.params.items():
        found = with_cold.params[name]
        found = found[rows] if name == table else found
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        with_cold.params[table][warm + 1 : -1], params[table][warm + 1 : -1]
    )


def test_cold_items_begin_without_vectors_of_their_own(monkeypatch):
    monkeypatch.setattr(steps.dual_encoder, "create", random_model)
    config = config_of()
    made = dataset_of(drawn(), config)
    params = steps.initial_params(config, made)
    (table,) = [value for value in params.values() if len(value) == made.spec.candidates + 2]
    is_zero = (np.asarray(table) == 0).all(axis=1)
    assert is_zero.tolist() == [False, *[False] * (ITEMS - 5), *[True] * 5, False]


# ---- what is refused ------------------------------------------------------------------------


def test_without_times_nobody_knows_which_items_came_last():
    interactions = dataclasses.replace(drawn(), has_time=False)
    with pytest.raises(ConfigError, match=r"cold_by is 'first', but the data have no times"):
        dataset_of(interactions, config_of())
    assert len(dataset_of(interactions, config_of(cold_by="random")).split.cold)


def test_cold_items_without_a_context_are_no_labels():
    events = [(u, 1 + u % 2, t) for t, u in enumerate([0] * 5 + [1] * 5)] + [(3, 9, 99)]
    with pytest.raises(DataError, match="None of the 1 events of cold items has an event"):
        dataset_of(make_interactions(events), config_without_features(cold_fraction=0.3))
    one = [(1, 7, t) for t in range(9)]
    with pytest.raises(DataError, match="The data have one item"):
        dataset_of(make_interactions(one), config_without_features())


def config_without_features(**split):
    config = config_of(**split)
    config.model.label_features = []
    return config


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 7.0, float("nan")])
def test_a_fraction_lies_between_0_and_1(value):
    with pytest.raises(ConfigError, match=r"split\.cold_fraction"):
        validate(config_of(cold_fraction=value))


@pytest.mark.parametrize("mode", ["reference_mode", "tfrecord"])
def test_where_every_item_is_in_training_it_is_refused(mode):
    config = config_of()
    if mode == "tfrecord":
        config.data.source, config.train.select_metric = "tfrecord", "ndcg@10"
    else:
        config.reference_mode = True
    with pytest.raises(ConfigError, match="have every item in training"):
        validate(config)


def test_runs_of_users_are_kept_apart_where_the_parts_meet():
    """The last user of the first part may be the first of the second."""
    events = [(1, i, t) for t, i in enumerate([1, 2, 3, 1, 2, 9])]
    made = dataset_of(make_interactions(events), config_without_features(cold_fraction=0.25))
    assert made.timelines.offsets.tolist() == [0, 5, 11]
    assert made.timelines.users["user"].to_list() == [1, 1]
    assert made.split.cold.tolist() == [10]
    assert [b - a for a, b in pairwise(made.timelines.offsets.tolist())] == [5, 6]
