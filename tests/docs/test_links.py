"""Every relative link of the pages leads to a file, and every anchor to a heading."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.doc_pages import name, pages, prose
from tests.support.places import ROOT


def anchors(page: Path) -> set[str]:
    """The anchors that a repository host gives the page's headings."""
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        times = found.get(anchor, 0)
        found[anchor] = times + 1
        made.add(f"{anchor}-{times}" if times else anchor)
    return made


def problems(page: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    text = prose(page)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    links += re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text)
    wrong = []
    for link in links:
        if "://" in link or link.startswith("mailto:"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        is_here = target == ROOT or ROOT in target.parents
        if (
            not target.exists()
            or not is_here
            or (anchor and (target.suffix != ".md" or anchor not in anchors(target)))
        ):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page):
    assert problems(page) == []


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", prose(index))
    }
    top = set((ROOT / "docs").glob("*.md")) | set((ROOT / "docs").glob("*.ipynb"))
    assert [file.name for file in sorted(top - {index}) if file.resolve() not in linked] == []


def test_what_leads_nowhere_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# `config.data` and [more](x.md)\n\n## Twice\n\n## Twice\n")
    assert anchors(other) == {"configdata-and-more", "twice", "twice-1"}
    page.write_text(
        "[a](other.md) [b](other.md#twice-1) [c](other.md#thrice) [d](none.md) [e](#f)\n"
        '# F\n![p](none.png) <img src="none.svg"> [g](https://example.org/none) [h](#f)\n'
        "```\n[not](a link.md)\n```\n"
    )
    assert problems(page) == ["other.md#thrice", "none.md", "none.png", "none.svg"]
