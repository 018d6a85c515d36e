"""examples/ios: its Swift parses; it was not compiled."""

from pathlib import Path

import pytest

from tests.support import guides
from tests.support.doc_pages import blocks
from tests.support.places import ROOT

EXAMPLE = ROOT / "examples" / "ios"
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
