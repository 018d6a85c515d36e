"""Your own interactions in a file; the model is chosen from the data.

    python train_main.py --config=configs/own_table.py --config.data.path=events.csv

The file has one row per interaction. Name its columns below or on the command line
(`--config.data.columns.user=customer`). After reading, the settings that matter are chosen from the
account of the data and printed with their reasons (docs/recipe.md); what you set yourself stays.
Features of items named in `config.data.columns.item_features` are used as well.

Variants: smoke (seconds, generated data).
"""

from flaxrec.config import ColumnsConfig, Config, DataConfig
from flaxrec.config.presets import by_data, make_smoke, split_variant


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    _, switches = split_variant(variant)
    columns = ColumnsConfig(user="user", item="item", time="time")
    config = by_data("own_table", DataConfig(source="table", columns=columns))
    return make_smoke(config) if "smoke" in switches else config
