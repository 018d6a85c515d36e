"""Configs for tables that a test writes."""

import polars as pl
import pytest

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import DataError

HEADER = "user,item,time\n"


def config(tmp_path, events, items=None, users=None, suffix=".csv", **columns):
    """A config for tables that are written here: text as CSV or TSV, dicts as Parquet."""
    paths = {}
    tables = {"path": events, "items_path": items, "users_path": users}
    for field, table in tables.items():
        if isinstance(table, str | bytes):
            path = tmp_path / f"{field}{suffix}"
            path.write_bytes(table.encode() if isinstance(table, str) else table)
        elif table is not None:
            path = tmp_path / f"{field}.parquet"
            pl.DataFrame(table).write_parquet(path)
        else:
            continue
        paths[field] = str(path)
    return DataConfig(source="table", columns=ColumnsConfig(**columns), **paths)


def error(*arguments, kind=DataError, **columns):
    """The one sentence that reading ends with; arguments as for `config`, or one config."""
    settings = arguments[0] if len(arguments) == 1 else config(*arguments, **columns)
    with pytest.raises(kind) as caught:
        read_table(settings)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message
