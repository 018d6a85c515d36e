"""The page in Chromium: its cards are Python's answers, and it asks nobody else."""

import math
import shutil

import pytest

from flaxrec.demo import content, page
from flaxrec.files import write_jsonl
from flaxrec.recommender import Recommender
from flaxrec.tflite.metadata import write_metadata
from tests.support import browsers, demo_pages
from tests.support.browsers import SMALL, do, visit
from tests.support.demo_pages import cards, figure, pick_ids, some_ids
from tests.support.exports import exported

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="


def test_cards_equal_the_recommender_offline_from_disk(driver, recommender):
    made = demo_pages.histories(recommender, 50)
    browsers.requests(driver)  # the page itself
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        seen = do(driver, demo_pages.ALL_CARDS.replace("given", "given[0]", 1), made)
    finally:
        online = offline | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", online)
    for shown, history in zip(seen, made, strict=True):
        demo_pages.assert_cards(shown, demo_pages.expected(recommender, history))
        assert not {card["id"] for card in shown} & {pick["item"] for pick in history}
    assert browsers.requests(driver) == []
    assert figure(driver, "requests since load") == "0"


def test_served_on_a_phones_screen(browser, file, recommender):
    with demo_pages.served(file) as address:
        browsers.errors(browser)
        browsers.requests(browser)
        visit(browser, address, SMALL)
        assert browsers.requests(browser) == [address]
        for history in demo_pages.histories(recommender, 5, seed=1):
            do(browser, "await flaxrecDemo.setPicks(given[0])", history)
            demo_pages.assert_cards(cards(browser), demo_pages.expected(recommender, history))
        too_wide = "return document.documentElement.scrollWidth - innerWidth"
        assert do(browser, too_wide) <= 0
        assert browsers.requests(browser) == []
        assert browsers.errors(browser) == []


def test_the_page_may_connect_to_nothing(driver):
    refused = """
      const fetched = fetch("https://example.com/").then(() => "fetched", () => "refused");
      const loaded = new Promise((done) => {
        const image = new Image();
        image.onload = () => done("loaded");
        image.onerror = () => done("refused");
        image.src = "https://example.com/image.png";
      });
      return Promise.all([fetched, loaded]);
    """
    assert do(driver, refused) == ["refused", "refused"]
    assert len(browsers.errors(driver)) >= 2  # which the browser tells


def test_the_switch_runs_the_other_file(driver, run, int8, recommender):
    small = Recommender(int8)
    history = demo_pages.histories(recommender, 1, seed=2)[0]
    do(driver, "await flaxrecDemo.setPicks(given[0])", history)
    before = do(driver, "return document.querySelector('#tensors').textContent")
    labels = driver.find_elements("css selector", "#models label")
    assert "float32" in labels[0].text
    assert "int8" in labels[1].text
    labels[1].click()
    do(driver, "await flaxrecDemo.choose(1)")
    # An 8-bit product rounds its input as well, and not every processor in the same way.
    demo_pages.assert_cards(cards(driver), demo_pages.expected(small, history), tolerance=5e-3)
    size = (int8 / "model.tflite").stat().st_size
    assert figure(driver, "file") == f"{size / 1e6:.2f} MB"
    assert pick_ids(driver) == [pick["item"] for pick in history]
    after = do(driver, "return document.querySelector('#tensors').textContent")
    assert before.split("→")[0] == after.split("→")[0]  # the same input


def test_stale_answers_are_dropped(driver, recommender):
    first, last = demo_pages.histories(recommender, 2, seed=3)
    slow_first = """
      const { Model } = await import("demo/runtime.js");
      const run = Model.prototype.run;
      let calls = 0;
      const seen = [];
      Model.prototype.run = function (inputs) {
        const wait = calls++ ? 0 : 400;
        return run.call(this, inputs).then((list) => new Promise((r) => setTimeout(r, wait, list)));
      };
      const both = [flaxrecDemo.setPicks(given[0]), flaxrecDemo.setPicks(given[1])];
      await both[1]; seen.push(read());
      await both[0]; seen.push(read());
      Model.prototype.run = run;
      return seen;
    """
    for shown in do(driver, demo_pages.READ_CARDS + slow_first, first, last):
        demo_pages.assert_cards(shown, demo_pages.expected(recommender, last))


def test_clicks_faster_than_answers(driver, recommender):
    clicks = """
      const add = (place) => document.querySelectorAll("#cards .add")[place].click();
      for (const place of [0, 3, 3, 7, 9]) add(place);
      await new Promise((r) => setTimeout(r, 300));
      return read();
    """
    shown = do(driver, demo_pages.READ_CARDS + clicks)
    popular = list(recommender.items)
    assert pick_ids(driver) == [popular[place] for place in (0, 3, 7, 9)]
    history = [{"item": item} for item in pick_ids(driver)]
    demo_pages.assert_cards(shown, demo_pages.expected(recommender, history))


def test_bars_are_odds_relative_to_the_first(driver):
    logits = [3.0, 2.5, -1.0]
    scores = [1 / (1 + math.exp(-x)) for x in logits]
    code = 'const { relative } = await import("demo/ranking.js"); return relative(given[0])'
    found = do(driver, code, scores)
    assert found == pytest.approx([1, math.exp(-0.5), math.exp(-4)])
    assert do(driver, code, [1, 1, 0.5])[:2] == [1, 1]  # saturated: not told apart


FILL = """
  given[0].value = given[1];
  given[0].dispatchEvent(new Event("change"));
  await new Promise((r) => setTimeout(r, 200));
"""


def test_ratings_of_picks_are_asked_for(driver, recommender):
    items = [{"item": item} for item in some_ids(driver, 3)]
    do(driver, "await flaxrecDemo.setPicks(given[0])", items)
    before = cards(driver)
    for value in ("5", "1"):
        field = driver.find_elements("css selector", "#picks [data-field=rating]")[1]
        assert field.get_attribute("aria-label").startswith("rating of ")
        do(driver, FILL, field, value)
        items[1]["values"] = {"rating": value}
        demo_pages.assert_cards(cards(driver), demo_pages.expected(recommender, items))
    assert [c["score"] for c in cards(driver)] != [c["score"] for c in before]


def test_a_click_counts_that_leaves_a_field(browser, tmp_path_factory, tmp_path):
    """The field's own change must not exchange what is being clicked, nor lose the focus."""
    from selenium.webdriver.common.keys import Keys

    export = exported(tmp_path_factory, "bow_user").export
    visit(browser, demo_pages.write(tmp_path / "page.html", [export], browsers.litert()))
    do(browser, "await flaxrecDemo.setPicks(given[0])", (ids := some_ids(browser, 3)))
    field = browser.find_element("css selector", "#user [data-field]")
    field.send_keys("25")
    browser.find_elements("css selector", "#picks .remove")[1].click()
    assert pick_ids(browser) == [ids[0], ids[2]]
    field.send_keys("4", Keys.ENTER)
    assert do(browser, "return document.activeElement === given[0]", field)
    assert field.get_attribute("value") == "254"


def test_a_model_that_cannot_be_loaded_leaves_the_other(browser, run, int8, tmp_path):
    made = content.collect([run.export, int8])
    made.assets[made.models[1]["file"]] = b"no model any more"
    file = tmp_path / "page.html"
    file.write_text(page.build(made, browsers.litert()), encoding="utf-8")
    visit(browser, file.as_uri())
    do(browser, "await flaxrecDemo.setPicks(given[0])", some_ids(browser, 3))
    before = cards(browser)
    for _ in range(2):  # it is tried again
        browser.find_elements("css selector", "#models label")[1].click()
        do(browser, "await new Promise((r) => setTimeout(r, 500))")
        notice = browser.find_element("id", "notice").text
        assert "cannot be loaded" in notice
        assert "whole export" in notice
        assert browser.find_elements("css selector", "#models input")[0].is_selected()
        assert cards(browser) == before
        assert browser.find_element("id", "results-heading").text == "Recommended next"
    assert browsers.errors(browser)  # the reason is told there, too


def test_features_of_the_user_are_asked_for(browser, tmp_path_factory, tmp_path):
    export = exported(tmp_path_factory, "bow_user").export
    recommender = Recommender(export)
    visit(browser, demo_pages.write(tmp_path / "page.html", [export], browsers.litert()))
    items = some_ids(browser, 3)
    do(browser, "await flaxrecDemo.setPicks(given[0])", items)
    (name,) = [spec["vocabulary"] for spec in recommender.inputs if "age" in spec["name"]]
    known = (export / name).read_text().splitlines()[1:]
    scores = set()
    for value in (*known[:2], "no such group", ""):
        do(browser, FILL, browser.find_element("css selector", "#user [data-field]"), value)
        user = {"age_group": value} if value else {}
        demo_pages.assert_cards(cards(browser), recommender.recommend(items, 10, user=user))
        scores.add(cards(browser)[0]["score"])
    assert len(scores) >= 3  # the feature matters
    assert browsers.errors(browser) == []


def test_a_shops_pictures_and_prices(browser, run, recommender, tmp_path):
    """A picture that cannot be loaded leaves its place free."""
    export = tmp_path / "export"
    shutil.copytree(run.export, export, ignore=shutil.ignore_patterns("saved_model"))
    items = [dict(row) for row in recommender.items.values()]
    for place, row in enumerate(items):
        row["price"], row["art"] = place + 0.5, PIXEL if place % 2 else "data:image/png;base64,AAAA"
    write_jsonl(export / "items.jsonl", items)
    write_metadata(export, recommender.metadata)
    visit(browser, demo_pages.write(tmp_path / "page.html", [export], browsers.litert()))
    do(browser, "await flaxrecDemo.setPicks(given[0])", some_ids(browser, 3))
    shown = """
      await new Promise((done) => setTimeout(done, 200));
      return [...document.querySelectorAll(".card")].map((card) => ({
        id: card.dataset.id,
        width: card.querySelector(".picture")?.naturalWidth ?? 0,
        text: card.querySelector(".genres").textContent,
      }));"""
    place_of = {str(row["id"]): place for place, row in enumerate(items)}
    for card in do(browser, shown):
        place = place_of[card["id"]]
        assert card["width"] == place % 2
        assert f"price {place + 0.5}" in card["text"]
    assert not browser.find_element("id", "pictures").is_displayed()
    browsers.errors(browser)  # of the pictures that are none


def test_what_replaced_all_picks_is_undone(driver):
    first = some_ids(driver, 4)
    do(driver, "await flaxrecDemo.setPicks(given[0])", first)
    undo = driver.find_element("id", "undo")
    assert not undo.is_enabled()
    for button in ("surprise", "clear"):
        driver.find_element("id", button).click()
        assert pick_ids(driver) != first
        undo.click()
        assert pick_ids(driver) == first
        assert not undo.is_enabled()
    driver.find_element("id", "surprise").click()
    driver.find_elements("css selector", "#picks .remove")[0].click()
    assert not undo.is_enabled()  # of one change alone


@pytest.mark.long
def test_a_hundred_thousand_items_without_titles(browser, run, recommender, tmp_path):
    """Own ids: the page says how titles come in, searches, and recommends as ever."""
    export = tmp_path / "export"
    shutil.copytree(run.export, export, ignore=shutil.ignore_patterns("saved_model"))
    items = [{"id": row["id"], "genres": row["genres"]} for row in recommender.items.values()]
    items += [{"id": f"sku-{n:06}", "genres": []} for n in range(100_000)]
    write_jsonl(export / "items.jsonl", items)
    write_metadata(export, recommender.metadata)
    visit(browser, demo_pages.write(tmp_path / "page.html", [export], browsers.litert()))
    notice = browser.find_element("id", "untitled")
    assert "--starter=NAME --movielens=DIR" in notice.text
    box = browser.find_element("id", "query")
    assert box.get_attribute("placeholder") == f"Search {len(items):,} ids"
    box.send_keys("sku-09999\n")
    assert pick_ids(browser) == ["sku-099990"]  # unknown to the model, as to the Recommender
    untitled = Recommender(export)
    for history in [[{"item": "sku-099990"}], *demo_pages.histories(recommender, 3, seed=9)]:
        do(browser, "await flaxrecDemo.setPicks(given[0])", history)
        demo_pages.assert_cards(cards(browser), demo_pages.expected(untitled, history))
    assert browsers.errors(browser) == []
