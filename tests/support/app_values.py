"""An export folder made by hand, and values as apps have them with the numbers they stand for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec import recommender as recommender_lib
from flaxrec.recommender import Recommender
from tools import make_device_vectors as vectors
from tools.make_device_vectors import BIG, CASES, ITEMS, VOCABULARIES

__all__ = ["BIG", "CASES", "ITEMS", "VOCABULARIES", "activities", "load", "write_export", "wrong"]


def write_export(folder: Path, items: Sequence[dict[str, Any]] = ITEMS) -> None:
    """The folder without a model; its inputs are one item's id and brand, and those of `CASES`."""
    vectors.write_folder(folder, vectors.values_folder(items))


def load(folder: Path, monkeypatch) -> Recommender:
    """The folder's Recommender, with a model that ranks the items in their order."""
    count = len((folder / "items.jsonl").read_text(encoding="utf-8").splitlines())
    ids = np.arange(1, count + 1, dtype=np.int32)
    answer = {"top_prediction_ids": ids, "top_prediction_scores": 1 / (1 + ids)}
    monkeypatch.setattr(recommender_lib, "_model", lambda export: lambda inputs: answer)
    return Recommender(folder)


def activities() -> list[dict[str, Any]]:
    """One activity for each case."""
    return [{"item": str(BIG), name: value} for name, value, _ in CASES]


def wrong(found: list[float]) -> list[str]:
    """The cases whose number is another."""
    of_each = zip(CASES, found, strict=True)
    return [f"{case}: {number}" for case, number in of_each if number != case[2]]
