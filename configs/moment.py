"""MovieLens-1M by models that know the moment of asking (docs/moment.md), from item ids and times.

    python train_main.py --config=configs/moment.py[:VARIANT]

Variants: full (default: the last 20 films, at most 0.52 MB), short (the last 10), small (the last
10, at most 0.15 MB), linear (as full, in a third of the time), attention (over the last 50),
teacher (as full, but not made small), taught (any but the teacher, from what the finished run
runs/moment-teacher says), smoke (any of them, in seconds, on generated data and without a teacher).
"""

from flaxrec.config import Config, presets


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    sizes = ("full", "short", "small", "linear", "attention", "teacher")
    size, chosen = presets.split_variant(variant, sizes, ("taught", "smoke"))
    is_taught = "taught" in chosen and "smoke" not in chosen
    config = presets.moment(size or "full", *(["runs/moment-teacher"] if is_taught else []))
    config.name = "moment"
    return presets.make_smoke(config) if "smoke" in chosen else config
