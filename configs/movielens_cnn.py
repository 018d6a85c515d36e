"""MovieLens-1M, cnn encoder.

    python train_main.py --config=configs/movielens_cnn.py[:VARIANT]

Variants: id (default), features (genres, year, rating; no ids), id_genre, combined (all of them),
tied (one table for context and label; joins any with ids: combined,tied), smoke (seconds, generated
data).
"""

from flaxrec.config import Config
from flaxrec.config.presets import movielens


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    return movielens("cnn", variant)
