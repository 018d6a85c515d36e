"""Small models of any feature groups, and contexts for them."""

import numpy as np

from flaxrec.config import Config, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.spec import InputSpec, ModelSpec

ROWS = {"item": 12, "genre": 7, "age": 5}
CANDIDATES = 10
WIDTH = 6
ITEM = FeatureConfig("item", "item.id", "INT", 4)
GENRE = FeatureConfig("genre", "item.genre", "STRING", 3)
STARS = FeatureConfig("stars", "event.stars", "FLOAT")
AGE = FeatureConfig("age", "user.age", "INT", 2, length=1)


def group(encoder, *features):
    return GroupConfig(list(features), encoder, (2, 1), conv_kernel_size=2, lstm_units=5)


def settings(*groups, global_groups=(), length=4, hidden=(8, 7), **fields):
    """A config of these groups and the spec that belongs to it."""
    model = ModelConfig(
        context_length=length,
        embedding_dim=WIDTH,
        activity_groups=list(groups),
        global_groups=list(global_groups),
        hidden_dims=hidden,
        compute_dtype=fields.pop("compute_dtype", "float32"),
    )
    features = {f.name: f for g in (*global_groups, *groups) for f in g.features}
    inputs = [
        InputSpec(name, f.source, f.type, f.length or length, ROWS.get(name, 0), name)
        for name, f in features.items()
    ]
    return Config(model=model, **fields), ModelSpec(tuple(inputs), CANDIDATES, 1)


def contexts(spec, *histories):
    """Random features with so many activities each, then padding."""
    random = np.random.default_rng(3)
    features = {}
    for i in spec.inputs:
        inside = np.arange(i.length) < np.array(histories)[:, None]
        if i.type == "FLOAT":
            values = random.uniform(1, 5, inside.shape)
        else:
            values = random.integers(1, i.rows, inside.shape)
        features[i.name] = (values * inside).astype(i.dtype)
    return features


ALL_ENCODERS = (group("bow", ITEM, STARS), group("cnn", GENRE), group("lstm", ITEM))
