"""MovieLens-1M by models that know the moment of asking (docs/moment.md), from item ids and times.

    python train_main.py --config=configs/moment.py[:VARIANT]

Variants: full (default: the last 20 films, at most 0.52 MB), short (the last 10), small (the last
10, at most 0.15 MB), linear (as full, in a third of the time), attention (over the last 50),
teacher (as full, but not made small), taught (any but the teacher, from what the finished run
runs/moment-teacher says; linear also from runs/moment-taught and runs/moment-attention-taught),
smoke (any of them, in seconds, on generated data and without a teacher).
"""

from flaxrec.config import Config, presets

TEACHERS = ("runs/moment-teacher", "runs/moment-taught", "runs/moment-attention-taught")


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    sizes = ("full", "short", "small", "linear", "attention", "teacher")
    size, chosen = presets.split_variant(variant, sizes, ("taught", "smoke"))
    count = 0
    if "taught" in chosen and "smoke" not in chosen:
        count = len(TEACHERS) if size == "linear" else 1
    config = presets.moment(size or "full", *TEACHERS[:count])
    config.name = "moment"
    return presets.make_smoke(config) if "smoke" in chosen else config
