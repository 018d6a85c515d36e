"""The TensorFlow example as it ships: its network, optimiser, split and quirks, on MovieLens-1M.

It uses the launcher's defaults, with two exceptions: batches of 128, because batches of 1 allow no
metric but recall@1; and the sample's hidden layers and filters, because the defaults are empty.

    python train_main.py --config=configs/reference.py[:VARIANT]

Variants: bow, cnn (default), lstm (item ids alone), sample (the example's sample config: CNN over
ids and ratings, and over genres), smoke (seconds, generated data).
"""

from flaxrec.config import Config, DataConfig, ModelConfig, OptimizerConfig, SplitConfig
from flaxrec.config.presets import activity_groups, genres, make_smoke, rating, split_variant

_VARIANTS = ("bow", "cnn", "lstm", "sample")


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    chosen, switches = split_variant(variant, _VARIANTS)
    encoder = "cnn" if chosen in ("", "sample") else chosen
    groups = activity_groups("id", encoder)
    if chosen == "sample":
        groups[0].features.append(rating())
        groups += activity_groups("id", encoder)
        groups[1].features = [genres(embedding_dim=4)]
    for group in groups:
        group.lstm_units = 4
    groups[0].features[0].embedding_dim = 8
    config = Config(
        name="reference",
        reference_mode=True,
        data=DataConfig(source="movielens"),
        split=SplitConfig(protocol="random", test_fraction=0.1, validation_fraction=0.01),
        model=ModelConfig(embedding_dim=8, activity_groups=groups, hidden_dims=(32, 32)),
        optimizer=OptimizerConfig(name="adagrad", learning_rate=0.1),
    )
    config.optimizer.clip, config.optimizer.clip_norm = "per_parameter", 1.0
    config.train.select_metric, config.train.patience = "loss", 0  # no early stopping
    config.export.top_k = 5
    return make_smoke(config) if "smoke" in switches else config
