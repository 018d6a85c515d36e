"""Commands for a phone: the flags of `benchmark_model`, for each input of the file."""

import shlex
from pathlib import Path

import pytest

from flaxrec.measuring import phone
from flaxrec.tflite.inspection import Input, ModelFile

IDS = Input("context_item_id", "int32", (10,), 3953)
GENRES = Input("genres", "int32", (12,), 19)
RATINGS = Input("ratings", "float32", (1, 10), None)


def model(*inputs: Input, path: str = "runs/bow/export/model.tflite") -> ModelFile:
    return ModelFile(Path(path), 1, inputs, ("ADD",), 10, False)


def flags_of(command: str) -> dict[str, str]:
    words = shlex.split(command)
    assert words[:3] == ["adb", "shell", "/data/local/tmp/benchmark_model"]
    return dict(word.removeprefix("--").split("=", 1) for word in words[3:])


def test_the_file_is_pushed_to_where_it_is_run():
    push, run, profile = phone.commands(model(IDS), "bow/model.tflite")
    place = "/data/local/tmp/bow_model.tflite"
    assert shlex.split(push) == ["adb", "push", "runs/bow/export/model.tflite", place]
    assert flags_of(run)["graph"] == place
    assert flags_of(profile) == {**flags_of(run), "enable_op_profiling": "true"}


def test_every_input_is_described_in_the_files_order():
    _, run, _ = phone.commands(model(GENRES, RATINGS, IDS), "m.tflite")
    flags = flags_of(run)
    assert flags["input_layer"] == "genres,ratings,context_item_id"
    assert flags["input_layer_shape"] == "12:1,10:10"
    # Both ends are drawn; ranges are for integers only.
    assert flags["input_layer_value_range"] == "genres,1,18:context_item_id,1,3952"


@pytest.mark.parametrize(("rows", "expected"), [(1, "ids,0,0"), (2, "ids,1,1")])
def test_the_smallest_tables(rows, expected):
    _, run, _ = phone.commands(model(Input("ids", "int32", (3,), rows)), "m.tflite")
    assert flags_of(run)["input_layer_value_range"] == expected


def test_without_known_tables_there_are_no_ranges():
    _, run, _ = phone.commands(model(RATINGS), "m.tflite")
    assert "input_layer_value_range" not in flags_of(run)


def test_threads_and_delegate():
    _, run, _ = phone.commands(model(IDS), "m.tflite")
    assert (flags_of(run)["num_threads"], flags_of(run)["use_xnnpack"]) == ("4", "true")
    _, run, _ = phone.commands(model(IDS), "m.tflite", threads=1, delegate=False)
    assert (flags_of(run)["num_threads"], flags_of(run)["use_xnnpack"]) == ("1", "false")


def test_names_cannot_break_lists_or_the_shell():
    odd = Input("serving: a,b;c", "int32", (3,), 9)
    push, run, _ = phone.commands(model(odd, path="my models/a b.tflite"), "my models/a b.tflite")
    assert shlex.split(push)[2:] == ["my models/a b.tflite", "/data/local/tmp/my_models_a_b.tflite"]
    assert flags_of(run)["input_layer"] == "serving__a_b_c"
    assert flags_of(run)["input_layer_value_range"] == "serving__a_b_c,1,8"


def test_the_tool_is_made_ready_first():
    fetch, push, allow = map(shlex.split, phone.setup())
    assert fetch[:3] == ["curl", "-fLo", "benchmark_model"]
    assert push == ["adb", "push", "benchmark_model", "/data/local/tmp/benchmark_model"]
    assert allow[:3] == ["adb", "shell", "chmod"]
