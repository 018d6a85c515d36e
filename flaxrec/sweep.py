"""Runs every point and seed of a sweep file, and what of them is not finished yet.

python -m flaxrec.sweep --sweep=FILE --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

FILE is one's own, see docs/research.md, or the name of a shipped one, such as smoke.
--config.FIELD=VALUE is put into every config, such as --config.data.path=DIR. Exit status 1 if a
run failed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from flaxrec.cli import arguments
from flaxrec.errors import ConfigError
from flaxrec.research import plan, sweeping


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and runs the sweep; returns the exit status, 1 if a run failed."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("--sweep", help="the sweep file, with def sweep(add), or the name of a shipped one")
    add("--workdir", help="the sweep's folder; a sweep that was stopped goes on in it")
    add(
        "--side_by_side",
        choices=("auto", "on", "off"),
        default="auto",
        help="train runs that differ in seed, learning rate or weight decay as one program (auto: "
        "not on a CPU, which gains nothing)",
    )
    add(
        "--export",
        choices=sweeping.EXPORTS,
        default="first",
        help="whose models are exported, each point's first seed, all, or none",
    )
    parser.add_switch(
        "--exported_accuracy",
        "rank validation and test labels with the exported files as well, quantised as they are",
    )
    parser.add_overrides("a field of every config, such as --config.data.path=DIR")
    stopped = "Interrupted; the same command goes on where it was."
    return parser.run(_run, argv, stopped)


def _run(given: argparse.Namespace) -> int:
    if not given.sweep or not given.workdir:
        raise ConfigError("--sweep or --workdir is missing; see --help.")
    if given.exported_accuracy and given.export == "none":
        raise ConfigError("--exported_accuracy ranks with exports; use --export=first or all.")
    runs = plan.read(given.sweep, given.overrides)
    together = given.side_by_side == "on"
    if given.side_by_side == "auto":
        together = jax.default_backend() != "cpu"
    options = sweeping.Options(together, given.export, given.exported_accuracy)
    return 1 if sweeping.run(runs, Path(given.workdir), options) else 0


if __name__ == "__main__":
    sys.exit(main())
