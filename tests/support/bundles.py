"""What tests of export folders share."""

import json
from pathlib import Path

import pytest

from flaxrec.data.spec import ModelSpec
from flaxrec.errors import FlaxrecError
from flaxrec.exporting import bundle
from flaxrec.training.workdir import Workdir

EXPORTS_METADATA = '{"inputs": [], "label_vocabulary": "", "top_k": 1}'


def export(workdir: Workdir, output: Path | None = None, top_k: int | None = None):
    return bundle.export(workdir, output, say=lambda line: None, top_k=top_k)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def metadata_of(workdir: Workdir) -> dict:
    return json.loads((workdir.export / "metadata.json").read_text(encoding="utf-8"))


def lines_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


def spec_of(workdir: Workdir) -> ModelSpec:
    return ModelSpec.from_json((workdir.assets / "spec.json").read_text(encoding="utf-8"))


def message_of(function, *arguments, error=FlaxrecError) -> str:
    """The one sentence of the error that the call raises."""
    with pytest.raises(error) as raised:
        function(*arguments)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600
    return str(raised.value)
