"""The page in Chromium: its cards are Python's answers, and it asks nobody else."""

import json
import math
import shutil

import numpy as np
import pytest
from demo import browsers, pages
from demo.browsers import LARGE, SMALL, do, visit
from export.test_tflite import exported

from flaxrec.export import serving
from flaxrec.jsonl import write_jsonl
from flaxrec.recommender import Recommender


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pages.float_run(tmp_path_factory)


@pytest.fixture(scope="module")
def recommender(run) -> Recommender:
    return Recommender(run.export)


@pytest.fixture(scope="module")
def int8(run, tmp_path_factory):
    return pages.int8_of(run.export, tmp_path_factory.mktemp("int8") / "export")


@pytest.fixture(scope="module")
def file(run, int8, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page of the model.html"
    pages.write(path, [run.export, int8], browsers.litert())
    return path


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as driver:
        yield driver


@pytest.fixture
def driver(browser, file):
    """The page from the disk, opened anew; no error may be left in the console."""
    browsers.errors(browser)
    visit(browser, file.as_uri())
    yield browser
    assert browsers.errors(browser) == []


def cards(driver) -> list[dict]:
    return do(driver, pages.READ_CARDS + "return read();")


def pick_ids(driver) -> list[str]:
    return do(driver, "return [...document.querySelectorAll('#picks > li')].map(p => p.dataset.id)")


def test_cards_equal_the_recommender_offline_from_disk(driver, recommender):
    made = pages.histories(recommender, 50)
    browsers.requests(driver)  # the page itself
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        seen = do(driver, pages.ALL_CARDS.replace("given", "given[0]", 1), made)
    finally:
        online = offline | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", online)
    for shown, history in zip(seen, made, strict=True):
        pages.assert_cards(shown, pages.expected(recommender, history))
        assert not {card["id"] for card in shown} & {pick["item"] for pick in history}
    assert browsers.requests(driver) == []
    assert figure(driver, "requests since load") == "0"


def test_served_on_a_phones_screen(browser, file, recommender):
    with pages.served(file) as address:
        browsers.errors(browser)
        browsers.requests(browser)
        visit(browser, address, SMALL)
        assert browsers.requests(browser) == [address]
        for history in pages.histories(recommender, 5, seed=1):
            do(browser, "await flaxrecDemo.setPicks(given[0])", history)
            pages.assert_cards(cards(browser), pages.expected(recommender, history))
        too_wide = "return document.documentElement.scrollWidth - innerWidth"
        assert do(browser, too_wide) <= 0
        assert browsers.requests(browser) == []
        assert browsers.errors(browser) == []


def figure(driver, name: str) -> str:
    return do(
        driver, f"return document.querySelector('[data-figure=\"{name}\"] .value').textContent"
    )


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
    history = pages.histories(recommender, 1, seed=2)[0]
    do(driver, "await flaxrecDemo.setPicks(given[0])", history)
    before = do(driver, "return document.querySelector('#tensors').textContent")
    labels = driver.find_elements("css selector", "#models label")
    assert "float32" in labels[0].text
    assert "int8" in labels[1].text
    labels[1].click()
    do(driver, "await flaxrecDemo.choose(1)")
    # An 8-bit product rounds its input as well, and not every processor in the same way.
    pages.assert_cards(cards(driver), pages.expected(small, history), tolerance=5e-3)
    size = (int8 / "model.tflite").stat().st_size
    assert figure(driver, "file") == f"{size / 1e6:.2f} MB"
    assert pick_ids(driver) == [pick["item"] for pick in history]
    after = do(driver, "return document.querySelector('#tensors').textContent")
    assert before.split("→")[0] == after.split("→")[0]  # the same input


def test_stale_answers_are_dropped(driver, recommender):
    first, last = pages.histories(recommender, 2, seed=3)
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
    for shown in do(driver, pages.READ_CARDS + slow_first, first, last):
        pages.assert_cards(shown, pages.expected(recommender, last))


def test_clicks_faster_than_answers(driver, recommender):
    clicks = """
      const add = (place) => document.querySelectorAll("#cards .add")[place].click();
      for (const place of [0, 3, 3, 7, 9]) add(place);
      await new Promise((r) => setTimeout(r, 300));
      return read();
    """
    shown = do(driver, pages.READ_CARDS + clicks)
    popular = list(recommender.items)
    assert pick_ids(driver) == [popular[place] for place in (0, 3, 7, 9)]
    history = [{"item": item} for item in pick_ids(driver)]
    pages.assert_cards(shown, pages.expected(recommender, history))


def test_before_the_first_pick_the_most_frequent_items_stand_there(driver, recommender):
    assert [card["id"] for card in cards(driver)] == list(recommender.items)[:10]
    assert "Most frequent" in driver.find_element("id", "results-heading").text
    assert "no-scores" in driver.find_element("id", "cards").get_attribute("class")


def test_only_the_keyboard(driver, recommender):
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        for key in keys:
            driver.switch_to.active_element.send_keys(key)

    def focused(script):
        return driver.execute_script(f"return document.activeElement.{script}")

    ids, items = list(recommender.items), recommender.items
    driver.find_element("tag name", "body").send_keys("/")
    assert focused("id") == "query"
    for item in ids[30:33]:
        press(items[item]["title"], Keys.ENTER)
    assert pick_ids(driver) == ids[30:33]
    press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)  # of the most frequent
    assert pick_ids(driver) == [*ids[30:33], ids[1]]
    press("no such title", Keys.ENTER)
    assert len(pick_ids(driver)) == 4
    press(Keys.ESCAPE, Keys.ESCAPE)
    assert focused("value") == ""

    driver.find_elements("css selector", ".handle")[3].send_keys(Keys.ARROW_UP, Keys.ARROW_UP)
    assert pick_ids(driver) == [ids[30], ids[1], *ids[31:33]]
    press(Keys.HOME)
    assert pick_ids(driver) == [ids[1], *ids[30:33]]
    assert "1 of 4" in driver.find_element("id", "announcer").get_attribute("textContent")
    press(Keys.DELETE)
    assert pick_ids(driver) == ids[30:33]
    assert "remove" in focused("className")  # of the next pick

    third = cards(driver)[2]["id"]
    driver.find_elements("css selector", "#cards .add")[2].send_keys(Keys.ENTER)
    assert pick_ids(driver)[-1] == third
    assert focused("className") == "add"
    history = [{"item": item} for item in pick_ids(driver)]
    do(driver, "await new Promise((r) => setTimeout(r, 200))")
    pages.assert_cards(cards(driver), pages.expected(recommender, history))


def test_search_and_genres(driver, recommender):
    genre = "Drama"
    titles = {i: r["title"] for i, r in recommender.items.items() if genre in r["genres"]}
    chips = driver.find_elements("css selector", "#chips button")
    (chip,) = [chip for chip in chips if chip.text == genre]
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    options = driver.find_elements("css selector", "#found [role=option] .name")
    assert [o.get_attribute("title") for o in options] == list(titles.values())[:8]
    options[1].click()
    assert pick_ids(driver) == [list(titles)[1]]
    box = driver.find_element("id", "query")
    assert box.get_attribute("aria-expanded") == "false"


def test_picks_are_dragged(driver):
    from selenium.webdriver import ActionChains

    do(driver, "await flaxrecDemo.setPicks(given[0])", (ids := pick_some(driver, 4)))
    first, _, third, _ = driver.find_elements("css selector", ".handle")
    height = driver.find_element("class name", "pick").rect["height"]
    way = third.rect["y"] - first.rect["y"] + height / 2
    actions = ActionChains(driver, duration=50).click_and_hold(first)
    for _ in range(5):
        actions = actions.move_by_offset(0, round(way / 5))
    actions.release().perform()
    assert pick_ids(driver) == [ids[1], ids[2], ids[0], ids[3]]


def pick_some(driver, count: int) -> list[str]:
    return [card["id"] for card in cards(driver)][:count]


def test_nothing_jumps(driver):
    watch = """
      let shift = 0;
      new PerformanceObserver((l) => { for (const e of l.getEntries()) shift += e.value; })
        .observe({ type: "layout-shift" });
      const wait = () => new Promise((r) => setTimeout(r, 80));
      const top = () => document.querySelector("#cards").getBoundingClientRect().top + scrollY;
      const height = () => document.documentElement.scrollHeight;
      const before = [top(), height()];
      for (const place of [2, 9, 0, 5, 1, 1]) {
        document.querySelectorAll("#cards .add")[place].click();
        await wait();
      }
      await new Promise((r) => setTimeout(r, 300));
      return [shift, ...before, top(), height()];
    """
    for size in (LARGE, SMALL):
        visit(driver, driver.current_url, size)
        shift, top, height, top_after, height_after = do(driver, watch)
        assert shift < 0.002
        assert (top_after, height_after) == (top, height)


def test_explanations_are_the_models_own(driver, run, recommender):
    model = serving.load(run)
    labels, first = model.labels(model.params)
    units = np.asarray(labels, np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    lines = (run.export / "vocabularies" / "item.txt").read_text().splitlines()

    def unit(item):
        return units[lines.index(item) - model.spec.first_candidate + first]

    history = pages.histories(recommender, 1, seed=5)[0][:6]
    do(driver, "await flaxrecDemo.setPicks(given[0])", history)
    read = """return [...document.querySelectorAll("#cards > li:not(.free)")].map((card) => {
      const why = card.querySelector(".why");
      return [card.dataset.id, why.textContent, why.title];
    })"""
    told = 0
    for item, line, title in do(driver, read):
        cosines = {p["item"]: float(unit(item) @ unit(p["item"])) for p in history}
        nearest = max(cosines, key=cosines.__getitem__)
        if cosines[nearest] < 0.3:
            assert line == ""
            continue
        told += 1
        assert recommender.items[nearest]["title"] in title
        assert f"cosine {cosines[nearest]:.2f}" in title
    assert told


def test_the_panel(driver, run, recommender):
    do(driver, "await flaxrecDemo.setPicks(given[0])", pick_some(driver, 2))
    waited = "while (document.querySelector('[data-figure=latency] .value').textContent === '–')"
    do(driver, f"{waited} await new Promise((r) => setTimeout(r, 50))")
    value, unit = figure(driver, "latency").split()
    assert unit == "ms"
    assert 0 < float(value) < 1000
    (protocol, metrics), *_ = recommender.metadata["metrics"].items()
    assert figure(driver, "recall@10") == f"{metrics['recall@10']:.3f}"
    assert protocol in driver.find_element("css selector", "[data-figure='recall@10'] .note").text
    assert figure(driver, "vocabulary") == str(recommender.metadata["candidates"])
    assert "CNN" in figure(driver, "encoder")

    history = [{"item": item} for item in pick_ids(driver)]
    text = do(driver, "return document.querySelector('#tensors').textContent")
    for name, values in recommender.encode(history).items():
        shape, numbers = text.partition(f"{name}  ")[2].splitlines()[:2]
        assert shape == f"{values.dtype}[{len(values)}]"
        assert json.loads(numbers) == values.tolist()


def test_the_scheme_is_chosen_and_kept(driver):
    def ground():
        return do(driver, "return getComputedStyle(document.body).backgroundColor")

    light = ground()
    driver.find_element("id", "theme").click()
    assert do(driver, "return document.documentElement.dataset.theme") == "dark"
    dark = ground()
    driver.refresh()
    do(driver, "await flaxrecDemo.ready")
    assert ground() == dark != light
    do(driver, "localStorage.clear()")


def test_bars_are_odds_relative_to_the_first(driver):
    logits = [3.0, 2.5, -1.0]
    scores = [1 / (1 + math.exp(-x)) for x in logits]
    code = 'const { relative } = await import("demo/ranking.js"); return relative(given[0])'
    found = do(driver, code, scores)
    assert found == pytest.approx([1, math.exp(-0.5), math.exp(-4)])
    assert do(driver, code, [1, 1, 0.5])[:2] == [1, 1]  # saturated: not told apart


def test_ratings_of_picks_are_asked_for(driver, recommender):
    items = [{"item": item} for item in pick_some(driver, 3)]
    do(driver, "await flaxrecDemo.setPicks(given[0])", items)
    before = cards(driver)
    for value in ("5", "1"):
        field = driver.find_elements("css selector", "#picks [data-field=rating]")[1]
        assert field.get_attribute("aria-label").startswith("rating of ")
        do(driver, FILL, field, value)
        items[1]["values"] = {"rating": value}
        pages.assert_cards(cards(driver), pages.expected(recommender, items))
    assert [c["score"] for c in cards(driver)] != [c["score"] for c in before]


FILL = """
  given[0].value = given[1];
  given[0].dispatchEvent(new Event("change"));
  await new Promise((r) => setTimeout(r, 200));
"""


def test_features_of_the_user_are_asked_for(browser, tmp_path_factory, tmp_path):
    export = exported(tmp_path_factory, "bow_user").export
    recommender = Recommender(export)
    visit(browser, pages.write(tmp_path / "page.html", [export], browsers.litert()))
    items = pick_some(browser, 3)
    do(browser, "await flaxrecDemo.setPicks(given[0])", items)
    (name,) = [spec["vocabulary"] for spec in recommender.inputs if "age" in spec["name"]]
    known = (export / name).read_text().splitlines()[1:]
    scores = set()
    for value in (*known[:2], "no such group", ""):
        do(browser, FILL, browser.find_element("css selector", "#user [data-field]"), value)
        user = {"age_group": value} if value else {}
        pages.assert_cards(cards(browser), recommender.recommend(items, 10, user=user))
        scores.add(cards(browser)[0]["score"])
    assert len(scores) >= 3  # the feature matters
    assert browsers.errors(browser) == []


def test_a_hundred_thousand_items_without_titles(browser, run, recommender, tmp_path):
    """Own ids: the page says how titles come in, searches, and recommends as ever."""
    export = tmp_path / "export"
    shutil.copytree(run.export, export, ignore=shutil.ignore_patterns("saved_model"))
    items = [{"id": row["id"], "genres": row["genres"]} for row in recommender.items.values()]
    items += [{"id": f"sku-{n:06}", "genres": []} for n in range(100_000)]
    write_jsonl(export / "items.jsonl", items)
    visit(browser, pages.write(tmp_path / "page.html", [export], browsers.litert()))
    notice = browser.find_element("id", "notice")
    assert "--starter=NAME --movielens=DIR" in notice.text
    box = browser.find_element("id", "query")
    assert box.get_attribute("placeholder") == f"Search {len(items):,} ids"
    box.send_keys("sku-09999\n")
    assert pick_ids(browser) == ["sku-099990"]  # unknown to the model, as to the Recommender
    untitled = Recommender(export)
    for history in [[{"item": "sku-099990"}], *pages.histories(recommender, 3, seed=9)]:
        do(browser, "await flaxrecDemo.setPicks(given[0])", history)
        pages.assert_cards(cards(browser), pages.expected(untitled, history))
    assert browsers.errors(browser) == []
