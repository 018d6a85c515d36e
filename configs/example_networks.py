"""The networks of the TensorFlow example on MovieLens-1M, trained with Adam for ten epochs.

    python train_main.py --config=configs/example_networks.py[:VARIANT]

Variants: lstm (default), bow, cnn (strided), id (default), features (genres, year, rating; no ids),
id_genre, combined (all of them), tied (one table for context and label; joins any with ids:
bow,combined,tied), smoke (seconds, generated data).
"""

from flaxrec.config import Config
from flaxrec.config.presets import INPUTS, choose, example_network, split_variant

_ENCODERS = ("lstm", "bow", "cnn")


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    inputs, others = split_variant(variant, INPUTS, (*_ENCODERS, "tied", "smoke"))
    encoder = choose(others, _ENCODERS) or "lstm"
    return example_network(encoder, ",".join([inputs, *others - {encoder}]))
