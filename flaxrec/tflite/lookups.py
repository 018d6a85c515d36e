"""Finds the tables that the inputs of a graph look up."""

from collections.abc import Iterator, Sequence
from typing import Any

from flaxrec.tflite import flatbuffer

# Operators whose result holds their input's ids, unchanged or clamped.
_PASS_IDS_ON = {
    "CAST", "CONCATENATION", "EXPAND_DIMS", "MAXIMUM", "MINIMUM", "PACK", "PAD", "PADV2", "RELU",
    "RESHAPE", "SELECT", "SELECT_V2", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE",
    "UNPACK",
}  # fmt: skip
# Operators that look up ids: (place of the ids, place of the table) among their inputs.
_LOOKUPS = {"EMBEDDING_LOOKUP": (0, 1), "GATHER": (1, 0), "GATHER_ND": (1, 0)}


def rows_by_input(model: Any) -> dict[str, int]:
    """The rows of the smallest table that looks up an input's ids, by the input's name."""
    graph, names = model.subgraphs[0], flatbuffer.input_names(model)
    operators = [flatbuffer.operator_name(model, operator) for operator in graph.operators]
    sizes = {name: list(rows_of(graph, operators, number)) for number, name in names.items()}
    return {name: min(rows) for name, rows in sizes.items() if rows}


def rows_of(graph: Any, operators: Sequence[str], tensor: int) -> Iterator[int]:
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
