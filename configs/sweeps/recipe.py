"""From the TensorFlow example's recipe to ours, one change at a time. MovieLens-1M.

All use leave-one-out, so that metrics are comparable; every step keeps the earlier changes.

python -m flaxrec.sweep --sweep=configs/sweeps/recipe.py --workdir=DIR [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)


def _reference(encoder: str) -> Config:
    """The example's network and optimiser with its defaults, for 5 epochs."""
    group = GroupConfig([FeatureConfig("context_item_id", "item.id", "INT", 8)], encoder)
    group.lstm_units = 4
    config = Config(
        name="recipe",
        reference_mode=True,
        data=DataConfig(source="movielens"),
        model=ModelConfig(embedding_dim=8, activity_groups=[group], hidden_dims=(32, 32)),
        optimizer=OptimizerConfig(
            name="adagrad", learning_rate=0.1, clip="per_parameter", clip_norm=1.0
        ),
        train=TrainConfig(batch_size=128, epochs=5),
    )
    config.evaluation.batch_size = 512
    return config


def _without_quirks(config: Config) -> None:
    config.reference_mode = False


def _adam(config: Config) -> None:
    config.optimizer = OptimizerConfig(name="adam", learning_rate=5e-3, schedule="cosine")


def _wider(config: Config) -> None:
    config.model.embedding_dim = 16
    config.model.activity_groups[0].features[0].embedding_dim = 16
    config.model.activity_groups[0].lstm_units = 16


def _one_hidden_layer(config: Config) -> None:
    config.model.hidden_dims = (64,)


def _longer(config: Config) -> None:
    config.train.batch_size, config.train.epochs = 256, 10


_CHANGES: tuple[tuple[str, Callable[[Config], None]], ...] = (
    ("1 without quirks", _without_quirks),
    ("2 Adam and cosine, no clipping", _adam),
    ("3 width 16", _wider),
    ("4 one hidden layer of 64", _one_hidden_layer),
    ("5 batches of 256, 10 epochs", _longer),
)


def sweep(add: Callable[..., None]) -> None:
    """2 encoders, 6 steps, 5 seeds."""
    for encoder in ("bow", "lstm"):
        for last in range(len(_CHANGES) + 1):
            config = _reference(encoder)
            for _, change in _CHANGES[:last]:
                change(config)
            step = _CHANGES[last - 1][0] if last else "0 reference"
            add(config, seeds=5, encoder=encoder, step=step)
