"""The targets of docs/half_a_megabyte.md, three seeds each. MovieLens-1M.

python -m flaxrec.sweep --sweep=configs/sweeps/half_a_megabyte.py --workdir=DIR --export=all
    --exported_accuracy [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config.presets import half_a_megabyte


def sweep(add: Callable[..., None]) -> None:
    """Leave-one-out at three sizes, and the reference's split."""
    add(half_a_megabyte(), seeds=3, target="0.52 MB")
    add(half_a_megabyte("short"), seeds=3, target="0.52 MB, L=10")
    add(half_a_megabyte("small"), seeds=3, target="0.15 MB")
    random = half_a_megabyte()
    random.split.protocol = "random"
    random.data.min_rating = 2.0
    # This split's metrics do not leave seen items out.
    random.loss.exclude_seen = False
    random.train.select_metric = "recall@10"
    add(random, seeds=3, target="the example's split")
