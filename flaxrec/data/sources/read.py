"""Reads any data source."""

from collections.abc import Mapping

from flaxrec.config import DataConfig
from flaxrec.data.sources.download import fetch
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.data.sources.own_tables import read_table
from flaxrec.data.sources.recbole import is_recbole, read_recbole
from flaxrec.data.sources.sequences import read_sequences
from flaxrec.data.sources.synthetic import generate
from flaxrec.errors import ConfigError


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
            return read_table(config, types)
    raise ConfigError(
        f"config.data.source is {config.source!r}; use one of synthetic, movielens, table."
    )
