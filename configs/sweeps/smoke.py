"""Two encoders, two context lengths, two seeds on a small generated data set: seconds.

python -m flaxrec.sweep --sweep=configs/sweeps/smoke.py --workdir=runs/sweep_smoke
"""

from collections.abc import Callable

from flaxrec.config.presets import example_network


def sweep(add: Callable[..., None]) -> None:
    """The points."""
    for encoder in ("bow", "cnn"):
        for length in (5, 10):
            config = example_network(encoder, "smoke")
            config.model.context_length = length
            add(config, seeds=2, encoder=encoder, context_length=length)
