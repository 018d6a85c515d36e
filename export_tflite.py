"""Exports a trained run to one .tflite with the top-K inside, on the CPU; no data set needed.

python export_tflite.py --workdir=DIR [--output=DIR] [--top_k=K]
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from flaxrec import cli
from flaxrec.export.bundle import export
from flaxrec.workdir import Workdir

WORKDIR = flags.DEFINE_string("workdir", None, "The run folder to export.", required=True)
OUTPUT = flags.DEFINE_string("output", None, "The export folder; default WORKDIR/export.")
TOP_K = flags.DEFINE_integer(
    "top_k", None, "Items the graph returns; default: the config's.", lower_bound=1
)


def main(argv: Sequence[str]) -> None:
    """Runs the export that the flags describe."""
    del argv
    output = Path(OUTPUT.value) if OUTPUT.value else None
    export(Workdir(WORKDIR.value), output, TOP_K.value)


if __name__ == "__main__":
    cli.run(main)
