"""Starters side by side, for docs/starters.md."""

from collections.abc import Iterable
from typing import Any

from flaxrec.starters import card
from flaxrec.starters.card import NOT_MEASURED
from flaxrec.starters.folder import Starter

_HEAD = (
    "starter", "encoder", "inputs", "context", "bytes", "HR@10", "NDCG@10", "HR@10, unfiltered",
    "latency",
)  # fmt: skip


def render(starters: Iterable[Starter]) -> str:
    """A row a starter, in Markdown."""
    return "\n".join(card.markdown(_HEAD, map(_row, starters)))


def _row(starter: Starter) -> list[str]:
    figures, size = starter.figures, card.size(starter.figures)
    latency = (figures["file"] or {}).get("latency")
    return [
        f"[`{figures['name']}`](../models/{figures['name']}/card.md)",
        card.encoder(starter.config),
        card.inputs(starter.spec),
        str(starter.config.model.context_length),
        NOT_MEASURED if size is None else f"{size:,}",
        _mean(figures, "filtered/recall@10"),
        _mean(figures, "filtered/ndcg@10"),
        _mean(figures, "recall@10"),
        f"{latency['ratio']:.2f}" if latency else NOT_MEASURED,
    ]


def _mean(figures: dict[str, Any], metric: str) -> str:
    found = figures["metrics"][metric]
    return f"{found['mean']:.4f} ± {found['deviation']:.4f}"
