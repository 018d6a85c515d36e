"""Appends operators to a graph, by the names that TensorFlow has for them.

`exporting` writes the ranking once, with TensorFlow's functions. With a `GraphWriter` in the place
of TensorFlow the same lines append TFLite's operators to a graph that another converter made.
Operators of constants alone are NumPy's.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer, graph_edits

_RELU, _RELU6 = 1, 3  # of the schema's ActivationFunctionType
_VERSIONS = {("GATHER", "int8"): 2, ("GATHER", "int16"): 4}  # by the type that is read; others: 1


class Shape(tuple[int | None, ...]):
    """Sizes of axes; None: it depends on the data."""

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self)


class Tensor:
    """A tensor of the graph that is not constant.

    Attributes:
      ops: its writer.
      number: in the graph.
      shape: its sizes.
      dtype: the NumPy name of its type.
    """

    __array_ufunc__ = None  # an array on the left leaves the operator to this class

    def __init__(self, ops: "GraphWriter", number: int, shape: Sequence[int | None], dtype: str):
        self.ops, self.number, self.shape, self.dtype = ops, number, Shape(shape), dtype

    def __add__(self, other: Any) -> "Tensor":
        return self if _is_zero(other) else self.ops.binary("ADD", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Tensor":
        return self if _is_zero(other) else self.ops.binary("SUB", self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return self.ops.binary("SUB", other, self)

    def __mul__(self, other: Any) -> "Tensor":
        return self.ops.binary("MUL", self, other)

    __rmul__ = __mul__

    def __gt__(self, other: Any) -> "Tensor":
        return self.ops.binary("GREATER", self, other, dtype="bool")

    def __getitem__(self, key: Any) -> "Tensor":
        """A range of the last axis: x[a:b] of a vector, x[..., a:b]."""
        part = key[-1] if isinstance(key, tuple) else key
        begin, end, _ = part.indices(self.shape[-1])
        return self.ops.last_axis(self, begin, end - begin)


class GraphWriter:
    """Appends operators to the first graph of a file.

    Args:
      model: a `ModelT` from `flatbuffer.read`, of one signature.
    """

    int32, float32 = np.dtype("int32"), np.dtype("float32")

    def __init__(self, model: Any):
        self.model, self.graph = model, model.subgraphs[0]
        self.math = self.nn = self  # where TensorFlow has some of the functions
        self._made: dict[int, Any] = {}  # operators by the tensor that they make

    # ---- ends of the graph ----------------------------------------------------------------

    def tensors(self, of: str) -> dict[str, Tensor]:
        """Those of the signature's 'inputs' or 'outputs', by name."""
        named = getattr(self.model.signatureDefs[0], of)
        return {entry.name.decode(): self._of(entry.tensorIndex) for entry in named}

    def input(self, name: str, shape: Sequence[int], dtype: str) -> Tensor:
        """Adds an input."""
        tensor = self._tensor(shape, dtype)
        self.graph.inputs = np.append(self.graph.inputs, np.int32(tensor.number))
        entry = flatbuffer.schema().TensorMapT(name, tensor.number)
        self.model.signatureDefs[0].inputs.append(entry)
        return tensor

    def tensor(self, number: int) -> Tensor:
        """A tensor that the graph has."""
        return self._of(number)

    def constant(self, values: Any, scale: np.ndarray | None = None) -> Tensor:
        """Adds a constant that operators take in the place of a tensor.

        With a scale, float32 [1], it is the integers times it.
        """
        array = np.asarray(values)
        number = self._constant(array)
        if scale is not None:
            self.graph.tensors[number].quantization = graph_edits.quantization(scale)
        return Tensor(self, number, array.shape, array.dtype.name)

    def set_outputs(self, **named: Tensor) -> None:
        """Makes these the graph's only outputs."""
        self.graph.outputs = np.array([t.number for t in named.values()], np.int32)
        entry = flatbuffer.schema().TensorMapT
        self.model.signatureDefs[0].outputs = [
            entry(name, tensor.number) for name, tensor in named.items()
        ]

    # ---- TensorFlow's functions ----------------------------------------------------------

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """Of tensors or arrays; one size may be -1."""
        if not isinstance(x, Tensor):
            return np.reshape(x, shape)
        known = [size for size in x.shape if size is not None]
        rest = int(np.prod(known)) // abs(int(np.prod(shape)))
        made = [(rest if len(known) == len(x.shape) else None) if s == -1 else s for s in shape]
        return self._append("RESHAPE", [x, np.array(shape, np.int32)], made, x.dtype, "Reshape")

    def cast(self, x: Tensor, dtype: Any) -> Tensor:
        """Of a tensor; as it is if it has the type."""
        name = np.dtype(dtype).name
        if name == x.dtype:
            return x
        options = {"inDataType": self._type(x.dtype), "outDataType": self._type(name)}
        return self._append("CAST", [x], x.shape, name, "Cast", **options)

    def concat(self, parts: Sequence[Any], axis: int) -> Tensor:
        """Along the first axis."""
        if len(parts) == 1:
            return parts[0]
        sizes = [part.shape[0] for part in parts]
        shape = [None if None in sizes else sum(sizes), *parts[0].shape[1:]]
        dtype = next(part.dtype for part in parts if isinstance(part, Tensor))
        return self._append("CONCATENATION", list(parts), shape, dtype, "Concatenation", axis=0)

    def gather(self, x: Any, places: Tensor, axis: int = 0, batch_dims: int = 0) -> Tensor:
        """Rows of a tensor or array, or what else is along an axis; of a vector, its numbers."""
        dtype = x.dtype if isinstance(x, Tensor) else x.dtype.name
        axis %= len(x.shape)
        shape = [*x.shape[:axis], *places.shape[batch_dims:], *x.shape[axis + 1 :]]
        versions = [_VERSIONS.get(("GATHER", dtype), 1), 5 if batch_dims else 1]
        version = max([*versions, 6 if places.dtype == "int16" else 1])
        options = {"axis": axis, "batchDims": batch_dims}
        made = self._append("GATHER", [x, places], shape, dtype, "Gather", version, **options)
        if isinstance(x, Tensor):
            own = self.graph.tensors[x.number].quantization
            self.graph.tensors[made.number].quantization = own
        return made

    def where(self, x: Tensor) -> Tensor:
        """Places int64 [n, 1] where a vector is true."""
        return self._append("WHERE", [x], [None, 1], "int64", "Where")

    def pad(self, x: Tensor, padding: Sequence[Sequence[int]]) -> Tensor:
        """With zeros: (before, after) of each axis."""
        shape = [s and s + sum(p) for s, p in zip(x.shape, padding, strict=True)]
        return self._append("PAD", [x, np.array(padding, np.int32)], shape, x.dtype, "Pad")

    def scatter_nd(self, places: Any, values: Any, shape: Any) -> Tensor:
        """Sums of values [n] at places [n, 1] of a vector."""
        constant = np.array(shape, np.int32)
        made, parts = [int(size) for size in shape], [places, values, constant]
        return self._append("SCATTER_ND", parts, made, "float32", "ScatterNd")

    def matmul(self, a: Tensor, b: Tensor, *, transpose_b: bool) -> Tensor:
        """[n, D] and [m, D] -> [n, m]."""
        if not transpose_b:
            raise ValueError("only with transpose_b=True")
        none = Tensor(self, -1, (), a.dtype)  # no bias
        shape = [a.shape[0], b.shape[0]]
        return self._append("FULLY_CONNECTED", [a, b, none], shape, a.dtype, "FullyConnected")

    def batch_matmul(self, a: Tensor, b: Tensor, *, transpose_b: bool = False) -> Tensor:
        """[..., n, m] and [..., m, k], or [..., k, m] transposed -> [..., n, k]."""
        shape = [*a.shape[:-1], b.shape[-2 if transpose_b else -1]]
        return self._append("BATCH_MATMUL", [a, b], shape, a.dtype, "BatchMatMul", adjY=transpose_b)

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """With its axes in this order."""
        shape = [x.shape[axis] for axis in axes]
        return self._append("TRANSPOSE", [x, np.array(axes, np.int32)], shape, x.dtype, "Transpose")

    def dequantize(self, x: Tensor) -> Tensor:
        """The float32 numbers that 8 bits with one scale stand for; of a constant only once."""
        return self._append("DEQUANTIZE", [x], x.shape, "float32", "Dequantize", 2)

    def floor_div(self, x: Tensor, y: int) -> Tensor:
        """The quotients, rounded down."""
        parts = [x, np.array(y, x.dtype)]
        return self._append("FLOOR_DIV", parts, x.shape, x.dtype, "FloorDiv")

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int | None]) -> Tensor:
        """So many of each axis, all known, from `begin` on."""
        parts = [x, np.array(begin, np.int32), np.array(size, np.int32)]
        return self._append("SLICE", parts, size, x.dtype, "Slice")

    def top_k(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The largest K of a vector and their places int32, descending."""
        values, places = self._tensor([k], x.dtype), self._tensor([k], "int32")
        self._operator("TOPK_V2", [x, np.array(k, np.int32)], [values, places], "TopKV2")
        return values, places

    def shape(self, x: Any) -> np.ndarray:
        """Its sizes, which are known."""
        return np.array(x.shape, np.int32)

    def fill(self, shape: Any, value: float) -> np.ndarray:
        """An array of one value."""
        return np.full(shape, value, np.float32)

    def maximum(self, x: Any, y: Any) -> Tensor:
        """Of each pair."""
        return self.binary("MAXIMUM", x, y)

    def minimum(self, x: Any, y: Any) -> Tensor:
        """Of each pair."""
        return self.binary("MINIMUM", x, y)

    def reduce_max(self, x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Over an axis, or all."""
        return self._reduced("REDUCE_MAX", x, axis, keepdims)

    def reduce_min(self, x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Over an axis, or all."""
        return self._reduced("REDUCE_MIN", x, axis, keepdims)

    def reduce_sum(self, x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Over an axis, or all."""
        return self._reduced("SUM", x, axis, keepdims)

    def abs(self, x: Tensor) -> Tensor:
        """Without signs."""
        return self._append("ABS", [x], x.shape, x.dtype, "Abs")

    def sigmoid(self, x: Tensor) -> Tensor:
        """1 / (1 + exp(-x))."""
        return self._append("LOGISTIC", [x], x.shape, x.dtype)

    def relu(self, x: Tensor) -> Tensor:
        """max(x, 0) of a sum or difference that nothing else reads."""
        return self._activated(x, _RELU)

    def relu6(self, x: Tensor) -> Tensor:
        """min(max(x, 0), 6) of such."""
        return self._activated(x, _RELU6)

    # ---- operators -------------------------------------------------------------------------

    def binary(self, name: str, x: Any, y: Any, dtype: str = "") -> Tensor:
        """An operator of two tensors, or of a tensor and numbers, with broadcasting."""
        of = x if isinstance(x, Tensor) else y
        x, y = (v if isinstance(v, Tensor) else np.asarray(v, of.dtype) for v in (x, y))
        kind = "MaximumMinimum" if name in ("MAXIMUM", "MINIMUM") else name.title()
        return self._append(name, [x, y], _broadcast(x.shape, y.shape), dtype or of.dtype, kind)

    def last_axis(self, x: Tensor, begin: int, size: int) -> Tensor:
        """A range of the last axis, whose sizes are all known."""
        made = [*x.shape[:-1], size]
        if size == x.shape[-1]:
            return x
        return self.slice(x, [0] * (len(made) - 1) + [begin], made)

    def _reduced(self, name: str, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
        axes = list(range(len(x.shape))) if axis is None else [axis % len(x.shape)]
        made = [
            1 if a in axes else size for a, size in enumerate(x.shape) if a not in axes or keepdims
        ]
        parts = [x, np.array(axes, np.int32)]
        return self._append(name, parts, made, x.dtype, "Reducer", keepDims=keepdims)

    def _activated(self, x: Tensor, function: int) -> Tensor:
        self._made[x.number].builtinOptions.fusedActivationFunction = function
        return x

    def _append(
        self,
        name: str,
        inputs: Sequence[Any],
        shape: Sequence[int | None],
        dtype: str,
        options: str = "",
        version: int = 1,
        **fields: Any,
    ) -> Tensor:
        """Appends an operator of one result."""
        made = self._tensor(shape, dtype)
        self._operator(name, inputs, [made], options, version, **fields)
        return made

    def _operator(
        self,
        name: str,
        inputs: Sequence[Any],
        outputs: Sequence[Tensor],
        options: str = "",
        version: int = 1,
        **fields: Any,
    ) -> None:
        schema = flatbuffer.schema()
        numbers = [v.number if isinstance(v, Tensor) else self._constant(v) for v in inputs]
        made = schema.OperatorT(
            inputs=np.array(numbers, np.int32),
            outputs=np.array([tensor.number for tensor in outputs], np.int32),
        )
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
            made.builtinOptions = getattr(schema, f"{options}OptionsT")(**fields)
        graph_edits.set_code(self.model, made, getattr(schema.BuiltinOperator, name), version)
        self.graph.operators.append(made)
        self._made |= {tensor.number: made for tensor in outputs}

    # ---- tensors ---------------------------------------------------------------------------

    def _of(self, number: int) -> Tensor:
        tensor = self.graph.tensors[number]
        return Tensor(self, number, flatbuffer.shape(tensor), flatbuffer.dtype(tensor))

    def _constant(self, values: Any) -> int:
        array = np.ascontiguousarray(values).reshape(np.shape(values))
        tensor = self._tensor(array.shape, array.dtype.name)
        data = np.frombuffer(array.tobytes(), np.uint8)
        self.graph.tensors[tensor.number].buffer = graph_edits.append_buffer(self.model, data)
        return tensor.number

    def _tensor(self, shape: Sequence[int | None], dtype: str) -> Tensor:
        signature = [-1 if size is None else size for size in shape]
        made = flatbuffer.schema().TensorT(
            shape=np.array([1 if size is None else size for size in shape], np.int32),
            shapeSignature=np.array(signature, np.int32) if None in shape else None,
            type=self._type(dtype),
            hasRank=True,
        )
        self.graph.tensors.append(made)
        return Tensor(self, len(self.graph.tensors) - 1, shape, dtype)

    def _type(self, dtype: str) -> int:
        return getattr(flatbuffer.schema().TensorType, dtype.upper())


def _is_zero(value: Any) -> bool:
    return not isinstance(value, Tensor) and np.ndim(value) == 0 and value == 0


def _broadcast(a: Sequence[int | None], b: Sequence[int | None]) -> list[int | None]:
    pairs = itertools.zip_longest(reversed(a), reversed(b), fillvalue=1)
    return [y if x == 1 else x for x, y in pairs][::-1]
