"""How good exported files are: ranks of a run's labels, by running each .tflite on their contexts.

python -m flaxrec.accuracy WORKDIR [WORKDIR ...] [--quantization=RECIPES] [--split=SPLIT]
    [--config.data.path=DIR]

WORKDIR is a run folder; the data are read from where it had them, or from DIR. Without
--quantization its own export is measured; other recipes are made from the same weights. Choices are
made on validation labels, so these are ranked by default.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from flaxrec.cli import arguments
from flaxrec.config import QUANTIZATIONS, loading, paths
from flaxrec.data.dataset import prepare
from flaxrec.errors import ConfigError
from flaxrec.exporting import file_ranks
from flaxrec.terminal.text_tables import aligned
from flaxrec.training.workdir import Workdir

_METRICS = ("recall@10", "ndcg@10", "filtered/recall@10", "filtered/ndcg@10")


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and prints the table; returns the exit status."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("workdir", nargs="*", help="folder of a finished run")
    parser.add_argument(
        "--quantization",
        type=arguments.comma_list,
        default=file_ranks.AUTO,
        help=f"any of {', '.join(QUANTIZATIONS)}, with commas; auto: that of the run's own export",
    )
    parser.add_argument(
        "--split", choices=("validation", "test"), default="validation", help="whose labels"
    )
    parser.add_config("the file that the runs' own encoders or losses are from")
    parser.add_overrides("fields of the runs' config.data, such as --config.data.path=DIR")
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    if not given.workdir:
        raise ConfigError("Which run? Name its folder; see --help.")
    for recipe in given.quantization:
        if recipe not in QUANTIZATIONS:
            raise ConfigError(f"--quantization has {recipe!r}; use {', '.join(QUANTIZATIONS)}.")
    for path in given.overrides:
        if not path.startswith("data."):
            raise ConfigError(f"config.{path} is the run's own; config.data alone can be given.")
    runs = [Workdir(folder) for folder in given.workdir]
    ks = set.intersection(*(set(run.read_config().evaluation.ks) for run in runs))
    k = 10 if 10 in ks else max(ks, default=10)  # of few items there is no 10
    names = [name.replace("@10", f"@{k}") for name in _METRICS]
    rows = [row for run in runs for row in _rows(run, given, names)]
    print("\n".join(aligned([("run", "recipe", "bytes", *names), *rows], left=2)))
    if any(row[2].endswith("*") for row in rows):
        print("* not published: the description that an export carries adds some 700 bytes")


def _rows(
    workdir: Workdir, given: argparse.Namespace, names: Sequence[str]
) -> list[tuple[str, ...]]:
    """The float32 model's row, then one for each recipe."""
    config = workdir.read_config()
    if given.config:
        loading.execute_own(given.config, config.code)
    paths.override(config, given.overrides)
    split = given.split
    found = file_ranks.of_run(workdir, prepare(config), given.quantization, [split])
    name = workdir.path.name
    rows = [(name, "JAX", "-", *_figures(_of_model(workdir, split), names))]
    for file in found:
        size = f"{file.bytes:,}{'' if file.published else '*'}"
        rows.append((name, file.recipe, size, *_figures(file.metrics.get(split, {}), names)))
    return rows


def _of_model(workdir: Workdir, split: str) -> Mapping[str, Any]:
    """Metrics of the best checkpoint in metrics.jsonl, which is the one that was tested."""
    logged = workdir.read_metrics()
    best = [row["step"] for row in logged if row["split"] == "test"][-1:]
    found = [row["metrics"] for row in logged if row["split"] == split and row["step"] in best]
    return found[-1] if found else {}


def _figures(metrics: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{metrics[name]:.4f}" if name in metrics else "-" for name in names]


if __name__ == "__main__":
    sys.exit(main())
