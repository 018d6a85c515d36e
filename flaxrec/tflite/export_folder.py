"""An export folder as it is read: files that belong together, and none outside it."""

import contextlib
import functools
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from flaxrec.data.vocabulary import PADDING, Vocabulary, text
from flaxrec.errors import ExportError, printable, shown
from flaxrec.files import inside
from flaxrec.files.reading import read_bytes
from flaxrec.files.strict_json import parse_objects
from flaxrec.tflite.metadata import IDS, METADATA, SCORES, read_metadata

Items = dict[str | None, dict[str, Any]]  # rows of items.jsonl by the id's text
Ends = Iterable[tuple[str, Sequence[int], str]]  # names, shapes and dtypes
MODEL = "model.tflite"
_ITEMS = "items.jsonl"
_REMEDY = "copy the whole export folder"
_WHOLE = re.compile(r"-?[0-9]{1,25}")
_TRIES = 3  # to read a folder that is being replaced
_T = TypeVar("_T")


def read_whole(folder: str | os.PathLike, read: Callable[["ExportFolder"], _T]) -> _T:
    """What `read` makes of an export; it is called again if the folder was replaced meanwhile.

    Otherwise the metadata may be those of the old export and the model that of the new one.

    Raises:
      ExportError: what `read` raises, or the folder is no export.
    """
    for _ in range(_TRIES - 1):
        before = _identity(folder)
        try:
            return read(ExportFolder(folder))
        except ExportError:
            if _identity(folder) == before:
                raise
    return read(ExportFolder(folder))


def _identity(folder: str | os.PathLike) -> tuple[int, ...]:
    """Of the folder that is there now; a number of an inode is used again."""
    found: tuple[int, ...] = ()
    for path in (folder, Path(folder) / METADATA):
        with contextlib.suppress(OSError, ValueError):
            stat = os.stat(path)
            found += (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


class ExportFolder:
    """Reads the files of an export.

    Every file is compared with the bytes and SHA-256 that metadata.json, or the model's own
    metadata, note. A folder of version 0.1.0 has no such notes: a warning says so, and the lines of
    its vocabularies are counted.

    Attributes:
      path: the folder.
      metadata: the content of metadata.json.

    Raises:
      ExportError: the folder is no export, or its metadata.json cannot be used.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.metadata = read_metadata(self.path)
        self._noted: Mapping[str, Any] | None = self.metadata.get("files")

    def read(self, name: str) -> bytes:
        """The content of a file by its name in the folder.

        Raises:
          ExportError: it is missing, outside the folder, or not the one that was exported.
        """
        path, file = inside(self.path, name, self.path / METADATA), self.path / name
        if self._noted is None:
            return read_bytes(path, ExportError, _REMEDY)
        if name not in self._noted:
            raise ExportError(f"{self.path / METADATA} does not note {file} in `files`; {_REMEDY}.")
        content = read_bytes(path, ExportError, _REMEDY, self._noted[name]["bytes"])
        _compare(file, content, self._noted[name]["sha256"])
        return content

    @functools.cached_property
    def model(self) -> bytes:
        """The content of model.tflite; raises ExportError."""
        content = self.read(MODEL)
        if self._noted is None:
            logging.warning(
                "%s does not note which files belong to it, as version 0.1.0 did not; the lines of "
                "its vocabularies are counted, and nothing else is checked: export it again.",
                printable(str(self.path)),
            )
        return content

    def tables(self) -> tuple[Items, dict[str, Vocabulary]]:
        """The items by id as text, most frequent first, and the vocabularies by file.

        Raises:
          ExportError: a file is missing, damaged, or does not belong to the others.
        """
        labels = self.metadata["label_vocabulary"]
        names = {spec["vocabulary"] for spec in self.metadata["inputs"] if spec["vocabulary"]}
        vocabularies = {name: self.vocabulary(name) for name in sorted({labels, *names})}
        items = self._items(vocabularies[labels].entries)
        if self._noted is None:
            self._compare_with_model(vocabularies)
        return items, vocabularies

    def vocabulary(self, name: str) -> Vocabulary:
        """The vocabulary of a file; raises what `tables` raises."""
        content = self.read(name)
        return Vocabulary.parse(content, self.path / name, ExportError, _REMEDY)

    def check_ends(self, inputs: Ends, outputs: Ends) -> None:
        """Compares the model's inputs and outputs with those of metadata.json.

        Raises:
          ExportError: a name, shape or dtype differs, or the outputs are not lists of at least
            `top_k` ids and scores.
        """
        told = [(i["name"], list(i["shape"]), i["dtype"]) for i in self.metadata["inputs"]]
        found = [(name, list(shape), dtype) for name, shape, dtype in inputs]
        if sorted(told) != sorted(found):
            self._differ("the inputs", told, found)
        wanted = {IDS: "int32", SCORES: "float32"}
        lists = {name: (shape, dtype) for name, shape, dtype in outputs}
        for name, dtype in wanted.items():
            shape, have = lists.get(name, ((), "nothing"))
            if have != dtype or len(shape) != 1 or shape[0] < self.metadata["top_k"]:
                top = [self.metadata["top_k"]]
                self._differ(f"the output {name}", (top, dtype), (list(shape), have))

    def _differ(self, what: str, told: object, found: object) -> None:
        raise ExportError(
            f"{self.path / METADATA} and {self.path / MODEL} do not belong together: {what} should "
            f"be {shown(told)} and are {shown(found)}; {_REMEDY}."
        )

    def _items(self, entries: Sequence[str]) -> Items:
        told = self.metadata.get("items") or {}
        if told.get("fields") == "none":
            candidates = self.metadata.get("candidates", len(entries))
            return items_of_vocabulary(entries, candidates, told.get("ids", "text"))
        file = self.path / _ITEMS
        rows = parse_objects(self.read(_ITEMS), file, ExportError, _REMEDY)
        ids = [row.get("id") for row in rows]
        if set(map(type, ids)) in ({int}, {str}):  # most are: this is quick
            items: Items = dict(zip(map(str, ids), rows, strict=True))
            if len(items) == len(rows):
                return items
        items = {}
        for number, row in enumerate(rows):
            what = ""
            if not isinstance(row.get("id"), str | int | float):
                what = f"{shown(row.get('id'))} as id"
            elif (key := text(row["id"])) in items:
                what = f"the id {shown(key)} of another line"
            if what:
                raise ExportError(f"{file}, line {number + 1} has {what}; {_REMEDY}.")
            items[key] = row
        return items

    def _compare_with_model(self, vocabularies: Mapping[str, Vocabulary]) -> None:
        """Compares vocabularies with what the model tells of them: SHA-256, and rows of its tables.

        With a line for padding, there is one for every row but 'unknown'. Where padding is a value,
        as in the TensorFlow example, a table may have further rows.
        """
        from flaxrec.tflite import flatbuffer, lookups  # they need more than numpy

        model = flatbuffer.read(self.model, self.path / MODEL)
        noted = (flatbuffer.metadata_of(model) or {}).get("files")
        for name, digest in noted.items() if isinstance(noted, dict) else ():
            if name in vocabularies:
                _compare(self.path / name, self.read(name), digest)
        label, candidates = self.metadata["label_vocabulary"], self.metadata.get("candidates")
        has_padding = vocabularies[label].entries[0] == PADDING
        # Padding and 'unknown' are no candidates.
        rows = {label: candidates + 2 if candidates and has_padding else candidates}
        found = lookups.rows_by_input(model)
        for spec in self.metadata["inputs"]:
            if spec["vocabulary"]:
                rows.setdefault(spec["vocabulary"], found.get(spec["name"]))
        for name, count in rows.items():
            lines = len(vocabularies[name].entries)
            if count is None or (lines + 1 == count if has_padding else lines <= count + 1):
                continue
            raise ExportError(
                f"{self.path / name} has {lines} lines, which do not fit the {count} rows of "
                f"the model; {_REMEDY}."
            )


def items_of_vocabulary(entries: Sequence[str], candidates: int, ids: str) -> Items:
    """The items of an export without items.jsonl, with their ids alone.

    Args:
      entries: of the label vocabulary.
      candidates: how many items can be recommended; those of later lines are context only.
      ids: 'integer' or 'text'.
    """
    end = candidates + (entries[0] == PADDING)
    items = Items()
    for row, entry in enumerate(entries[1:], 1):
        number = int(entry) if ids == "integer" and _WHOLE.fullmatch(entry) else entry
        items[entry] = {"id": number} if row < end else {"id": number, "candidate": False}
    return items


def _compare(file: Path, content: bytes, digest: object) -> None:
    if hashlib.sha256(content).hexdigest() != digest:
        raise ExportError(
            f"{file} is not the file that was exported, its SHA-256 differs: another export's, or "
            f"changed since, for example by an editor; {_REMEDY}."
        )
