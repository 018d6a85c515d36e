"""Rows of several users' labels (config.train.packed): each label has its own user's context.

Shapes: R rows, L activities of a row, which are also its labels.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxrec.config import Config, DataConfig, FeatureConfig, GroupConfig, ModelConfig, TrainConfig
from flaxrec.data import contexts, windows
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError
from flaxrec.training import objective, steps
from flaxrec.training.steps import Batches, Job, TrainState
from flaxrec.training.validation import validate
from tests.support.builders import make_timelines, random_model

ID = FeatureConfig("context", "item.id", embedding_dim=6)
RATING = FeatureConfig("rating", "event.rating", "FLOAT")
GENRES = FeatureConfig("genres", "item.genres", "STRING", embedding_dim=3, length=6)
SHORT = FeatureConfig("short", "item.id", embedding_dim=3, length=2)
AGE = FeatureConfig("age", "user.age", "INT", embedding_dim=2)
LENGTH, ITEMS = 6, 9
LABELS = (2, 3, 1, 8, 2, 2)  # of each user; 8 do not fit into a row


def dataset_of(config: Config, labels=LABELS, weights=False) -> Dataset:
    """Users with so many labels: all events but their first."""
    random = np.random.default_rng(0)
    items = random.integers(0, ITEMS, sum(labels) + len(labels)).tolist()
    events = [(u, 1 + items.pop(), t) for u, n in enumerate(labels) for t in range(n + 1)]
    further = {"weight": np.linspace(0.5, 2, len(events)).tolist()} if weights else {}
    timelines = make_timelines(
        events,
        *[f for g in config.model.activity_groups for f in g.features],
        *[f for g in config.model.global_groups for f in g.features],
        items={"item": list(range(1, ITEMS + 1)), "genres": [["a", "b"]] * ITEMS},
        users={"user": list(range(len(labels))), "age": [3] * len(labels)},
        rating=random.uniform(1, 5, len(events)).round(1).tolist(),
        **further,
    )
    if weights:
        of_events = np.asarray(further["weight"], np.float32)
        timelines = dataclasses.replace(timelines, weight=of_events)
    inputs = tuple(
        dataclasses.replace(i, length=LENGTH if i.name in ("context", "rating") else i.length)
        for i in timelines.inputs
    )
    trained = np.flatnonzero(np.diff(timelines.user, prepend=-1) == 0).astype(np.int32)
    spec = ModelSpec(inputs, len(timelines.vocabularies["item"].entries) - 1, 1)
    empty = np.zeros(0, np.int32)
    return Dataset(timelines, Split(trained, empty, empty, "leave_one_out"), spec)


def config_of(encoder: str, *features: FeatureConfig, batch_size: int = 1) -> Config:
    group = GroupConfig(
        list(features or (ID, RATING)), encoder, conv_kernel_size=2, lstm_units=4, width=6
    )
    return Config(
        data=DataConfig(min_timeline_length=1),
        model=ModelConfig(
            context_length=LENGTH,
            embedding_dim=6,
            activity_groups=[group],
            hidden_dims=(5,),
            tied_tables=True,
        ),
        train=TrainConfig(packed=True, batch_size=batch_size),
    )


def on_device(data: Dataset) -> contexts.DeviceTimelines:
    return contexts.to_device(data.timelines, Mesh(1, 2).replicated)


def alone(data: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Each label's context by itself, [R * L, L]: what its user has in the row before it."""
    found = {spec.name: [] for spec in data.spec.inputs}
    user = data.timelines.user
    for row in rows:
        for place, label in enumerate(row):
            own = [event - 1 for event in row[: place + 1] if user[event] == user[label]]
            own = [event for event in own if event >= 0 and user[event] == user[label]]
            for name, values in found.items():
                column = data.timelines.columns[name].values
                padded = np.zeros(LENGTH, column.dtype)
                padded[: len(own)] = column[own]
                values.append(padded)
    return {name: np.stack(values) for name, values in found.items()}


def packed_rows(data: Dataset, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return windows.pack(data.timelines, data.split.train, LENGTH, random)


@pytest.mark.parametrize("encoder", ["bow", "recency_bow", "lstm", "linear_rnn", "attention"])
def test_a_label_is_encoded_by_what_its_own_user_has_in_the_row(encoder):
    """A user whose labels go on in the next row begins anew there."""
    config = config_of(encoder)
    data = dataset_of(config)
    structure, params = random_model(config, data.spec)
    rows = packed_rows(data, 0)
    users = data.timelines.user[rows]
    assert (users[:-1, -1] == users[1:, 0]).any()  # one is cut
    assert (np.diff(users, axis=1) != 0).any()

    @jax.jit
    def encode(params, timelines, rows, each):
        features, prefixes = contexts.gather_packed(timelines, rows, data.spec.inputs)
        model = structure.merge(params)
        return model.encode_context(features, prefixes), model.encode_context(each)

    packed, expected = encode(params, on_device(data), rows, alone(data, rows))
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(packed.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "encoder",
    [
        "attention",
        *[pytest.param(e, marks=pytest.mark.long) for e in ("bow", "recency_bow", "lstm")],
    ],
)
def test_users_first_events_have_an_empty_context(encoder):
    """Nothing of the user before in the row is seen, nor the event before it in the data."""
    config = config_of(encoder)
    config.train.first_events = True
    data = dataset_of(config)
    everything = np.arange(len(data.timelines.item), dtype=np.int32)
    data = dataclasses.replace(data, split=dataclasses.replace(data.split, train=everything))
    structure, params = random_model(config, data.spec)
    rows = packed_rows(data, 0)

    @jax.jit
    def encode(params, timelines, rows, each):
        features, prefixes = contexts.gather_packed(
            timelines, rows, data.spec.inputs, first_events=True
        )
        model = structure.merge(params)
        return model.encode_context(features, prefixes), prefixes, model.encode_context(each)

    packed, prefixes, expected = encode(params, on_device(data), rows, alone(data, rows))
    np.testing.assert_array_equal(prefixes.empty, np.isin(rows, data.timelines.offsets[:-1]))
    assert prefixes.empty[:, 1:].any()
    np.testing.assert_allclose(packed.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_rows_hold_every_label_once_but_those_of_the_last_row():
    config = config_of("bow")
    data = dataset_of(config, labels=(*LABELS, 2))  # 20: two do not fill a row
    train, orders = data.split.train.tolist(), set()
    for seed in range(20):
        rows = packed_rows(data, seed)
        assert rows.shape == (len(train) // LENGTH, LENGTH) == (3, 6)
        flat = rows.ravel().tolist()
        assert len(set(flat)) == len(flat)
        assert set(flat) < set(train)
        # Users stand one after another, and their labels in order.
        user = data.timelines.user[flat]
        begins = np.flatnonzero(np.diff(user, prepend=-1))
        assert len(set(user[begins])) == len(begins)
        assert all(flat[i] == flat[i - 1] + 1 for i in range(1, len(flat)) if i not in begins)
        orders.add(tuple(user[begins]))
    assert len(orders) > 10


def test_an_epoch_of_a_job_is_its_packed_rows():
    config = config_of("bow", batch_size=2)
    data = dataset_of(config, labels=(2,) * 12)
    job = Job(config, data)
    assert (job.steps_per_epoch, job.labels_per_step) == (2, 12)
    epochs = [job.epoch(0, epoch).positions.reshape(-1) for epoch in (0, 0, 1)]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert (epochs[0] != epochs[2]).any()
    for positions in epochs:
        assert sorted(positions.tolist()) == data.split.train.tolist()


# ---- a step ---------------------------------------------------------------------------------


def stepped(config: Config, data: Dataset, positions: np.ndarray):
    """Loss and new parameters after a plain gradient step."""
    structure, params = random_model(config, data.spec)
    optimizer = optax.with_extra_args_support(optax.sgd(0.1))
    scan = steps.make_scan(structure, data.spec, config, optimizer)
    targets = jax.tree.map(jnp.asarray, steps.targets_of(data, config))
    batches = steps.ones_of(jnp.asarray(positions)[None])
    if config.train.packed:
        batches = Batches(batches.positions, batches.counts, jnp.zeros((1, 2), jnp.uint32))
    state = TrainState(params, optimizer.init(params))
    return scan(state, on_device(data), targets, batches)


def test_a_step_is_that_of_its_labels_alone():
    """Loss and update, where every user fits and some labels do not count."""
    config = config_of("recency_bow", ID)
    config.loss.name = "batch_softmax"  # labels that do not count are no negatives
    config.data.columns.weight = "weight"
    data = dataset_of(config, labels=(2,) * 6)
    counted = data.split.train[[0, 1, 3, 6, 8, 11]]
    weight = np.isin(np.arange(len(data.timelines.item)), counted).astype(np.float32) * 3
    weighted = dataclasses.replace(data.timelines, weight=weight)
    rows = packed_rows(data, 0)
    packed, loss = stepped(config, dataclasses.replace(data, timelines=weighted), rows)
    config.train.packed, config.data.columns.weight = False, ""
    each, loss_of_each = stepped(config, data, counted)
    np.testing.assert_allclose(loss, loss_of_each, rtol=1e-5)
    for name, value in each.params.items():
        np.testing.assert_allclose(packed.params[name], value, rtol=1e-4, atol=1e-5)


def test_labels_weights_and_seen_items_are_those_of_the_labels_own_events():
    config = config_of("bow")
    config.loss.exclude_seen = True
    data = dataset_of(config, weights=True)
    rows = packed_rows(data, 3)
    read = objective.reader(config, data.spec, {})

    @jax.jit
    def parts(timelines, rows):
        examples = read(timelines, None, rows, jnp.full(len(rows), LENGTH))
        return examples.labels, examples.weights, examples.seen

    labels, weights, seen_items = jax.device_get(parts(on_device(data), rows))
    events, candidates = rows.ravel(), data.spec.candidates
    np.testing.assert_array_equal(labels, data.timelines.item[events] - 1)
    np.testing.assert_allclose(weights, data.timelines.weight[events])
    for label, seen in zip(events, seen_items, strict=True):
        begin = data.timelines.offsets[data.timelines.user[label]]
        own = data.timelines.item[max(begin, label - LENGTH) : label] - 1
        assert sorted(seen[seen < candidates].tolist()) == sorted(own.tolist())


def test_dropout_follows_its_key():
    config = config_of("recency_bow", ID)
    config.model.dropout, config.model.hidden_dims = 0.5, ()
    data = dataset_of(config)
    structure, params = random_model(config, data.spec)
    rows, timelines = packed_rows(data, 0), on_device(data)

    @jax.jit
    def encode(params, key):
        features, prefixes = contexts.gather_packed(timelines, rows, data.spec.inputs)
        return structure.merge(params).encode_context(features, prefixes, key)

    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    one, same, other = (np.asarray(encode(params, key)) for key in keys)
    without = np.asarray(encode(params, None))
    np.testing.assert_array_equal(one, same)
    for drawn in (one, other):
        assert (np.abs(drawn - without).max(axis=-1) > 1e-3).mean() > 0.7
    assert (np.abs(one - other).max(axis=-1) > 1e-3).mean() > 0.7


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (config_of("cnn"), r"the cnn of config.model.activity_groups\[0\]"),
        (config_of("causal_cnn"), "the causal_cnn of"),
        (config_of("bow", GENRES), "the input genres does not have one value"),
        (config_of("bow", SHORT), "the input short does not have one value"),
    ],
)
def test_what_cannot_be_packed_is_refused(config, message):
    config.model.tied_tables = False
    with pytest.raises(ConfigError, match=message):
        Job(config, dataset_of(config))


def test_inputs_of_the_user_are_refused():
    config = config_of("bow")
    config.model.global_groups = [GroupConfig([AGE])]
    with pytest.raises(ConfigError, match="the input age does not have one value"):
        Job(config, dataset_of(config))


def test_gaps_between_a_users_labels_are_refused():
    """As a random split leaves them; a context would hold what is no label's activity."""
    config = config_of("bow")
    data = dataset_of(config)
    train = np.delete(data.split.train, 8)  # in the middle of the fourth user's
    gaps = dataclasses.replace(data, split=Split(train, *[train[:0]] * 2, "random"))
    with pytest.raises(ConfigError, match="the split random leaves gaps"):
        Job(config, gaps)


@pytest.mark.parametrize("count", [0, 1, LENGTH - 1])
def test_too_few_labels_for_a_row_are_refused(count):
    """Repeated, a row would hold labels among their own activities."""
    config = config_of("bow")
    data = dataset_of(config)
    few = Split(data.split.train[:count], *[data.split.train[:0]] * 2, "leave_one_out")
    with pytest.raises(ConfigError, match=f"only {count} training labels.*context_length=6"):
        Job(config, dataclasses.replace(data, split=few))


def test_too_few_rows_for_a_batch_are_refused():
    config = config_of("bow", batch_size=4)
    with pytest.raises(ConfigError, match="only 3 contexts to train on"):
        Job(config, dataset_of(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: setattr(c.train, "labels_per_context", 2), "labels_per_context is 2"),
        (lambda c: setattr(c.data, "source", "tfrecord"), "one label for each context"),
        (lambda c: setattr(c, "reference_mode", True), "one label for each context"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(change, message):
    config = config_of("bow")
    config.model.tied_tables = False
    config.train.select_metric = "ndcg@10"
    config.data.path = config.data.records.test = "x"
    change(config)
    with pytest.raises(ConfigError, match=message):
        validate(config)
