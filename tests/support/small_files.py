"""Small models of the reference, converted by a graph that stands for its own."""

import dataclasses
import functools

import numpy as np

from flaxrec.config import Config, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.reference import weights as weights_lib
from tests.support.builders import random_model
from tests.support.exports import require_export
from tests.support.serving_graph import to_tflite

ROWS, LABELS, DIM = 20, 30, 4

# name -> groups of (embedded features, FLOAT features, encoder), lengths, hidden layers
CASES = {
    "bow": ([(["movie"], [], "bow")], {"movie": 10}, (6,)),
    "bow groups": (
        [(["a_id", "b_year"], ["rate"], "bow"), (["genre"], [], "bow"), ([], ["rate", "s"], "bow")],
        {"a_id": 10, "b_year": 10, "rate": 10, "genre": 6, "s": 10},
        (6, 5),
    ),
    "short": ([(["age"], [], "bow"), (["movie"], [], "bow")], {"age": 1, "movie": 1}, ()),
    "cnn": (
        [(["movie"], ["movie_rating"], "cnn"), (["movie_genre"], [], "cnn"), ([], ["s"], "cnn")],
        {"movie": 10, "movie_rating": 10, "movie_genre": 32, "s": 3},
        (6,),
    ),
    "lstm": (
        [(["movie", "type"], ["s"], "lstm"), (["genre"], [], "bow"), (["movie"], [], "lstm")],
        {"movie": 6, "type": 6, "s": 6, "genre": 4},
        (6,),
    ),
}


@dataclasses.dataclass(frozen=True)
class Small:
    """A small model of the reference: what it was made of, and its .tflite."""

    config: Config
    spec: ModelSpec
    weights: dict[str, np.ndarray]
    content: bytes


def make(parts, lengths, hidden_dims, change=lambda weights: None, top_k=7) -> Small:
    require_export()
    specs, group_configs = {}, []
    for embedded, numbers, encoder in parts:
        features = [FeatureConfig(n, f"item.{n}", "INT", 3, lengths[n]) for n in embedded]
        features += [FeatureConfig(n, f"item.{n}", "FLOAT", 0, lengths[n]) for n in numbers]
        for f in features:
            rows = ROWS * (f.type == "INT")
            specs[f.name] = InputSpec(f.name, f.source, f.type, f.length, rows)
        group_configs.append(GroupConfig(features, encoder, (2, 3), lstm_units=5))
    dims = ModelConfig(embedding_dim=DIM, activity_groups=group_configs, hidden_dims=hidden_dims)
    config = Config(reference_mode=True, model=dims)
    spec = ModelSpec(tuple(specs.values()), LABELS, 0)
    weights = weights_lib.to_reference(random_model(config, spec)[1])
    change(weights)
    return Small(config, spec, weights, to_tflite(config, spec, weights, top_k))


@functools.cache
def small(name: str) -> Small:
    return make(*CASES[name])
