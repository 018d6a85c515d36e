"""The page knows when its picks were clicked, and what time it is."""

import json
import re
import shutil

import pytest

from flaxrec.recommender import Recommender
from flaxrec.tflite.metadata import write_metadata
from tests.support import browsers, demo_pages
from tests.support.browsers import do, visit
from tests.support.demo_pages import assert_cards, cards, some_ids

NOON = 1_699_963_200  # 14 November 2023, 12:00 in UTC
TIMES = [NOON - 86_400, NOON - 7, NOON - 3]
# Clicks are so many seconds ago; the page shows the tensors of another call.
BEFORE = 'const before = document.querySelector("#tensors").textContent;'
EARLIER = BEFORE + "Date.now = () => new Date().getTime() - 1000 * given[0];"
CHANGED = """
  const wait = () => new Promise((resolve) => setTimeout(resolve, 5));
  while (document.querySelector("#tensors").textContent === before) await wait();
"""


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """The tiny model, with the times to the next activities in the place of ratings."""
    folder = tmp_path_factory.mktemp("timed") / "export"
    shutil.copytree(run.export, folder, ignore=shutil.ignore_patterns("saved_model"))
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    (rating,) = [spec for spec in metadata["inputs"] if spec["source"] == "event.rating"]
    rating["source"] = "event.gap_after"
    write_metadata(folder, metadata)
    return folder


@pytest.fixture
def driver(browser, folder, tmp_path):
    browsers.errors(browser)
    visit(browser, demo_pages.write(tmp_path / "page.html", [folder], browsers.litert()))
    yield browser
    assert browsers.errors(browser) == []


def gaps(driver) -> list[float]:
    """The input as the page shows it, without padding."""
    text = do(driver, "return document.querySelector('#tensors').textContent")
    (values,) = re.findall(r"context_rating  float32\[10\]\n  \[(.*?)\]", text)
    found = [float(value) for value in values.split(", ")]
    picks = do(driver, "return document.querySelectorAll('#picks > li').length")
    assert not any(found[picks:])
    return found[:picks]


def test_times_of_picks_and_of_asking(driver, folder):
    """A shown history has its own; those of clicks are the clock's, in the order of the list."""
    recommender = Recommender(folder)
    ids = some_ids(driver, 3)
    history = [{"item": item, "time": time} for item, time in zip(ids, TIMES, strict=True)]
    do(driver, "await flaxrecDemo.setPicks(given[0], given[1])", history, NOON)
    assert gaps(driver) == [16, 2, 2]
    assert_cards(cards(driver), recommender.recommend(history, 10, now=NOON))
    assert not do(driver, "return document.querySelectorAll('#picks select, #picks input').length")
    do(driver, BEFORE + "document.querySelector('#picks .remove').click();" + CHANGED)
    assert gaps(driver) == [2, 2]  # still asked at its own moment

    # Now a pick of 4000 seconds ago, and a click of 50 seconds ago.
    do(driver, EARLIER + "await flaxrecDemo.setPicks([given[1]])", 4000, ids[0])
    assert gaps(driver) == [11]
    add = "document.querySelector('#cards button').click();"
    do(driver, EARLIER + add + CHANGED, 50)
    assert gaps(driver) == [11, 5]
    down = "new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true })"
    move = f"document.querySelector('#picks .handle').dispatchEvent({down});"
    do(driver, EARLIER + move + CHANGED, 0)
    assert gaps(driver) == [11, 5]  # the items change places, the times do not
