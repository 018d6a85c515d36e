"""Finds the reference's layers in the graph of a .tflite.

Walks the graph from the top-K back to the inputs, without names or positions of tensors. Every
operator must be understood.
"""

import dataclasses
from typing import NoReturn

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.reference.graph import Graph, Operator

SUPPORTED = (
    "float32 files that the TensorFlow example exports (BOW, CNN or fused LSTM groups, ReLU "
    "layers, a label table, TOPK_V2) can be imported"
)
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_RELU, _TANH, _SAME = 1, 4, 0  # the schema's numbers


@dataclasses.dataclass(frozen=True)
class Group:
    """One feature group; `embedded`, then `numbers`, in the order of the concatenation.

    Attributes:
      encoder: bow, cnn or lstm.
      embedded: table [rows, E] by input tensor.
      numbers: input tensors of FLOAT features.
      weights: of the encoder, by the last part of the reference's names.
    """

    encoder: str
    embedded: dict[int, np.ndarray]
    numbers: tuple[int, ...]
    weights: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Model:
    """Groups, layers as (kernel [in, out], bias [out]), label table [V, D], K, output tensors."""

    groups: list[Group]
    layers: list[tuple[np.ndarray, np.ndarray]]
    labels: np.ndarray
    top_k: int
    ids: int
    scores: int


def read_layers(graph: Graph) -> Model:
    """Reads the reference's layers; raises ExportError with the name of an unknown operator."""
    return _Walk(graph).model()


class _Walk:
    """Walks from the top-K to the inputs and notes which operators it understood."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.understood: set[int] = set()  # first outputs of operators

    def model(self) -> Model:
        """The whole graph."""
        ranking = [op for op in self.graph.operators if op.name == "TOPK_V2"]
        if len(ranking) != 1:
            raise ExportError(
                f"{self.graph.file} has {len(ranking)} operators TOPK_V2; only {SUPPORTED}."
            )
        (top,) = ranking
        self._see(top)
        ids, scores = self._outputs(top)
        labels, bias, tensor = self._dense(self._op(top.inputs[0], "the label table"), relu=False)
        if bias.any():
            self._refuse(self._op(top.inputs[0], ""), "the label table has a bias")
        layers: list[tuple[np.ndarray, np.ndarray]] = []
        while self._peek(tensor) == "FULLY_CONNECTED":
            kernel, bias, tensor = self._dense(self._op(tensor, "a layer"), relu=True)
            layers.insert(0, (kernel, bias))
        if not layers:
            self._refuse(self._op(tensor, "the projection"), "the projection is expected")
        groups = [self._group(part) for part in self._parts(tensor)]
        self._check_all_understood()
        k = self._constant(top, 1, "K").item()
        return Model(groups, layers, labels.T, k, ids, scores)

    def _outputs(self, top: Operator) -> tuple[int, int]:
        """The file's outputs (ids, scores), in any order in the file."""
        ids, scores = [], []
        for output in self.graph.outputs:
            tensor = self._through(output)
            if tensor == top.outputs[1]:
                ids.append(output)
                continue
            op = self._op(output, "the scores", "LOGISTIC")
            if self._through(op.inputs[0]) != top.outputs[0]:
                self._refuse(op, "the scores are expected to be those of the top-K")
            scores.append(output)
        if (len(ids), len(scores)) != (1, 1):
            raise ExportError(
                f"{self.graph.file} has {len(self.graph.outputs)} outputs; ids and scores are "
                f"expected, only {SUPPORTED}."
            )
        return ids[0], scores[0]

    def _dense(self, op: Operator, *, relu: bool) -> tuple[np.ndarray, np.ndarray, int]:
        """Kernel [in, out], bias [out] and the input of a FULLY_CONNECTED."""
        if op.name != "FULLY_CONNECTED":
            self._refuse(op, "FULLY_CONNECTED is expected")
        if op.options["fusedActivationFunction"] != (_RELU if relu else 0):
            self._refuse(
                op, "a ReLU is expected here" if relu else "no activation is expected here"
            )
        kernel = self._constant(op, 1, "the kernel").T
        return kernel, self._bias(op, kernel.shape[1]), op.inputs[0]

    # ---- groups ----

    def _group(self, tensor: int) -> Group:
        op = self._op(tensor, "a group's encoding")
        if op.name in ("SELECT", "SELECT_V2"):
            return self._bow(op)
        if op.name == "SUM":
            embedded, numbers, mask = self._vectors(self._over_time(op))
            if mask is not None:
                self._refuse(op, "a sum of embedded features is expected to be divided")
            return Group("bow", embedded, numbers, {})
        if op.name == "REDUCE_MAX":
            return self._cnn(op)
        if op.name == "STRIDED_SLICE":
            return self._lstm(op)
        self._refuse(op, "the end of a BOW, CNN or LSTM encoder is expected")

    def _bow(self, select: Operator) -> Group:
        """A bag of words: the sum of x divided by the sum of the mask, if that is not 0."""
        condition, division, zero = select.inputs
        if self._value(zero) != 0.0:
            self._refuse(select, "0 is expected for an empty context")
        divide = self._op(division, "a mean", "DIV")
        present = self._op(condition, "a mean's condition", "NOT_EQUAL", "GREATER")
        if present.inputs[0] != divide.inputs[1] or self._value(present.inputs[1]) != 0.0:
            self._refuse(present, "the mean's divisor is expected to be compared with 0")
        embedded, numbers, mask = self._vectors(
            self._over_time(self._op(divide.inputs[0], "a mean", "SUM"))
        )
        count = self._op(divide.inputs[1], "a mean's divisor", "SUM", "MUL")
        if count.name == "MUL":  # by ones, for every channel
            of, ones = self._operands(count)
            if self._value(ones) != 1.0:
                self._refuse(count, "a product with 1 is expected in a mean's divisor")
            count = self._op(of, "a mean's divisor", "SUM")
        if mask is None or self._through(self._over_time(count)) != self._through(mask):
            self._refuse(count, "the sum of the group's mask is expected")
        return Group("bow", embedded, numbers, {})

    def _cnn(self, maximum: Operator) -> Group:
        """Convolutions with stride = kernel, SAME, ReLU; then the maximum over time."""
        tensor = self._over_time(maximum)
        layers: list[tuple[np.ndarray, np.ndarray]] = []
        while self._peek(tensor) == "CONV_2D":
            op = self._op(tensor, "a convolution")
            kernel = self._constant(op, 1, "the kernel")  # [F, 1, k, C]
            wanted = {
                "padding": _SAME,
                "strideH": 1,
                "strideW": kernel.shape[2],
                "dilationHFactor": 1,
                "dilationWFactor": 1,
                "fusedActivationFunction": _RELU,
            }
            if kernel.shape[1] != 1 or any(op.options[k] != v for k, v in wanted.items()):
                self._refuse(op, "a kernel [1, k] of stride k, SAME padding and a ReLU is expected")
            layers.insert(0, (kernel[:, 0].transpose(1, 2, 0), self._bias(op, len(kernel))))
            tensor = op.inputs[0]
        if not layers:
            self._refuse(maximum, "a maximum over convolutions is expected")
        embedded, numbers, _ = self._vectors(tensor)
        weights: dict[str, np.ndarray] = {}
        for j, (kernel, bias) in enumerate(layers):
            weights |= {f"conv{j}/kernel": kernel, f"conv{j}/bias": bias}
        return Group("cnn", embedded, numbers, weights)

    def _lstm(self, last: Operator) -> Group:
        """The last state of a fused LSTM, gates in the order input, forget, cell, output."""
        op = self._op(last.inputs[0], "an LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")
        length = self.graph.shape(op.outputs[0])[1]
        begin = self._constant(last, 1, "the begin").tolist()
        if last.options["shrinkAxisMask"] != 0b010 or begin[1] not in (-1, length - 1):
            self._refuse(last, "the last state of the LSTM is expected")
        inputs = op.inputs + (-1,) * (24 - len(op.inputs))
        plain = (*range(1, 9), *range(12, 16))  # without peepholes, projection, norms
        given = [i for i in range(1, 24) if inputs[i] >= 0 and i not in (18, 19)]
        # The converter clips cells at 10. A cell grows by at most 1 a step, so only contexts of
        # more than ten activities can differ; the comparison with the file checks them.
        if (
            given != sorted(plain)
            or op.options["timeMajor"]
            or op.options["fusedActivationFunction"] != _TANH
            or op.options["projClip"]
        ):
            self._refuse(op, "a plain LSTM with tanh, time on the second axis, is expected")
        weights = [self._constant(op, i, "a weight") for i in plain]
        embedded, numbers, _ = self._vectors(op.inputs[0])
        return Group(
            "lstm",
            embedded,
            numbers,
            {
                "lstm/kernel": np.concatenate([w.T for w in weights[:4]], axis=1),
                "lstm/recurrent_kernel": np.concatenate([w.T for w in weights[4:8]], axis=1),
                "lstm/bias": np.concatenate(weights[8:]),
            },
        )

    def _vectors(self, tensor: int) -> tuple[dict[int, np.ndarray], tuple[int, ...], int | None]:
        """(tables by input tensor, FLOAT inputs, mask) of a group's masked vectors."""
        mask = None
        if self._peek(tensor) == "MUL":
            op = self._op(tensor, "masked vectors")
            tensor, mask = sorted(op.inputs, key=lambda t: self._peek(t) in ("CAST", "MUL"))
        embedded: dict[int, np.ndarray] = {}
        numbers = []
        for part in self._parts(tensor):
            source = self._through(part)
            if source in self.graph.inputs and self.graph.dtype(source) == "float32":
                numbers.append(source)
                continue
            op = self._op(part, "an embedding", "GATHER")
            table, ids = self._constant(op, 0, "the table"), self._through(op.inputs[1])
            known = ids in self.graph.inputs and self.graph.dtype(ids) == "int32"
            if not known or table.ndim != 2 or op.options["axis"] or numbers or ids in embedded:
                self._refuse(op, "a lookup of an input's ids, before FLOAT features, is expected")
            embedded[ids] = table
        masked = set() if mask is None else self._masked(mask)
        if masked != set(embedded):
            names = ", ".join(self.graph.inputs[t] for t in embedded)
            raise ExportError(
                f"{self.graph.file}: the mask of the group of {names} is not that of all its "
                f"embedded features; only {SUPPORTED}."
            )
        return embedded, tuple(numbers), mask

    def _masked(self, tensor: int) -> set[int]:
        """Inputs whose ids are compared with 0 in a product of masks."""
        op = self._op(tensor, "a mask", "CAST", "MUL")
        if op.name == "MUL":
            factors = [t for t in op.inputs if self._value(t) != 1.0]
            return set().union(*map(self._masked, factors))
        present = self._op(op.inputs[0], "a mask", "NOT_EQUAL")
        ids, zero = self._operands(present)
        if self._value(zero) != 0:
            self._refuse(present, "a comparison with 0 is expected in a mask")
        return {self._through(ids)}

    def _over_time(self, op: Operator) -> int:
        """The input of a SUM or REDUCE_MAX over time, the last axis but one."""
        axis = np.atleast_1d(self._constant(op, 1, "the axis"))
        rank = len(self.graph.shape(op.inputs[0]))
        if (axis % rank).tolist() != [rank - 2]:
            self._refuse(op, "a reduction over time, the last axis but one, is expected")
        return op.inputs[0]

    # ---- steps ----

    def _parts(self, tensor: int) -> tuple[int, ...]:
        """The inputs of a CONCATENATION of channels; the tensor itself if there is none."""
        if self._peek(tensor) != "CONCATENATION":
            return (tensor,)
        op = self._op(tensor, "a concatenation")
        if op.options["axis"] not in (-1, len(self.graph.shape(op.outputs[0])) - 1):
            self._refuse(op, "channels, the last axis, are expected to be joined")
        return op.inputs

    def _peek(self, tensor: int) -> str:
        op = self.graph.producer(self._through(tensor))
        return op.name if op else ""

    def _through(self, tensor: int) -> int:
        """The tensor before operators that only add or remove axes of length 1."""
        while True:
            op = self.graph.producer(tensor)
            if op is None or op.name not in _RESHAPES:
                return tensor
            before, after = self.graph.shape(op.inputs[0]), self.graph.shape(op.outputs[0])
            if [n for n in before if n != 1] != [n for n in after if n != 1]:
                return tensor
            self._see(op)
            tensor = op.inputs[0]

    def _op(self, tensor: int, what: str, *names: str) -> Operator:
        """The operator that computes a tensor; it must have one of these names, if given."""
        tensor = self._through(tensor)
        op = self.graph.producer(tensor)
        if op is None:
            kind = "an input" if tensor in self.graph.inputs else "a constant"
            wanted = " or ".join(names) or "an operator"
            raise ExportError(
                f"{self.graph.file}: {what} is {kind}, where {wanted} is expected; only "
                f"{SUPPORTED}."
            )
        if names and op.name not in names:
            self._refuse(op, f"{' or '.join(names)} is expected for {what}")
        self._see(op)
        return op

    def _operands(self, op: Operator) -> tuple[int, int]:
        """(computed, constant) input of an operator with one of each, in any order."""
        first, second = op.inputs
        return (second, first) if self.graph.constant(first) is not None else (first, second)

    def _constant(self, op: Operator, i: int, what: str) -> np.ndarray:
        value = self.graph.constant(op.inputs[i]) if i < len(op.inputs) else None
        if value is None:
            self._refuse(op, f"{what} is expected as a float32 or int32 constant")
        return value

    def _value(self, tensor: int) -> float | None:
        """The value that all entries of a constant share; None without one."""
        value = self.graph.constant(tensor)
        if value is None or not value.size or (value != value.flat[0]).any():
            return None
        return float(value.flat[0])

    def _bias(self, op: Operator, width: int) -> np.ndarray:
        """The bias [width]; the converter leaves out a bias of zeros."""
        if len(op.inputs) < 3 or op.inputs[2] < 0:
            return np.zeros(width, np.float32)
        return self._constant(op, 2, "the bias")

    def _see(self, op: Operator) -> None:
        self.understood.add(op.outputs[0])

    def _check_all_understood(self) -> None:
        for op in self.graph.operators:
            if op.outputs[0] not in self.understood:
                self._refuse(op, "no such operator is expected")

    def _refuse(self, op: Operator, expected: str) -> NoReturn:
        number = self.graph.operators.index(op)
        raise ExportError(
            f"{self.graph.file}: the operator {op.name} (number {number}) is not understood, "
            f"{expected}; only {SUPPORTED}."
        )
