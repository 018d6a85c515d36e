"""Small builders that several tests share."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import polars as pl

from flaxrec.config import Config, DataConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.spec import ModelSpec
from flaxrec.data.timelines import Timelines
from flaxrec.models import dual_encoder
from flaxrec.models.dual_encoder import Params, Structure

ITEM_ID = FeatureConfig("context_item_id", "item.id")
GENRES = FeatureConfig("genres", "item.genres", "STRING", length=6)
YEAR = FeatureConfig("year", "item.year", "INT")

CATALOGUE = {
    "item": [10, 20, 30, 40],
    "genres": [["Drama", "War"], [], None, ["War", None, "Sci-Fi"]],
    "year": [1999, None, 1950, 1999],
    "score": [1.0, None, 4.0, float("nan")],
}
WATCHED = [(1, 10, 0), (1, 20, 1), (1, 40, 2), (2, 40, 0), (2, 30, 1), (2, 50, 2)]  # 50: no row


def make_config(*features: FeatureConfig, context_length: int = 3, **data) -> Config:
    """Every feature in a group of its own; no filter but those of `data`."""
    groups = [GroupConfig([feature]) for feature in features or (ITEM_ID,)]
    return Config(
        data=DataConfig(**{"min_timeline_length": 1, **data}),
        model=ModelConfig(context_length=context_length, activity_groups=groups),
    )


def make_interactions(events, items=None, users=None, **features) -> Interactions:
    """Interactions from (user, item, time) tuples in file order and dicts of columns.

    `features` are further columns of the events; `items` and `users` columns by name.
    """
    user, item, time = zip(*events, strict=True) if events else ((), (), ())
    table = pl.DataFrame({"user": user, "item": item, "time": time, **features})
    frames = [None if part is None else pl.DataFrame(part) for part in (items, users)]
    return Interactions(table, *frames, source="test data")


def make_timelines(events, *features: FeatureConfig, items=None, users=None, **columns):
    """Timelines of (user, item, time) tuples, see `make_interactions`."""
    return timelines_lib.build(
        make_interactions(events, items, users, **columns), make_config(*features)
    )


def random_model(config: Config, spec: ModelSpec, seed: int = 0) -> tuple[Structure, Params]:
    """A model with normal parameters; an initialisation would take seconds to compile."""
    structure = dual_encoder.structure_of(config, spec)
    rng = np.random.default_rng(seed)
    shapes = structure.shapes.items()
    return structure, {n: jnp.asarray(rng.normal(0, 0.5, s.shape), s.dtype) for n, s in shapes}


def ids_of(timelines: Timelines) -> list:
    """The events' own item ids, in order."""
    id_of_row = dict(zip(timelines.items["row"], timelines.items["item"], strict=True))
    return [id_of_row[row] for row in timelines.item.tolist()]


def histories_of(timelines: Timelines) -> dict:
    """Own item ids by user id, oldest first."""
    ids, offsets = ids_of(timelines), timelines.offsets.tolist()
    return {
        user: ids[begin:end]
        for user, (begin, end) in zip(timelines.users["user"], pairwise(offsets), strict=True)
    }
