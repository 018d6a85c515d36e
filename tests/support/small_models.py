"""Models of a lookup, a layer and labels, made by hand; what their files hold, decoded by hand."""

import dataclasses

import numpy as np
import pytest

from flaxrec.tflite import flatbuffer
from flaxrec.tflite.quantize import quantize

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="needs the extra 'export'"
)

OPERATORS, TYPES = schema.BuiltinOperator, schema.TensorType
NAME_OF = {code: name for name, code in vars(TYPES).items()}


# ---- small models, made by hand -------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Weights:
    """logits = relu(sum of table[ids] @ kernel' + bias) @ labels'; `labels` None: tied."""

    table: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    labels: np.ndarray | None = None

    def run(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The looked-up rows [L, D] and the logits [R], in float64."""
        rows = self.table[ids].astype(np.float64)
        hidden = np.maximum(rows.sum(axis=0) @ self.kernel.T + self.bias, 0)
        return rows, hidden @ (self.table if self.labels is None else self.labels).T


def drawn(rows: int, width: int, *, tied: bool = False, seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    table = normal(rows, width)
    kernel, bias = normal(width, width) / np.float32(np.sqrt(width)), normal(width)
    return Weights(table, kernel, bias, None if tied else normal(rows, width))


LENGTH = 5


def made(weights: Weights, *, also_gathered: bool = False) -> bytes:
    """The model as a .tflite: ids [LENGTH] -> rows, logits; `also_gathered`: the table's row 3."""
    buffers, tensors, codes, operators = [schema.BufferT()], [], [], []

    def tensor(shape, type_, data=None):
        buffers.append(schema.BufferT())
        if data is not None:
            buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        made = schema.TensorT()
        made.shape, made.type, made.buffer = list(shape), type_, len(buffers) - 1
        tensors.append(made)
        return len(tensors) - 1

    def constant(array):
        types = {np.dtype(np.float32): TYPES.FLOAT32, np.dtype(np.int32): TYPES.INT32}
        return tensor(array.shape, types[array.dtype], array)

    def operator(code, inputs, shape, kind=0, options=None):
        codes.append(schema.OperatorCodeT())
        codes[-1].builtinCode = codes[-1].deprecatedBuiltinCode = code
        codes[-1].version = 1
        output = tensor(shape, TYPES.FLOAT32)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(codes) - 1, inputs, [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        operators.append(made)
        return output

    def product(inputs, shape, activation=0):
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = activation
        kind = schema.BuiltinOptions.FullyConnectedOptions
        return operator(OPERATORS.FULLY_CONNECTED, inputs, shape, kind, options)

    count, width = weights.table.shape
    ids = tensor([LENGTH], TYPES.INT32)
    table = constant(weights.table)
    labels = table if weights.labels is None else constant(weights.labels)
    rows = operator(OPERATORS.EMBEDDING_LOOKUP, [ids, table], [LENGTH, width])
    keep = schema.ReducerOptionsT()
    keep.keepDims = True
    total = operator(
        OPERATORS.SUM,
        [rows, constant(np.array([0], np.int32))],
        [1, width],
        schema.BuiltinOptions.ReducerOptions,
        keep,
    )
    relu = schema.ActivationFunctionType.RELU
    inputs = [total, constant(weights.kernel), constant(weights.bias)]
    hidden = product(inputs, [1, len(weights.kernel)], relu)
    outputs = [rows, product([hidden, labels, -1], [1, count])]
    if also_gathered:
        gather = schema.GatherOptionsT()
        third = constant(np.array([3], np.int32))
        kind = schema.BuiltinOptions.GatherOptions
        outputs.append(operator(OPERATORS.GATHER, [table, third], [1, width], kind, gather))

    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, [ids], outputs
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], buffers
    return flatbuffer.write(model)


def quantised(weights: Weights, recipe: str, **options) -> bytes:
    return flatbuffer.finish(quantize(made(weights, **options), recipe))


# ---- reading and running a file -------------------------------------------------------------


def constants(content: bytes) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Type, decoded values and scales of every constant matrix, in their order.

    Factors of rows are no matrices of their own: scales are what they make of the one scale.
    """
    model = flatbuffer.read(content)
    found = []
    for number, tensor in enumerate(model.subgraphs[0].tensors):
        raw = raw_of(model, number)
        if raw is None or tensor.shape is None or len(tensor.shape) < 2 or 1 in tensor.shape:
            continue
        name, scales = NAME_OF[tensor.type], np.zeros(0)
        if name == "INT4":
            signed = [(n ^ 8) - 8 for byte in raw for n in (byte & 15, byte >> 4)]
            values = np.array(signed[: np.prod(tensor.shape)], np.float32)
        else:
            dtype = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8}[name]
            values = np.frombuffer(raw, dtype).astype(np.float32)
        values = values.reshape(tensor.shape)
        if name.startswith("INT"):
            scales = np.array(tensor.quantization.scale)
            assert not np.any(tensor.quantization.zeroPoint)
            assert len(tensor.quantization.zeroPoint) == len(scales)
            scales = scales * factors_of(model, number)
            values = values * scales[:, None] if len(scales) > 1 else values * scales[0]
        found.append((name, values, scales))
    return found


def raw_of(model, number: int) -> bytes | None:
    data = model.buffers[model.subgraphs[0].tensors[number].buffer].data
    return None if data is None else bytes(data)


def factors_of(model, number: int) -> np.ndarray:
    """What is read of a table is multiplied by these, the same by all its readers; 1 where not."""
    graph = model.subgraphs[0]

    def the(wanted, *tensors):
        """The operators of a code that have the tensors among their inputs and outputs."""
        return [
            o
            for o in graph.operators
            if model.operatorCodes[o.opcodeIndex].builtinCode == wanted
            and set(tensors) <= {*o.inputs, *o.outputs}
        ]

    found = []
    for code in (OPERATORS.EMBEDDING_LOOKUP, OPERATORS.FULLY_CONNECTED):
        for reader in the(code, number):
            for product in the(OPERATORS.MUL, reader.outputs[0]):
                by = next(t for t in product.inputs if t != reader.outputs[0])
                if code == OPERATORS.EMBEDDING_LOOKUP:
                    (lookup,) = the(code, by)
                    assert lookup.inputs[0] == reader.inputs[0]
                    source = lookup.inputs[1]
                else:
                    (decoder,) = the(OPERATORS.DEQUANTIZE, by)
                    source = decoder.inputs[0]
                assert graph.tensors[source].quantization.scale.tolist() == [1.0]
                found.append(np.frombuffer(raw_of(model, source), np.int8).astype(np.float32))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    return found[0] if found else np.ones(1, np.float32)


def as_stored(content: bytes, weights: Weights) -> Weights:
    """The weights that the file holds."""
    read = {"bias": weights.bias}
    for _, values, _ in constants(content):
        for field in ("table", "kernel", "labels"):
            mine = getattr(weights, field)
            close = mine is not None and mine.shape == values.shape
            if close and np.corrcoef(mine.ravel(), values.ravel())[0, 1] > 0.9:
                read[field] = values
    return Weights(**read)


def runs(content: bytes, ids: np.ndarray, *, xnnpack: bool = True) -> list[np.ndarray]:
    """The outputs, in the file's order."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], ids.astype(np.int32))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
