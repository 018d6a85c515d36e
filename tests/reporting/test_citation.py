"""What flaxrec is cited as: one entry in BibTeX, the same as in CITATION.cff."""

import re
from pathlib import Path

import flaxrec
from flaxrec import report
from flaxrec.reporting import citation

FILE = Path(__file__).parents[2] / "CITATION.cff"


def test_the_command_prints_an_entry_and_nothing_else(capsys):
    assert report.main(["--cite"]) == 0
    printed = capsys.readouterr().out
    assert printed == citation.bibtex()
    assert printed.startswith("@software{flaxrec,\n")
    assert printed.endswith("\n}\n")
    fields = dict(re.findall(r"^  (\w+) *= \{(.*)\},$", printed, re.MULTILINE))
    assert list(fields) == ["author", "title", "version", "year", "note"]
    assert fields["version"] == flaxrec.__version__
    assert fields["author"] == "{The flaxrec authors}"  # a group, in braces of its own


def test_the_file_says_the_same():
    text = FILE.read_text(encoding="utf-8")
    assert f'title: "{citation.TITLE}"' in text
    assert f'  - name: "{citation.AUTHORS}"' in text
    assert f"version: {flaxrec.__version__}\n" in text
