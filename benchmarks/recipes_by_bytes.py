"""Measures and draws what every recipe loses, against the bytes of its file.

    python benchmarks/recipes_by_bytes.py NAME=RUN [NAME=RUN ...] --rows=FILE.jsonl
        [--labels=10000] [--output=docs/images/recipes_by_bytes.png]

Each run's best checkpoint is exported in every recipe, and each file is run on the validation
labels that the run kept, one context a call. The picture shows the relative loss of recall@10 and
its 95% interval (paired bootstrap over labels). Rows that FILE.jsonl has are not measured again.
"""

import argparse
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from flaxrec.errors import ExportError
from flaxrec.exporting import choice, file_ranks, judge
from flaxrec.files import read_jsonl, write_jsonl
from flaxrec.tflite.quantize import RECIPES
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "recipes_by_bytes.png"


def measure(name: str, folder: str, most: int, rows: Path) -> None:
    """Adds the rows of a run that are missing."""
    workdir = Workdir(folder)
    judged = RunAssets(workdir.assets).judged()["validation"]
    contexts = {key: values[:most] for key, values in judged.contexts.items()}
    labels, candidates = judged.labels[:most], range(2**31)
    found = read_jsonl(rows) if rows.exists() else []
    done = {(row["data"], row["recipe"]) for row in found}
    plain = file_ranks.made(workdir, ["none"], workdir.read_config().export)["none"]
    before = judge.hits(judge.run(plain, contexts, candidates).ids, labels, 10)
    for recipe in RECIPES:
        if (name, recipe) in done:
            continue
        try:
            content = choice.quantized(plain, recipe)
        except ExportError as error:
            print(f"{name} {recipe}: {error}")
            continue
        after = judge.hits(judge.run(content, contexts, candidates).ids, labels, 10)
        low, high = judge.loss_interval(before, after)
        row = {"data": name, "recipe": recipe, "bytes": len(content), "float": len(plain)}
        row |= {"labels": len(labels), "recall": float(after.mean()), "base": float(before.mean())}
        row |= {"loss": judge.relative_loss(before, after), "lo": low, "hi": high}
        found.append(row)
        write_jsonl(rows, found)
        print(row, flush=True)


def draw(rows: list[dict], output: Path) -> None:
    """One panel a data set: loss in percent by the file's share of float32's bytes."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    figure = Figure(figsize=(3.2 * len(names), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        for row in (row for row in rows if row["data"] == name):
            loss, share = 100 * row["loss"], row["bytes"] / row["float"]
            color = "tab:orange" if row["recipe"].startswith("pq") else "tab:blue"
            error = [[loss - 100 * row["lo"]], [100 * row["hi"] - loss]]
            axis.errorbar(share, loss, error, fmt="o", ms=4, lw=1, color=color)
            where = {"textcoords": "offset points", "xytext": (4, 3), "fontsize": 7}
            axis.annotate(row["recipe"], (share, loss), **where)
        axis.axhline(0, color="0.7", lw=0.8, zorder=0)
        axis.set(title=name, xlabel="bytes of the file, of float32's")
        axis.set_xlim(0, 0.62)
    axes[0].set_ylabel("relative loss of recall@10, %")
    figure.savefig(output, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="NAME=RUN")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    for run in given.runs:
        measure(*run.split("=", 1), given.labels, given.rows)
    draw(read_jsonl(given.rows), given.output)


if __name__ == "__main__":
    main()
