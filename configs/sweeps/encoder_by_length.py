"""Which encoder is best at which context length? MovieLens-1M, leave-one-out.

The TensorFlow Lite page advises a bag of words for contexts under 10, CNN or RNN for longer ones.

python -m flaxrec.sweep --sweep=configs/sweeps/encoder_by_length.py --workdir=DIR
    [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config.presets import example_network


def sweep(add: Callable[..., None]) -> None:
    """3 encoders, 4 context lengths, 5 seeds."""
    for encoder in ("bow", "cnn", "lstm"):
        for length in (5, 10, 20, 50):
            config = example_network(encoder, None)
            config.model.context_length = length
            config.evaluation.batch_size = 2048
            add(config, seeds=5, encoder=encoder, context_length=length)
