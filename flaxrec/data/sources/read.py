"""Reads any data source."""

from collections.abc import Mapping
from typing import Any

from flaxrec.config import DataConfig, paths
from flaxrec.data.sources.download import fetch
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.data.sources.own_tables import read_table
from flaxrec.data.sources.recbole import is_recbole, read_recbole
from flaxrec.data.sources.sequences import read_sequences
from flaxrec.data.sources.shards import read_timelines
from flaxrec.data.sources.synthetic import generate
from flaxrec.errors import ConfigError

# How events become histories: an export notes it, for tables of other users' events.
HISTORIES = (
    *("columns.user", "columns.item", "columns.time", "columns.rating", "columns.event_type"),
    *("columns.session", "columns.weight", "event_types", "min_rating", "session_gap"),
    *("merge_repeats", "drop_duplicates"),
)


def of_histories(config: DataConfig) -> dict[str, Any]:
    """The fields of `HISTORIES` that differ from their defaults, by path in `config.data`."""
    changed = paths.differences(config, DataConfig())
    return {path: paths.get(config, path) for path in HISTORIES if path in changed}


def read(config: DataConfig, types: Mapping[str, str] | None = None) -> Interactions:
    """Reads the interactions of `config.source`; downloads MovieLens if necessary.

    Args:
      config: names the source.
      types: of the model's features, see `own_tables.read_table`.

    Raises:
      ConfigError: the source is unknown, or cannot use a field.
      DataError: the data are missing or cannot be used.
    """
    match config.source:
        case "synthetic":
            size = config.synthetic
            return generate(size.users, size.items, size.mean_events, size.seed)
        case "movielens":
            return read_movielens(config.path or fetch(config.release, config.cache_dir))
        case "table":
            # Formats that are not one row an event have readers of their own, named here.
            if config.format == "sequences":
                return read_sequences(config, types)
            if is_recbole(config):
                return read_recbole(config, types)
            if config.format == "timelines":
                return read_timelines(config, types)
            return read_table(config, types)
    raise ConfigError(
        f"config.data.source is {config.source!r}; use one of synthetic, movielens, table."
    )
