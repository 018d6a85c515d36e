"""A table with every kind of column, and an export folder whose inputs read them."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl

from flaxrec.config import FeatureConfig
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.spec import ModelSpec
from flaxrec.tflite.metadata import write_metadata
from flaxrec.training.run_assets import RunAssets, items_of
from tests.support.builders import make_config, make_interactions

EVERYTHING = (
    FeatureConfig("context_item_id", "item.id"),
    FeatureConfig("frequent_item_id", "item.id", "STRING", vocab_size=3),
    FeatureConfig("last_two", "item.id", "INT", length=2),
    FeatureConfig("genres", "item.genres", "STRING", length=4),
    FeatureConfig("year", "item.year", "INT"),
    FeatureConfig("price", "item.price", "FLOAT"),
    FeatureConfig("size", "item.size", "STRING"),
    FeatureConfig("grade", "item.grade", "STRING"),
    FeatureConfig("grades", "item.grades", "STRING", length=4),
    FeatureConfig("action", "event.action", "STRING", length=5),
    FeatureConfig("dwell", "event.dwell", "FLOAT"),
    FeatureConfig("tags", "event.tags", "STRING", length=3),
    FeatureConfig("age", "user.age", "FLOAT"),
    FeatureConfig("country", "user.country", "STRING"),
    FeatureConfig("interests", "user.interests", "STRING", length=3),
)


def odd_timelines(reference_mode: bool):
    """A table with every kind of column, with gaps, repeats, and users that are not described."""
    rng = np.random.default_rng(4)
    item_ids = (
        list(range(1, 9)) if reference_mode else ["é", "a b", "7", "07", "-1", "x,y", "", "Z"]
    )
    events = [
        (user, item_ids[rng.integers(8)], int(rng.integers(4)))
        for user in range(12)
        for _ in range(rng.integers(1, 9))
    ]

    def some(values):
        return [values[i] for i in rng.integers(len(values), size=len(events))]

    interactions = make_interactions(
        events,
        items={
            "item": item_ids[:7],  # one item is not described
            "title": [f"title {n}" for n in range(7)],
            "genres": [["a", "b"], [], None, ["c"], ["a", "c", "b"], ["d"], ["b"]],
            "year": [1990, None, 1991, 1990, 1992, 1991, None],
            "price": [0.1, None, 2.0, 3.25, float("inf"), 1e-3, 7.0],
            "size": [1.5, 2.0, None, 2.5, 1.5, 3.0, 2.0],
            "grade": pl.Series([4.2, 0.1, None, 2.0, 1e-3, 4.2, 3.7], dtype=pl.Float32),
            "grades": pl.Series(
                [[4.2], [], None, [0.1, 7.0], *[[1.1]] * 3], dtype=pl.List(pl.Float32)
            ),
        },
        users={
            "user": list(range(11)),  # one user is not described
            "age": [30.0, None, *range(20, 29)],
            "country": ["de", None, "fr", *"abcdefgh"],
            "interests": [["a"], None, [], ["b", "c", "a", "d"], *[["a", "b"]] * 7],
        },
        action=some(["view", "buy", None]),
        dwell=some([0.1, 2.5, None, 1 / 3]),
        tags=some([["p"], ["q", "r"], [], None]),
    )
    features = [dataclasses.replace(feature) for feature in EVERYTHING]
    if reference_mode:  # there the size is that of the table, padding and 'unknown' included
        features[1].vocab_size = 9
    config = make_config(*features, context_length=3)
    config.reference_mode = reference_mode
    return timelines_lib.build(interactions, config), config


def write_export(folder: Path, timelines, config) -> None:
    """What an encoder needs of an export: the assets and the inputs' description."""
    histories = []
    for label, user in enumerate(timelines.user.tolist()):
        begin = int(timelines.offsets[user])
        activities = timelines.activities[begin:label].to_dicts()
        described = timelines.users.row(user, named=True)
        histories.append({"user": described, "activities": activities, "label": None})
    spec = ModelSpec(timelines.inputs, 1, 1)
    items = items_of(timelines)
    RunAssets(folder).write(spec, timelines.vocabularies, items, {}, histories, {})
    inputs = [
        {
            "name": spec.name,
            "source": spec.source,
            "dtype": spec.dtype,
            "shape": [spec.length],
            "vocabulary": f"vocabularies/{spec.vocabulary}.txt" if spec.vocabulary else None,
            "multi_valued": spec.multi_valued,
            "default": spec.default,
        }
        for spec in timelines.inputs
    ]
    metadata = {
        "inputs": inputs,
        "label_vocabulary": "vocabularies/item.txt",
        "top_k": 1,
        "context_length": config.model.context_length,
        "flatten_keeps_oldest": config.reference_mode,
    }
    write_metadata(folder, metadata)
