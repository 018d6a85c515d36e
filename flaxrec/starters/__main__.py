"""Starter models: packs a finished sweep, measures what they export, prints them as a table.

python -m flaxrec.starters SWEEP [--output=DIR] [--training_device=TEXT] [--replace]
python -m flaxrec.starters --measure [--published=FILE] [--movielens=DIR] [--output=DIR]
python -m flaxrec.starters --table [--output=DIR]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flaxrec.cli import arguments
from flaxrec.errors import ConfigError, printable
from flaxrec.starters import card
from flaxrec.starters import folder as folder_lib


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and does what they ask for; returns the exit status."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("sweep", nargs="?", help="finished sweep folder; points with the axis starter=NAME")
    add("--output", metavar="DIR", help="folder of the starters; default: the clone's models")
    add("--training_device", metavar="TEXT", help="for the card; default: as noted")
    parser.add_switch("--replace", "starters there with other weights, too")
    parser.add_switch("--measure", "export them, rank the test labels, fill the cards")
    add("--published", metavar="FILE", help="--measure: .tflite to compare latencies with")
    add("--movielens", metavar="DIR", help="--measure: MovieLens-1M; default: the cached download")
    parser.add_switch("--table", "print them as a Markdown table")
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    models = Path(given.output or folder_lib.MODELS)
    if not (given.sweep or given.measure or given.table):
        raise ConfigError("Give a sweep folder to pack, --measure or --table; see --help.")
    installed = models.parts[-3:] == ("flaxrec", "shipped", "models")
    if (given.sweep or given.measure) and installed and not given.output:
        raise ConfigError(f"{models} belongs to the installed package; name --output=DIR.")
    if given.sweep:
        from flaxrec.starters.pack import pack

        device, replace = given.training_device or "", given.replace
        pack(Path(given.sweep), models, device=device, replace=replace)
    names = folder_lib.names(models)
    if not names:
        raise ConfigError(f"There are no starters in {models}; pack a sweep, or name --output.")
    if given.measure:
        from flaxrec.starters.measure import measure

        published = Path(given.published) if given.published else None
        measure(models, names, published=published, movielens=given.movielens)
    if given.table:
        table = card.table(folder_lib.read(models / name) for name in names)
        print("\n".join(map(printable, table.split("\n"))))


if __name__ == "__main__":
    sys.exit(main())
