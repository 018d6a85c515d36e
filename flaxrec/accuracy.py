"""How good exported files are: ranks of a run's labels, by running each .tflite on their contexts.

python -m flaxrec.accuracy WORKDIR [WORKDIR ...] [--quantization=RECIPES] [--split=SPLIT]
    [--unknown=WHAT] [--by_since] [--json=FILE] [--config.data.path=DIR]

WORKDIR is a run folder; the data are read from where it had them, or from DIR. Without
--quantization its own export is measured; other recipes are made from the same weights. Choices are
made on validation labels, so these are ranked by default. Of runs that differ in their seed alone,
the mean and the deviation follow. A model that knows the moment of asking
is asked at the label's time; --unknown asks it again without.
"""

import argparse
import collections
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxrec import config as config_lib
from flaxrec.cli import arguments
from flaxrec.config import QUANTIZATIONS, loading, paths
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.errors import ConfigError, write_errors_as
from flaxrec.evaluation import unknown as unknown_lib
from flaxrec.exporting import file_ranks
from flaxrec.files import write_jsonl
from flaxrec.research import statistics
from flaxrec.research.row_places import without_places
from flaxrec.terminal.text_tables import aligned
from flaxrec.training.workdir import Workdir

_METRICS = ("recall@10", "ndcg@10", "filtered/recall@10", "filtered/ndcg@10")
_JAX = "JAX"  # in the place of a recipe: the model itself


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and prints the tables; returns the exit status."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("workdir", nargs="*", help="folder of a finished run")
    parser.add_argument(
        "--quantization",
        type=arguments.comma_list,
        default=file_ranks.AUTO,
        help=f"any of {', '.join(QUANTIZATIONS)}, with commas; auto: that of the run's own export",
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test", "cold"),
        default="validation",
        help="whose labels; cold: those of cold items, with config.split.protocol=cold_items",
    )
    parser.add_argument(
        "--unknown",
        type=arguments.comma_list,
        default=[],
        help=f"any of {', '.join(unknown_lib.TITLES)}, with commas: rank the labels again with the "
        "moment of asking unknown, all times absent, ratings absent; each takes as long as the "
        "first time",
    )
    parser.add_switch("--by_since", "metrics by the time since the user's latest activity, too")
    parser.add_argument("--json", help="write all metrics there, a JSON object a line")
    parser.add_config("the file that the runs' own encoders or losses are from")
    parser.add_overrides("fields of the runs' config.data, such as --config.data.path=DIR")
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    if not given.workdir:
        raise ConfigError("Which run? Name its folder; see --help.")
    for flag, values, known in (
        ("quantization", given.quantization, QUANTIZATIONS),
        ("unknown", given.unknown, unknown_lib.TITLES),
    ):
        for value in values:
            if value not in known:
                raise ConfigError(f"--{flag} has {value!r}; use {', '.join(known)}.")
    for path in given.overrides:
        if not path.startswith("data."):
            raise ConfigError(f"config.{path} is the run's own; config.data alone can be given.")
    runs = [Workdir(folder) for folder in dict.fromkeys(given.workdir)]
    ks = set.intersection(*(set(run.read_config().evaluation.ks) for run in runs))
    k = 10 if 10 in ks else max(ks, default=10)  # of few items there is no 10
    names = [name.replace("@10", f"@{k}") for name in _METRICS]
    blocks = [list(_rows(run, given)) for run in runs]
    groups = collections.defaultdict(list)
    for run, block in zip(runs, blocks, strict=True):
        groups[_setting(run)].append(block)
    blocks += [over_seeds(own) for own in groups.values() if len(own) > 1]
    rows = [row for block in blocks for row in block]
    print("\n".join(_table(rows, names)))
    if any(row["recipe"] != _JAX and not row["published"] for row in rows):
        print("* not published: the description that an export carries adds some 700 bytes")
    if given.by_since:
        for block in blocks:
            print("\n".join(_by_since(block, names[2:])))
    if given.json:
        with write_errors_as(ConfigError, Path(given.json), "use another --json"):
            write_jsonl(Path(given.json), rows)


# ---- measuring ------------------------------------------------------------------------------


def _rows(workdir: Workdir, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the float32 model's row, then one for each recipe and what is unknown to it.

    A row has what --json writes: `run`, `folder`, `recipe`, `bytes`, `published`, `split`,
    `protocol`, `asked` (see `ModelSpec.asked`), `unknown` ('' or what the contexts leave unknown),
    `labels`, `metrics` and `by_since` (a list of `part`, `labels` and `metrics`).
    """
    config = workdir.read_config()
    if given.config:
        loading.execute_own(given.config, config.code)
    paths.override(config, given.overrides)
    dataset, split = prepare(config), given.split
    if split == "cold" and not len(dataset.split.cold):
        raise ConfigError(
            f"--split is cold, but {workdir.path} was trained with config.split.protocol="
            f"{config.split.protocol}, which has no cold items; use validation or test."
        )
    found = file_ranks.of_run(workdir, dataset, given.quantization, [split], given.unknown)
    for what in given.unknown:
        if not unknown_lib.concerns(what, dataset.spec.inputs):
            print(f"{workdir.path.name}: no input tells of --unknown={what}, so it is left out")
    common = _described(workdir, dataset, split)
    yield {
        **common,
        "recipe": _JAX,
        "bytes": None,
        "published": False,
        "unknown": "",
        "metrics": _of_model(workdir, split),
        "by_since": [],
    }
    for file in found:
        parts = file.by_since.get(split, [])
        yield {
            **common,
            "recipe": file.recipe,
            "bytes": file.bytes,
            "published": file.published,
            "unknown": file.unknown,
            "metrics": file.metrics.get(split, {}),
            "by_since": [{"part": p.name, "labels": p.labels, "metrics": p.metrics} for p in parts],
        }


def _described(workdir: Workdir, dataset: Dataset, split: str) -> dict[str, Any]:
    return {
        "run": workdir.path.name,
        "folder": str(workdir.path),
        "split": split,
        "protocol": dataset.split.protocol,
        "asked": dataset.spec.asked,
        "labels": len(getattr(dataset.split, split)),
    }


def _of_model(workdir: Workdir, split: str) -> Mapping[str, Any]:
    """Metrics of the best checkpoint in metrics.jsonl, which is the one that was tested."""
    logged = workdir.read_metrics()
    best = [row["step"] for row in logged if row["split"] == "test"][-1:]
    found = [row["metrics"] for row in logged if row["split"] == split and row["step"] in best]
    return found[-1] if found else {}


def _setting(workdir: Workdir) -> str:
    """The run's config without its name, seed and places."""
    config = without_places(json.loads(config_lib.to_json(workdir.read_config())))
    return json.dumps({name: config[name] for name in config.keys() - {"name", "seed"}})


def over_seeds(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The means of runs that differ in their seed alone.

    Args:
      runs: each run's rows; those of one recipe with the same unknown go together.

    Returns:
      Rows like those of a run, with `deviations` beside each `metrics`: of the sample, by name.
    """
    alike = collections.defaultdict(list)
    for row in (row for rows in runs for row in rows):
        alike[row["recipe"], row["unknown"]].append(row)
    return [
        {
            **own[0],
            "run": f"mean of {len(own)} seeds",
            "folder": "",
            **_means([row["metrics"] for row in own]),
            "by_since": [
                {**parts[0], **_means([part["metrics"] for part in parts])}
                for parts in zip(*(row["by_since"] for row in own), strict=True)
            ],
        }
        for own in alike.values()
        if len(own) > 1
    ]


def _means(of_runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    names = [name for name in of_runs[0] if all(name in metrics for metrics in of_runs)]
    found = {n: statistics.over_seeds([metrics[n] for metrics in of_runs]) for n in names}
    return {
        "metrics": {name: own.mean for name, own in found.items()},
        "deviations": {name: own.deviation or 0.0 for name, own in found.items()},
    }


# ---- tables ---------------------------------------------------------------------------------


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """One line a row; a column says what was known, where a model knows more than some other."""
    says = any(row["asked"] or row["unknown"] for row in rows)
    lines = [("run", "recipe", "bytes", *["known"] * says, *names)]
    for row in rows:
        size = "-" if row["bytes"] is None else f"{row['bytes']:,}{'' if row['published'] else '*'}"
        figures = _figures(row, names)
        lines.append((row["run"], row["recipe"], size, *[_known(row)] * says, *figures))
    return aligned(lines, left=2)


def _by_since(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """The metrics of one run's files by the time since the latest activity, labels first."""
    files = [row for row in rows if row["by_since"]]
    run = rows[0]["run"]
    if not files:
        return [f"\n{run}: its times are no moments, so nothing is known of the time since"]
    parts = files[0]["by_since"]
    lines = [("recipe", "known", *(part["part"] for part in parts))]
    lines.append(("labels", "", *(f"{part['labels']:,}" for part in parts)))
    for row in files:
        figures = [" / ".join(_figures(part, names)) for part in row["by_since"]]
        lines.append((row["recipe"], _known(row), *figures))
    title = f"{run}: {' / '.join(names)} by the time since the user's latest activity"
    return ["", title, *aligned(lines, left=2)]


def _known(row: Mapping[str, Any]) -> str:
    """What the model was told."""
    asked = f"asked {row['asked']}" if row["asked"] else "-"
    return unknown_lib.TITLES.get(row["unknown"], asked)


def _figures(measured: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The metrics of a row or part; ± the deviation between seeds, of several."""
    metrics, deviations = measured["metrics"], measured.get("deviations", {})
    return [
        f"{metrics[name]:.4f}{f' ± {deviations[name]:.4f}' if name in deviations else ''}"
        if name in metrics
        else "-"
        for name in names
    ]


if __name__ == "__main__":
    sys.exit(main())
