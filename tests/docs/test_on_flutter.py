"""docs/on_flutter.md shows the code of examples/flutter, which was not compiled."""

from tests.support import guides
from tests.support.doc_pages import blocks
from tests.support.places import ROOT


def test_the_guide_shows_the_example():
    *shown, _ = blocks(ROOT / "docs" / "on_flutter.md", "dart")
    guides.assert_all_in(shown, ROOT / "examples" / "flutter")
