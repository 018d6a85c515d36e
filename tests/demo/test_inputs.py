"""The page's inputs, for every kind of column, are the Recommender's to the bit."""

import json

import numpy as np
import pytest

from flaxrec import recommender as recommender_lib
from flaxrec.data import moments
from flaxrec.demo import content, encoding, page
from flaxrec.demo.litertjs import Runtime
from flaxrec.files import read_jsonl
from flaxrec.recommender import Recommender
from tests.support import app_values, browsers
from tests.support.moment_inputs import Asking
from tests.support.odd_columns import odd_timelines, write_export
from tools import make_moment_vectors as vectors


@pytest.fixture(scope="module")
def driver(browser, tmp_path_factory):
    """A page of no models: its modules can be imported."""
    file = tmp_path_factory.mktemp("page") / "page.html"
    nothing = Runtime(b"", b"", b"", b"")
    file.write_text(page.build(content.Content(), nothing), encoding="utf-8")
    browser.get(file.as_uri())
    return browser


def encode(driver, encoded: dict, cases: list[dict]) -> list[dict]:
    """What inputs.js makes of cases."""
    code = """
      const { encode } = await import("demo/inputs.js");
      const plain = (arrays) => Object.fromEntries(Object.entries(arrays).map(
        ([name, values]) => [name, { type: values.constructor.name, values: [...values] }]));
      return given[1].map(({ activities, user }) => plain(encode(given[0], activities, user)));
    """
    return browsers.do(driver, code, encoded, cases)


@pytest.mark.parametrize("reference_mode", [False, True])
def test_every_kind_of_column(driver, tmp_path, monkeypatch, reference_mode):
    timelines, config = odd_timelines(reference_mode)
    write_export(tmp_path / "export", timelines, config)
    monkeypatch.setattr(recommender_lib, "_model", lambda export: None)
    recommender = Recommender(tmp_path / "export")
    made = encoding.tables(recommender.metadata, recommender.items, recommender._vocabularies)
    number = {item: i for i, item in enumerate(recommender.items)}
    histories = read_jsonl(tmp_path / "export" / "histories.jsonl")
    histories.append({"activities": [], "user": {}})
    histories.append({"activities": [{"item": "no such item"}, {"item": 3}], "user": {"age": "7"}})
    cases = [
        {
            "activities": [
                {
                    "item": number.get(str(activity["item"]), -1),
                    "values": {k: v for k, v in activity.items() if k != "item"},
                }
                for activity in history["activities"]
            ],
            "user": history["user"],
        }
        for history in histories
    ]
    assert len(cases) > 40
    found = encode(driver, json.loads(json.dumps(made)), cases)
    for history, arrays in zip(histories, found, strict=True):
        expected = recommender.encode(history["activities"], history["user"])
        assert arrays.keys() == expected.keys()
        for name, values in expected.items():
            kind = {"Int32Array": np.int32, "Float32Array": np.float32}[arrays[name]["type"]]
            assert values.dtype == kind
            np.testing.assert_array_equal(np.array(arrays[name]["values"], kind), values, name)


def test_values_are_looked_up_as_in_python(driver, tmp_path, monkeypatch):
    app_values.write_export(tmp_path / "export")
    recommender = app_values.load(tmp_path / "export", monkeypatch)
    made = encoding.tables(recommender.metadata, recommender.items, recommender._vocabularies)
    cases = [
        {"activities": [{"item": 1, "values": {name: value}}], "user": {}}
        for name, value, _ in app_values.CASES
    ]
    found = encode(driver, json.loads(json.dumps(made)), cases)
    names = [name for name, _, _ in app_values.CASES]
    numbers = [of[name]["values"][0] for of, name in zip(found, names, strict=True)]
    assert not app_values.wrong(numbers)
    assert [found[0][name]["values"] for name in ("item", "brand")] == [[2], [2]]
    ids = content.catalogue.columns(recommender.items)["ids"]
    assert ids == app_values.VOCABULARIES["item"]


def test_gaps_are_given_as_they_are(driver):
    """Without a time the gap is 'unknown', as in Python; a value that is chosen is looked up."""
    spec = {"name": "gap", "dtype": "int32", "length": 3, "table": "event", "field": "gap"}
    spec |= {"multiValued": False, "unknown": 4, "numberOf": {"-1": 1, "0": 2, "7": 3}}
    made = {"contextLength": 3, "keepsOldest": False, "inputs": [spec], "itemOfRow": [-1, 0]}
    activities = [{"item": 0}, {"item": 0, "values": {"gap": "7"}}, {"item": 0, "values": {}}]
    activities.append({"item": 0, "values": {"gap": "toString"}})  # no value of the vocabulary
    (arrays,) = encode(driver, made, [{"activities": activities, "user": {}}])
    assert arrays["gap"] == {"type": "Int32Array", "values": [3, 4, 4]}


def test_times_are_encoded_as_the_vectors_say(driver):
    made = json.loads(vectors.FILE.read_text(encoding="utf-8"))
    code = """
      const { encode } = await import("demo/inputs.js");
      return given[0].map(({ encoding, times, now }) => {
        const activities = times.map((time) => ({ item: 0, time }));
        const arrays = encode(encoding, activities, {}, now === "unknown" ? null : now);
        const plain = ([name, values]) => [name, [...values]];
        return Object.fromEntries(Object.entries(arrays).map(plain));
      });
    """
    cases = []
    for case in made["cases"]:
        asking = Asking(made["vocabularies"], moments.SOURCES, made["length"], case["clock"])
        tables = encoding.tables(asking.metadata, asking.items, asking._vocabularies)
        cases.append({"encoding": tables, "times": case["times"], "now": case["now"]})
    for case, rows in zip(made["cases"], browsers.do(driver, code, cases), strict=True):
        assert rows == case["rows"], case["name"]


def test_a_browsers_date_is_a_moment(driver):
    """A chosen gap goes before, and is cut as well; what is no time is refused."""
    made = json.loads(vectors.FILE.read_text(encoding="utf-8"))
    clock = next(case["clock"] for case in made["cases"] if case["clock"]["dates"])
    asking = Asking(made["vocabularies"], ["event.gap", "ask.since"], 2, clock)
    code = """
      const { encode } = await import("demo/inputs.js");
      const activity = { item: 0, time: "2024-05-31", values: { gap: 30 } };
      const at = (now) => encode(given[0], [activity], {}, now);
      const arrays = at(new Date("2024-05-31T22:30Z"));
      const refused = (now) => { try { at(now); } catch (error) { return error.message; } };
      return [[...arrays["event.gap"]], [...arrays["ask.since"]], ["noon", NaN, "1"].map(refused)];
    """
    tables = encoding.tables(asking.metadata, asking.items, asking._vocabularies)
    gap, since, refused = browsers.do(driver, code, tables)
    assert gap == [made["vocabularies"]["event.gap"].index("20"), 0]
    assert since == [17]
    assert [message.split()[0] for message in refused] == ["noon", "NaN", "1"]


def test_search_finds_as_people_type(driver):
    titles = ["Café Noir (1999)", "Matrix, The (1999)", "The Noise", "Amores perros", "Matri"]
    catalogue = {"ids": ["10", "20", "30", "40", "1999"], "titles": titles, "genres": None}
    code = """
      const { Search } = await import("demo/search.js");
      const search = new Search(given[0]);
      return given[1].map((query) => search.find(query));
    """
    queries = ["cafe", "the matrix", "noi", "erros", "20", "1999", "matri", "zebra", "", "É"]
    found = dict(zip(queries, browsers.do(driver, code, catalogue, queries), strict=True))
    assert found["cafe"] == [0]  # no accents
    assert found["the matrix"] == [1]  # any order of words
    assert found["noi"] == [0, 2]  # beginnings of words, the more frequent first
    assert found["erros"] == [3]  # anywhere, if nothing better
    assert found["20"] == [1]  # an id
    assert found["1999"] == [4, 0, 1]  # an id before years
    assert found["matri"] == [1, 4]
    assert found["zebra"] == []
    assert found[""] == [0, 1, 2, 3, 4]
    assert found["É"] == [0, 1, 2, 3]


def test_a_hundred_thousand_items_are_searched_while_one_types(driver):
    code = """
      const { Search } = await import("demo/search.js");
      const ids = Array.from({ length: 100000 }, (_, i) => `item ${(i * 7919) % 100003}`);
      const search = new Search({ ids, titles: null, genres: null });
      const begin = performance.now();
      const queries = ["9", "99", "item 12", "m 4", "no such"];
      const found = queries.map((query) => search.find(query, { limit: 8 }).length);
      return [found, (performance.now() - begin) / queries.length];
    """
    found, milliseconds = browsers.do(driver, code)
    assert found == [8, 8, 8, 8, 0]
    assert milliseconds < 500  # 10 to 20 on a quiet machine


@pytest.mark.parametrize("kind", ["FLOAT32", "FLOAT16", "INT8", "INT4"])
def test_label_tables_are_read_in_every_form(driver, kind):
    rng = np.random.default_rng(0)
    table = rng.integers(-8, 8, (6, 4))
    if kind == "INT4":
        pairs = table.reshape(-1, 2) & 15
        raw = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()
    else:
        dtype = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT8": "i1"}[kind]
        table = table / 3 if kind.startswith("FLOAT") else table
        raw = table.astype(dtype).tobytes()
    code = """
      const { LabelTable } = await import("demo/similarity.js");
      const table = new LabelTable(Uint8Array.from(given[0]), given[1]);
      return table.nearest(0, [1, 2, 3, 4, 5]);
    """
    spec = {"offset": 3, "type": kind, "rows": 6, "width": 4}
    found = browsers.do(driver, code, [0, 0, 0, *raw], spec)
    units = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosines = units[1:] @ units[0]
    assert found["row"] == 1 + int(cosines.argmax())
    assert found["cosine"] == pytest.approx(cosines.max(), abs=1e-3)
