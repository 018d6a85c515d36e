"""The Markdown pages of the repository, and what stands in them."""

import dataclasses
import re
import typing
from pathlib import Path

from flaxrec.config import Config
from tests.support.places import ROOT


def pages() -> list[Path]:
    """README and its neighbours, docs/ and the starters' cards."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md")]
    return sorted(found)


def name(page: Path) -> str:
    """For the names of tests."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, in their order."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its code blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """Lines of the bash blocks, those that end in a backslash joined with the next."""
    joined = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def problem_of(path: str) -> str:
    """What is wrong with a path such as 'config.model.global_groups[0].encoder'; '' if nothing."""
    kind: typing.Any = Config
    for part in path.split(".")[1:]:
        name, index = re.fullmatch(r"(\w+)((?:\[\d\])?)", part).groups()
        if not dataclasses.is_dataclass(kind):
            return f"{path}: nothing is below {kind}"
        hints = typing.get_type_hints(kind)
        if name not in hints:
            return f"{path}: {kind.__name__} has no field {name}"
        kind = hints[name]
        if index:
            if typing.get_origin(kind) is not list:
                return f"{path}: {name} is no list"
            (kind,) = typing.get_args(kind)
    return ""
