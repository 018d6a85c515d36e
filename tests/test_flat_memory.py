"""What is called again and again takes no more memory: recommendations, loading, exports."""

import gc
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import flaxrec
from flaxrec.recommender import Recommender
from tests.support.exports import require_export
from tests.support.places import ROOT

RUN = ROOT / "tests/compatibility/version_0_1_0/run"
EXPORTS = 30

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells it there"),
]


def resident() -> float:
    """MB of memory that the process holds."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_10_000_recommendations():
    recommender, drawn = Recommender.load(RUN / "export"), random.Random(0)
    ids = [item["id"] for item in recommender.items.values()]

    def ask(count: int) -> None:
        for _ in range(count):
            recommender.recommend(drawn.choices(ids, k=20))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, [100] * 8))
        before = resident()
        ask(10_000)
        list(pool.map(ask, [1_250] * 8))
    assert resident() - before < 1


def test_130_recommenders():
    def load(count: int) -> None:
        for _ in range(count):
            Recommender.load(RUN / "export").recommend([])

    load(30)
    before = resident()
    load(100)
    assert resident() - before < 2


def test_30_exports(tmp_path):
    require_export()
    shutil.copytree(RUN, tmp_path / "run")
    held = []
    for _ in range(EXPORTS):
        flaxrec.export(tmp_path / "run", tmp_path / "export", say=lambda line: None)
        held.append(resident())
    assert max(held[EXPORTS // 3 :]) < 1.03 * max(held[1 : EXPORTS // 3])
