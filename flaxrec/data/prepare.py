"""Prepares data once, for many runs: timelines in Parquet shards.

flaxrec prepare --config=FILE[:VARIANT] [--output=FOLDER] [--config.data.FIELD=VALUE ...]

Without --output they go into config.data.cache_dir, where each run with the same files and settings
of reading finds them; a FOLDER is given to runs as --config.data.path=FOLDER.
config.data.max_memory_gb bounds the memory. docs/scale.md tells what that saves.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flaxrec.cli import arguments
from flaxrec.config import loading
from flaxrec.config.validation import check_fields
from flaxrec.data import columns, prepared
from flaxrec.data.sources.read import read
from flaxrec.errors import ConfigError, DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and prepares the data; returns the exit status."""
    parser = arguments.Parser(__doc__)
    parser.add_config("the experiment, FILE.py[:VARIANT] or the name of a shipped one")
    parser.add_overrides("any field of it, such as --config.data.path=events.parquet")
    parser.add_argument("--output", help="a new folder, or one to replace that was prepared before")
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    if not given.config:
        raise ConfigError("Which data? Give --config, and --config.data.path; see --help.")
    config = loading.load(given.config, given.overrides).config
    check_fields(config)
    prepared.check(config.data)
    types = columns.types_of_sources(config)
    folder = Path(given.output) if given.output else prepared.cached(config.data, types)
    if folder and not given.output and (folder / prepared.NOTE).exists():
        print(f"{folder} is there already; runs with these files and settings read it")
        return
    if folder is None:  # an input is missing: the reader says which
        read(config.data, types)
        raise DataError("There is no cache folder; give --output, or --config.data.cache_dir.")
    note = prepared.prepare(config.data, types, folder)
    count = sum(name not in prepared.TABLES.values() for name in note.files)
    size = sum(note.files.values())
    files = "1 file" if count == 1 else f"{count} files"
    print(f"{folder}: {note.events:,} events in {files}, {size:,} bytes")
    if given.output:
        print(f"train with --config.data.path={folder}, and otherwise the same settings of reading")
    else:
        print("runs with these files and settings read it")


if __name__ == "__main__":
    sys.exit(main())
