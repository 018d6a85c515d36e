"""The page in Chromium, as a person uses it: by keyboard and mouse, on large and small screens."""

import json

import numpy as np

from flaxrec.exporting import serving
from tests.support import demo_pages
from tests.support.browsers import LARGE, SMALL, do, visit
from tests.support.demo_pages import cards, figure, pick_ids, some_ids


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
    demo_pages.assert_cards(cards(driver), demo_pages.expected(recommender, history))


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

    # The list covers no genre: a second one narrows it, and each is switched off again.
    (other,) = [chip for chip in chips if chip.text == "Comedy"]
    for clicked, pressed in ((other, "true"), (chip, "false"), (other, "false")):
        clicked.click()
        assert clicked.get_attribute("aria-pressed") == pressed
        assert do(driver, "return document.activeElement === given[0]", clicked)
        assert box.get_attribute("aria-expanded") == "true"
    driver.find_element("id", "headline").click()
    assert box.get_attribute("aria-expanded") == "false"


def test_what_is_picked_is_found_and_not_added_again(driver, recommender):
    from selenium.webdriver.common.keys import Keys

    first = some_ids(driver, 1)
    do(driver, "await flaxrecDemo.setPicks(given[0])", first)
    box = driver.find_element("id", "query")
    box.send_keys(recommender.items[first[0]]["title"])
    (option,) = driver.find_elements("css selector", "#found [role=option]")
    assert option.get_attribute("aria-disabled") == "true"
    assert "picked already" in option.text
    option.click()
    box.send_keys(Keys.ENTER)
    assert pick_ids(driver) == first
    assert do(driver, "return getComputedStyle(document.querySelector('#found')).display") != "none"


def test_words_are_found_without_their_apostrophes(driver):
    search = """
      const { Search } = await import("demo/search.js");
      const search = new Search({ ids: ["1", "2"], titles: ["Schindler's List (1993)", "Amélie"] });
      return given[0].map((query) => search.find(query));
    """
    asked = ("schindlers", "schindler's", "schindler\u2019s list", "amelie", "schindlersx")
    assert do(driver, search, asked) == [[0], [0], [0], [1], []]


def test_tab_leads_from_the_field_over_the_genres_out_of_the_search(driver):
    from selenium.webdriver.common.keys import Keys

    def focused():
        return driver.switch_to.active_element

    box = driver.find_element("id", "query")
    box.click()
    chips = driver.find_elements("css selector", "#chips button")
    for chip in chips:
        focused().send_keys(Keys.TAB)
        assert focused() == chip
        assert box.get_attribute("aria-expanded") == "true"
    focused().send_keys(Keys.TAB)
    assert focused().get_attribute("id") not in ("", "query")
    assert box.get_attribute("aria-expanded") == "false"


def test_picks_are_dragged(driver):
    from selenium.webdriver import ActionChains

    do(driver, "await flaxrecDemo.setPicks(given[0])", (ids := some_ids(driver, 4)))
    first, _, third, _ = driver.find_elements("css selector", ".handle")
    height = driver.find_element("class name", "pick").rect["height"]
    way = third.rect["y"] - first.rect["y"] + height / 2
    actions = ActionChains(driver, duration=50).click_and_hold(first)
    for _ in range(5):
        actions = actions.move_by_offset(0, round(way / 5))
    actions.release().perform()
    assert pick_ids(driver) == [ids[1], ids[2], ids[0], ids[3]]


PICKS = "const list = document.querySelector('#picks'); "
SCROLLED = """
  const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));
  const left = () => list.scrollHeight - list.clientHeight - list.scrollTop;
  for (let i = 0; i < 200 && left() > 1; i++) await wait(50);
  await wait(100);
"""


def test_a_drag_ends_where_it_is_let_go_and_nowhere_else(driver):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    do(driver, "await flaxrecDemo.setPicks(given[0])", (ids := some_ids(driver, 9)))

    def drag(down, *last):
        held = driver.find_elements("css selector", ".handle")[1]
        actions = ActionChains(driver, duration=50).click_and_hold(held)
        for _ in range(4):
            actions = actions.move_by_offset(0, down // 4)
        actions.perform()
        for act in last:
            act()

    def release():
        ActionChains(driver).release().perform()

    drag(80, lambda: driver.switch_to.active_element.send_keys(Keys.ESCAPE), release)
    assert pick_ids(driver) == ids
    # Another list comes in the middle: the drag is over, and nothing stands there twice.
    shown = "await flaxrecDemo.setPicks(given[0])"
    drag(80, lambda: do(driver, shown, ids[:5]), release)
    assert pick_ids(driver) == ids[:5]

    # At the end of a list that is longer than its place, the list moves.
    do(driver, shown, ids)
    do(driver, PICKS + "Object.assign(list.style, { flex: 'none', height: '190px' })")
    do(driver, PICKS + "list.scrollTop = 0")
    drag(130, lambda: do(driver, PICKS + SCROLLED), release)
    assert pick_ids(driver) == [ids[0], *ids[2:], ids[1]]


LOAD_SHIFT = """
  return new Promise((done) => new PerformanceObserver((list) => {
    done(list.getEntries().reduce((sum, entry) => sum + entry.value, 0));
  }).observe({ type: "layout-shift", buffered: true }) ?? setTimeout(() => done(0), 300));
"""


def test_nothing_jumps_while_the_page_loads(driver):
    for size in (LARGE, SMALL):
        visit(driver, driver.current_url, size)
        driver.refresh()
        do(driver, "await flaxrecDemo.ready")
        assert do(driver, LOAD_SHIFT) < 0.01


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

    history = demo_pages.histories(recommender, 1, seed=5)[0][:6]
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
    do(driver, "await flaxrecDemo.setPicks(given[0])", some_ids(driver, 2))
    waited = "while (document.querySelector('[data-figure=latency] .value').textContent === '–')"
    do(driver, f"{waited} await new Promise((r) => setTimeout(r, 50))")
    value, unit = figure(driver, "latency").split()
    assert unit == "ms"
    assert 0 < float(value) < 1000
    (protocol, metrics), *_ = recommender.metadata["metrics"].items()
    assert figure(driver, "recall@10") == f"{metrics['filtered/recall@10']:.3f}"
    note = driver.find_element("css selector", "[data-figure='recall@10'] .note").text
    assert f"{protocol}, " in note
    assert "seen items left out, of this file" in note
    assert f"{metrics['recall@10']:.3f} with all items ranked, of this file" in note
    assert figure(driver, "vocabulary") == str(recommender.metadata["candidates"])
    assert "convolutions" in figure(driver, "encoder")

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
