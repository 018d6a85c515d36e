"""Ablation of the recipe of docs/half_a_megabyte.md. MovieLens-1M, leave-one-out.

python -m flaxrec.sweep --sweep=configs/sweeps/compact_ablation.py --workdir=DIR --export=none
    [--config.data.path=ML-1M]

Compare validation metrics: the recipe was chosen by them.
"""

import copy
from collections.abc import Callable

from flaxrec.config.presets import compact

CHANGES: dict[str, dict[str, float | bool | str]] = {
    "as it stands": {},
    "dropout 0": {"model.dropout": 0.0},
    "weight decay 0": {"optimizer.weight_decay": 0.0},
    "weight decay 0.1": {"optimizer.weight_decay": 0.1},
    "label smoothing 0.1": {"loss.label_smoothing": 0.1},
    "normalized, temperature 0.07": {"model.normalized": True, "model.temperature": 0.07},
    "temperature 0.5": {"model.temperature": 0.5},
    "constant learning rate": {"optimizer.schedule": "constant"},
    "seen items stay": {"loss.exclude_seen": False},
    "two tables": {"model.tied_tables": False},
}


def sweep(add: Callable[..., None]) -> None:
    """10 LSTMs of ids at L=20, five epochs, 3 seeds."""
    for name, change in CHANGES.items():
        config = copy.deepcopy(compact("lstm", context_length=20))
        config.train.epochs = 5
        for field, value in change.items():
            section, name_of = field.split(".")
            setattr(getattr(config, section), name_of, value)
        add(config, seeds=3, change=name)
