"""docs/choosing.md invents nothing: each of its figures stands on a page that it leads to."""

import re

from tests.support.places import ROOT

SOURCES = ("ablations.md", "half_a_megabyte.md", "benchmarks.md", "starters.md", "moment.md")


def figures(text: str) -> set[str]:
    """Shares of three or four places, without the 0 before the point, and numbers of bytes."""
    shares = re.findall(r"(?<![\d.])-?0?(\.\d{3,4})\b", text)
    return set(shares) | set(re.findall(r"\b\d{2,3},\d{3}\b", text))


def test_every_figure_has_its_source():
    page = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    known = "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in SOURCES)
    found = figures(page)
    assert len(found) > 45
    assert found - figures(known) == set()
    assert [name for name in SOURCES if name not in page] == []


def test_a_figure_without_source_is_noticed():
    assert figures("| .2617 | 0.9991 | 12,345 | -.0031 |") == {".2617", ".9991", "12,345", ".0031"}
