"""A template for your own interactions in a CSV or Parquet file.

    python train_main.py --config=configs/own_table.py --config.data.path=events.csv

The file has one row per interaction. Name its columns below or on the command line
(`--config.data.columns.user=customer`). The model uses item ids only;
`configs/example_networks.py` and docs/data.md show how to add features.

Variants: smoke (seconds, generated data).
"""

from flaxrec.config import (
    ColumnsConfig,
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
)
from flaxrec.config.presets import make_smoke, split_variant


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    _, switches = split_variant(variant)
    config = Config(
        name="own_table",
        recipe="by_data",
        data=DataConfig(
            source="table",
            columns=ColumnsConfig(user="user", item="item", time="time"),
        ),
        model=ModelConfig(activity_groups=[GroupConfig([FeatureConfig("context_item_id")])]),
    )
    return make_smoke(config) if "smoke" in switches else config
