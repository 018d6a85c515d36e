"""MovieLens-1M in half a megabyte or less: the LSTMs of docs/half_a_megabyte.md.

    python train_main.py --config=configs/half_a_megabyte.py[:VARIANT]

Variants: full (default: the last 20 films, 0.40 MB in 8 bits), short (the last 10), small (the last
10, 0.14 MB in 4 bits), smoke (any of them, in seconds, on generated data).
"""

from flaxrec.config import Config, presets


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    size, switches = presets.split_variant(variant, ("full", "short", "small"))
    config = presets.half_a_megabyte(size or "full")
    config.name = "half_a_megabyte"
    return presets.make_smoke(config) if "smoke" in switches else config
