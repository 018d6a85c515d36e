"""Exports and pages that the browser tests share."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.demo import content, litertjs, page, serve
from flaxrec.recommender import Recommendation, Recommender
from flaxrec.tflite import flatbuffer, quantize
from flaxrec.tflite.metadata import write_metadata
from flaxrec.training.workdir import Workdir
from tests.support.browsers import do
from tests.support.exports import exported

RATINGS = ("1", "2", "3", "4", "5", "")


def float_run(tmp_path_factory) -> Workdir:
    """A tiny CNN over ids, genres, years and ratings."""
    return exported(tmp_path_factory, "cnn_combined")


def int8_of(export: Path, folder: Path) -> Path:
    """The same export with its weights in 8 bits."""
    shutil.copytree(export, folder, ignore=shutil.ignore_patterns("saved_model"))
    small = quantize.quantize((export / "model.tflite").read_bytes(), "int8")
    (folder / "model.tflite").write_bytes(flatbuffer.finish(small))
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["quantization"] = {"recipe": "int8"}
    write_metadata(folder, metadata)
    return folder


def write(file: Path, exports: Sequence[Path], litert: litertjs.Runtime) -> str:
    """Writes a page; its address on the disk."""
    file.write_text(page.build(content.collect(exports), litert), encoding="utf-8")
    return file.as_uri()


@contextlib.contextmanager
def served(file: Path) -> Iterator[str]:
    """The page by --serve's server; its address."""
    with serve.server(file.read_text(encoding="utf-8")) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield serve.address(server)
        finally:
            server.shutdown()
            thread.join()


def histories(recommender: Recommender, count: int, seed: int = 0) -> list[list[dict]]:
    """Random histories of 1 to 14 items with ratings, as the page takes them."""
    rng = np.random.default_rng(seed)
    ids = list(recommender.items)
    drawn = []
    for _ in range(count):
        items = rng.choice(ids, rng.integers(1, 15), replace=False)
        drawn.append([{"item": str(i), "values": {"rating": rng.choice(RATINGS)}} for i in items])
    return json.loads(json.dumps(drawn))


def expected(recommender: Recommender, history: list[dict]) -> list[Recommendation]:
    """What Python recommends after such a history."""
    activities = [
        {"item": pick["item"], **{k: v for k, v in pick.get("values", {}).items() if v}}
        for pick in history
    ]
    return recommender.recommend(activities, 10)


# Cards as they are seen, after setPicks(history) for each of `given`.
READ_CARDS = """
  const read = () => [...document.querySelectorAll("#cards > li:not(.free)")].map((card) => ({
    id: card.dataset.id, score: Number(card.dataset.score),
    rank: card.querySelector(".rank").textContent, text: card.querySelector(".name").title,
  }));
"""
ALL_CARDS = (
    READ_CARDS
    + """
  const seen = [];
  for (const history of given) { await flaxrecDemo.setPicks(history); seen.push(read()); }
  return seen;
"""
)


def assert_cards(cards: list[dict], recommended: list[Recommendation], tolerance=1e-5) -> None:
    """Cards equal a list: at every place the same item, or another with that score."""
    assert [card["rank"] for card in cards] == [str(i + 1) for i in range(len(recommended))]
    assert len({card["id"] for card in cards}) == len(cards)
    for card, r in zip(cards, recommended, strict=True):
        assert abs(card["score"] - r.score) <= tolerance
        if card["id"] == str(r.item):
            assert card["text"] == (r.title or str(r.item))
    same = [card["id"] == str(r.item) for card, r in zip(cards, recommended, strict=True)]
    # Ties may stand in another order; with these models they are rare.
    assert sum(same) >= len(same) - 2


# ---- what is seen of a page -----------------------------------------------------------------


def cards(driver: Any) -> list[dict]:
    """The cards in their order."""
    return do(driver, READ_CARDS + "return read();")


def pick_ids(driver: Any) -> list[str]:
    """Ids of the picks in their order."""
    return do(driver, "return [...document.querySelectorAll('#picks > li')].map(p => p.dataset.id)")


def some_ids(driver: Any, count: int) -> list[str]:
    """Ids of the first cards."""
    return [card["id"] for card in cards(driver)][:count]


def figure(driver: Any, name: str) -> str:
    """A figure of the panel."""
    where = f"[data-figure='{name}'] .value"
    return do(driver, "return document.querySelector(given[0]).textContent", where)
