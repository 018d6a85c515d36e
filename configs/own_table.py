"""A template for your own interactions in a CSV or Parquet file.

    python train_main.py --config=configs/own_table.py --config.data.path=events.csv

The file has one row per interaction. Name its columns below or on the command line
(`--config.data.columns.user=customer`). The model uses item ids only;
`configs/example_networks.py` and docs/data.md show how to add features.

Variants: smoke (seconds, generated data).
"""

from flaxrec.config import ColumnsConfig, Config, DataConfig, ModelConfig, TrainConfig
from flaxrec.config.presets import activity_groups, make_smoke, split_variant


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    _, switches = split_variant(variant)
    config = Config(
        name="own_table",
        data=DataConfig(
            source="table",
            columns=ColumnsConfig(user="user", item="item", time="time"),
        ),
        model=ModelConfig(activity_groups=activity_groups("id", "bow")),
        train=TrainConfig(batch_size=128, epochs=10),
    )
    config.evaluation.ks = (1, 5, 10)
    config.export.top_k = 10
    return make_smoke(config) if "smoke" in switches else config
