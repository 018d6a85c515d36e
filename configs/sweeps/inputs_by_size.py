"""Ids, features or both, by embedding size: quality and bytes. MovieLens-1M, leave-one-out, LSTM.

The TensorFlow Lite page says that features of items improve quality and shrink the embeddings.

python -m flaxrec.sweep --sweep=configs/sweeps/inputs_by_size.py --workdir=DIR
    [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config.presets import example_network


def sweep(add: Callable[..., None]) -> None:
    """3 kinds of input, 4 sizes, 5 seeds; labels are always ids."""
    for inputs in ("id", "features", "combined"):
        for dim in (4, 8, 16, 32):
            config = example_network("lstm", inputs)
            config.model.embedding_dim = dim
            for group in config.model.activity_groups:
                for feature in group.features:
                    # Genres and years have few values: half the width, as in presets.
                    half = feature.source != "item.id"
                    feature.embedding_dim = max(2, dim // 2) if half else dim
            config.evaluation.batch_size = 2048
            add(config, seeds=5, inputs=inputs, embedding_dim=dim)
