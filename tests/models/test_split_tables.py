"""Which tables are split, and what is refused beside split tables."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from flaxrec.config import Config, FeatureConfig, GroupConfig
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError
from flaxrec.models.split_tables import SplitTables, spec_of
from flaxrec.research import side_by_side
from flaxrec.training.run import train
from flaxrec.training.validation import checked
from flaxrec.training.workdir import Workdir


def make_config(**changed) -> Config:
    config = Config()
    config.model.activity_groups = [GroupConfig([FeatureConfig("context_item_id")])]
    config.train.model_shards = 4
    for path, value in changed.items():
        section, _, name = path.rpartition("__")
        setattr(getattr(config, section) if section else config, name, value)
    return config


@pytest.mark.parametrize(
    ("name", "shape", "shards", "is_split"),
    [
        ("label_encoder/table", (32, 8), 4, True),
        ("label_encoder/table", (31, 8), 4, False),  # too few rows
        ("label_encoder/table", (1000, 8), 1, False),
        ("label_encoder/bias", (1000,), 4, True),
        ("context_encoder/groups/0/features/tables/user", (1000, 8), 4, True),
        ("context_encoder/projection/kernel", (1000, 8), 4, False),
        ("item_features/seller", (1000, 8), 4, False),
    ],
)
def test_tables_of_many_rows_are_split(name, shape, shards, is_split):
    assert spec_of(name, shape, shards) == (PartitionSpec("model") if is_split else PartitionSpec())


def test_one_shard_changes_nothing():
    tables = SplitTables(Mesh(1, 1), {"label_encoder/table": jax.ShapeDtypeStruct((99, 8), "f4")})
    state = {"label_encoder/table": np.ones((99, 8), np.float32)}
    assert not tables.names
    for change in (tables.trimmed, tables.padded, tables.whole):
        assert change(state)["label_encoder/table"] is state["label_encoder/table"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("reference_mode", True),
        ("model__transitions", 5),
        ("train__teachers", ("runs/a",)),
    ],
)
def test_what_has_tables_of_its_own_is_refused(path, value):
    shown = path.replace("__", ".")
    with pytest.raises(ConfigError) as error:
        checked(make_config(**{path: value}))
    assert str(error.value) == (
        f"config.train.model_shards is 4, but config.{shown} is {value!r}, whose tables are whole "
        "on every device; use 1 shard, or leave it out."
    )


def test_seeds_side_by_side_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^Runs side by side have whole tables, but config\."):
        side_by_side.train([checked(make_config())], [Workdir(tmp_path / "run")], tmp_path / "all")
    assert not list(tmp_path.iterdir())


def test_fewer_devices_are_refused_before_the_data_are_read(tmp_path):
    config = make_config(data__source="table", data__path=str(tmp_path / "missing.csv"))
    config.train.model_shards = len(jax.devices()) + 1
    with pytest.raises(ConfigError, match=r"^config\.train\.model_shards is \d+, but \d+ devices"):
        train(checked(config), Workdir(tmp_path / "run"))
