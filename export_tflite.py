"""Exports a model to one .tflite with the top-K inside, on the CPU; no data set needed.

python export_tflite.py --workdir=DIR [--output=DIR] [--top_k=K]
python export_tflite.py --from_tflite=FILE [--output=DIR] [--top_k=K]

The first exports a trained run, the second a .tflite that the TensorFlow example exported: it is
imported, exported again and run beside the original.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from flaxrec import cli
from flaxrec.export.bundle import export, export_model
from flaxrec.reference import published
from flaxrec.workdir import Workdir

WORKDIR = flags.DEFINE_string("workdir", None, "The run folder to export.")
FROM_TFLITE = flags.DEFINE_string("from_tflite", None, "A .tflite of the TensorFlow example.")
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "The export folder; default: WORKDIR/export, or a folder here that is called as the file.",
)
TOP_K = flags.DEFINE_integer(
    "top_k", None, "Items the graph returns; default: the config's, the file's.", lower_bound=1
)
flags.mark_flags_as_mutual_exclusive(["workdir", "from_tflite"], required=True)


def main(argv: Sequence[str]) -> None:
    """Runs the export that the flags describe."""
    del argv
    output = Path(OUTPUT.value) if OUTPUT.value else None
    if WORKDIR.value:
        export(Workdir(WORKDIR.value), output, TOP_K.value)
    else:
        model, assets = published.load(FROM_TFLITE.value or "")
        export_model(model, assets, output or Path(model.config.name), TOP_K.value)


if __name__ == "__main__":
    cli.run(main)
