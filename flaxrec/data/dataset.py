"""All data that training needs, in one call."""

import dataclasses

import polars as pl

from flaxrec.config import Config
from flaxrec.data import account as account_lib
from flaxrec.data import cold, columns, prepared, recipe, splits, timelines
from flaxrec.data.recipe import Choice
from flaxrec.data.records import timelines_of_records
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.data.timelines import Timelines
from flaxrec.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Timelines, their split, and what the model needs to know of the data.

    `bad_rows` are those that the reader left out, see `Interactions`; None: none. `config` is the
    config with what its recipe chose, and `choices` says why.
    """

    timelines: Timelines
    split: Split
    spec: ModelSpec
    bad_rows: pl.DataFrame | None = None
    config: Config = dataclasses.field(default_factory=Config)
    choices: tuple[Choice, ...] = ()

    def resolved(self, config: Config) -> Config:
        """Another config of these data, with what its recipe chooses."""
        account = self.timelines.account
        return config if account is None else recipe.chosen(config, account)[0]


def prepare(config: Config) -> Dataset:
    """Reads the config's data and prepares them for training.

    Raises:
      ConfigError: a field does not fit the data.
      DataError: the data cannot be used.
    """
    bad_rows = None
    choices: list[Choice] = []
    if config.data.source == "tfrecord":
        built, split, rows = timelines_of_records.load(config)
    else:
        types = columns.types_of_sources(config)
        # Nothing here holds the events as read: they go while they are sorted.
        interactions, account = account_lib.of(
            prepared.interactions(config.data, types), config.data
        )
        bad_rows = interactions.bad_rows
        config, choices = recipe.chosen(config, account)
        warm = None
        if config.split.protocol == "cold_items":
            interactions, warm = cold.apart(interactions, config.split)
        built = timelines.build(interactions, config, account, warm)
        split = splits.split(built, config.split, first_events=config.train.first_events)
        if built.weight is not None and not built.weight[split.train].any():
            raise DataError(
                f"Column {config.data.columns.weight!r} is 0 for all {len(split.train):,} training "
                "labels, so nothing would be learned; correct config.data.columns.weight."
            )
        rows = len(built.vocabularies[timelines.ITEM].entries)
    split = splits.sampled(split, config.evaluation.max_labels, config.split.seed)
    if config.quirks.every_row_is_candidate:
        spec = ModelSpec(built.inputs, rows, 0, built.clock)
    else:
        candidates = len(built.vocabularies[timelines.ITEM].entries) - 1
        spec = ModelSpec(built.inputs, candidates, 1, built.clock)
    ks = {"export.top_k": config.export.top_k, "evaluation.ks": max(config.evaluation.ks)}
    for path, k in ks.items():
        if k > spec.candidates:
            raise ConfigError(
                f"config.{path} is {k}, but the catalogue has {spec.candidates} items; use at "
                f"most {spec.candidates}."
            )
    return Dataset(built, split, spec, bad_rows, config, tuple(choices))
