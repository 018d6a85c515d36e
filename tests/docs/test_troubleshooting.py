"""docs/troubleshooting.md quotes messages that the code still gives, word for word."""

import re

import pytest

from tests.support.places import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"


def code() -> str:
    """All strings of the package as one text: joined across lines, fields as a mark."""
    files = [*(ROOT / "flaxrec").rglob("*.py"), ROOT / "train_main.py", ROOT / "export_tflite.py"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\{[^{}]*\}", "#", joined)


def ours() -> list[str]:
    """Messages of flaxrec in the page: those of the tables under a heading of its own."""
    page = PAGE.read_text(encoding="utf-8")
    kept = re.sub(r"Of the libraries.*?(?=^Advice)", "", page, flags=re.DOTALL | re.MULTILINE)
    first = [row.split(" | ")[0] for row in re.findall(r"^\| (.+) \|$", kept, re.MULTILINE)]
    return [m for cell in first for m in re.findall(r"`([^`]{30,})`", cell)]


def longest(message: str) -> str:
    """The longest part of a message that holds no figure, name or value."""
    parts = re.split(r"\.\.\.|'[^']*'|\[[^\]]*\]|\([^)]*\)|\S*[/\d]\S*|config\.\S+", message)
    return max((part.strip(" ,;:.-") for part in parts), key=len)


FOREIGN = ("cuInit", "oneDNN", "Embedding Lookup", "Variable tensors", "Cannot set tensor")
FOREIGN += (
    "EMBEDDING_LOOKUP",
    "Invalid Input name",
    "Failed to load model",
    "Topology mismatch",
    "cuda drivers",
)


@pytest.mark.parametrize("message", [m for m in ours() if not any(f in m for f in FOREIGN)])
def test_the_code_gives_the_message(message):
    part = longest(message)
    assert len(part.split()) >= 3
    assert part in code()


def test_enough_is_looked_at():
    assert len([m for m in ours() if not any(f in m for f in FOREIGN)]) > 15
