"""Where tables are: files, folders and lists of files, their formats, and their bytes."""

import gzip
import io
import mmap
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import polars as pl

from flaxrec.errors import DataError, reason, shown
from flaxrec.files import most_unpacked, opened, own_path

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
# Of files that polars cannot read; where its own code fails, it panics.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_SKIPPABLE = 0x184D2A50  # of Zstandard's frames without data; the last four bits may be any
_ZSTD_BLOCK = 1 << 17  # bytes that a block unpacks to, at most
_BLOCK = 1 << 20  # bytes unpacked at a time
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
    whole = own_path(name)
    several = [] if os.path.exists(whole) else [part for part in name.split(os.pathsep) if part]
    listed = f", one of the files that {shown(name)} lists" if len(several) > 1 else ""
    found: list[Path] = []
    for part in [own_path(part) for part in several] or [whole]:
        if not os.path.exists(part):
            raise DataError(
                f"{part} is missing{listed}; set --config.data.{field} to a file that exists."
            )
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


def for_polars(path: Path) -> Path | BinaryIO:
    """The file by a name that polars takes for no pattern, URL or home folder, or opened."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:  # polars knows no other names
        return opened(path)
    return path.absolute()


def scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file, plain or packed by gzip.

    Raises:
      DataError: it is packed by Zstandard, cannot be unpacked, or tells of implausibly many rows.
      OSError: it cannot be read, or is no regular file.
      UNREADABLE: it is no Parquet.
    """
    with opened(path) as file:
        start = file.read(4)
        most = most_unpacked(os.fstat(file.fileno()).st_size)
    if start == ZSTD:
        raise DataError(f"{path} is packed twice: Parquet packs by itself; unpack it.")
    source = for_polars(path) if start == b"PAR1" else io.BytesIO(content(path))
    lazy = pl.scan_parquet(source, glob=False, hive_partitioning=False)
    rows = lazy.select(pl.len()).collect().item()
    if 8 * rows > most:
        raise DataError(
            f"{path} tells of {rows:,} rows, which would unpack to more than {most:,} bytes and is "
            "implausible for its size; write it again, in several files."
        )
    return lazy


def content(path: Path) -> Content:
    """The file's bytes, unpacked if it is gzip or Zstandard, whatever its name; else mapped.

    Raises:
      DataError: it cannot be unpacked, or unpacks to too much.
      OSError: it cannot be read, or is no regular file.
    """
    with opened(path) as file:
        start = file.read(4)
        size = os.fstat(file.fileno()).st_size
        if start[:2] != GZIP and start != ZSTD:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        file.seek(0)
        unpack = _of_gzip if start[:2] == GZIP else _of_zstd
        most = most_unpacked(size)
        try:
            return unpack(file, most)
        except _TooMuchError as error:
            raise DataError(
                f"{path} unpacks to more than {most:,} bytes, which is implausible for its "
                f"{size:,}; unpack it yourself, if that is right."
            ) from error
        except (pl.exceptions.PolarsError, EOFError, OSError, ValueError, zlib.error) as error:
            raise DataError(
                f"{path} cannot be unpacked ({reason(error)}); is it whole? Copy it again, or "
                "unpack it yourself."
            ) from error


class _TooMuchError(Exception):
    """A file unpacks to more bytes than it may."""


def _of_gzip(file: BinaryIO, most: int) -> bytes:
    parts = []
    with gzip.GzipFile(fileobj=file) as unpacked:
        while part := unpacked.read(_BLOCK):
            most -= len(part)
            if most < 0:
                raise _TooMuchError
            parts.append(part)
    return b"".join(parts)


def _of_zstd(file: BinaryIO, most: int) -> bytes:
    """The text, unpacked by polars: Python cannot before 3.14."""
    packed = file.read()
    if _most_of_zstd(packed) > most:
        raise _TooMuchError
    # Each line is one cell: no text has the separator.
    lines = pl.read_csv(
        packed, separator="\0", has_header=False, quote_char=None, infer_schema=False
    )
    if lines.width > 1:
        raise ValueError("it holds NUL")
    return "\n".join(lines.to_series().fill_null("")).encode()


def _most_of_zstd(packed: bytes) -> int:
    """At most so many bytes are in these frames, by their blocks; see RFC 8878, chapter 3.1."""
    most = at = 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(packed[at - size : at], "little")

    while at < len(packed):
        if (magic := number(4)) & ~0xF == _SKIPPABLE:
            at += number(4)
            continue
        if magic != int.from_bytes(ZSTD, "little"):
            raise ValueError("what follows its frames is none")
        descriptor = number(1)
        has_window = not descriptor >> 5 & 1
        number(has_window + (0, 1, 2, 4)[descriptor & 3])  # and the dictionary
        declared = number((int(not has_window), 2, 4, 8)[descriptor >> 6])  # unpackers check it
        in_blocks, is_last = 0, False
        while not is_last and at < len(packed):
            block = number(3)
            is_last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            in_blocks += size if kind < 2 else _ZSTD_BLOCK  # 0: as it is, 1: one byte repeated
            at += 1 if kind == 1 else size
        has_size = descriptor >> 6 or not has_window
        most += min(declared + 256, in_blocks) if has_size else in_blocks
        at += 4 * (descriptor >> 2 & 1)  # a checksum
    return most
