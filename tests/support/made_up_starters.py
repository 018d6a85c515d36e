"""A made-up MovieLens folder, starters with random weights, and a sweep's rows around one run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.config import Config, DataConfig
from flaxrec.config.presets import example_network, gap_after
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.data.sources import synthetic
from flaxrec.starters.folder import Starter
from tests.support.builders import random_model

USERS, ITEMS, EVENTS = 60, 80, 20
BY_SEED = (0.30, 0.31, 0.35)  # of a metric: mean 0.32
METRICS = ("filtered/recall@10", "filtered/ndcg@10", "recall@10", "ndcg@10")


def write_movielens(folder: Path, seed: int = 0) -> Path:
    """Generated data in the files of MovieLens-1M; titles in them are invented."""
    data = synthetic.generate(USERS, ITEMS, EVENTS, seed)
    folder.mkdir(parents=True)
    events = data.events.select("user", "item", "rating", "time").rows()
    items = data.items.select("item", "title", "genres").rows()
    lines = {
        "ratings.dat": [f"{u}::{i}::{int(r)}::{t}" for u, i, r, t in events],
        "movies.dat": [f"{i}::{title}::{'|'.join(genres)}" for i, title, genres in items],
        "users.dat": [f"{u}::F::25::3::01234" for u in range(1, USERS + 1)],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="latin-1")
    return folder


def config_of(inputs: str, path: str = "") -> Config:
    """A small model on a MovieLens folder; 'id_time' knows the moment of asking."""
    config = example_network("bow", f"{inputs.removesuffix('_time')},smoke")
    if inputs.endswith("_time"):
        config.model.activity_groups[0].features.append(gap_after())
    config.name = "recipe"
    config.data = DataConfig(source="movielens", path=path)
    config.model.context_length = 6
    for group in config.model.activity_groups:
        for feature in group.features:
            feature.embedding_dim = 4
            feature.length = 9 if feature.source == "item.genres" else 0
    config.export.top_k, config.export.verification_contexts = 10, 30
    config.export.quantization = "float16"
    return config


def starter(inputs: str, data: Path) -> tuple[Starter, Dataset]:
    """A starter with random weights, and the data that it claims to be trained on."""
    dataset = prepare(config_of(inputs, str(data)))
    config = dataclasses.replace(config_of(inputs), name=f"tiny_{inputs}")
    _, params = random_model(config, dataset.spec)
    weights = {name: np.asarray(value).astype(np.float16) for name, value in params.items()}
    vocabularies = dataset.timelines.vocabularies
    return Starter(config, dataset.spec, weights, vocabularies, facts(config.name)), dataset


def facts(name: str, **changes: Any) -> dict[str, Any]:
    """As `pack.facts_of` makes them, every number another."""
    summary = {"seeds": list(BY_SEED), "mean": 0.32, "deviation": 0.02646, "next_run": [0.19, 0.45]}
    metrics = {}
    for number, metric in enumerate(METRICS):
        metrics[metric] = {k: _shifted(v, number / 1000) for k, v in summary.items()}
    return {
        "parameters": 1234,
        "name": name,
        "protocol": "leave_one_out",
        "labels": {"labels": 5432, "repeated_share": 0.0123, "without_training_event": 17},
        "seeds": [0, 1, 2],
        "measured_on": "exported",
        "recipe": "float16",
        "bytes": 363_636,
        "metrics": metrics,
        "trained": {metric: found["seeds"][0] for metric, found in metrics.items()},
        "step": 77,
        "epochs": [11, 13, 12],
        "training": {
            "device": "an abacus",
            "seconds": 630.0,
            "side_by_side": 1,
            "revision": "abc123",
            "versions": {"jax": "9.8.7"},
        },
        "file": None,
    } | changes


def _shifted(value: Any, by: float) -> Any:
    return [v + by for v in value] if isinstance(value, list) else value + by


# ---- a sweep --------------------------------------------------------------------------------


def write_rows(sweep: Path, name: str, config: Config, exported: bool = True, **changes) -> None:
    """results.jsonl of three seeds, of which seed 0 has a folder."""
    rows = [row_of(name, config, seed, exported) | changes for seed in (2, 0, 1)]
    with open(sweep / "results.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def row_of(name: str, config: Config, seed: int, exported: bool = True) -> dict[str, Any]:
    """What a sweep notes of a run; the model's own metrics are 0.1 above the exported file's."""
    values = dict.fromkeys(METRICS, BY_SEED[seed])
    row: dict[str, Any] = {
        "run": f"starter={name},seed={seed}",
        "kind": "trained",
        "axes": {"starter": name},
        "seed": seed,
        "folder": f"runs/starter={name},seed={seed}",
        "protocol": "leave_one_out",
        "status": "finished",
        "reason": "",
        "metrics": {"test": {metric: value + 0.1 for metric, value in values.items()}},
        "labels": {"labels": USERS, "repeated_share": 0.0, "without_training_event": 1},
        "best_step": 40 + seed,
        "best_epoch": 4 + seed,
        "wall_seconds": 60.0 * (1 + seed),
        "side_by_side": 1,
        "export_bytes": 2000 + seed,
        "config": dataclasses.asdict(dataclasses.replace(config, seed=seed)),
        "device": "cpu",
        "git": {"revision": "abc123", "dirty": False},
        "versions": {"jax": "9.8.7"},
    }
    if exported:
        row["exported"] = {"bytes": 1000 + seed, "recipe": "int8", "metrics": values}
    return row
