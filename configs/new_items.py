"""MovieLens-1M with a tenth of the films kept from training, to see how new ones are ranked.

    python train_main.py --config=configs/new_items.py[:VARIANT]

A small model (bag of words over the last 10 films, D = 32) reads films by genres, year and the
words of the title (docs/data.md).

Variants: first (default: the films that came last), random (drawn ones), ids (joins any: the same
without features, for comparison), smoke (any of them, in seconds, on generated data).
"""

from flaxrec.config import Config, presets


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    cold_by, switches = presets.split_variant(variant, ("first", "random"), ("ids", "smoke"))
    config = presets.new_items(cold_by or "first", features="ids" not in switches)
    config.name = "new_items"
    return presets.make_smoke(config) if "smoke" in switches else config
