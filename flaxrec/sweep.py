"""Runs every point and seed of a sweep file, and what of them is not finished yet.

python -m flaxrec.sweep --sweep=FILE --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

FILE is configs/sweeps/NAME.py or one's own, see docs/research.md. --config.FIELD=VALUE is put into
every config, such as --config.data.path=DIR. Exit status 1 if a run failed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from flaxrec.cli import flags as cli
from flaxrec.errors import ConfigError
from flaxrec.research import plan, sweeping

SWEEP = flags.DEFINE_string("sweep", None, "the sweep file, with def sweep(add)")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the sweep's folder; a sweep that was stopped goes on in it"
)
SIDE_BY_SIDE = flags.DEFINE_enum(
    "side_by_side",
    "auto",
    ["auto", "on", "off"],
    "train runs that differ in seed, learning rate or weight decay as one program (auto: not on a "
    "CPU, which gains nothing)",
)
EXPORT = flags.DEFINE_enum(
    "export",
    "first",
    list(sweeping.EXPORTS),
    "whose models are exported, each point's first seed, all, or none",
)
EXPORTED_ACCURACY = flags.DEFINE_bool(
    "exported_accuracy",
    False,
    "rank validation and test labels with the exported files as well, quantised as they are",
)
_overrides: dict[str, str] = {}


def main(argv: Sequence[str]) -> None:
    """Runs the sweep that the flags describe; status 1 if a run failed."""
    del argv
    if not SWEEP.value or not WORKDIR.value:
        raise ConfigError("--sweep or --workdir is missing; see --help.")
    if EXPORTED_ACCURACY.value and EXPORT.value == "none":
        raise ConfigError("--exported_accuracy ranks with exports; use --export=first or all.")
    runs = plan.read(Path(SWEEP.value), _overrides)
    together = SIDE_BY_SIDE.value == "on"
    if SIDE_BY_SIDE.value == "auto":
        together = jax.default_backend() != "cpu"
    options = sweeping.Options(together, EXPORT.value, EXPORTED_ACCURACY.value)
    if sweeping.run(runs, Path(WORKDIR.value), options):
        sys.exit(1)


if __name__ == "__main__":
    _overrides |= cli.take_overrides(sys.argv)
    cli.run(main, interrupted="Interrupted; the same command goes on where it was.")
