"""Stores the weights of a float32 .tflite in 16, 8 or 4 bits, or tables in product codes.

Weights are tables (of lookups, and the label table: the constant of the last FULLY_CONNECTED),
dense kernels (of every other FULLY_CONNECTED and CONV_2D) and other matrices, such as attention's
distances. The recipe decides the form of tables. Kernels become float16: in 8 bits they would
change the lists as much as the tables do. If they are a noticeable share of the weights, as in
attention and in a wide LSTM, an integer recipe stores them in 8 bits with a scale for each row, and
other matrices in 8 bits with one scale. A weight that would not become smaller stays.

Lookups read integers directly. So does a FULLY_CONNECTED, which also rounds its input to 8 bits:
that hardly changes the lists, and nothing is decoded into memory. With kernels of attention (width
64, 50 activities) such a file takes 0.80 of the float file's time, one with decoded kernels 1.04;
.983 and .988 of the ten best stay, and neither loses recall. For all other operators a DEQUANTIZE
decodes the weight once, before the first call. A table with both uses is stored once.

Product codes (`product_codes`) take some bytes a row, whatever the width. A table for which they
would not be smaller than 8 bits, or that has other readers, takes 8 bits.
"""

from typing import Any

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.tflite import flatbuffer, product_codes, product_graph, rounding, small_weights
from flaxrec.tflite.rounding import Rounded

RECIPES = {
    "float16": "all weights in float16",
    "int8": "tables in 8 bits, a scale for each row",
    "int8_tensor": "tables in 8 bits, one scale for each table",
    "int4": "tables in 4 bits, a scale for each row",
    "int4_tensor": "tables in 4 bits, one scale for each table",
    "pq8": "tables in product codes of 8 bytes a row, what else there is as in int8",
    "pq16": "tables in product codes of 16 bytes a row",
    "pq24": "tables in product codes of 24 bytes a row",
}

# The largest rows of a label table are those of rare items, which hardly any list shows; any row of
# a lookup may be in a context.
_LABELS_POWER = 0.25
_LOOKUPS_POWER = 2.0
# Kernels with at least this share of the weights become 8 bits.
_NOTICEABLE = 1 / 8
# Tables with less than this share of the tables' weights do not become 4 bits, such as those of
# years beside that of items.
_SMALL = 1 / 32


def quantize(float_file: bytes, recipe: str) -> bytes:
    """Makes the weights of an exported float32 .tflite smaller, by one of RECIPES.

    Inputs and outputs keep their types. The result has only builtin operators. It still holds the
    unused float weights, until `flatbuffer.finish` drops them.

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
    weights = _matrices(model, graph)
    readers: dict[str, list[Any]] = {}
    for operator in graph.operators:
        if _weight_of(operator) in weights:
            readers.setdefault(flatbuffer.operator_name(model, operator), []).append(operator)
    lookups = readers.get("EMBEDDING_LOOKUP", [])
    products = readers.get("FULLY_CONNECTED", [])
    labels = set(map(_weight_of, products[-1:]))
    tables = labels | set(map(_weight_of, lookups))
    kernels = set(map(_weight_of, products)) - tables

    def size(numbers: set[int]) -> int:
        return sum(weights[number].size for number in numbers)

    coded: set[int] = set()
    if recipe.startswith("pq"):
        parts, recipe = int(recipe.removeprefix("pq")), "int8"
        coded = {n for n in tables if _takes_codes(graph, n, weights[n], parts, lookups, products)}
        if not coded:
            raise ExportError(
                f"pq{parts} makes no table of this model smaller than 8 bits do: it needs more "
                f"rows, and rows of more than {parts} numbers; use int8."
            )
    in_integers = recipe != "float16" and size(kernels) >= _NOTICEABLE * size(tables | kernels)
    decoders = []
    for number in coded:
        codes = product_codes.encode(weights[number], parts)
        readers_of = [_readers(number, operators) for operators in (lookups, products)]
        product_graph.replace(model, graph, codes, *readers_of)
    for number, weight in weights.items():
        if number in coded:
            continue
        forms = [rounding.as_float16(weight)]
        if number in tables and recipe != "float16":
            factors = small_weights.takes_factors(graph, number, lookups, products)
            is_small = weight.size < _SMALL * size(tables)
            own = recipe.replace("int4", "int8") if is_small else recipe
            forms.insert(0, _integers(weight, own, labels=number in labels, factors=factors))
        elif in_integers and weight.ndim < 4:  # not the weight of a CONV_2D
            by = rounding.by_row if number in kernels else rounding.by_tensor
            forms.insert(0, by(weight, 8))
        best = min(filter(None, forms), key=small_weights.size, default=None)
        if best and small_weights.size(best) < weight.nbytes:
            decoders += small_weights.replace(model, graph, number, best, lookups, products)
    graph.operators = [*decoders, *graph.operators]


def _matrices(model: Any, graph: Any) -> dict[int, np.ndarray]:
    """The float32 constants with at least two axes longer than 1, by tensor.

    The others are biases, or numbers that must be exact, such as an encoder's positions.
    """
    found = {}
    for number, tensor in enumerate(graph.tensors):
        data, shape = model.buffers[tensor.buffer].data, flatbuffer.shape(tensor)
        if flatbuffer.dtype(tensor) != "float32" or data is None or not len(data):
            continue
        if sum(size > 1 for size in shape) < 2:
            continue
        weight = np.ascontiguousarray(data).view("<f4").reshape(shape)
        if not np.isfinite(weight).all():
            raise ExportError(
                "The model holds weights that are not finite, which no recipe can store; export a "
                "checkpoint from before training diverged."
            )
        found[number] = weight
    return found


def _takes_codes(
    graph: Any,
    number: int,
    weight: np.ndarray,
    parts: int,
    lookups: list[Any],
    products: list[Any],
) -> bool:
    """Whether product codes of so many bytes make a table smaller, and all that read it can."""
    rows, width = weight.shape
    return (
        parts <= width
        and product_codes.size(rows, width, parts) < weight.size
        and small_weights.takes_factors(graph, number, lookups, products)
    )


def _readers(number: int, operators: list[Any]) -> list[Any]:
    return [operator for operator in operators if _weight_of(operator) == number]


def _weight_of(operator: Any) -> int:
    """The tensor of an operator's second input; -1 if it has none."""
    return -1 if operator.inputs is None or len(operator.inputs) < 2 else int(operator.inputs[1])


def _integers(table: np.ndarray, recipe: str, *, labels: bool, factors: bool) -> Rounded:
    """Rounds a table as an integer recipe says."""
    bits = 4 if recipe.startswith("int4") else 8
    if bits == 4 and table.shape[-1] % 2:
        # The runtime needs rows to begin at whole bytes.
        if labels:
            raise ExportError(
                f"{recipe} needs label encodings of an even width, but theirs is "
                f"{table.shape[-1]}; use another config.model.embedding_dim, or int8_tensor."
            )
        bits = 8
    if recipe.endswith("_tensor"):
        power = _LABELS_POWER if labels else _LOOKUPS_POWER
        return rounding.by_tensor(table, bits, power)
    return (rounding.by_factor if factors else rounding.by_row)(table, bits)
