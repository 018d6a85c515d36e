"""Makes one SPLIT of SLICEs that cut a tensor into equal parts along an axis.

A recurrent network takes each activity's row, and each gate, out of a larger tensor. Every operator
takes time besides its work, so one that makes all parts is faster. Results stay the same to the
bit.
"""

import copy
import dataclasses
from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer, graph_edits


@dataclasses.dataclass(frozen=True)
class _Cut:
    """A SLICE along one axis: the part number `place` of `parts` equal ones of tensor `number`."""

    operator: Any
    number: int
    axis: int
    parts: int
    place: int


def merge_slices(content: bytes) -> bytes:
    """The same file with a SPLIT wherever SLICEs take at least half of a tensor's equal parts.

    Raises:
      ExportError: the content is no .tflite.
    """
    model = flatbuffer.read(content)
    for graph in model.subgraphs:
        groups: dict[tuple[int, int, int], dict[int, _Cut]] = {}
        for operator in graph.operators:
            cut = _cut(model, graph, operator)
            if cut:
                parts = groups.setdefault((cut.number, cut.axis, cut.parts), {})
                parts.setdefault(cut.place, cut)
        for parts in groups.values():
            if len(parts) > 1 and 2 * len(parts) >= next(iter(parts.values())).parts:
                _split(model, graph, parts)
    return flatbuffer.write(model)


def _cut(model: Any, graph: Any, operator: Any) -> _Cut | None:
    """The operator as a cut; None if it is none."""
    if flatbuffer.operator_name(model, operator) != "SLICE":
        return None
    number, *ends = (int(tensor) for tensor in operator.inputs)
    data = [model.buffers[graph.tensors[end].buffer].data for end in ends]
    of, made = (flatbuffer.shape(graph.tensors[n]) for n in (number, int(operator.outputs[0])))
    axes = [axis for axis in range(len(of)) if of[axis] != made[axis]]
    if len(axes) != 1 or any(d is None for d in data) or _depends(graph.tensors[number]):
        return None
    begin = np.asarray(data[0]).view("<i4")[axes[0]]
    size = made[axes[0]]
    if flatbuffer.dtype(graph.tensors[number]) != "float32" or of[axes[0]] % size or begin % size:
        return None
    return _Cut(operator, number, axes[0], of[axes[0]] // size, int(begin // size))


def _depends(tensor: Any) -> bool:
    """Whether the sizes depend on the data."""
    return tensor.shapeSignature is not None and -1 in np.asarray(tensor.shapeSignature)


def _split(model: Any, graph: Any, cuts: dict[int, _Cut]) -> None:
    """Puts a SPLIT in the place of the first of the cuts, by their places; the others go."""
    first = next(iter(cuts.values()))
    outputs = []
    for place in range(first.parts):
        number = int(cuts.get(place, first).operator.outputs[0])
        if place not in cuts:  # a part that nothing reads
            graph.tensors.append(copy.copy(graph.tensors[number]))
            number = len(graph.tensors) - 1
        outputs.append(number)
    schema = flatbuffer.schema()
    axis = np.frombuffer(np.array(first.axis, "<i4").tobytes(), np.uint8)
    graph.tensors.append(
        schema.TensorT(
            shape=np.zeros(0, np.int32),
            type=schema.TensorType.INT32,
            buffer=graph_edits.append_buffer(model, axis),
            hasRank=True,
        )
    )
    split = schema.OperatorT(
        inputs=np.array([len(graph.tensors) - 1, first.number], np.int32),
        outputs=np.array(outputs, np.int32),
        builtinOptionsType=schema.BuiltinOptions.SplitOptions,
        builtinOptions=schema.SplitOptionsT(numSplits=first.parts),
    )
    graph_edits.set_code(model, split, schema.BuiltinOperator.SPLIT, 1)
    gone = {id(cut.operator) for cut in cuts.values()} - {id(first.operator)}
    graph.operators = [
        split if operator is first.operator else operator
        for operator in graph.operators
        if id(operator) not in gone
    ]
