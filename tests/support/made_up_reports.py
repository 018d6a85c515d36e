"""Sweep folders without training: results.jsonl, per-label files and learning curves."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flaxrec.scoring import metrics

KS = (1, 5, 10, 20)
ENCODERS = {"bow": 0.0, "cnn": 0.25, "lstm": 0.4}
BASELINES = {"last item": -0.2, "popularity": -0.9}


@dataclasses.dataclass
class Size:
    """How much is made up."""

    users: int = 120
    items: int = 90
    labels: int = 1  # of each user
    protocol: str = "leave_one_out"
    data: str = "made-up"


def sweep(
    folder: Path,
    encoders: Iterable[str] = ENCODERS,
    lengths: Sequence[int] = (5, 10),
    seeds: int = 2,
    size: Size | None = None,
    **further: Any,
) -> list[dict[str, Any]]:
    """Writes a sweep over encoders and context lengths with two baselines; returns its rows."""
    size = size or Size()
    rows = []
    for encoder, length, seed in itertools.product(encoders, lengths, range(seeds)):
        axes = {"encoder": encoder, "context_length": length, **further}
        skill = ENCODERS[encoder] * (1 - np.exp(-length / 8)) + 0.12 * np.log2(length / 5 + 1)
        rows.append(trained(folder, axes, seed, skill, size, context_length=length))
    rows += [baseline(folder, name, skill, size) for name, skill in BASELINES.items()]
    write_rows(folder, rows)
    return rows


def write_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """results.jsonl."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "results.jsonl").write_text(text, encoding="utf-8")


def trained(
    folder: Path,
    axes: dict[str, Any],
    seed: int,
    skill: float,
    size: Size,
    context_length: int = 10,
    export_bytes: int | None = None,
) -> dict[str, Any]:
    """One run's folder and row; a greater skill ranks labels higher."""
    run = ",".join(f"{axis}={value}" for axis, value in {**axes, "seed": seed}.items())
    row = _row(folder, run, f"runs/{run}", axes, skill, seed, size)
    if export_bytes is None:
        export_bytes = 360_000 + 9_000 * list(ENCODERS).index(axes.get("encoder", "bow")) ** 2
        export_bytes += 400 * context_length
    row |= {"kind": "trained", "seed": seed, "best_step": 1200, "best_epoch": 3}
    row |= {"wall_seconds": 31.5 + seed, "examples_per_second": 1e5, "export_bytes": export_bytes}
    row["config"] = {
        "name": "made-up", "seed": seed, "data": {"source": "movielens", "path": str(folder)},
        "split": {"protocol": size.protocol},
        "model": {"context_length": context_length, "encoder": axes.get("encoder")},
        "train": {"select_metric": "filtered/ndcg@10"},
    }  # fmt: skip
    best = row["metrics"]["test"]["filtered/ndcg@10"]
    epochs = 9 + (seed + len(run)) % 4
    rng = np.random.default_rng([seed, len(run)])
    curve = best * (1.05 - np.exp(-np.arange(1, epochs + 1) / 2.5)) + rng.normal(0, 0.001, epochs)
    lines = [
        {"step": 400 * (epoch + 1), "epoch": epoch + 1, "split": "validation",
         "protocol": size.protocol, "metrics": {"filtered/ndcg@10": float(value)}}
        for epoch, value in enumerate(curve)
    ]  # fmt: skip
    path = folder / row["folder"] / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return row


def baseline(folder: Path, name: str, skill: float, size: Size) -> dict[str, Any]:
    """One baseline's folder and row."""
    axes = {"baseline": name, "data": f"{size.data} {size.protocol}"}
    run = f"baseline={name},data={size.data}-{size.protocol}"
    row = _row(folder, run, f"baselines/{size.protocol}/{name}", axes, skill, None, size)
    row["config"] = {"data": {"source": "movielens"}, "split": {"protocol": size.protocol}}
    return row | {"kind": "baseline", "export_bytes": None, "wall_seconds": 0.4}


def labels(skill: float, seed: int | None, size: Size) -> pl.DataFrame:
    """The per-label table of one run; the labels are the same for every skill and seed."""
    rng = np.random.default_rng(20)
    n = size.users * size.labels
    user = np.repeat(np.arange(1, size.users + 1), size.labels)
    history = np.concatenate(
        [np.sort(rng.choice(300, size.labels, replace=False)) + 3 for _ in range(size.users)]
    )
    item = np.minimum(rng.geometric(3 / size.items, n) - 1, size.items - 1)
    ease = rng.normal(size=size.users)[user - 1] + 0.8 * (size.items / 2 - item) / size.items
    noise = np.random.default_rng([seed or 0, int(1000 * (skill + 2))]).normal(0, 0.5, n)
    shift = 0.015 * np.random.default_rng([seed or 0, int(1000 * (skill + 2)), 1]).normal()
    loss = np.log(size.items) * 0.6 - 1.3 * (ease + skill + noise + shift)
    rank = np.floor(np.minimum(np.exp(loss), 0.75 * size.items))
    later = rng.integers(0, 9, n) if size.protocol == "random" else np.zeros(n, int)
    draw = np.random.default_rng([seed or 0, 7]).random((n, 10)) ** (2.5 - skill)
    top = np.floor(draw * (size.items - 10)) + np.arange(10)
    return pl.DataFrame(
        {
            "user": user,
            "history": history.astype(np.int32),
            "item": item + 100,
            "item_count": _counts(size)[item],
            "later_in_training": later.astype(np.int32),
            "rank": np.floor(rank * 1.3).astype(np.float32),
            "filtered_rank": rank.astype(np.float32),
            "loss": pl.Series([None] * n if seed is None else loss, dtype=pl.Float32),
            "top": pl.Series(top.astype(np.int32).tolist(), dtype=pl.List(pl.Int32)),
        }
    )


def _row(
    folder: Path,
    run: str,
    place: str,
    axes: dict[str, Any],
    skill: float,
    seed: int | None,
    size: Size,
) -> dict[str, Any]:
    per_label = folder / place / "per_label"
    per_label.mkdir(parents=True)
    table = labels(skill, seed, size)
    table.write_parquet(per_label / "test.parquet")
    candidates = np.arange(size.items, dtype=np.int32)
    items = {"candidate": candidates, "item": candidates + 100, "count": _counts(size)}
    pl.DataFrame(items).write_parquet(per_label / "items.parquet")
    means = metrics.from_ranks(table["rank"].to_numpy(), KS)
    means |= metrics.from_ranks(table["filtered_rank"].to_numpy(), KS, "filtered/")
    return {
        "run": run, "axes": axes, "seed": None, "status": "finished", "reason": "",
        "folder": place, "protocol": size.protocol, "data": f"{size.data} {size.protocol}",
        "metrics": {"test": means}, "labels": {"labels": len(table)}, "side_by_side": 1,
        "device": "cpu", "git": {"revision": "0123456789abcdef", "dirty": False},
        "versions": {"jax": "0"}, "config_sha256": "0",
    }  # fmt: skip


def _counts(size: Size) -> np.ndarray:
    return (600 / (1 + np.arange(size.items)) ** 0.8).astype(np.int32)
