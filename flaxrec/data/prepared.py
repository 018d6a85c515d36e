"""Prepared data: what was read, as shards that are found again by what they were made of.

    files -> events, sorted by user and time -> shards in a folder, with a note beside them

The folder holds `timelines-00000.parquet` and so on, each with whole users, in ascending order;
`_items.parquet`, `_users.parquet` and `_bad_rows.parquet` where there are any, and the note.
Filters come after it: they are applied anew by each run.
"""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from flaxrec import __version__
from flaxrec.config import DataConfig
from flaxrec.data import in_parts
from flaxrec.data.sources import read as read_lib
from flaxrec.data.sources import shards, table_paths
from flaxrec.data.sources.interactions import Interactions, TimeIs
from flaxrec.data.sources.table_files import rows_of
from flaxrec.errors import ConfigError, DataError, write_errors_as
from flaxrec.files import own_path, read_errors_as, whole_folder
from flaxrec.files.schemas import Count, Reader

NOTE = "_prepared.json"
TABLES = {"items": "_items.parquet", "users": "_users.parquet", "bad_rows": "_bad_rows.parquet"}
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Note:
    """What a prepared folder is.

    Attributes:
      format: of the folder, 1.
      version: flaxrec's.
      settings: how the data were read, by field of config.data.
      inputs: path, bytes and times of change of each file.
      source, rows_read, has_time, time_is: as in `Interactions`.
      events: how many there are.
      files: bytes of each file by its name.
    """

    format: int
    version: str
    settings: dict[str, Any]
    inputs: list[list[Any]]
    source: str
    rows_read: Count
    has_time: bool
    time_is: TimeIs
    events: Count
    files: dict[str, Count]


def interactions(config: DataConfig, types: Mapping[str, str]) -> Interactions:
    """The config's interactions: prepared ones, if there are some of these inputs, or as read.

    With `config.max_memory_gb` they are prepared first.

    Raises:
      ConfigError: a field cannot be used, or is not as when the folder was prepared.
      DataError: the data, or the prepared folder, cannot be used.
    """
    if is_prepared(config):
        return read(own_path(config.path), config, types)
    folder = cached(config, types)
    if folder and not (folder / NOTE).exists() and config.max_memory_gb:
        prepare(config, types, folder)
    if folder and (folder / NOTE).exists():
        logging.info("The prepared data in %s are read.", folder)
        return read(folder, config, types)
    return read_lib.read(config, types)


def is_prepared(config: DataConfig) -> bool:
    """Whether `config.path` is a folder that was prepared."""
    return bool(config.path) and (own_path(config.path) / NOTE).is_file()


# ---- what they are made of ------------------------------------------------------------------


def settings_of(config: DataConfig, types: Mapping[str, str]) -> dict[str, Any]:
    """What changes how the same files are read, as JSON has it."""
    columns = config.columns
    features = {
        *(f"event.{name}" for name in columns.event_features),
        *(f"item.{name}" for name in columns.item_features),
        *(f"user.{name}" for name in columns.user_features),
    }
    made = {
        "source": config.source,
        "bad_rows": config.bad_rows,
        "columns": dataclasses.asdict(columns),
        "types": {source: types[source] for source in sorted(features & types.keys())},
    }
    return json.loads(json.dumps(made))


def inputs_of(config: DataConfig) -> list[list[Any]]:
    """Path, bytes and times of change of all files that are read; [] if one is not there."""
    names = {"path": config.path, "items_path": config.items_path, "users_path": config.users_path}
    if config.source == "movielens" and not config.path:
        names["path"] = str(own_path(config.cache_dir) / config.release)
    found = []
    try:
        for field, name in names.items():
            whole = own_path(name)
            several = name.split(os.pathsep) if name and not os.path.exists(whole) else [name]
            for path in [own_path(one) for one in several if one]:
                inside = sorted(path.iterdir()) if path.is_dir() else [path]
                if path.suffix == ".inter":
                    inside += [p for p in map(path.with_suffix, (".item", ".user")) if p.exists()]
                for file in inside:
                    if file.is_file():
                        is_now = file.stat()
                        times = is_now.st_mtime_ns, is_now.st_ctime_ns
                        found.append([field, str(file.absolute()), is_now.st_size, *times])
                    elif not file.exists():
                        return []
    except OSError:  # the reader says what is wrong
        return []
    return found


def cached(config: DataConfig, types: Mapping[str, str]) -> Path | None:
    """Where these inputs' prepared data are kept, there or not; None: of such a source never."""
    if config.source not in ("table", "movielens"):
        return None
    cache, inputs = own_path(config.cache_dir), inputs_of(config)
    if not inputs or cache.parts[:1] == ("~",):
        return None
    made_of = [_FORMAT, __version__, settings_of(config, types), config.format, inputs]
    return cache / "prepared" / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:24]


# ---- writing --------------------------------------------------------------------------------


def check(config: DataConfig) -> None:
    """Raises ConfigError if the source cannot be prepared."""
    if config.source not in ("table", "movielens"):
        raise ConfigError(
            f"config.data.source is {config.source!r}, which needs no preparation; train with it, "
            "or use table or movielens."
        )
    if is_prepared(config):
        raise ConfigError(f"config.data.path is {config.path!r}, which is prepared; train with it.")


def prepare(config: DataConfig, types: Mapping[str, str], folder: Path) -> Note:
    """Reads the config's data and writes them to a folder, whole or not at all.

    Raises:
      ConfigError: the source cannot be prepared, or the bound of memory not be kept.
      DataError: the data cannot be used, or changed meanwhile.
      DiskError: the folder cannot be written.
    """
    check(config)
    is_ours = (folder / NOTE).is_file() or (folder.is_dir() and not any(folder.iterdir()))
    if folder.exists() and not is_ours:
        raise DataError(f"{folder} is there and was not prepared; use another --output.")
    inputs = inputs_of(config)
    with write_errors_as(DataError, folder, "use another --output"), whole_folder(folder) as new:
        if config.max_memory_gb and not in_parts.fits(config, [one[2] for one in inputs]):
            found = in_parts.write(config, types, new)
        else:
            found = _at_once(read_lib.read(config, types), new)
        tables = {name: getattr(found, field) for field, name in TABLES.items()}
        for name, table in tables.items():
            if table is not None:
                table.write_parquet(new / name)
        if inputs != inputs_of(config):
            raise DataError(f"{config.path} changed while it was read; start again.")
        files = {path.name: path.stat().st_size for path in sorted(new.iterdir())}
        note = Note(
            _FORMAT, __version__, settings_of(config, types), inputs, found.source,
            found.rows_read or 0, found.has_time, found.time_is,
            sum(rows_of(new / name) for name in files if name not in tables), files,
        )  # fmt: skip
        text = json.dumps(dataclasses.asdict(note), indent=2) + "\n"
        (new / NOTE).write_text(text, encoding="utf-8", newline="\n")
    return note


def _at_once(found: Interactions, folder: Path) -> Interactions:
    """Writes the shards of what was read; returns the rest."""
    rows_read = found.rows_read
    if rows_read is None:
        bad_rows = 0 if found.bad_rows is None else len(found.bad_rows)
        rows_read = len(found.events) + bad_rows
    in_parts.write_shards(found.with_ids().events, folder, 0)
    return dataclasses.replace(found, events=found.events.clear(), rows_read=rows_read, ids={})


# ---- reading --------------------------------------------------------------------------------


def read(folder: Path, config: DataConfig, types: Mapping[str, str]) -> Interactions:
    """The interactions of a prepared folder, with ids beside the events.

    Raises:
      ConfigError: fields of `config` are not as when it was prepared.
      DataError: the folder was changed.
    """
    remedy = "prepare it again (flaxrec prepare)"
    note = Reader(DataError, remedy).object(folder / NOTE, Note)
    _check_settings(folder, note, config, types)
    for name, size in note.files.items():
        with read_errors_as(DataError, folder / name, remedy):
            if (found := (folder / name).stat().st_size) != size:
                raise DataError(
                    f"{folder / name} has {found:,} bytes instead of {size:,}; {remedy}."
                )
    names = [name for name in sorted(note.files) if name not in TABLES.values()]
    tables = {
        field: _read(folder / name, remedy) if name in note.files else None
        for field, name in TABLES.items()
    }
    files = (
        (str(folder / name), Interactions(_read(folder / name, remedy), time_is=note.time_is))
        for name in names
    )
    found = shards.merged(files, remedy)
    return dataclasses.replace(
        found,
        items=tables["items"],
        users=tables["users"],
        bad_rows=tables["bad_rows"],
        source=note.source,
        rows_read=note.rows_read,
        has_time=note.has_time,
    )


def _read(path: Path, remedy: str) -> pl.DataFrame:
    try:
        with read_errors_as(DataError, path, remedy):
            return pl.read_parquet(table_paths.for_polars(path))
    except table_paths.UNREADABLE as error:
        raise DataError(f"{path} cannot be read; {remedy}.") from error


def _check_settings(folder: Path, note: Note, config: DataConfig, types: Mapping[str, str]) -> None:
    if note.format != _FORMAT:
        raise DataError(f"{folder} has the format {note.format}; prepare it again.")
    now, then = settings_of(config, types), note.settings
    wrong = [
        (f"columns.{name}", value, then["columns"].get(name))
        for name, value in now["columns"].items()
    ]
    wrong += [(name, now[name], then[name]) for name in ("source", "bad_rows")]
    for field, is_now, was in wrong:
        if is_now != was:
            raise ConfigError(
                f"{folder} was prepared with config.data.{field}={was!r}, and it is {is_now!r} "
                "now; set it so, or prepare the data again."
            )
    for source, kind in now["types"].items():
        if then["types"].get(source, kind) != kind:
            raise ConfigError(
                f"{folder} was prepared for {source} as {then['types'][source]}, and it is {kind} "
                "now; prepare the data again."
            )
    inputs = [one for one in inputs_of(config) if one[0] != "path"]
    if inputs and inputs != [one for one in note.inputs if one[0] != "path"]:
        raise ConfigError(
            f"{folder} was prepared with other tables of items or users than config.data.items_path"
            " and config.data.users_path name now; leave these out, or prepare the data again."
        )
