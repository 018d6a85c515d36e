"""What each part of the recipe of docs/moment.md earns. MovieLens-1M, leave-one-out.

python -m flaxrec.sweep --sweep=configs/sweeps/moment_ablation.py --workdir=DIR --export=none
    [--config.data.path=ML-1M]

Points that are taught need the teacher of configs/sweeps/moment.py.
Compare validation metrics: the recipe was chosen by them. A sweep that is stopped goes on with the
same command.
"""

import copy
from collections.abc import Callable
from typing import Any

from flaxrec.config import paths
from flaxrec.config.presets import moment

GROUP = "model.activity_groups[0]"
CHANGES: dict[str, dict[str, Any]] = {
    "as it stands": {},
    "taught": {"train.teachers": ("runs/moment-teacher",), "train.teacher_share": 0.7},
    "taught, dropout 0.1": {
        "train.teachers": ("runs/moment-teacher",),
        "train.teacher_share": 0.7,
        "model.dropout": 0.1,
    },
    "exact tables": {"train.quantization": "none"},
    "nothing forgotten": {"model.feature_dropout": 0.0},
    "dropout 0.3": {"model.dropout": 0.3},
    "dropout 0.1": {"model.dropout": 0.1},
    "20 epochs": {"train.epochs": 20},
    "D=64, 128 units": {
        "model.embedding_dim": 64,
        f"{GROUP}.features[0].embedding_dim": 64,
        f"{GROUP}.width": 64,
        f"{GROUP}.lstm_units": 128,
        "model.dropout": 0.15,
    },
    "time as a vector of 16": {f"{GROUP}.features[1].embedding_dim": 16},
    "the gap before instead": {
        f"{GROUP}.features[1].source": "event.gap",
        f"{GROUP}.features[1].name": "context_gap",
    },
}


def sweep(add: Callable[..., None]) -> None:
    """The recipe and single changes to it, 3 seeds."""
    for name, change in CHANGES.items():
        config = copy.deepcopy(moment())
        for path, value in change.items():
            paths.put(config, path, value)
        add(config, seeds=3, change=name)
