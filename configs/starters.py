"""The starter models in models/, one variant each. MovieLens-1M.

    python train_main.py --config=configs/starters.py:NAME

Variants: movielens_lstm (default), movielens_lstm_genre, movielens_attention, movielens_cnn,
movielens_bow, smoke (any of them, in seconds, on generated data).
"""

from flaxrec.config import Config
from flaxrec.config.presets import compact, make_smoke, split_variant

NAMES = (
    "movielens_lstm",
    "movielens_lstm_genre",
    "movielens_attention",
    "movielens_cnn",
    "movielens_bow",
)


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    name, switches = split_variant(variant, NAMES)
    name = name or NAMES[0]
    encoder = {"movielens_cnn": "causal_cnn"}.get(name, name.split("_")[1])
    inputs = "id_genre" if name.endswith("genre") else "id"
    config = compact(encoder, inputs)
    config.name = "starters"
    return make_smoke(config) if "smoke" in switches else config
