"""What training is told of the data."""

import dataclasses

import numpy as np
import pytest

from flaxrec.config import ColumnsConfig, FeatureConfig, SyntheticConfig
from flaxrec.data import dataset, splits
from flaxrec.data.sources.read import read
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ConfigError, DataError
from tests.support.builders import ITEM_ID, make_config


def config_for(*features, **data):
    config = make_config(
        *features, synthetic=SyntheticConfig(users=8, items=60, mean_events=10), **data
    )
    config.evaluation.ks, config.export.top_k = (1, 5), 10
    return config


def test_candidates_are_the_items_with_events():
    config = config_for(ITEM_ID, FeatureConfig("genres", "item.genres", "STRING", length=8))
    prepared = dataset.prepare(config)
    events = read(config.data).events
    assert prepared.spec.candidates == events["item"].n_unique() < 60
    assert prepared.spec.first_candidate == 1
    candidates = prepared.timelines.item - prepared.spec.first_candidate
    assert set(candidates.tolist()) == set(range(prepared.spec.candidates))
    assert prepared.spec.inputs == prepared.timelines.inputs
    assert [spec.name for spec in prepared.spec.inputs] == ["context_item_id", "genres"]


def test_the_filters_count():
    config = config_for(min_rating=3.0, min_timeline_length=6)
    prepared = dataset.prepare(config)
    events = read(config.data).events
    liked = events.filter(events["rating"] >= 3)
    counts = liked.group_by("user").len()
    assert 0 < (counts["len"] < 6).sum() < 8
    assert len(prepared.timelines.item) == counts["len"].filter(counts["len"] >= 6).sum()


def test_in_reference_mode_every_row_is_a_candidate():
    config = config_for()
    config.reference_mode = True
    prepared = dataset.prepare(config)
    assert prepared.spec.first_candidate == 0
    assert prepared.spec.candidates == 61  # ids 0..60
    events = read(config.data).events.sort("user", "time", maintain_order=True)
    np.testing.assert_array_equal(prepared.timelines.item, events["item"])


def test_the_split_is_the_configs():
    config = config_for()
    config.split.protocol, config.split.seed = "random", 4
    prepared = dataset.prepare(config)
    expected = splits.random(prepared.timelines.offsets, 0.1, 0.1, 4)
    np.testing.assert_array_equal(prepared.split.train, expected.train)
    assert prepared.split.protocol == "random"


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("export.top_k", lambda config, k: setattr(config.export, "top_k", k)),
        ("evaluation.ks", lambda config, k: setattr(config.evaluation, "ks", (1, k, 2))),
    ],
)
def test_no_list_is_longer_than_the_catalogue(path, change):
    config = config_for()
    items = dataset.prepare(config).spec.candidates
    change(config, items)
    dataset.prepare(config)
    change(config, items + 1)
    with pytest.raises(ConfigError) as error:
        dataset.prepare(config)
    assert str(error.value) == (
        f"config.{path} is {items + 1}, but the catalogue has {items} items; use at most {items}."
    )


def test_labels_that_all_weigh_nothing_are_refused(tmp_path):
    file = tmp_path / "events.csv"
    rows = [f"{user},{item},{item},{{}}" for user in range(3) for item in range(5)]
    columns = ColumnsConfig(user="user", item="item", time="time", weight="w")
    config = config_for(ITEM_ID, source="table", path=str(file), columns=columns)
    config.evaluation.ks, config.export.top_k = (1,), 1
    for weights in ("0", "2"):
        text = "\n".join(["user,item,time,w", *rows]).replace("{}", weights)
        file.write_text(text, encoding="utf-8")
        if weights == "0":
            with pytest.raises(DataError, match=r"'w' is 0 for all 6 training labels"):
                dataset.prepare(config)
    assert dataset.prepare(config).timelines.weight.max() == 2


def test_the_spec_travels_as_json():
    config = config_for(
        ITEM_ID,
        FeatureConfig("genres", "item.genres", "STRING", length=8),
        FeatureConfig("rating", "event.rating", "FLOAT"),
    )
    spec = dataset.prepare(config).spec
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert dataclasses.replace(spec, candidates=1).to_json() != spec.to_json()
