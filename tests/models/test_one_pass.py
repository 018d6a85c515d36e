"""Every label of a window in one pass: the numbers of one window for each label."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec import config as config_lib
from flaxrec.config import Config, DataConfig, FeatureConfig, GroupConfig, ModelConfig, TrainConfig
from flaxrec.data import contexts, windows
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError
from flaxrec.training import objective, optimizers, steps
from flaxrec.training.steps import Batches, Job, TrainState
from flaxrec.training.validation import validate
from tests.support.builders import make_timelines, random_model

ID = FeatureConfig("context", "item.id", embedding_dim=6)
YEAR = FeatureConfig("year", "item.year", "INT", embedding_dim=2)
RATING = FeatureConfig("rating", "event.rating", "FLOAT")
GENRES = FeatureConfig("genres", "item.genres", "STRING", embedding_dim=3, length=5)
RECENT = FeatureConfig("recent", "item.year", "INT", embedding_dim=2, length=2)
AGO = FeatureConfig("ago", "event.seconds_ago")
JOB = FeatureConfig("job", "user.job", "STRING", embedding_dim=3)
EVENTS, USERS, ITEMS = 9, 5, 12
ENCODERS = ("bow", "recency_bow", "lstm", "linear_rnn", "causal_cnn", "attention")


def dataset_of(config):
    """Users of 4 to 9 events on items with 0 to 3 genres."""
    random = np.random.default_rng(0)
    lengths = [EVENTS, 4, 6, 7, 9]
    events = [
        (u, 1 + i, t)
        for u, n in enumerate(lengths)
        for t, i in enumerate(random.integers(0, ITEMS, n))
    ]
    items = {
        "item": list(range(1, ITEMS + 1)),
        "genres": [random.choice(["a", "b", "c", "d"], n).tolist() for n in [0, 1, 2, 3] * 3],
        "year": random.integers(1950, 1955, ITEMS).tolist(),
    }
    users = {"user": list(range(USERS)), "job": ["x", "y", "x", "z", "y"]}
    features = [f for _, group in config_lib.groups(config.model) for f in group.features]
    timelines = make_timelines(
        events,
        *features,
        items=items,
        users=users,
        rating=random.uniform(1, 5, len(events)).round(1).tolist(),
    )
    labels = np.flatnonzero(np.diff(timelines.user, prepend=-1) == 0).astype(np.int32)
    inputs = tuple(
        dataclasses.replace(
            i,
            length=config.model.context_length
            if i.name in ("context", "year", "rating", "ago")
            else i.length,
        )
        for i in timelines.inputs
    )
    spec = ModelSpec(inputs, len(timelines.vocabularies["item"].entries) - 1, 1)
    empty = np.zeros(0, np.int32)
    return Dataset(timelines, Split(labels, empty, empty, "all"), spec)


def config_of(encoder, length=EVENTS, labels=EVENTS, more=()):
    first = GroupConfig([ID, YEAR, RATING], encoder, conv_kernel_size=2, lstm_units=4, width=6)
    others = [GroupConfig([f], "bow") for f in more]
    return Config(
        data=DataConfig(min_timeline_length=1),
        model=ModelConfig(
            context_length=length,
            embedding_dim=6,
            activity_groups=[first, *others],
            hidden_dims=(5,),
            tied_tables=True,
        ),
        train=TrainConfig(labels_per_context=labels, batch_size=2),
    )


def with_first_events(config, data):
    """Users' first events are labels too."""
    config.train.first_events = True
    events = np.arange(len(data.timelines.item), dtype=np.int32)
    return dataclasses.replace(data, split=dataclasses.replace(data.split, train=events))


def prefixes_of(config, data, positions):
    """Encodings of the windows that end before `positions`, and what they are windows of.

    Also the encodings of the windows of `data.split.train`, each alone.
    """
    inputs, length = data.spec.inputs, config.model.context_length
    most = contexts.most_values(data.timelines, inputs, length)
    structure, params = random_model(config, data.spec)
    gather = contexts.gatherer(config, inputs)

    @jax.jit
    def encode(params, timelines, positions, labels):
        features, prefixes = contexts.gather_windows(
            timelines,
            positions,
            inputs,
            context_length=length,
            labels=config.train.labels_per_context,
            most_values=most,
            first_events=config.train.first_events,
        )
        model = structure.merge(params)
        alone = model.encode_context(gather(timelines, labels))
        return model.encode_context(features, prefixes), prefixes, alone

    device = contexts.to_device(data.timelines, Mesh(1, 2).replicated)
    return jax.device_get(encode(params, device, positions, data.split.train))


@pytest.mark.parametrize(
    ("encoder", "more"),
    [
        ("bow", ()),
        *[(encoder, (GENRES, RECENT, JOB)) for encoder in ENCODERS],
        *[pytest.param(encoder, (), marks=pytest.mark.long) for encoder in ENCODERS[1:]],
    ],
    ids=lambda of: of if isinstance(of, str) else "four groups" if of else "one group",
)
def test_a_prefix_is_encoded_as_the_window_of_its_own_label(encoder, more):
    """Where the window covers the history; the user's last labels bring all others with them."""
    config = config_of(encoder, more=more)
    data = dataset_of(config)
    ends = data.timelines.offsets[1:] - 1
    encoded, prefixes, alone = prefixes_of(config, data, ends)
    positions = prefixes.positions[prefixes.inside]
    assert sorted(positions.tolist()) == data.split.train.tolist()
    expected = alone[np.searchsorted(data.split.train, positions)]
    np.testing.assert_allclose(encoded[prefixes.inside], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "labels"),
    [
        ("bow", 4),
        *[pytest.param(encoder, 4, marks=pytest.mark.long) for encoder in ENCODERS[1:]],
        *[pytest.param(encoder, EVENTS, marks=pytest.mark.long) for encoder in ENCODERS],
    ],
)
def test_a_users_first_event_is_encoded_as_an_empty_context(encoder, labels):
    """In windows of many labels; of those that begin later, the first activity is no label."""
    config = config_of(encoder, labels=labels, more=(GENRES, RECENT, JOB))
    data = with_first_events(config, dataset_of(config))
    positions = data.timelines.offsets[1:] - 1
    positions = np.concatenate([positions, positions - 3, positions[:1] - EVENTS + 1])
    encoded, prefixes, alone = prefixes_of(config, data, positions)
    firsts = data.timelines.offsets[:-1]
    np.testing.assert_array_equal(prefixes.empty, np.isin(prefixes.positions, firsts))
    assert (prefixes.empty & prefixes.inside).any(axis=1).sum() >= 3
    inside = prefixes.positions[prefixes.inside]
    np.testing.assert_allclose(encoded[prefixes.inside], alone[inside], rtol=1e-5, atol=1e-6)
    users = data.timelines.user
    for end, row in zip(positions, np.where(prefixes.inside, prefixes.positions, -1), strict=True):
        begin = max(data.timelines.offsets[users[end]], end - labels + 1)
        assert row[row >= 0].tolist() == list(range(begin, end + 1))


def test_the_first_activity_of_a_later_window_is_no_label():
    config = config_of("bow", length=4, labels=4)
    data = with_first_events(config, dataset_of(config))
    _, prefixes, _ = prefixes_of(config, data, data.timelines.offsets[1:2] - 1)
    assert prefixes.inside.all()
    assert not prefixes.empty.any()


def test_times_are_those_to_the_labels_own_moment():
    """Of windows of many labels too, whose times are relative to the last of them."""
    config = config_of("attention")
    config.model.activity_groups[0].features.append(AGO)
    data = dataset_of(config)
    ends = data.timelines.offsets[1:] - 1
    encoded, prefixes, alone = prefixes_of(config, data, ends)
    expected = alone[np.searchsorted(data.split.train, prefixes.positions[prefixes.inside])]
    np.testing.assert_allclose(encoded[prefixes.inside], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_whole_window_is_encoded_as_without_prefixes(encoder):
    """Whatever it covers."""
    config = config_of(encoder, length=4, labels=3)
    data = dataset_of(config)
    encoded, prefixes, alone = prefixes_of(config, data, data.split.train)
    np.testing.assert_allclose(encoded[:, -1], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(prefixes.positions[:, -1], data.split.train)


def gradients_of(config, data, batches):
    """Loss and new parameters after plain gradient steps."""
    structure, params = random_model(config, data.spec)
    optimizer = optimizers.optax.with_extra_args_support(optimizers.optax.sgd(0.1))
    most = contexts.most_values(data.timelines, data.spec.inputs, config.model.context_length)
    scan = steps.make_scan(structure, data.spec, config, optimizer, most)
    device = contexts.to_device(data.timelines, Mesh(1, 2).replicated)
    targets = jax.tree.map(jnp.asarray, steps.targets_of(data, config))
    return scan(TrainState(params, optimizer.init(params)), device, targets, batches)


@pytest.mark.parametrize(
    ("encoder", "loss"),
    [
        ("bow", "global_softmax"),
        ("attention", "batch_softmax"),
        pytest.param("bow", "batch_softmax", marks=pytest.mark.long),
        pytest.param("attention", "global_softmax", marks=pytest.mark.long),
    ],
)
def test_a_step_is_that_of_all_its_labels(encoder, loss):
    """Loss and update; events that are no training labels do not count."""
    config = config_of(encoder, more=(GENRES,))
    config.loss.name = loss
    data = dataset_of(config)
    trained = np.delete(data.split.train, [0, 7, 12])
    data = dataclasses.replace(data, split=dataclasses.replace(data.split, train=trained))
    ends = jnp.asarray(data.timelines.offsets[1:] - 1)[None]
    keys = jnp.zeros((1, 2), jnp.uint32)
    together, loss_together = gradients_of(
        config, data, Batches(ends, jnp.full(ends.shape, EVENTS), keys)
    )
    config.train.labels_per_context = 1
    alone, loss_alone = gradients_of(config, data, steps.ones_of(jnp.asarray(trained)[None]))
    np.testing.assert_allclose(loss_together, loss_alone, rtol=1e-5)
    for name, value in alone.params.items():
        np.testing.assert_allclose(together.params[name], value, rtol=1e-5, atol=1e-6)


def test_only_the_windows_own_labels_count():
    """Two windows that overlap: with counts each label is trained once."""
    config = config_of("bow", length=4, labels=4)
    data = dataset_of(config)
    reader = objective.reader(config, data.spec, {})

    @jax.jit
    def read(*arguments):
        examples = reader(*arguments)
        return examples.labels, examples.weights, examples.prefixes.positions

    device = contexts.to_device(data.timelines, Mesh(1, 2).replicated)
    trained = np.ones(len(data.timelines.item), bool)
    runs = windows.label_runs(data.timelines, data.split.train)
    ends, counts = windows.draw(runs, 4, np.random.default_rng(0))
    labels, weights, positions = jax.device_get(read(device, trained, ends, counts))
    positions = positions.ravel()
    counted = positions[weights > 0]
    assert sorted(counted.tolist()) == data.split.train.tolist()
    np.testing.assert_array_equal(labels + 1, data.timelines.item[positions])


def test_an_epoch_has_every_label_about_once():
    config = config_of("bow", length=4, labels=3)
    data = dataset_of(config)
    job = Job(config, data)
    seen = np.zeros(len(data.timelines.item))
    for epoch in range(200):
        batches = job.epoch(0, epoch)
        for end, count in zip(batches.positions.ravel(), batches.counts.ravel(), strict=True):
            seen[end - count + 1 : end + 1] += 1
    assert not seen[np.setdiff1d(np.arange(len(seen)), data.split.train)].any()
    # Windows that do not fill a batch are left out, and an epoch with too few repeats some.
    np.testing.assert_allclose(seen[data.split.train] / 200, 1, atol=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: setattr(c.train, "labels_per_context", 10), "context_length is 9"),
        (lambda c: setattr(c.model.activity_groups[0], "encoder", "cnn"), "causal_cnn"),
    ],
)
def test_what_has_no_prefixes_is_refused(change, message):
    config = config_of("bow")
    change(config)
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_flattened_features_take_a_bow():
    config = config_of("lstm", more=(GENRES,))
    config.model.activity_groups[1].encoder = "lstm"
    with pytest.raises(ConfigError, match=r"activity_groups\[1\].*bow"):
        Job(config, dataset_of(config))
