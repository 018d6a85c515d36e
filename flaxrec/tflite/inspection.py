"""Describes a .tflite: inputs, the tables that they look up, operators, K.

Reads the flatbuffer, so it also understands files without signatures, made by others.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxrec.data import moments
from flaxrec.errors import ExportError
from flaxrec.files import recover
from flaxrec.files.reading import read_bytes
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.export_folder import MODEL, ExportFolder, read_whole
from flaxrec.tflite.lookups import rows_of
from flaxrec.tflite.metadata import METADATA


@dataclasses.dataclass(frozen=True)
class Input:
    """One input of a graph.

    Attributes:
      name: by signature, else the tensor's without the converter's prefix and suffix.
      dtype: such as int32.
      shape: of one context.
      rows: of the smallest table that looks up its ids: 0..rows-1 are safe; None: not known.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    rows: int | None


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """The description of a .tflite.

    Attributes:
      path: the file.
      bytes: its size.
      inputs: in the file's order.
      operators: builtin names, in the order of execution.
      top_k: number of ids that it returns; None: it returns no list of ids.
      stateful: whether it has variable tensors, which keep values from one call to the next.
    """

    path: Path
    bytes: int
    inputs: tuple[Input, ...]
    operators: tuple[str, ...]
    top_k: int | None
    stateful: bool


def inspect(place: str | os.PathLike) -> ModelFile:
    """Describes a .tflite, or the model.tflite of an export folder.

    Raises:
      ExportError: there is no file, it is no TFLite model, or ai-edge-litert is missing.
    """
    path = Path(place)
    recover(path if path.suffix != ".tflite" else path.parent)
    if path.is_dir() and (path / METADATA).exists():
        content, path = read_whole(path, lambda export: export.model), path / MODEL
    else:
        path = path / MODEL if path.is_dir() else path
        if not path.is_file():
            raise ExportError(f"There is no model file {path}; give a .tflite or an export folder.")
        content = read_bytes(path, ExportError, "give a .tflite or an export folder")
    model = flatbuffer.read(content, path)
    names = flatbuffer.input_names(model)
    if not names:
        raise ExportError(f"{path} has no input; give a model that takes a context.")
    graph = model.subgraphs[0]
    operators = tuple(flatbuffer.operator_name(model, operator) for operator in graph.operators)
    return ModelFile(
        path,
        len(content),
        tuple(_input(path, graph, operators, *numbered) for numbered in names.items()),
        operators,
        next(_lists_of_ids(graph), None),
        any(tensor.isVariable for tensor in graph.tensors),
    )


def _input(path: Path, graph: Any, operators: tuple[str, ...], number: int, name: str) -> Input:
    tensor = graph.tensors[number]
    dtype, rows = flatbuffer.dtype(tensor), None
    if dtype.startswith("int"):
        sizes = list(rows_of(graph, operators, number)) or list(_vocabularies(path.parent, name))
        rows = min(sizes, default=None)
    return Input(name, dtype, flatbuffer.shape(tensor), rows)


def _vocabularies(folder: Path, name: str) -> Iterator[int]:
    """Yields the rows by an export's vocabulary: one for each entry, and one for 'unknown'.

    Of seconds there is none; they count as the rows of a table of the longest time.
    """
    try:
        export = ExportFolder(folder)
        inputs = export.metadata["inputs"]
        if any(s["name"] == name and s["source"] == moments.SECONDS_AGO for s in inputs):
            yield moments.LONGEST
        files = [spec["vocabulary"] for spec in inputs if spec["name"] == name]
        for file in filter(None, files):
            yield export.vocabulary(file).rows
    except ExportError:
        return


def _lists_of_ids(graph: Any) -> Iterator[int]:
    for tensor in (graph.tensors[number] for number in graph.outputs):
        shape = flatbuffer.shape(tensor)
        if flatbuffer.dtype(tensor) in ("int32", "int64") and shape:
            yield shape[-1]
