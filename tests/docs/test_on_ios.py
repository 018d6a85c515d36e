"""examples/ios: its Swift parses; where there is a compiler, it fills inputs as the vectors say."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import guides
from tests.support.doc_pages import blocks
from tests.support.places import ROOT

EXAMPLE = ROOT / "examples" / "ios"
STAND_INS = Path(__file__).parent / "ios"
PAGE = ROOT / "docs" / "on_ios.md"


def wrong(code: str) -> list[str]:
    """Where Swift's grammar does not fit."""
    tree_sitter = pytest.importorskip("tree_sitter", reason="needs tree-sitter")
    swift = pytest.importorskip("tree_sitter_swift", reason="needs tree-sitter-swift")
    parser = tree_sitter.Parser(tree_sitter.Language(swift.language()))
    found, nodes = [], [parser.parse(code.encode()).root_node]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {node.type}")
        nodes += node.children
    return found


@pytest.mark.parametrize("file", sorted(EXAMPLE.glob("*.swift")), ids=lambda file: file.name)
def test_the_example_parses(file: Path):
    code = file.read_text(encoding="utf-8")
    assert wrong(code) == []
    assert wrong(code.replace("func ", "func func ", 1).replace("struct ", "struct :", 1)) != []


def test_the_guide_shows_the_example():
    *shown, use = blocks(PAGE, "swift")
    guides.assert_all_in(shown, EXAMPLE)
    assert wrong(use) == []


@pytest.mark.long
def test_the_inputs_are_those_of_the_vectors(tmp_path):
    """With stand-ins for LiteRT's package, and for what Apple's systems alone have."""
    if not (swiftc := shutil.which("swiftc")):
        pytest.skip("swiftc is not installed")

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    module = ["-emit-library", "-static", "-emit-module", "-module-name", "LiteRT"]
    run(swiftc, *module, str(STAND_INS / "LiteRT.swift"))
    others = [STAND_INS / "Apple.swift", STAND_INS / "main.swift"]
    sources = map(str, [*EXAMPLE.glob("*.swift"), *others])
    run(swiftc, "-I.", "-L.", "-lLiteRT", "-o", "app", *sources)
    guides.write_requests(tmp_path / "folders")
    said = run("./app", "folders", "folders/requests.json")
    assert not guides.wrong(list(map(json.loads, said.splitlines())))
