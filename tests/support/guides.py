"""What compiles and runs the code of the guides, and the vectors that it is held against."""

import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flaxrec.data import moments
from tests.support.doc_pages import blocks
from tests.support.places import ROOT
from tools import make_device_vectors as vectors
from tools import make_moment_vectors

_NPM = ROOT / "tests" / "docs" / "npm"


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
    files = [path for path in example.rglob("*") if path.is_file()]
    texts = [path.read_text(encoding="utf-8") for path in files]
    shown = blocks(page, language)
    assert shown
    for block in shown:
        assert any(block in text for text in texts), block


def write_requests(place: Path) -> None:
    """Writes the folders of the requests, and requests.json."""
    made = requests()
    for name, folder in made["folders"].items():
        vectors.write_folder(place / name, folder)
    (place / "requests.json").write_text(json.dumps(made), encoding="utf-8")


def wrong(answers: list[dict[str, Any]]) -> list[str]:
    """The requests to which the inputs or the list differ from the vectors."""
    found = []
    for request, answer in zip(requests()["requests"], answers, strict=True):
        given = {name: answer["inputs"][name] for name in request["inputs"]}
        if given != request["inputs"]:
            found.append(f"{request['folder']}, {request['name']}: {given}, {request['inputs']}")
        if "list" in request and answer["list"] != request["list"]:
            found.append(f"{request['folder']}, {request['name']}: {answer['list']}")
    return found
