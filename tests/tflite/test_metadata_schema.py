"""The plain check of metadata.json and the published JSON Schema say the same."""

import copy
import json
import random

import pytest

from flaxrec.files.json_schema import KEYWORDS, misfit
from flaxrec.tflite.metadata_schema import SCHEMA
from tests.fuzz.export_folder import ODD, places_in
from tests.support.places import ROOT
from tests.tflite.test_metadata import FULL

PUBLISHED = ROOT / "docs" / "metadata.schema.json"
CLOCK = {"unit": "s", "zone": "Europe/Berlin", "resolution": 1, "dates": False, "moments": True}
WHOLE = {
    **FULL,
    "format": 1,
    "time": CLOCK,
    "asked": None,
    "recommends_seen": False,
    "excludes_context": False,
    "trusts_ids": True,
    "first_events": False,
    "catalogue": {"file": "today.csv", "new": 2, "judged_labels_left_out": {"test": 1}},
    "warm_start": {"name": "shop", "run": "0" * 64, "step": 12, "config_sha256": "0" * 64},
    "baselines": {"leave_one_out": {"popularity": {"recall@10": 0.1, "ndcg@10": None}}},
    "files": {"model.tflite": {"bytes": 5, "sha256": "0" * 64}},
    "sha256": "0" * 64,
}
OLD = ROOT / "tests" / "compatibility" / "version_0_1_0" / "run" / "export" / "metadata.json"


def written() -> str:
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "metadata.json of an export of flaxrec",
    }
    return json.dumps(head | SCHEMA, indent=2, ensure_ascii=False) + "\n"


def test_it_is_published():
    assert PUBLISHED.read_text(encoding="utf-8") == written(), (
        f"write tests.tflite.test_metadata_schema.written() to {PUBLISHED}"
    )


def keywords_of(schema) -> set[str]:
    found = set(schema)
    for name in ("items", "additionalProperties"):
        found |= keywords_of(schema[name]) if isinstance(schema.get(name), dict) else set()
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    return found.union(*map(keywords_of, inner))


def test_the_plain_check_knows_every_keyword():
    assert keywords_of(SCHEMA) <= KEYWORDS


@pytest.fixture(scope="module")
def library():
    """The reference implementation; a whole number is written as one, without a point."""
    jsonschema = pytest.importorskip("jsonschema")
    plain = jsonschema.Draft202012Validator
    plain.check_schema(SCHEMA)
    whole = plain.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    return jsonschema.validators.extend(plain, type_checker=whole)(
        json.loads(PUBLISHED.read_text(encoding="utf-8"))
    )


def test_what_is_written_fits(library):
    for metadata in (WHOLE, FULL, json.loads(OLD.read_text(encoding="utf-8"))):
        assert misfit(metadata, SCHEMA) == ""
        library.validate(metadata)


def changes(seed: int, count: int):
    draw = random.Random(seed)
    places = list(places_in(WHOLE))
    for _ in range(count):
        made = copy.deepcopy(WHOLE)
        *way, last = draw.choice(places)
        holder = made
        for key in way:
            holder = holder[key]
        if draw.random() < 0.2:
            del holder[last]
        elif draw.random() < 0.1 and isinstance(holder, dict):
            holder[draw.choice(["x", "unit", "labels", "recall@10"])] = draw.choice(ODD)
        else:
            holder[last] = draw.choice([*ODD, WHOLE["inputs"][0], CLOCK, 2**24, 2**24 + 1])
        yield (*way, last), made


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.long)])
def test_both_agree(library, count):
    refused = 0
    for place, made in changes(0, count):
        found = misfit(made, SCHEMA)
        refused += bool(found)
        assert bool(found) != library.is_valid(made), (place, found)
        assert not found or found.isprintable()
    assert 0.3 < refused / count < 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"top_k": "x"}, "top_k is 'x', not a whole number"),
        ({"top_k": 0}, "top_k is 0, not 1 or more"),
        ({"top_k": True}, "top_k is True, not a whole number"),
        ({"context_length": 2.5}, "context_length is 2.5, not a whole number"),
        ({"time": {"unit": "h"}}, "time.unit is 'h', not one of s, ms, us, ns, none"),
        ({"time": {**CLOCK, "zone": "../x"}}, "not the name of a time zone"),
        ({"time": {**CLOCK, "x": 1}}, "time.x is not known"),
        ({"inputs": []}, "inputs is [], not a list of 1 to 1000"),
        ({"inputs": [{}]}, "inputs[0].name is missing"),
        ({"inputs": [{**WHOLE["inputs"][0], "shape": [0]}]}, "inputs[0].shape[0] is 0"),
        ({"inputs": [{**WHOLE["inputs"][0], "dtype": "int64"}]}, "int32, float32"),
        ({"inputs": [{**WHOLE["inputs"][0], "vocabulary": None}]}, "inputs[0] is not int32 with"),
        ({"inputs": [{**WHOLE["inputs"][1], "default": None}]}, "inputs[0] is not int32 with"),
        ({"files": {"x": {"bytes": 1, "sha256": "0"}}}, "not 64 hexadecimal digits"),
        ({"metrics": {"test": {"recall@10": "x"}}}, "metrics.test.'recall@10' is 'x'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change, words):
    assert words in misfit(WHOLE | change, SCHEMA)
