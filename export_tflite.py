"""Exports a model to one .tflite with the top-K inside, on the CPU; no data set needed.

python export_tflite.py --workdir=DIR [--output=DIR] [--top_k=K] [--quantization=RECIPE] ...
python export_tflite.py --from_tflite=FILE [--output=DIR] ...
python export_tflite.py --starter=NAME [--movielens=DIR] [--output=DIR] ...

The first exports a trained run, the second a .tflite that the TensorFlow example exported: it is
imported, exported again and run beside the original. The third exports a starter model of models/,
with titles and genres from a MovieLens copy, by default one that is downloaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from flaxrec.cli import flags as cli
from flaxrec.config import QUANTIZATIONS
from flaxrec.errors import ConfigError
from flaxrec.exporting.bundle import export, export_model
from flaxrec.reference import published
from flaxrec.starters import folder, load
from flaxrec.training.workdir import Workdir

WORKDIR = flags.DEFINE_string("workdir", None, "the run folder to export")
FROM_TFLITE = flags.DEFINE_string("from_tflite", None, "a .tflite of the TensorFlow example")
STARTER = flags.DEFINE_string("starter", None, "a starter model, see docs/starters.md")
MOVIELENS = flags.DEFINE_string(
    "movielens",
    None,
    "with --starter: the folder of MovieLens-1M; none: ids without titles; default: downloads it",
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "the export folder; default: WORKDIR/export, or a folder here called as file or starter",
)
TOP_K = flags.DEFINE_integer(
    "top_k", None, "items that the graph returns; default: the config's, the file's", lower_bound=1
)
QUANTIZATION = flags.DEFINE_enum(
    "quantization", None, QUANTIZATIONS, "how the weights are stored; default: the config's"
)
MAX_RECALL_LOSS = flags.DEFINE_float(
    "max_recall_loss",
    None,
    "auto: largest relative loss of recall@10; default: the config's, 0.01",
    lower_bound=0.0,
)
EXCLUDE_CONTEXT = flags.DEFINE_bool(
    "exclude_context", None, "never recommend the items of the context, inside the graph"
)
TRUST_IDS = flags.DEFINE_bool(
    "trust_ids", None, "leave out the clamp of ids outside the tables: the app never sends any"
)
OPTIONS = (TOP_K, QUANTIZATION, MAX_RECALL_LOSS, EXCLUDE_CONTEXT, TRUST_IDS)
SOURCES = (WORKDIR, FROM_TFLITE, STARTER)


def main(argv: Sequence[str]) -> None:
    """Runs the export that the flags describe."""
    del argv
    output = Path(OUTPUT.value) if OUTPUT.value else None
    options: dict[str, Any] = {flag.name: flag.value for flag in OPTIONS}
    if sum(bool(source.value) for source in SOURCES) > 1:
        raise ConfigError(
            "Exactly one of --workdir, --from_tflite and --starter says what to export; leave the "
            "others out."
        )
    if MOVIELENS.value is not None and not STARTER.value:
        raise ConfigError("--movielens goes with --starter=NAME; leave it out.")
    if WORKDIR.value:
        export(Workdir(WORKDIR.value), output, **options)
        return
    if STARTER.value:
        model, assets = load.load(folder.find(STARTER.value), MOVIELENS.value)
    elif FROM_TFLITE.value:
        model, assets = published.load(FROM_TFLITE.value)
    else:
        raise ConfigError(
            "There is nothing to export; give --workdir=DIR, --from_tflite=FILE or --starter=NAME."
        )
    export_model(model, assets, output or Path(model.config.name), **options)


if __name__ == "__main__":
    cli.run(main)
