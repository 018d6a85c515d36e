"""Lets lookups and products read a table's product codes, by builtin operators.

A product has a number for each centroid, x times it; the sums of all pairs a, b of two parts make a
table of 181 * 181 numbers, one for each code. One GATHER by codes and a SUM over pairs make the
scores. A lookup gathers the codes of its ids, the centroids of these codes, and turns them back.

Shapes: R rows, D width, M parts of d numbers, P = M / 2 pairs, L ids.
"""

from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer
from flaxrec.tflite.graph_writer import GraphWriter, Tensor
from flaxrec.tflite.product_codes import CENTROIDS, Codes


def replace(model: Any, graph: Any, codes: Codes, lookups: list[Any], products: list[Any]) -> None:
    """Makes lookups and products of a table [R, D], all its readers, read its codes.

    `model` is a `ModelT` from `flatbuffer.read`, `graph` its first subgraph. Products are
    FULLY_CONNECTED operators of one context, without bias and activation.
    """
    table = _Table(model, codes)
    for operator in lookups:
        ids, output = _ends(table.ops, operator, 0)
        table.put(operator, output, table.rows(ids))
    for operator in products:
        x, output = _ends(table.ops, operator, 0)
        table.put(operator, output, table.scores(x))
    graph.operators = [*table.decoders, *graph.operators]


def _ends(ops: GraphWriter, operator: Any, place: int) -> tuple[Tensor, Tensor]:
    """An operator's input and its output."""
    return ops.tensor(int(operator.inputs[place])), ops.tensor(int(operator.outputs[0]))


class _Table:
    """The constants of a table's codes, and what is computed from them.

    Attributes:
      ops: the writer.
      decoders: operators to run before all others.
    """

    def __init__(self, model: Any, codes: Codes):
        self.ops = ops = GraphWriter(model)
        self.parts, _, self.each = codes.centroids.shape
        self.pairs = self.parts // 2
        self._codes = ops.constant(codes.codes)
        scales = [np.array([s], np.float32) for s in (codes.scale, codes.turn)]
        self._rows = ops.constant(codes.centroids.reshape(-1, self.each), scales[0])
        before, ops.graph.operators = ops.graph.operators, []
        self._centroids = ops.dequantize(ops.constant(codes.centroids, scales[0]))
        self._rotation = ops.dequantize(ops.constant(codes.rotation, scales[1]))
        self.decoders, ops.graph.operators = ops.graph.operators, before

    def put(self, operator: Any, output: Tensor, made: list[Any]) -> None:
        """Puts operators that make a tensor in the place of another that made `output`."""
        made[-1].outputs = np.array([output.number], np.int32)
        operators = self.ops.graph.operators
        place = next(i for i, other in enumerate(operators) if other is operator)
        operators[place : place + 1] = made

    def scores(self, x: Tensor) -> list[Any]:
        """Operators from x [1, D] to its products with the rows, [1, R]."""
        ops, before = self.ops, self.ops.graph.operators
        ops.graph.operators = []
        turned = ops.batch_matmul(x, self._rotation)
        cut = ops.reshape(turned, [self.parts, 1, self.each])
        own = ops.batch_matmul(cut, self._centroids, transpose_b=True)
        own = ops.reshape(own, [2, self.pairs * CENTROIDS])
        first, second = (ops.slice(own, [n, 0], [1, self.pairs * CENTROIDS]) for n in (0, 1))
        sums = ops.reshape(first, [self.pairs, CENTROIDS, 1]) + ops.reshape(
            second, [self.pairs, 1, CENTROIDS]
        )
        of_codes = ops.reshape(sums, [self.pairs, CENTROIDS**2])
        ops.reduce_sum(ops.gather(of_codes, self._codes, axis=1, batch_dims=1), 0, keepdims=True)
        made, ops.graph.operators = ops.graph.operators, before
        return made

    def rows(self, ids: Tensor) -> list[Any]:
        """Operators from ids [L] to their rows [L, D]."""
        ops, before = self.ops, self.ops.graph.operators
        ops.graph.operators = []
        codes = ops.cast(ops.gather(self._codes, ids, axis=1), "int32")
        first = ops.floor_div(codes, CENTROIDS)
        numbers = ops.concat([first, codes - first * CENTROIDS], axis=0)
        places = numbers + CENTROIDS * np.arange(self.parts, dtype=np.int32)[:, None]
        parts = ops.dequantize(ops.gather(self._rows, places))
        joined = ops.reshape(ops.transpose(parts, [1, 0, 2]), [-1, self.parts * self.each])
        ops.batch_matmul(joined, self._rotation, transpose_b=True)
        made, ops.graph.operators = ops.graph.operators, before
        return made


def is_product(model: Any, operator: Any) -> bool:
    """Whether an operator makes scores of codes: a SUM of what a constant's numbers gather."""
    if flatbuffer.operator_name(model, operator) != "SUM":
        return False
    graph = model.subgraphs[0]
    for other in graph.operators:
        if other.outputs[0] == operator.inputs[0]:
            codes = graph.tensors[other.inputs[-1]]
            is_gather = flatbuffer.operator_name(model, other) == "GATHER"
            return is_gather and flatbuffer.dtype(codes) == "int16"
    return False
