"""RecBole's atomic files: NAME.inter, and beside it maybe NAME.item and NAME.user.

Fields are separated by tabs; the header says name and type of each: `item_id:token`,
`genres:token_seq` (values separated by spaces), `timestamp:float`, `vector:float_seq`.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources import own_tables, table_paths
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.table_files import ROW, TableFile, Wanted, listed, load
from flaxrec.errors import ConfigError, DataError, shown
from flaxrec.files import own_path, read_errors_as

_TYPES = ("token", "token_seq", "float", "float_seq")
# What RecBole's files call a column; the config's own name comes first.
_USUAL = {
    "user": ("user_id", "session_id"),
    "item": ("item_id",),
    "time": ("timestamp",),
    "title": ("title", "movie_title", "item_name", "app_name", "name"),
}
_KEY_OF_ITEMS = ("item_id", "id")


def read_recbole(config: DataConfig, types: Mapping[str, str] | None = None) -> Interactions:
    """Reads the .inter file at `config.path`, or that of a folder, and the files beside it.

    `config.columns` names columns without their types; where its default names are not there,
    RecBole's usual ones count: user_id or session_id, item_id, timestamp. Without a timestamp the
    order is the file's. Unless the config names features, all columns of the .item and .user files
    are features, and a column such as `title` or `movie_title` is the title.

    Args:
      config: paths, columns, and what to do with bad rows.
      types: of the model's features, see `own_tables.read_table`.

    Returns:
      As `own_tables.read_table`; token_seq becomes List(String), float_seq List(Float64).

    Raises:
      ConfigError: a named column has no meaning here.
      DataError: a file, a column or a line cannot be used.
    """
    if not config.path:
        raise ConfigError("config.data.path is ''; give a .inter file, or the folder that has it.")
    inter = _inter(own_path(config.path))
    named, default = config.columns, ColumnsConfig()
    own = {
        "item": _beside(inter, ".item", config.items_path),
        "user": _beside(inter, ".user", config.users_path),
    }
    headers = {key: _header(path) for key, path in {"inter": inter, **own}.items() if path}
    there = headers["inter"]
    if "item_id_list" in there:
        raise DataError(
            f"{inter} holds histories (item_id_list), whose examples overlap; give the file of "
            "single interactions."
        )

    def name_of(field: str) -> str:
        name = getattr(named, field)
        if name in there or name != getattr(default, field):
            return name
        return next((usual for usual in _USUAL[field] if usual in there), "")

    columns = dataclasses.replace(named, separator=" ", multi_valued=())
    for field in ("user", "item", "time"):
        setattr(columns, field, name_of(field) or getattr(named, field) * (field != "time"))
    key = {"user": columns.user, "item": columns.item}
    if "item" in headers:
        key["item"] = _key(columns.item, _KEY_OF_ITEMS, headers["item"])
        free = [name for name in headers["item"] if name != key["item"]]
        columns.title = named.title or next((n for n in _USUAL["title"] if n in free), "")
        if not named.item_features:
            taken = (columns.title, "item", "row", "count", "title")
            columns.item_features = tuple(name for name in free if name not in taken)
    if "user" in headers:
        key["user"] = _key(columns.user, _USUAL["user"], headers["user"])
        if not named.user_features:
            features = (name for name in headers["user"] if name not in (key["user"], "user"))
            columns.user_features = tuple(features)
    config = dataclasses.replace(config, columns=columns)
    own_tables.check(config)
    of_item, of_user = own_tables.of_item(columns), own_tables.of_user(columns)
    of_events = own_tables.of_events(columns)
    items = users = None
    if own["item"]:
        wanted = [("item", key["item"]), *of_item]
        items = _load(own["item"], headers["item"], wanted, columns.title, columns.item)
    else:
        of_events += of_item
    if own["user"]:
        wanted = [("user", key["user"]), *of_user]
        users = _load(own["user"], headers["user"], wanted, "", columns.user)
    else:
        of_events += of_user
    events = _load(inter, there, of_events, columns.title, columns.user)
    return own_tables.assemble(config, events, items, users, types)


def is_recbole(config: DataConfig) -> bool:
    """Whether the files are RecBole's: declared, or by their extension."""
    if config.format != "auto" or not config.path:
        return config.format == "recbole"
    path = own_path(config.path)
    return _suffix(path) == ".inter" or (os.path.isdir(path) and bool(_inside(path)))


def _inside(folder: Path) -> list[Path]:
    with read_errors_as(DataError, folder, "set --config.data.path to what can be read"):
        return sorted(file for file in folder.iterdir() if _suffix(file) == ".inter")


def _inter(path: Path) -> Path:
    if os.path.isdir(path):
        found = _inside(path)
        if len(found) != 1:
            names = listed(file.name for file in found)
            raise DataError(
                f"{path} holds {len(found)} .inter files ({names}); set --config.data.path to one."
            )
        return found[0]
    return path


def _suffix(path: Path) -> str:
    packed = path.suffix.lower() in (".gz", ".zst")
    return Path(path.stem).suffix.lower() if packed else path.suffix.lower()


def _beside(inter: Path, suffix: str, given: str) -> Path | None:
    """The file of items or users: the given one, or that of the same name."""
    if given:
        return own_path(given)
    for packed in ("", ".gz", ".zst"):
        stem = inter.name[: inter.name.lower().rindex(".inter")] if ".inter" in inter.name else ""
        path = inter.with_name(f"{stem}{suffix}{packed}")
        if stem and path.is_file():
            return path
    return None


def _header(path: Path) -> dict[str, str]:
    """Types of the columns by name."""
    with read_errors_as(DataError, path, "set --config.data.path to a .inter file"):
        content = table_paths.content(path)
    first = bytes(content[: max(content.find(b"\n"), 0) or len(content)])
    found = {}
    for cell in first.decode("utf-8-sig", errors="replace").rstrip("\r").split("\t"):
        name, _, kind = cell.strip().rpartition(":")
        if kind not in _TYPES or not name:
            raise DataError(
                f"{path}, line 1: {shown(cell.strip())} is no 'name:type'; RecBole's files have a "
                f"header with the types {', '.join(_TYPES)}, separated by tabs."
            )
        if name in found:
            raise DataError(f"{path}, line 1: {shown(name)} stands twice; give one another name.")
        found[name] = kind
    return found


def _key(name: str, usual: tuple[str, ...], header: Mapping[str, str]) -> str:
    return next((one for one in (name, *usual) if one in header), name)


def _load(path: Path, header: Mapping[str, str], wanted: Wanted, title: str, key: str) -> TableFile:
    """The wanted columns under their names without types; the first one is called `key`."""
    for field, name in wanted:
        if name not in header:
            raise DataError(
                f"{path} has no column {name!r}, it has {listed(header)}; correct "
                f"--config.data.columns.{field}."
            )
    file = load("path", str(path), [(f, f"{n}:{header[n]}") for f, n in wanted], "tsv")
    columns = {}
    for _, name in wanted:
        cells = pl.col(f"{name}:{header[name]}")
        if header[name].endswith("_seq") and name != title:
            cells = cells.str.extract_all(r"\S+")
            if header[name] == "token_seq":
                # Some write 'Drama, War' and mean two words without the comma.
                cells = cells.list.eval(pl.element().str.strip_chars_end(","))
            else:
                cells = cells.cast(pl.List(pl.Float64), strict=False)
        columns[key if name == wanted[0][1] else name] = cells
    return dataclasses.replace(file, frame=file.frame.select(ROW, **columns))
