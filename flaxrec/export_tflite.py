"""Exports a model to one .tflite with the top-K inside, on the CPU; no data set needed.

python export_tflite.py --workdir=DIR [--output=DIR] [--top_k=K] [--quantization=RECIPE] ...
python export_tflite.py --from_tflite=FILE [--output=DIR] ...
python export_tflite.py --starter=NAME [--movielens=DIR] [--output=DIR] ...
python export_tflite.py --workdir=DIR --items=FILE [--keep_gone=N] [--output=DIR] ...

The first exports a trained run, the second a .tflite that the TensorFlow example exported: it is
imported, exported again and run beside the original. The third exports a starter model of models/,
with titles and genres from a MovieLens copy, by default one that is downloaded. The fourth exports
a run with the items of today instead of those that it was trained on.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flaxrec.cli import arguments
from flaxrec.config import CONVERTERS, ITEM_FIELDS, QUANTIZATIONS, loading
from flaxrec.errors import ConfigError
from flaxrec.exporting import bundle
from flaxrec.reference import published
from flaxrec.starters import folder, load
from flaxrec.training.workdir import Workdir

_OPTIONS = (
    "top_k",
    "quantization",
    "max_recall_loss",
    "exclude_context",
    "trust_ids",
    "candidate_mask",
    "item_fields",
    "converter",
)


def export(
    workdir: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    config: str | None = None,
    top_k: int | None = None,
    quantization: str | None = None,
    max_recall_loss: float | None = None,
    exclude_context: bool | None = None,
    trust_ids: bool | None = None,
    candidate_mask: bool | None = None,
    item_fields: str | None = None,
    converter: str | None = None,
    items: str | os.PathLike[str] | None = None,
    keep_gone: int | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Exports a run's best checkpoint to one .tflite, compares it with JAX, and returns its folder.

    Args:
      workdir: the run folder; the data set is not needed.
      output: the export folder; default: WORKDIR/export. It replaces an earlier export there.
      config: the config file that the run's own encoders or losses are from. It is executed.
      top_k: items that the graph returns. This and the following are by default the run's own.
      quantization: how the weights are stored, one of `flaxrec.config.QUANTIZATIONS`.
      max_recall_loss: with 'auto', the largest relative loss of recall@10.
      exclude_context: whether the graph never returns items of the context.
      trust_ids: whether to leave out the clamp of ids outside the tables.
      candidate_mask: whether the graph takes a mask of what may be shown; see docs/export.md.
      item_fields: what items.jsonl holds: 'full', 'slim' (id and title), or 'none'.
      converter: 'jax2tf', by TensorFlow, or 'litert', by litert-converter alone; experimental.
      items: a table of the items to recommend instead of the run's, with the same columns; needs
        config.model.label_features. Options that are None are then those of the run's export.
      keep_gone: with `items`, at most so many of the run's items that are not in it stay as
        context, the most frequent; None: all.
      say: called with each line of progress.

    Raises:
      ConfigError: an option cannot be used, or `config` is not the run's file.
      TrainingError: there is no run or checkpoint.
      ExportError: the converter is missing, the output is no export, or the file disagrees with
        JAX.
    """
    folder = Workdir(workdir)
    if config:
        loading.execute_own(config, folder.read_config().code)
    return bundle.export(
        folder,
        Path(output) if output is not None else None,
        say,
        top_k=top_k,
        quantization=quantization,
        max_recall_loss=max_recall_loss,
        exclude_context=exclude_context,
        trust_ids=trust_ids,
        candidate_mask=candidate_mask,
        item_fields=item_fields,
        converter=converter,
        items=None if items is None else os.fspath(items),
        keep_gone=keep_gone,
    ).folder


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and exports; returns the exit status."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("--workdir", help="the run folder to export")
    parser.add_config("with --workdir: the file that the run's own encoders or losses are from")
    add("--from_tflite", help="a .tflite of the TensorFlow example")
    add("--starter", help="a starter model, see docs/starters.md")
    add(
        "--movielens",
        help="with --starter: folder of MovieLens-1M; none: no titles; default: downloads it",
    )
    add(
        "--output",
        help="the export folder; default: WORKDIR/export, or a folder here called as file or "
        "starter",
    )
    add(
        "--top_k",
        type=arguments.number(1, 10_000_000),
        help="items that the graph returns; default: the config's, the file's",
    )
    add(
        "--quantization",
        choices=QUANTIZATIONS,
        help="how the weights are stored; default: the config's",
    )
    add(
        "--max_recall_loss",
        type=arguments.number(0, 1, float),
        help="auto: largest relative loss of recall@10; default: the config's, 0.01",
    )
    add(
        "--items",
        help="with --workdir: a table of the items of today, with the columns of the run's items; "
        "nothing is trained",
    )
    add(
        "--keep_gone",
        type=arguments.number(0, 100_000_000),
        help="with --items: how many of the items that are gone stay as context; default: all",
    )
    parser.add_switch(
        "--exclude_context",
        "never recommend the items of the context, inside the graph",
        default=None,
    )
    parser.add_switch(
        "--trust_ids",
        "leave out the clamp of ids outside the tables: the app never sends any",
        default=None,
    )
    parser.add_switch(
        "--candidate_mask",
        "one input more, what may be shown: recommend's only= and without= then give full lists; "
        "no android/ then, whose app cannot fill it",
        default=None,
    )
    add(
        "--item_fields",
        choices=ITEM_FIELDS,
        help="what items.jsonl holds; slim: id, title and what the model reads of items; none: no "
        "such file, the app has titles of its own; default: the config's, full",
    )
    add(
        "--converter",
        choices=CONVERTERS,
        help="jax2tf: by TensorFlow; litert: by litert-converter, without TensorFlow and without a "
        "SavedModel, experimental; default: the config's, jax2tf",
    )
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    output = Path(given.output) if given.output else None
    options = {name: getattr(given, name) for name in _OPTIONS}
    if sum(map(bool, (given.workdir, given.from_tflite, given.starter))) > 1:
        raise ConfigError(
            "Exactly one of --workdir, --from_tflite and --starter says what to export; leave the "
            "others out."
        )
    if given.movielens is not None and not given.starter:
        raise ConfigError("--movielens goes with --starter=NAME; leave it out.")
    if given.config and not given.workdir:
        raise ConfigError("--config goes with --workdir=DIR; leave it out.")
    for name in ("items", "keep_gone"):
        if getattr(given, name) is not None and not given.workdir:
            raise ConfigError(f"--{name} goes with --workdir=DIR; leave it out.")
    if given.keep_gone is not None and given.items is None:
        raise ConfigError("--keep_gone goes with --items=FILE; leave it out.")
    if given.workdir:
        own = {"config": given.config, "items": given.items, "keep_gone": given.keep_gone}
        export(given.workdir, output, **own, **options)
        return
    if given.starter:
        model, assets = load.load(folder.find(given.starter), given.movielens)
        output = output or Path(given.starter)  # not a name that the starter tells
    elif given.from_tflite:
        model, assets = published.load(given.from_tflite)
    else:
        raise ConfigError(
            "There is nothing to export; give --workdir=DIR, --from_tflite=FILE or --starter=NAME."
        )
    bundle.export_model(model, assets, output or Path(model.config.name), **options)


if __name__ == "__main__":
    sys.exit(main())
