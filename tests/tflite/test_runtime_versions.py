"""The oldest runtime of a file, from the versions of its operators."""

import json

import pytest

from flaxrec.tflite import graph_edits, runtime_versions
from tests.support.graph_maker import FLOAT32, Maker, schema
from tests.support.places import ROOT

BUILTIN = schema.BuiltinOperator


def file_of(**operators: int) -> bytes:
    """A file with these versions of operators."""
    maker = Maker()
    place = first = maker.tensor("x", [1], FLOAT32)
    for name, version in operators.items():
        output = maker.tensor(name, [1], FLOAT32)
        place = maker.operator(getattr(BUILTIN, name), [place], output)
        maker.codes[-1].version = version
    return maker.packed({"x": first}, {"y": place})


@pytest.mark.parametrize(
    ("operators", "tflite", "litert"),
    [
        ({"ADD": 1}, "1.5.0", "1.0.1"),
        ({"ADD": 1, "EMBEDDING_LOOKUP": 1, "DEQUANTIZE": 1}, "1.13.1", "1.0.1"),
        ({"EMBEDDING_LOOKUP": 4, "TOPK_V2": 1}, "2.18.0", "1.0.1"),  # 4 bits
        ({"FULLY_CONNECTED": 12}, "2.17.0", "1.0.1"),
        ({"CAST": 7}, "2.17.0", "1.2.0"),  # LiteRT has it later
        ({"PAD": 5}, "2.20.0", "1.4.0"),
        ({"TRANSPOSE": 7}, "2.14.4", "1.2.0"),
        ({"EMBEDDING_LOOKUP": 5}, "2.21.0", "2.1.6"),
        ({"MUL": 8, "ADD": 1}, "2.23.0", "2.1.6"),
        ({"MUL": 9, "ADD": 1}, None, None),
        ({"SVDF": 1}, None, None),
    ],
)
def test_it_is_that_of_the_latest_operator(operators, tflite, litert):
    assert runtime_versions.oldest(file_of(**operators)) == {"tflite": tflite, "litert": litert}


def test_an_operator_counts_with_its_highest_version():
    content = file_of(ADD=1, MUL=1)
    assert runtime_versions.versions(content) == {"ADD": 1, "MUL": 1}
    twice = Maker()
    place = first = twice.tensor("x", [1], FLOAT32)
    for version in (4, 2):
        place = twice.operator(BUILTIN.ADD, [place], twice.tensor("y", [1], FLOAT32))
        twice.codes[-1].version = version
    assert runtime_versions.versions(twice.packed({"x": first}, {"y": place})) == {"ADD": 4}


def test_releases_are_numbers_and_never_go_back_by_more_than_the_sources_do():
    for name, releases in runtime_versions._RELEASES.items():
        numbers = [runtime_versions._number(r) for r in releases if r != "-"]
        assert hasattr(BUILTIN, name), name
        assert numbers == sorted(numbers), name
    _, newest = zip(*runtime_versions._LITERT, strict=True)
    assert sorted(newest, key=runtime_versions._number) == list(newest)


def test_every_operator_of_a_shipped_config_is_in_the_table():
    listed = json.loads((ROOT / "tests/exporting/operators.json").read_text(encoding="utf-8"))
    used = {name for operators in listed.values() for name in operators.split()}
    assert {name for name in used if runtime_versions.first_release(name, 1) is None} == set()
    assert runtime_versions.first_release("FULLY_CONNECTED", graph_edits.HYBRID) == "2.3"
    assert runtime_versions.first_release("BROADCAST_TO", 1) is None
    assert [runtime_versions.first_release("ADD", v) for v in (0, -1, 7)] == [None] * 3
