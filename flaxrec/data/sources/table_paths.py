"""Where tables are: files, folders and lists of files, their formats, and their bytes."""

import gzip
import mmap
import os
import zlib
from pathlib import Path

import polars as pl

from flaxrec.errors import DataError

Content = bytes | mmap.mmap

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".dat": "movielens",
    ".inter": "recbole",
    ".item": "recbole",
    ".user": "recbole",
}
_PACKED = (".gz", ".zst")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # first bytes


def files(field: str, name: str, declared: str = "auto") -> tuple[list[Path], str]:
    """The files at `config.data.FIELD`, and their format.

    Args:
      field: for messages.
      name: a file; a folder, which means its data files sorted by name; or several of both,
        separated as in PATH (':', on Windows ';'). What exists under the whole name wins.
      declared: `config.data.format`; auto: by the files' extensions.

    Raises:
      DataError: nothing is there, or the format is unknown or not one.
    """
    whole = Path(name).expanduser()
    several = [] if whole.exists() else [part for part in name.split(os.pathsep) if part]
    found: list[Path] = []
    for part in [Path(part).expanduser() for part in several] or [whole]:
        if not part.exists():
            raise DataError(f"{part} is missing; set --config.data.{field} to a file that exists.")
        if not (part.is_file() or part.is_dir()):
            raise DataError(
                f"{part} is neither a file nor a folder; set --config.data.{field} to one."
            )
        found += _inside(part, field, declared) if part.is_dir() else [part]
    formats: dict[str, Path] = {}
    for path in found:
        formats.setdefault(_format(path, field, declared), path)
    if len(formats) > 1:
        (one, first), (other, second) = list(formats.items())[:2]
        raise DataError(
            f"{name} holds files of several formats, such as {first.name} ({one}) and "
            f"{second.name} ({other}); name the files of one, or set --config.data.format."
        )
    return found, next(iter(formats))


def _inside(folder: Path, field: str, declared: str) -> list[Path]:
    """The folder's data files by name; not those that begin with '.' or '_', as programs' notes."""
    there = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] not in "._")
    known = [path for path in there if _FORMATS.get(_suffix(path))]
    if declared != "auto":
        known = [path for path in known if _FORMATS[_suffix(path)] == declared] or there
    if not known:
        raise DataError(
            f"{folder} is a folder without data files ({', '.join(sorted(_FORMATS))}, each also "
            f".gz or .zst; folders in it are not read); set --config.data.{field} to a file, or "
            "--config.data.format to the files' format."
        )
    return known


def _suffix(path: Path) -> str:
    """The extension that tells the format: '.csv' of 'events.csv.gz'."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in _PACKED else suffix


def _format(path: Path, field: str, declared: str) -> str:
    suffix = _suffix(path)
    own = _FORMATS.get(suffix)
    # The format belongs to config.data.path; the other tables may be of another.
    declared_counts = declared != "auto" and (field == "path" or own is None)
    if not declared_counts and own is None:
        raise DataError(
            f"{path} has the extension {path.suffix.lower()!r}; set --config.data.format to the "
            f"file's format (csv, tsv, parquet, jsonl, ...), or --config.data.{field} to a .csv, "
            ".tsv, .parquet or .jsonl file."
        )
    return declared if declared_counts else str(own)


def content(path: Path) -> Content:
    """The file's bytes, unpacked if it is gzip or Zstandard, whatever its name; else mapped."""
    with path.open("rb") as file:
        start = file.read(4)
        if start[:2] == GZIP:
            try:
                return gzip.decompress(path.read_bytes())
            except (EOFError, OSError, zlib.error) as error:
                raise DataError(
                    f"{path} cannot be unpacked ({error}); is it whole? Copy it again."
                ) from error
        if start == ZSTD:
            return _of_zstd(path)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if start else b""


def _of_zstd(path: Path) -> bytes:
    """The text, unpacked by polars: Python cannot before 3.14."""
    packed = path.read_bytes()
    try:
        # Each line is one cell: no text has the separator.
        lines = pl.read_csv(
            packed, separator="\0", has_header=False, quote_char=None, infer_schema=False
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path} cannot be unpacked ({str(error).splitlines()[0]}); unpack it yourself, or "
            "copy it again."
        ) from error
    return "\n".join(lines.to_series().fill_null("")).encode()
