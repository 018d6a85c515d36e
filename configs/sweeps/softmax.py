"""Softmax over all items, or over the batch's labels with and without logQ correction.

MovieLens-1M, leave-one-out. The published starter models were trained without the correction.

python -m flaxrec.sweep --sweep=configs/sweeps/softmax.py --workdir=DIR [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config.presets import example_network

_LOSSES = {
    "global": ("global_softmax", False),
    "batch": ("batch_softmax", False),
    "batch+logQ": ("batch_softmax", True),
}


def sweep(add: Callable[..., None]) -> None:
    """2 encoders, 3 losses, 2 batch sizes, 5 seeds."""
    for encoder in ("bow", "lstm"):
        for softmax, (name, correction) in _LOSSES.items():
            for batch_size in (256, 1024):
                config = example_network(encoder, None)
                config.loss.name, config.loss.logq_correction = name, correction
                config.train.batch_size = batch_size
                config.evaluation.batch_size = 2048
                add(config, seeds=5, encoder=encoder, softmax=softmax, batch_size=batch_size)
