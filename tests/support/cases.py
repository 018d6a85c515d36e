"""Histories for the guides' code, and what the Recommender answers to them."""

from pathlib import Path
from typing import Any

import numpy as np

from flaxrec import Recommender

NUMBER = 50


def make_cases(recommender: Recommender, folder: Path) -> list[dict[str, Any]]:
    """Histories of 0 to 14 items, some unknown, with what the model reads of events and users."""
    rng = np.random.default_rng(7)
    known = {
        spec["source"].removeprefix("user."): (folder / spec["vocabulary"]).read_text().split()[1:]
        for spec in recommender.inputs
        if spec["source"].startswith("user.")
    }
    ids = [item["id"] for item in recommender.items.values()]
    cases = []
    for n in range(NUMBER):
        activities: list[dict[str, Any]] = [
            {"item": ids[i], "rating": int(rng.integers(1, 6)), "gap": int(rng.integers(-1, 9))}
            for i in rng.integers(0, len(ids), n % 15)
        ]
        if activities and n % 7 == 3:
            activities[0] = {"item": "no such item"}
        user = {name: str(rng.choice([*entries, "?"])) for name, entries in known.items()}
        cases.append({"history": activities, "user": user if n % 5 else {}})
    return cases


def assert_answers(recommender: Recommender, cases: list[dict], answers: list[list[tuple]]) -> None:
    """Answers of (item, title, score) are the Recommender's; equal scores may change places."""
    assert len(answers) == len(cases)
    for case, answer in zip(cases, answers, strict=True):
        expected = recommender.recommend(case["history"], 10, user=case["user"])
        np.testing.assert_allclose([a[2] for a in answer], [r.score for r in expected], atol=1e-5)
        for mine, (item, title, score) in zip(expected, answer, strict=True):
            near = {r.item for r in expected if abs(r.score - score) < 1e-5}
            assert item == mine.item or item in near or mine is expected[-1]
            assert title == (recommender.items[str(item)].get("title") or "")
