"""MovieLens-1M by models that know the moment of asking (docs/moment.md), from item ids and times.

    python train_main.py --config=configs/moment.py[:VARIANT]

Variants: full (default: the last 20 films, at most 0.52 MB), short (the last 10), small (the last
10, at most 0.15 MB), smoke (any of them, in seconds, on generated data).
"""

from flaxrec.config import Config, presets


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    size, switches = presets.split_variant(variant, ("full", "short", "small"))
    config = presets.moment(size or "full")
    config.name = "moment"
    return presets.make_smoke(config) if "smoke" in switches else config
