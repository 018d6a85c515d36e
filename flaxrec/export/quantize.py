"""Smaller files: the weights of a float32 .tflite in 16, 8 or 4 bits.

Weights are tables (of lookups, and the label table: the constant of the last FULLY_CONNECTED) or
dense kernels (of every other FULLY_CONNECTED and CONV_2D). Tables hold nearly all bytes and become
what the recipe says. Dense kernels become float16: in 8 bits they would change the lists as much as
the tables do, to save a hundredth of the file. A weight that would not become smaller stays.

Lookups read integers as they are. So does the label table's FULLY_CONNECTED, which rounds its input
to 8 bits as well: that hardly changes the lists, and nothing is decoded into memory. Everything
else reads what a DEQUANTIZE makes of the weight once, before the first call. A table with both uses
is stored once.
"""

import dataclasses
from typing import Any

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.export import constants, flatbuffer, rounding

RECIPES = {
    "float16": "all weights in float16",
    "int8": "tables in 8 bits, a scale for each row",
    "int8_tensor": "tables in 8 bits, one scale for each table",
    "int4": "tables in 4 bits, a scale for each row",
    "int4_tensor": "tables in 4 bits, one scale for each table",
}

# Of a label table's rows those of rare items are the largest, and hardly any list shows them; of a
# lookup's rows each may be in a context.
_LABELS_POWER = 0.25
_LOOKUPS_POWER = 2.0
# About what a smaller weight adds to the file besides its bytes: its description, a DEQUANTIZE.
_OVERHEAD = 100
_OVERHEAD_OF_SCALE = 12  # itself and its zero point, which has to be there
_FLOAT16_MAX = 65504.0


@dataclasses.dataclass(frozen=True)
class _Smaller:
    """A weight as it goes into the file.

    Attributes:
      bits: 16 (float16), 8 or 4 (integers).
      data: uint8.
      scales: float32, one for each row, or one; none for float16.
    """

    bits: int
    data: np.ndarray
    scales: np.ndarray

    @property
    def size(self) -> int:
        """Bytes of the file, about."""
        return len(self.data) + _OVERHEAD_OF_SCALE * len(self.scales) + _OVERHEAD


def quantize(float_file: bytes, recipe: str) -> bytes:
    """The file with smaller weights; its inputs and outputs stay float32 and int32 as they are.

    Args:
      float_file: a float32 .tflite of the exporter.
      recipe: one of RECIPES.

    Returns:
      A .tflite of builtin operators, to be finished by `flatbuffer.finish`: the float weights are
      still in it, though nothing reads them.

    Raises:
      ExportError: the recipe is unknown or does not run for this graph, or the content is no
        .tflite.
    """
    if recipe not in RECIPES:
        raise ExportError(f"quantization is {recipe!r}; use one of {', '.join(RECIPES)}.")
    model = flatbuffer.read(float_file)
    for graph in model.subgraphs:
        _quantize_graph(model, graph, recipe)
    return flatbuffer.write(model)


def _quantize_graph(model: Any, graph: Any, recipe: str) -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    of_code: dict[int, list[Any]] = {}
    for operator in graph.operators:
        if _is_weight(model, graph, operator):
            code = model.operatorCodes[operator.opcodeIndex]
            of_code.setdefault(flatbuffer.builtin(code), []).append(operator)
    lookups = of_code.get(BuiltinOperator.EMBEDDING_LOOKUP, [])
    products = of_code.get(BuiltinOperator.FULLY_CONNECTED, [])
    scorer = products[-1:]
    kernels = [*products[:-1], *of_code.get(BuiltinOperator.CONV_2D, [])]

    decoders = []
    for number in sorted(_weights_of([*lookups, *products, *kernels])):
        labels = number in _weights_of(scorer)
        table = labels or number in _weights_of(lookups)
        smaller = _smaller(_values(model, graph, number), recipe if table else "float16", labels)
        if smaller is None:
            continue
        place = constants.append(model, graph, number, smaller.bits, smaller.data, smaller.scales)
        if smaller.bits < 16:
            _read_integers(model, lookups, scorer, number, place, smaller)
        if any(number in operator.inputs for operator in graph.operators):
            decoders.append(_decoder(model, number, place, smaller))
    graph.operators = [*decoders, *graph.operators]


# ---- weights --------------------------------------------------------------------------------


def _smaller(weights: np.ndarray, recipe: str, labels: bool) -> _Smaller | None:
    """The weight in the recipe's form, or in float16 where that is smaller; None if neither is."""
    if not np.isfinite(weights).all():
        raise ExportError(
            "The model holds weights that are not finite, which no recipe can store; export a "
            "checkpoint from before training diverged."
        )
    forms = []
    if np.abs(weights).max() <= _FLOAT16_MAX:
        data = weights.astype("<f2").reshape(-1).view(np.uint8)
        forms.append(_Smaller(16, data, np.zeros(0, np.float32)))
    if recipe != "float16":
        forms.insert(0, _integers(weights, recipe, labels))
    best = min(forms, key=lambda form: form.size, default=None)
    return best if best and best.size < weights.nbytes else None


def _integers(weights: np.ndarray, recipe: str, labels: bool) -> _Smaller:
    bits = 4 if recipe.startswith("int4") else 8
    if bits == 4 and weights.shape[-1] % 2:
        # The runtime looks for rows at whole bytes.
        if labels:
            raise ExportError(
                f"{recipe} needs label encodings of an even width, but theirs is "
                f"{weights.shape[-1]}; use another config.model.embedding_dim, or int8_tensor."
            )
        bits = 8
    if recipe.endswith("_tensor"):
        power = _LABELS_POWER if labels else _LOOKUPS_POWER
        rounded = rounding.by_tensor(weights, bits, power)
    else:
        rounded = rounding.by_row(weights, bits)
    return _Smaller(bits, rounded.packed(), rounded.scales)


def _is_weight(model: Any, graph: Any, operator: Any) -> bool:
    """Whether the operator's second input is a float32 constant."""
    from ai_edge_litert.schema_py_generated import TensorType

    if operator.inputs is None or len(operator.inputs) < 2 or operator.inputs[1] < 0:
        return False
    tensor = graph.tensors[operator.inputs[1]]
    data = model.buffers[tensor.buffer].data
    return tensor.type == TensorType.FLOAT32 and data is not None and len(data) > 0


def _weights_of(operators: list[Any]) -> set[int]:
    return {int(operator.inputs[1]) for operator in operators}


def _values(model: Any, graph: Any, number: int) -> np.ndarray:
    tensor = graph.tensors[number]
    data = np.ascontiguousarray(model.buffers[tensor.buffer].data)
    return data.view("<f4").reshape(tensor.shape)


# ---- the graph ------------------------------------------------------------------------------


def _read_integers(
    model: Any,
    lookups: list[Any],
    scorer: list[Any],
    number: int,
    place: int,
    smaller: _Smaller,
) -> None:
    """Lets lookups and the product with the labels read the integers instead of tensor `number`.

    Versions of operators are those that TFLite asks for what they read.
    """
    plain = smaller.bits == 8 and len(smaller.scales) == 1
    for operators, version in (
        (lookups, 1 if plain else 4),
        (scorer, constants.HYBRID if plain else 12),
    ):
        for operator in operators:
            if operator.inputs[1] != number:
                continue
            constants.read_weight(model, operator, place, version)
            if operator in scorer:
                operator.builtinOptions.asymmetricQuantizeInputs = True


def _decoder(model: Any, number: int, place: int, smaller: _Smaller) -> Any:
    """A DEQUANTIZE from tensor `place` to tensor `number`."""
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.inputs = np.array([place], np.int32)
    operator.outputs = np.array([number], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    version = {16: 3, 8: 5 if len(smaller.scales) > 1 else 2, 4: 6}[smaller.bits]
    constants.set_code(model, operator, schema.BuiltinOperator.DEQUANTIZE, version)
    return operator
