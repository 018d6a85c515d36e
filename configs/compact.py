"""MovieLens-1M in half a megabyte: the recipe of docs/half_a_megabyte.md with any encoder.

    python train_main.py --config=configs/compact.py[:VARIANT]

Variants: lstm (default; the last 20 films), attention, causal_cnn (both 50), bow (10),
id (default), id_genre, combined (genres, rating and the time since the event before beside ids),
short (the last 10 films; joins any: attention,short,combined), smoke (seconds, generated data).
"""

from flaxrec.config import Config
from flaxrec.config.presets import choose, compact, make_smoke, split_variant

_ENCODERS = ("lstm", "attention", "causal_cnn", "bow")


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    choices, switches = ("id", "id_genre", "combined"), ("short", "smoke")
    inputs, others = split_variant(variant, choices, (*_ENCODERS, *switches))
    encoder = choose(others, _ENCODERS) or "lstm"
    length = 10 if "short" in others else None
    config = compact(encoder, inputs or "id", context_length=length)
    return make_smoke(config) if "smoke" in others else config
