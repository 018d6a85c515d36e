"""Exact top-K for catalogues of hundreds of thousands of items, by way of coarse scores.

Reading the label table takes most of the time there. A copy rounded to int8 has a quarter of the
size. Its scores are wrong by at most an error that follows from the context. The items that the
coarse scores leave are scored again by the table, so the result is the table's own list.

Let |s - c| <= e for each score s and its coarse score c. If K coarse scores exceed b, K scores
exceed b - e. So an item of the top K scores b - e or more, and its coarse score is b - 2e or more.
"""

import dataclasses
from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import topk
from flaxrec.exporting.converter import operators_of
from flaxrec.tflite import flatbuffer, graph_edits
from flaxrec.tflite.metadata import LEFT_OUT
from flaxrec.tflite.rounding import Rounded

# With fewer labels a pass over the table is cheap.
FROM = 200_000
_LEVELS = 127
# The runtime also rounds the context to 8 bits, in steps of at most 2 max|x| / 255. This is twice
# the error of rounding to the nearest step.
_CONTEXT_STEP = 1 / 120
# The error of a float32 sum of products, relative to the sum of their absolute values.
_FLOAT32 = 1e-5
# The error of adding a mask's number of at most 1,000 to a score, twice and more.
_ROUNDED = 1e-3


@dataclasses.dataclass(frozen=True)
class Coarse:
    """A label table [N, D] rounded to multiples of one number.

    Attributes:
      rounded: int8 [N, D].
      scale: float32, the number.
      table: float32 [N, D], rounded times scale.
      error: largest difference from the table's entries.
      size: largest sum of absolute values in a row.
    """

    rounded: np.ndarray
    scale: np.float32
    table: np.ndarray
    error: float
    size: float


def round_table(labels: np.ndarray) -> Coarse:
    """Rounds a label table, float32 [N, D]."""
    labels = np.asarray(labels, np.float32)
    scale = np.float32(max(np.abs(labels).max() / _LEVELS, np.finfo(np.float32).tiny))
    integers = np.rint(labels / scale).clip(-_LEVELS, _LEVELS).astype(np.int8)
    table = integers * scale
    error, size = np.abs(table - labels).max(), np.abs(table).sum(axis=1).max()
    return Coarse(integers, scale, table, float(error), float(size))


def pays(labels: int, options: ExportConfig) -> bool:
    """Whether a table with this number of labels is worth a coarse copy."""
    # The table of a quantised file is small already.
    return labels >= FROM and options.quantization == "none" and labels >= 100 * options.top_k


def top_k(
    scores: Any,
    context: Any,
    labels: Any,
    first: int,
    copy: Coarse,
    k: int,
    mask: Any = None,
) -> tuple[Any, Any]:
    """Finds the K best by the table, from scores by its coarse copy.

    Args:
      scores: TensorFlow float32 [C] by the copy, plus the mask, plus `LEFT_OUT` where left out.
      context: float32 [1, D].
      labels: float32 [N, D], the table.
      first: the table's row for the first score.
      copy: the copy.
      k: K.
      mask: float32 [C], added to the scores; None: none was.

    Returns:
      scores float32 [K] by the table, descending, indices int32 [K].
    """
    tf = operators_of(scores)
    slack = 2 * error(context, copy)
    if mask is not None:
        slack += _ROUNDED
    values, places = topk.beyond_bound(scores, k, slack, masked=mask is not None)
    exact = tf.matmul(
        tf.gather(labels, places + first if first else places), context, transpose_b=True
    )
    exact = tf.reshape(exact, [-1])
    if mask is not None:
        exact += tf.gather(mask, places)
    # If the search found no bound, labels that are left out are among these, too.
    left_out = tf.minimum(values - LEFT_OUT / 2, 0.0)
    values, order = tf.math.top_k(exact + left_out, k)
    return values, tf.gather(places, order)


def error(context: Any, copy: Coarse) -> Any:
    """The largest error of a coarse score, float32 [], for a context, float32 [1, D]."""
    tf = operators_of(context)
    sizes = tf.abs(context)
    of_context = tf.reduce_max(sizes) * (copy.size * _CONTEXT_STEP)
    of_entry = copy.error + _FLOAT32 * (copy.error + _LEVELS * copy.scale)
    return of_context + tf.reduce_sum(sizes) * of_entry


def store(content: bytes, copy: Coarse) -> bytes:
    """Stores the copy as int8 in the converted file.

    Raises:
      ExportError: the copy is not the weight of one FULLY_CONNECTED.
    """
    model = flatbuffer.read(content)
    graph, wanted = model.subgraphs[0], copy.table.tobytes()
    for number, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) != len(wanted) or bytes(data) != wanted:
            continue
        readers = [op for op in graph.operators if number in list(op.inputs)]
        if [flatbuffer.operator_name(model, op) for op in readers] != ["FULLY_CONNECTED"]:
            break
        small = Rounded(copy.rounded, np.array([copy.scale], np.float32), 8)
        place = graph_edits.append(model, graph, number, small)
        graph_edits.read_kernel(model, readers[0], place, graph_edits.HYBRID)
        return flatbuffer.write(model)
    raise ExportError(
        "The converted file does not hold the coarse label table as one weight; please report the "
        "versions of jax and tensorflow."
    )
