"""Starter models: packs a finished sweep, measures what they export, prints them as a table.

python -m flaxrec.starters SWEEP_DIR [--output=models] [--training_device=TEXT] [--replace]
python -m flaxrec.starters --measure [--published=FILE.tflite] [--movielens=DIR] [--output=models]
python -m flaxrec.starters --table [--output=models]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flaxrec.errors import ConfigError, FlaxrecError
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import table


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and does what they ask for; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except FlaxrecError as error:
        print(f"flaxrec: {error}", file=sys.stderr)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> None:
    models = Path(arguments.output or folder_lib.MODELS)
    if not (arguments.sweep or arguments.measure or arguments.table):
        raise ConfigError("Give a sweep folder to pack, --measure or --table; see --help.")
    if arguments.sweep:
        from flaxrec.starters.pack import pack

        device, replace = arguments.training_device, arguments.replace
        pack(Path(arguments.sweep), models, device=device, replace=replace)
    names = folder_lib.names(models)
    if not names:
        raise ConfigError(f"There are no starters in {models}; pack a sweep, or name --output.")
    if arguments.measure:
        from flaxrec.starters.measure import measure

        published = Path(arguments.published) if arguments.published else None
        measure(models, names, published=published, movielens=arguments.movielens)
    if arguments.table:
        print(table.render(folder_lib.read(models / name) for name in names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flaxrec.starters", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("sweep", nargs="?", help="finished sweep folder; points with the axis starter=NAME")
    add("--output", metavar="DIR", help="folder of the starters (default: the repository's models)")
    add("--training_device", metavar="TEXT", default="", help="for the card; default: as noted")
    add("--replace", action="store_true", help="starters there with other weights, too")
    add("--measure", action="store_true", help="export them, rank the test labels, fill the cards")
    add("--published", metavar="FILE", help="--measure: .tflite to compare latencies with")
    add("--movielens", metavar="DIR", help="--measure: MovieLens-1M; default: the cached download")
    add("--table", action="store_true", help="print them as a Markdown table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
