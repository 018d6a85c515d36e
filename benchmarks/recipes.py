"""The study behind config.recipe=by_data (docs/recipe.md): data sets x recipes x seeds.

python benchmarks/recipes.py --output=ROWS.jsonl --workdir=DIR [--recipes=rule,short,long]
    [--seeds=0,1,2] NAME=PATH [NAME=PATH ...] [--config.SECTION.FIELD=VALUE ...]

Every data set is trained by `configs/own_table.py` with its path and nothing else (or the fields
that are given, for all of them). 'rule' is what the account chooses; 'short' and 'long' force one
of its two model families. A row has the metrics of the exported file on test, those of the model on
validation, the best baselines, CPU seconds and bytes. A row that is there is not made again.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from flaxrec.config import loading
from flaxrec.data import recipe
from flaxrec.data.dataset import prepare
from flaxrec.devices import keep_freed_memory
from flaxrec.exporting import bundle, file_ranks
from flaxrec.files import read_jsonl
from flaxrec.train_main import train
from flaxrec.training.workdir import Workdir

FORCED = {"rule": recipe.LONG, "short": float("inf"), "long": 0.0}


def main(arguments: list[str]) -> None:
    """Runs what has no row yet."""
    keep_freed_memory()
    flags = dict(a.removeprefix("--").split("=", 1) for a in arguments if a.startswith("--"))
    data = dict(a.split("=", 1) for a in arguments if not a.startswith("--"))
    output, folder = Path(flags.pop("output")), Path(flags.pop("workdir"))
    recipes = flags.pop("recipes", "rule").split(",")
    seeds = [int(seed) for seed in flags.pop("seeds", "0").split(",")]
    fields = {name.removeprefix("config."): value for name, value in flags.items()}
    done = read_jsonl(output) if output.exists() else []
    for name, path in data.items():
        for kind in recipes:
            for seed in seeds:
                what = {"data": name, "recipe": kind, "seed": seed}
                if any(what.items() <= row.items() for row in done):
                    continue
                given = fields | {"data.path": path, "seed": str(seed)}
                row = what | run(kind, given, folder / f"{name}-{kind}-{seed}")
                with output.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def run(kind: str, fields: dict[str, str], folder: Path) -> dict[str, Any]:
    """Trains, exports and ranks once; the run folder is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    recipe.LONG = recipe.DENSE = FORCED[kind]
    if kind == "rule":
        recipe.LONG, recipe.DENSE = LIMITS
    config = loading.load_config("own_table", fields)
    begin = time.process_time()
    result = train(config, folder)
    seconds = time.process_time() - begin
    workdir = Workdir(folder)
    made = bundle.export(workdir)
    resolved = workdir.read_config()
    dataset = prepare(resolved)
    (file,) = file_ranks.of_run(workdir, dataset, splits=("test",))
    metric = resolved.train.select_metric
    rows = [row for row in workdir.read_metrics() if row["split"] == "validation"]
    names = [metric, metric.replace("ndcg", "recall")]
    return {
        "metric": metric,
        "test": {n: file.metrics["test"][n] for n in names},
        "validation": max(row["metrics"][metric] for row in rows),
        "baselines": {b: of["test"][metric] for b, of in result.baselines.items()},
        "encoder": resolved.model.activity_groups[0].encoder,
        "cpu_seconds": round(seconds),
        "bytes": made.bytes,
    }


LIMITS = recipe.LONG, recipe.DENSE

if __name__ == "__main__":
    main(sys.argv[1:])
