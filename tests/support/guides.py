"""What compiles and runs the code of the guides, and the vectors that it is held against."""

import functools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flaxrec.data import moments
from tests.support.doc_pages import blocks
from tests.support.places import ROOT
from tools import make_device_vectors as vectors
from tools import make_moment_vectors

WEB = ROOT / "examples" / "web"
MOMENTS = ROOT / "flaxrec" / "demo" / "static" / "moments.js"
_NODE = ROOT / "tests" / "docs" / "node"
_NPM = ROOT / "tests" / "docs" / "npm"

_BRIDGE = """
import json, sys
import numpy as np
from flaxrec.tflite.runtime import TfliteModel

model = TfliteModel(sys.argv[1])
dtypes = {name: dtype for name, _, dtype in model.inputs}
for line in sys.stdin:
    given = {name: np.array(values, dtypes[name]) for name, values in json.loads(line).items()}
    print(json.dumps({name: found.tolist() for name, found in model(given).items()}), flush=True)
"""


def cannot(reason: str) -> NoReturn:
    """Skips the test, or fails it where the tools are promised, as in CI."""
    if os.environ.get("FLAXREC_REQUIRE_GUIDES"):
        pytest.fail(f"{reason}, and FLAXREC_REQUIRE_GUIDES is set")
    pytest.skip(reason)


def program(name: str) -> str:
    """A program of the path."""
    found = shutil.which(name)
    return found or cannot(f"{name} is not installed")


def package(name: str) -> Path:
    """The folder of a package of tests/docs/npm/package.json."""
    folder = _NPM / "node_modules" / name
    if not folder.is_dir():
        cannot(f"{name} is not installed: npm install --prefix tests/docs/npm")
    return folder


@functools.cache
def requests() -> dict[str, Any]:
    """docs/device_vectors.json, with the cases of docs/moment_vectors.json as requests like its."""
    made = json.loads(vectors.FILE.read_text(encoding="utf-8"))
    of_moments = json.loads(make_moment_vectors.FILE.read_text(encoding="utf-8"))
    length, words = of_moments["length"], of_moments["vocabularies"]
    names = {source: source.partition(".")[2] for source in (*words, moments.SECONDS_AGO)}
    for number, case in enumerate(of_moments["cases"]):
        folder = f"moment{number}"
        inputs = [
            vectors.input_of(
                name,
                source,
                1 if source.startswith("ask.") else length,
                dtype=None if source in words else "int32",
            )
            for source, name in names.items()
        ]
        metadata = {"top_k": 1, "context_length": length, "inputs": inputs, "time": case["clock"]}
        vocabularies = {names[source]: entries[1:] for source, entries in words.items()}
        made["folders"][folder] = vectors.folder_of(
            metadata, vocabularies | {"item": ["1"]}, [{"id": 1}]
        )
        made["requests"].append(
            {
                "name": case["name"],
                "folder": folder,
                "history": [{"item": 1, "time": time} for time in case["times"]],
                "now": None if case["now"] == "unknown" else case["now"],
                "inputs": {names[source]: rows for source, rows in case["rows"].items()},
            }
        )
    return made


def assert_shown(page: Path, language: str, example: Path) -> None:
    """Each code block of the page stands in a file of the example."""
    assert_all_in(blocks(page, language), example)


def assert_all_in(shown: list[str], example: Path) -> None:
    """Each of these texts stands in a file of the example."""
    files = [path for path in example.rglob("*") if path.is_file()]
    texts = [path.read_text(encoding="utf-8") for path in files]
    assert shown
    for block in shown:
        assert any(block in text for text in texts), block


def bridge(place: Path, model: Path) -> list[str]:
    """The command of a process that runs the model, inputs and outputs as a line of JSON each."""
    (place / "bridge.py").write_text(_BRIDGE, encoding="utf-8")
    return [sys.executable, str(place / "bridge.py"), str(model)]


def copy_scripts(place: Path) -> None:
    """The scripts of examples/web, as the guide puts them side by side, and those that run them."""
    for file in (*WEB.iterdir(), *_NODE.iterdir(), MOMENTS):
        shutil.copy(file, place / file.name)
    (place / "package.json").write_text('{"type": "module"}', encoding="utf-8")


def write_requests(place: Path) -> None:
    """Writes the folders of the requests, and requests.json."""
    made = requests()
    for name, folder in made["folders"].items():
        vectors.write_folder(place / name, folder)
    (place / "requests.json").write_text(json.dumps(made), encoding="utf-8")


def wrong(answers: list[dict[str, Any]]) -> list[str]:
    """The requests to which the inputs or the list differ from the vectors.

    The last two answers are about the first item of the folder 'values', given as a whole number,
    and then with the Date 2024-05-31T18:30:00Z as `since`, a day as `day`, and nothing as `odd`.
    """
    found = []
    with_item, with_dates = answers[-2:]
    ids = [str(item["id"]) for item in vectors.ITEMS]
    if [item for item, _ in with_item["list"]] != ids[1:]:
        found.append(f"a whole number: {with_item['list']}")
    given = {name: with_dates["inputs"][name] for name in ("item", "brand", "since", "day", "odd")}
    if given != {"item": [1], "brand": [1], "since": [1], "day": [1], "odd": [7]}:
        found.append(f"dates: {given}")
    for request, answer in zip(requests()["requests"], answers[:-2], strict=True):
        given = {name: answer["inputs"][name] for name in request["inputs"]}
        if given != request["inputs"]:
            found.append(f"{request['folder']}, {request['name']}: {given}, {request['inputs']}")
        if "list" in request and answer["list"] != request["list"]:
            found.append(f"{request['folder']}, {request['name']}: {answer['list']}")
    return found
