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
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import read_metadata

# Operators whose result holds their input's ids, unchanged or clamped.
_PASS_IDS_ON = {
    "CAST", "CONCATENATION", "EXPAND_DIMS", "MAXIMUM", "MINIMUM", "PACK", "PAD", "PADV2", "RELU",
    "RESHAPE", "SELECT", "SELECT_V2", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE",
    "UNPACK",
}  # fmt: skip
# Operators that look up ids: (place of the ids, place of the table) among their inputs.
_LOOKUPS = {"EMBEDDING_LOOKUP": (0, 1), "GATHER": (1, 0), "GATHER_ND": (1, 0)}


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
    path = path / "model.tflite" if path.is_dir() else path
    if not path.is_file():
        raise ExportError(f"There is no model file {path}; give a .tflite or an export folder.")
    content = path.read_bytes()
    try:
        model = flatbuffer.read(content)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error
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
        sizes = list(_tables(graph, operators, number)) or list(_vocabularies(path.parent, name))
        rows = min(sizes, default=None)
    return Input(name, dtype, flatbuffer.shape(tensor), rows)


def _tables(graph: Any, operators: tuple[str, ...], tensor: int) -> Iterator[int]:
    """Yields the rows of tables that an input's ids look up, unchanged or clamped."""
    ids = {tensor}
    for name, operator in zip(operators, graph.operators, strict=True):
        inputs = [int(t) for t in operator.inputs]
        if name in _LOOKUPS:
            at, table = _LOOKUPS[name]
            if inputs[at] in ids:
                axis = getattr(operator.builtinOptions, "axis", 0)
                yield flatbuffer.shape(graph.tensors[inputs[table]])[axis]
            elif inputs[table] in ids:  # picks or reorders ids
                ids |= {int(t) for t in operator.outputs}
        elif name in _PASS_IDS_ON and ids & set(inputs):
            ids |= {int(t) for t in operator.outputs}


def _vocabularies(folder: Path, name: str) -> Iterator[int]:
    """Yields the rows by an export's vocabulary: one for each entry, and one for 'unknown'.

    Of seconds there is none; they count as the rows of a table of the longest time.
    """
    try:
        inputs = read_metadata(folder)["inputs"]
        if any(s["name"] == name and s.get("source") == moments.SECONDS_AGO for s in inputs):
            yield moments.LONGEST
        files = [spec["vocabulary"] for spec in inputs if spec["name"] == name]
        for file in filter(None, files):
            yield len((folder / file).read_text(encoding="utf-8").splitlines()) + 1
    except (ExportError, OSError):
        return


def _lists_of_ids(graph: Any) -> Iterator[int]:
    for tensor in (graph.tensors[number] for number in graph.outputs):
        shape = flatbuffer.shape(tensor)
        if flatbuffer.dtype(tensor) in ("int32", "int64") and shape:
            yield shape[-1]
