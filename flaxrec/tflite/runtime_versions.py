"""The oldest runtimes that have a file's operators, by the operators' versions.

The first releases of TensorFlow Lite with each version of an operator are those that LiteRT's
converter notes (tflite/converter/tools/versioning/runtime_version.cc, commit 119ae633, 2026). The
releases of LiteRT are those whose interpreter was found to have the operators, of 1.0.1, 1.2.0,
1.4.0 and 2.1.6 (the Python package); an operator beyond them needs a newer one than is known here.
"""

from flaxrec.tflite import flatbuffer

# The releases for versions 1, 2, ... of each operator that a graph of floats, ids and weights of
# fewer bits may have; '-': there is no such version.
_TABLE = """
ABS                1.13 2.4 2.5 2.6 2.12
ADD                1.5 1.14 2.4 2.6 2.13 2.23
ARG_MAX            1.9 1.14 2.9
ARG_MIN            1.9 1.14 2.9
BATCH_MATMUL       2.3 2.3 2.4 2.5
BROADCAST_ARGS     2.6
BROADCAST_TO       - 2.5 2.5
CAST               1.5 2.7 2.8 2.9 2.12 2.15 2.17 2.21
CEIL               1.14
CONCATENATION      1.5 1.14 2.3 2.14 2.21 2.23
CONV_2D            1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15
COS                1.14 2.23
CUMSUM             2.4
DEPTHWISE_CONV_2D  1.5 1.12 1.14 2.2 2.3 2.3 2.11
DEQUANTIZE         1.13.1 1.14 1.15 2.2 2.7 2.18 2.21 2.22
DIV                1.6 2.3
DYNAMIC_UPDATE_SLICE 2.9 2.17 2.19 2.20 2.21 2.22
ELU                1.14
EMBEDDING_LOOKUP   1.13 1.14 1.14 2.18 2.21
EQUAL              1.14 1.14 2.3 2.13 2.21
EXP                1.7 2.12
EXPAND_DIMS        1.10
FILL               1.13 2.3 2.5 2.12
FLOOR              1.9
FLOOR_DIV          1.14 1.14 2.13
FLOOR_MOD          1.13 2.13
FULLY_CONNECTED    1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18 2.21
GATHER             1.6 1.14 1.15 2.4 2.5 2.13 2.15
GATHER_ND          1.14 2.3 2.5 2.13 2.16
GELU               2.9 2.9
GREATER            1.14 1.14
GREATER_EQUAL      1.14 1.14 2.13
HARD_SWISH         1.15
L2_NORMALIZATION   1.5 1.14
LEAKY_RELU         1.13.1 2.3
LESS               1.14 1.14 2.13
LESS_EQUAL         1.14 1.14
LOG                1.14 2.15
LOGICAL_AND        1.11
LOGICAL_NOT        1.11
LOGICAL_OR         1.11
LOGISTIC           1.14 1.14 2.3
LOG_SOFTMAX        1.14 1.14
MAXIMUM            1.14 1.14 2.3 2.3
MEAN               1.6 1.14 2.4
MINIMUM            1.14 1.14 2.3 2.3
MIRROR_PAD         1.13.1 2.3 2.12
MUL                1.5 1.14 1.15 2.3 2.6 2.11 2.13 2.23
NEG                1.9
NOT_EQUAL          1.14 1.14 2.3 2.21
ONE_HOT            1.11
PACK               1.11 1.14 2.3 2.13
PAD                1.5 1.14 2.4 2.6 2.20
PADV2              1.9 1.14 2.4 2.6 2.20
POW                1.10
PRELU              1.8
QUANTIZE           1.14 1.15 2.7 2.21 2.21 2.21
RANGE              1.13 2.14
REDUCE_ALL         2.6
REDUCE_ANY         1.11
REDUCE_MAX         1.11 1.14 2.5
REDUCE_MIN         1.11 1.14 2.5
REDUCE_PROD        1.11 2.6
RELU               1.5 2.1 2.5
RELU6              1.5 1.14 2.5
RELU_0_TO_1        2.10
RESHAPE            1.5
REVERSE_V2         1.14 2.2 2.5
ROUND              1.14
RSQRT              1.10 2.5 2.15
SCATTER_ND         2.1
SELECT             1.14 1.14 2.12 2.12
SELECT_V2          2.2 2.12
SHAPE              1.10
SIGN               2.11 2.12
SIN                1.9 2.23
SLICE              1.14 1.14 1.14 2.4 2.5 2.14 2.21 2.23
SOFTMAX            1.5 1.14 2.3 2.23
SPLIT              1.5 1.14 1.14 2.3
SPLIT_V            1.13.1 2.3
SQRT               1.10 2.21
SQUARE             1.12
SQUARED_DIFFERENCE 1.13.1 2.5
SQUEEZE            1.6 2.5
STABLEHLO_SCATTER  2.15
STRIDED_SLICE      1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14
SUB                1.6 1.14 2.3 2.4 2.4
SUM                1.10 1.15
TANH               1.14 1.14 2.3
TILE               1.10.1 2.2 2.8
TOPK_V2            1.7 1.14 2.13
TRANSPOSE          1.6 1.14 1.15 2.3 2.4 2.12 2.14.4 2.22 2.23
UNIDIRECTIONAL_SEQUENCE_LSTM 1.13.1 1.14 2.3 2.12
UNPACK             1.11 1.14 2.2 2.3 2.22
WHERE              1.14 2.8
WHILE              1.15
ZEROS_LIKE         1.12
"""
_RELEASES = {name: releases for name, *releases in map(str.split, _TABLE.strip().splitlines())}
# (of TensorFlow Lite, of LiteRT): the latter has all operators of the former.
_LITERT = (("2.18", "1.0.1"), ("2.19", "1.2.0"), ("2.20", "1.4.0"), ("2.23", "2.1.6"))
# What LiteRT has later than that.
_LATER = {("CAST", 7): "2.19", ("TRANSPOSE", 7): "2.19"}


def versions(content: bytes) -> dict[str, int]:
    """Versions of the graph's operators by name, the highest of each.

    Raises:
      ExportError: the content is no .tflite.
    """
    model = flatbuffer.read(content)
    found: dict[str, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.operator_name(model, operator)
            version = model.operatorCodes[operator.opcodeIndex].version
            found[name] = max(version, found.get(name, 0))
    return found


def first_release(operator: str, version: int) -> str | None:
    """The first TensorFlow Lite that has an operator's version; None: not known."""
    releases = _RELEASES.get(operator, [])
    found = releases[version - 1] if 1 <= version <= len(releases) else "-"
    return None if found == "-" else found


def oldest(content: bytes) -> dict[str, str | None]:
    """The oldest runtimes of a file: `tflite`, TensorFlow Lite, and `litert`; None: not known.

    Raises:
      ExportError: the content is no .tflite.
    """
    needed = versions(content)
    releases = [first_release(*one) for one in needed.items()]
    if None in releases:
        return {"tflite": None, "litert": None}
    tflite = max(filter(None, releases), key=_number)
    level = max([tflite, *(_LATER.get(one, tflite) for one in needed.items())], key=_number)
    litert = next((new for old, new in _LITERT if _number(level) <= _number(old)), None)
    return {"tflite": _whole(tflite), "litert": litert}


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def _whole(release: str) -> str:
    """With three parts, as packages have it."""
    return release if release.count(".") == 2 else f"{release}.0"
