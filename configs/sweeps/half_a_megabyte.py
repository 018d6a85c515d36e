"""The targets of docs/half_a_megabyte.md, three seeds each. MovieLens-1M.

python -m flaxrec.sweep --sweep=configs/sweeps/half_a_megabyte.py --workdir=DIR --export=all
    --exported_accuracy [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.presets import compact


def sweep(add: Callable[..., None]) -> None:
    """Leave-one-out at three sizes, and the reference's split."""
    add(compact("lstm", "combined", context_length=20), seeds=3, target="0.52 MB")
    add(compact("lstm", "combined", context_length=10), seeds=3, target="0.52 MB, L=10")
    small = compact("lstm", "combined", context_length=10, embedding_dim=40)
    small.model.activity_groups[0].lstm_units = 64
    small.export.quantization = "int4"
    add(small, seeds=3, target="0.15 MB")
    random = compact("lstm", "combined", context_length=20)
    random.split.protocol = "random"
    random.data.min_rating = 2.0
    # Its metrics do not leave seen items out.
    random.loss.exclude_seen = False
    random.train.select_metric = "recall@10"
    add(random, seeds=3, target="the example's split")
