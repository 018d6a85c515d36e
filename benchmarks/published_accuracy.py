"""Measures the TensorFlow example's published .tflite files under our own protocol.

    python benchmarks/published_accuracy.py FILE.tflite [FILE.tflite ...] [--movielens=DIR]

Ranks leave-one-out test labels of MovieLens-1M, unfiltered and with seen items left out. Candidates
are all rows of the files' tables (as they rank), or only the rated films (as in our models). The
files are models of ids only; their rows are MovieLens' own ids. They were trained on the same
ratings, test labels included. Every list that a file returns is compared with the imported model
whose logits are ranked; the RNN's state is reset before each.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec.config import DataConfig
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.exporting import ranked_lists, serving
from flaxrec.reference import published
from flaxrec.scoring import metrics
from flaxrec.terminal.text_tables import markdown

METRICS = ("recall@10", "ndcg@10", "filtered/recall@10", "filtered/ndcg@10")


def ranked(logits: np.ndarray, dataset: Dataset, positions: np.ndarray) -> dict[str, float]:
    """Ranks labels, events int32 [n], by logits float32 [n, C]; returns metrics by name.

    Logits are minus infinity for what is no candidate; the dataset's candidates are all rows.
    """
    timelines = dataset.timelines
    labels = timelines.item[positions]
    unseen = logits.copy()
    for row, position in enumerate(positions):
        earlier = timelines.item[timelines.offsets[timelines.user[position]] : position]
        unseen[row, earlier[earlier != labels[row]]] = -np.inf
    found: dict[str, float] = {}
    for prefix, scores in {"": logits, "filtered/": unseen}.items():
        rank = metrics.label_rank(jnp.asarray(scores), jnp.asarray(labels))
        found |= metrics.from_ranks(np.asarray(rank), (10,), prefix)
    return found


def measure(file: Path, movielens: str) -> list[list[str]]:
    """Measures a file; returns two table rows: with all rows and with rated films as candidates."""
    model, assets = published.load(file)
    data = DataConfig(source="movielens", path=movielens)
    dataset = prepare(dataclasses.replace(model.config, data=data))
    assert dataset.spec.candidates == model.spec.candidates, "rows are not MovieLens' ids"
    positions = dataset.split.test
    gather = jax.jit(contexts.gatherer(model.config, model.spec.inputs))
    sharding = jax.sharding.SingleDeviceSharding(serving.cpu())
    on_device = contexts.to_device(dataset.timelines, sharding)
    features = jax.device_get(gather(on_device, positions))
    logits = model.batch_logits(features)

    assert assets.original is not None
    equality = ranked_lists.compare(
        assets.original.run,
        features,
        logits,
        first_candidate=0,
        top_k=assets.original.top_k,
        tolerance=ranked_lists.IMPORT_TOLERANCE,
    )
    print(f"{file.name}: {equality.agree} of {equality.contexts} lists are the imported model's")

    rated = np.zeros(model.spec.candidates, bool)
    rated[dataset.timelines.item] = True
    best = np.argpartition(-logits, 10, axis=1)[:, :10]
    print(f"{file.name}: {1 - rated[best].mean():.1%} of its ten best are rows that nobody rated")
    size = f"{file.stat().st_size:,}"
    rows = []
    for name, candidates in {"rows": np.ones_like(rated), "rated films": rated}.items():
        found = ranked(np.where(candidates, logits, -np.inf), dataset, positions)
        what = f"{candidates.sum():,} {name}"
        rows.append([file.name, size, what, *(f"{found[metric]:.4f}" for metric in METRICS)])
    return rows


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="+", help="published .tflite")
    parser.add_argument("--movielens", default="", help="folder of MovieLens-1M; default: download")
    arguments = parser.parse_args()
    rows = [row for file in arguments.file for row in measure(Path(file), arguments.movielens)]
    print(markdown([["file", "bytes", "candidates", *METRICS], *rows]))


if __name__ == "__main__":
    main()
