"""From scores to lists, inside the graph: bias, head, mask, exclusion, top-K.

Written in TensorFlow's functions, which `tflite.graph_writer` has too (`operators_of`).
"""

import dataclasses
from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.exporting import coarse, exclusion, masking, serving_form, topk, transitions
from flaxrec.exporting.converter import operators_of
from flaxrec.exporting.serving import ServingModel
from flaxrec.models.dual_encoder import Params
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES


class Ranking:
    """What a model's graph does after the scores.

    Args:
      model: the model.
      options: top_k, exclude_context, candidate_mask, quantization.

    Attributes:
      weights: what the serving form reads.
      labels: encodings to score, [N, D], and biases [N] or None.
      first: the row of candidate 0 among them.
      copy: the coarse copy of the encodings that is scored instead; None: there is none.

    Raises:
      ExportError: an option does not fit the model.
    """

    def __init__(self, model: ServingModel, options: ExportConfig):
        exclusion.check(model.spec, options)
        masking.check(model, options)
        self.spec, self.options = model.spec, options
        weights = serving_form.fold(model.structure, model.params)
        self.labels, self.first = _labels(model, weights.params, weights.bias, options)
        self.weights, self._head = dataclasses.replace(weights, bias=None), None
        if model.head is not None:
            first, bias = 0, self.labels[1]
            if options.exclude_context:  # a score for each row of the vocabulary
                first = model.spec.first_candidate
            elif bias is not None:
                bias = bias[self.first : self.first + model.spec.candidates]
            self._head = transitions.Graph(model.head, first, bias)
            self.labels = (self.labels[0], None)
        self.copy = None
        if _is_coarse(model, len(self.labels[0]), options):
            self.copy = coarse.round_table(np.asarray(self.labels[0]))

    @property
    def reads_ids(self) -> bool:
        """Whether it reads the inputs besides the scores."""
        return self.options.exclude_context or self._head is not None

    def mask(self, mask: Any) -> Any:
        """What the mask [R] adds to the scores, [C]; with exclude_context [R]. None: nothing."""
        if mask is None:
            return None
        if self.options.exclude_context:
            return masking.of_rows(mask, 0, exclusion.rows_of(self.spec))
        return masking.of_rows(mask, self.spec.first_candidate, self.spec.candidates)

    def adjusted(self, scores: Any, inputs: dict[str, Any], mask: Any) -> Any:
        """The logits that are ranked.

        Args:
          scores: of the labels, [N] or [B, N].
          inputs: ids inside the tables, [length] or [B, length] by name, if `reads_ids`.
          mask: from `mask`.

        Returns:
          [C] or [B, C]; with exclude_context one for each row of the vocabulary.
        """
        tf = operators_of(scores)
        if self.first and not self.options.exclude_context:
            scores = scores[..., self.first : self.first + self.spec.candidates]
        if self._head is not None:
            scores = self._head.added_to(scores, inputs)
        if mask is not None:
            scores += mask
        if self.options.exclude_context:
            ids = [inputs[i.name] for i in exclusion.item_inputs(self.spec)]
            scores = exclusion.exclude(scores, tf.concat(ids, axis=-1), self.spec)
        return scores

    def of_one(
        self, scores: Any, context: Any, inputs: dict[str, Any], mask: Any, table: Any
    ) -> dict[str, Any]:
        """Ids and scores [K] of one context.

        Args:
          scores: [1, N], of the copy if there is one.
          context: its encoding, [1, D]; only read with a copy, as is `table`.
          inputs: as `adjusted` takes them.
          mask: from `mask`.
          table: the encodings of the labels, [N, D].
        """
        tf, masked = operators_of(scores), mask is not None
        logits = self.adjusted(tf.reshape(scores, [-1]), inputs, mask)
        k = self.options.top_k
        if self.copy is None:
            return self.named(*topk.top_k(logits, k, masked=masked))
        row = 0 if self.options.exclude_context else self.first
        return self.named(*coarse.top_k(logits, context, table, row, self.copy, k, mask))

    def named(self, logits: Any, places: Any) -> dict[str, Any]:
        """The outputs from the best logits and their places."""
        ids = places if self.options.exclude_context else places + self.spec.first_candidate
        return {IDS: ids, SCORES: operators_of(logits).sigmoid(logits)}


def mask_input(model: ServingModel, options: ExportConfig) -> dict[str, tuple[list[int], str]]:
    """Shape and dtype of the mask by its name, if the graph takes one."""
    if not options.candidate_mask:
        return {}
    mask = masking.input_of(model)
    return {CANDIDATE_MASK: ([mask.length], mask.dtype)}


def has_coarse(model: ServingModel, options: ExportConfig) -> bool:
    """Whether the model's file has coarse labels."""
    (labels, _), _ = _labels(model, model.params, None, options)
    return _is_coarse(model, len(labels), options)


def with_coarse(content: bytes, model: ServingModel, options: ExportConfig) -> bytes:
    """Stores the coarse labels of a large catalogue as int8 in a converted file; see `coarse`."""
    if not has_coarse(model, options):
        return content
    folded = serving_form.fold(model.structure, model.params)
    (labels, _), _ = _labels(model, folded.params, None, options)
    return coarse.store(content, coarse.round_table(np.asarray(labels)))


def _is_coarse(model: ServingModel, labels: int, options: ExportConfig) -> bool:
    """Whether the labels get a coarse copy, whose search knows neither biases nor the head."""
    plain = model.head is None and not model.config.model.item_bias
    return plain and coarse.pays(labels, options)


def _labels(
    model: ServingModel, params: Params, bias: Any, options: ExportConfig
) -> tuple[tuple[Any, Any], int]:
    """Encodings of the labels to score, with their biases or None, and the row of candidate 0.

    With exclude_context there is one for every row of the vocabulary: contexts hold these rows.
    """
    labels, first = model.labels(params)
    if not options.exclude_context or len(labels) == exclusion.rows_of(model.spec):
        return (labels, bias), first
    before = model.spec.first_candidate
    around = before, exclusion.rows_of(model.spec) - before - model.spec.candidates
    bias = None if bias is None else np.pad(bias, around)
    return (np.pad(labels, (around, (0, 0))), bias), before
