"""The quickstart: generated data, no network, half a minute on two cores.

    python train_main.py

Variants: smoke (seconds).
"""

from flaxrec.config import Config, DataConfig, ModelConfig, TrainConfig
from flaxrec.config.presets import activity_groups, make_smoke, split_variant


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    _, switches = split_variant(variant)
    config = Config(
        name="quickstart",
        data=DataConfig(source="synthetic"),
        model=ModelConfig(activity_groups=activity_groups("id_genre", "bow")),
        train=TrainConfig(batch_size=128, epochs=10),
    )
    config.optimizer.learning_rate = 3e-3
    return make_smoke(config) if "smoke" in switches else config
