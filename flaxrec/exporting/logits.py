"""Reads all logits of a finished file, not only the K best: adds an output to its graph.

Operators and constants stay the same to the byte. Every call also returns the file's own list and
checks that it is the top of the logits, so these are the logits that the file ranks by. Logits
still differ where the scores, their sigmoids, saturate and are equal.
"""

from collections.abc import Set
from typing import Any

import numpy as np

from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ExportError
from flaxrec.exporting import exclusion
from flaxrec.tflite import flatbuffer, product_graph
from flaxrec.tflite.metadata import IDS
from flaxrec.tflite.runtime import TfliteModel

LOGITS = "logits"


class LogitsModel:
    """A finished file that returns the logits of all candidates.

    Args:
      content: the .tflite, with ids as an output and without coarse labels (see `coarse`).
      spec: of its model.
      excludes_context: whether the graph leaves out the context's items.

    Raises:
      ExportError: the content is no such file.
    """

    def __init__(self, content: bytes, spec: ModelSpec, *, excludes_context: bool = False):
        self._runtime = TfliteModel(with_logits(content, spec.candidates))
        self._spec, self._excludes_context = spec, excludes_context

    def __call__(self, context: dict[str, np.ndarray]) -> np.ndarray:
        """[length] by input name -> float32 [C]; minus infinity for what the graph leaves out.

        Raises:
          ExportError: the file does not run, or its list is not the top of the logits.
        """
        out = self._runtime(context)
        spec, logits = self._spec, out[LOGITS].reshape(-1)
        if len(logits) != spec.candidates:  # one for each row of the vocabulary
            logits = logits[spec.first_candidate :][: spec.candidates]
        is_finite = np.isfinite(logits).all()
        if self._excludes_context:
            one = {name: values[None] for name, values in context.items()}
            logits = exclusion.without_context(logits[None], one, spec)[0]
        if not is_finite or not _is_head(out[IDS] - spec.first_candidate, logits):
            raise ExportError(
                "The file's list is not the best of the logits that were found in its graph; "
                "please report the versions of flaxrec, jax and tensorflow that exported it."
            )
        return logits


def with_logits(content: bytes, candidates: int) -> bytes:
    """Adds an output `logits` to the file, [..., C] or one for each row of the label table.

    It is the product with the label table, after operators that read only constants besides it,
    such as a factor for each label. C is the number of candidates.

    Raises:
      ExportError: the content is no .tflite of one signature, or has no such product.
    """
    flatbuffer.ends(content)
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    computed = flatbuffer.computed(graph)
    place = -1
    for operator in graph.operators:
        is_dense = flatbuffer.operator_name(model, operator) == "FULLY_CONNECTED"
        is_dense = is_dense and int(operator.inputs[1]) not in computed
        if is_dense or product_graph.is_product(model, operator):
            output = int(operator.outputs[0])
            labels = int(np.prod(flatbuffer.shape(graph.tensors[output])))
            place = output if labels >= candidates else place
    if place < 0:
        raise ExportError(
            f"The graph has no product with a table of {candidates} labels or more; give a file "
            "that flaxrec exported from this run."
        )
    place = _ranked(model, graph, computed.keys(), place)
    graph.tensors[place].name = LOGITS
    graph.outputs = np.append(graph.outputs, np.int32(place))
    model.signatureDefs[0].outputs.append(flatbuffer.schema().TensorMapT(LOGITS, place))
    return flatbuffer.write(model)


def _ranked(model: Any, graph: Any, computed: Set[int], place: int) -> int:
    """Follows `place` to the tensor that is ranked, past operators that add only constants."""
    while True:
        readers = [operator for operator in graph.operators if place in operator.inputs]
        if len(readers) != 1 or flatbuffer.operator_name(model, readers[0]) == "TOPK_V2":
            return place
        others = computed & {int(tensor) for tensor in readers[0].inputs} - {place}
        # The transitions head is added to the product.
        if others and flatbuffer.operator_name(model, readers[0]) != "ADD":
            return place
        place = int(readers[0].outputs[0])


def _is_head(candidates: np.ndarray, logits: np.ndarray) -> bool:
    """Whether these candidates [K], best first, are the top K of the logits [C]."""
    if candidates.min() < 0 or candidates.max() >= len(logits):
        return False
    own = logits[candidates]
    if len(np.unique(candidates)) < len(candidates) or (own[1:] > own[:-1]).any():
        return False
    return bool((logits > own[-1]).sum() == (own > own[-1]).sum())
