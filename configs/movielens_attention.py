"""MovieLens-1M in half a megabyte: causal self-attention over the last 50 films.

    python train_main.py --config=configs/movielens_attention.py[:VARIANT]

Variants: id (default), id_genre, combined (genres, year, rating and the time since the event before
beside ids), short (a context of 10; joins any: short,combined), smoke (seconds, generated data).
"""

from flaxrec.config import Config
from flaxrec.config.presets import compact, make_smoke, split_variant


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    choices, switches = ("id", "id_genre", "combined"), ("short", "smoke")
    inputs, switches_on = split_variant(variant, choices, switches)
    length = 10 if "short" in switches_on else 50
    config = compact("attention", inputs or "id", context_length=length)
    return make_smoke(config) if "smoke" in switches_on else config
