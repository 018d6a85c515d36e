"""The content of a page: descriptions of its models, and each shared asset once."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flaxrec.data.vocabulary import Vocabulary
from flaxrec.demo import catalogue, encoding, label_table, panel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.export_folder import MODEL, ExportFolder, read_whole
from flaxrec.tflite.metadata import IDS, SCORES


class Content:
    """The models of a page and their assets.

    Attributes:
      models: one description per model: `label`, `folder`, `figures`, `labelTable`,
        `firstLabelRow`, names of the outputs, and names of the assets `file`, `catalogue` and
        `encoding`.
      assets: bytes by name; names are hashes, so that equal assets occur once.
      first: the catalogue of the first model, which the page shows first.
      hosts: where pictures are loaded from, such as 'https://example.com'.
    """

    def __init__(self, pictures: str = "") -> None:
        self._pictures = pictures
        self.hosts: list[str] = []
        self.models: list[dict[str, Any]] = []
        self.assets: dict[str, bytes] = {}
        self.first: dict[str, Any] = {"titles": None, "genres": None}

    def add(self, folder: str | os.PathLike) -> None:
        """Adds an export; raises ExportError if the folder is no export or lacks a file."""
        read_whole(folder, self._add)

    def _add(self, export: ExportFolder) -> None:
        metadata, file = export.metadata, export.model
        export.check_ends(*flatbuffer.named_ends(file, export.path / MODEL))
        items, vocabularies = export.tables()
        candidates = metadata.get("candidates", len(items))
        found = catalogue.columns(items, self._pictures)
        self.hosts = sorted({*self.hosts, *catalogue.hosts(found)})
        if not self.models:
            self.first = found
        self.models.append(
            {
                "folder": _name(export.path.resolve()),
                "figures": panel.describe(metadata, len(file)),
                "labelTable": label_table.find(file, candidates),
                "firstLabelRow": _first_row(vocabularies[metadata["label_vocabulary"]], candidates),
                "idsOutput": IDS,
                "scoresOutput": SCORES,
                "file": self._keep(file),
                "catalogue": self._keep(_json(found)),
                "encoding": self._keep(_json(encoding.tables(metadata, items, vocabularies))),
            }
        )

    def _keep(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()[:16]
        self.assets[name] = content
        return name


def collect(folders: Iterable[str | os.PathLike], pictures: str = "") -> Content:
    """The content of a page for these exports, in order, each with its `label`.

    `pictures` is the column of items.jsonl with pictures' addresses, see `catalogue.columns`.

    Raises:
      ExportError: a folder is no export, or lacks a file.
      ConfigError: `pictures` is no such column.
    """
    content = Content(pictures)
    for folder in folders:
        content.add(folder)
    for model in content.models:
        model["label"] = _label(model, content.models)
    return content


def _label(model: dict[str, Any], models: list[dict[str, Any]]) -> str:
    """The model's name; the folder's if it has none or shares name and recipe with another."""

    def form(of: dict[str, Any]) -> tuple[str, str]:
        return of["figures"]["name"], of["figures"]["recipe"]

    alone = [form(other) for other in models].count(form(model)) == 1
    return model["figures"]["name"] if alone and model["figures"]["name"] else model["folder"]


def _name(path: Path) -> str:
    """The folder's name; RUN/export for the export folder of a run."""
    return f"{path.parent.name}/{path.name}" if path.name == "export" else path.name


def _first_row(vocabulary: Vocabulary, candidates: int) -> int:
    """The vocabulary row of the first candidate; 0 if padding is a candidate (reference mode)."""
    return max(0, min(1, len(vocabulary.entries) - candidates))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
