"""Writes the SavedModel: JAX computes the scores, TensorFlow ranks them.

`lax.top_k` does not convert on every supported version of JAX, and the ranking needs shapes that
depend on the data. TensorFlow has both.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.exporting import coarse, exclusion, masking, serving_form, topk, transitions
from flaxrec.exporting.converter import import_tensorflow
from flaxrec.exporting.serving import ServingModel
from flaxrec.files import plain_path
from flaxrec.models.dual_encoder import Params
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES
from flaxrec.tflite.quiet import quiet

_BATCH = 32  # contexts that the batched signature computes at a time


def save(model: ServingModel, options: ExportConfig, folder: Path) -> None:
    """Writes a SavedModel with two signatures that share their weights.

    serving_default: [length] by input name -> ids int32 [K], scores float32 [K]; for phones.
    serve_batch: [B, length] by input name, any B -> ids [B, K], scores [B, K]; for servers.
    Scores are sigmoids of the logits, descending; equal scores in ascending order of the id.
    With options.candidate_mask both also take the mask, [R]: one for all contexts of a batch.

    Raises:
      ExportError: an option does not fit the model, or TensorFlow is missing.
    """
    exclusion.check(model.spec, options)
    masking.check(model, options)
    tf = import_tensorflow()
    graph, module = _Graph(model, options), tf.Module()
    module.variables_of_graph = graph.variables
    module.serve = tf.function(graph.one, autograph=False)
    module.serve_batch = tf.function(graph.batch, autograph=False)

    def signature(*batch: None) -> dict[str, Any]:
        taken = {i.name: ([*batch, i.length], i.dtype) for i in model.spec.inputs}
        if options.candidate_mask:
            mask = masking.input_of(model)
            taken[mask.name] = [mask.length], mask.dtype
        return {name: tf.TensorSpec(*spec, name) for name, spec in taken.items()}

    with quiet():
        signatures = {
            "serving_default": module.serve.get_concrete_function(**signature()),
            "serve_batch": module.serve_batch.get_concrete_function(**signature(None)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        with plain_path(folder) as plain:
            tf.saved_model.save(module, str(plain), signatures=signatures)


def with_coarse(content: bytes, model: ServingModel, options: ExportConfig) -> bytes:
    """Stores the coarse labels of a large catalogue as int8 in a converted file; see `coarse`."""
    (labels, _), _ = _labels(model, model.params, None, options)
    if not _is_coarse(model, len(labels), options):
        return content
    folded = serving_form.fold(model.structure, model.params)
    (labels, _), _ = _labels(model, folded.params, None, options)
    return coarse.store(content, coarse.round_table(np.asarray(labels)))


class _Graph:
    """The functions of the two signatures and the variables that they share."""

    def __init__(self, model: ServingModel, options: ExportConfig):
        import tensorflow as tf
        from jax.experimental import jax2tf  # imports TensorFlow

        to_tensorflow = functools.partial(
            jax2tf.convert, with_gradient=False, native_serialization_platforms=("cpu",)
        )
        score_one = functools.partial(model.score_one, trust_ids=options.trust_ids)
        self.spec, self.options = model.spec, options
        self.score_one, self.score_batch = (
            to_tensorflow(score_one),
            to_tensorflow(model.score_batch),
        )

        weights = serving_form.fold(model.structure, model.params)
        labels, self.first = _labels(model, weights.params, weights.bias, options)
        weights, self.head = dataclasses.replace(weights, bias=None), None
        if model.head is not None:
            first, bias = 0, labels[1]
            if options.exclude_context:  # a score for each row of the vocabulary
                first = model.spec.first_candidate
            elif bias is not None:
                bias = bias[self.first : self.first + model.spec.candidates]
            self.head = transitions.Graph(model.head, first, bias)
            labels = (labels[0], None)
        read = (weights, labels)
        arrays = {id(array): array for array in jax.tree.leaves(read)}  # without repeats
        variable_of = {place: tf.Variable(array) for place, array in arrays.items()}
        self.weights, self.labels = jax.tree.map(lambda array: variable_of[id(array)], read)
        self.copy, self.coarse_labels = None, None
        if _is_coarse(model, len(labels[0]), options):
            self.copy = coarse.round_table(np.asarray(labels[0]))
            self.coarse_labels = (tf.Variable(self.copy.table), None)

    @property
    def variables(self) -> list[Any]:
        """All variables, for the module to keep."""
        return jax.tree.leaves((self.weights, self.labels, self.coarse_labels))

    def one(self, **inputs: Any) -> dict[str, Any]:
        """[length] by input name -> ids and scores [K]."""
        k, mask = self.options.top_k, self._mask(inputs)
        if self.copy is None:
            scores, _ = self._scores(self.score_one, self.labels, inputs, mask)
            return self._lists(*topk.top_k(scores, k, masked=mask is not None))
        scores, context = self._scores(self.score_one, self.coarse_labels, inputs, mask)
        row = 0 if self.options.exclude_context else self.first
        found = coarse.top_k(scores, context, self.labels[0], row, self.copy, k, mask)
        return self._lists(*found)

    def batch(self, **inputs: Any) -> dict[str, Any]:
        """[B, length] by input name -> ids and scores [B, K].

        Computes parts of one size: JAX's symbolic sizes need checks that TensorFlow cannot read.
        """
        import tensorflow as tf

        k, mask = self.options.top_k, self._mask(inputs)
        count = tf.shape(next(iter(inputs.values())))[0]
        parts = {
            i.name: tf.reshape(
                tf.pad(inputs[i.name], [[0, -count % _BATCH], [0, 0]]), [-1, _BATCH, i.length]
            )
            for i in self.spec.inputs
        }
        kinds = {IDS: tf.int32, SCORES: tf.float32}
        signature = {name: tf.TensorSpec([_BATCH, k], kind) for name, kind in kinds.items()}
        part = functools.partial(self._part, mask=mask)
        lists = tf.map_fn(part, parts, fn_output_signature=signature)
        return {name: tf.reshape(x, [-1, k])[:count] for name, x in lists.items()}

    def _part(self, inputs: dict[str, Any], mask: Any) -> dict[str, Any]:
        import tensorflow as tf

        scores, _ = self._scores(self.score_batch, self.labels, inputs, mask)
        return self._lists(*tf.math.top_k(scores, self.options.top_k))

    def _mask(self, inputs: dict[str, Any]) -> Any:
        """What the mask, taken out of the inputs, adds to the scores, [C]; None: there is none.

        With exclude_context: [R].
        """
        if not self.options.candidate_mask:
            return None
        mask, spec = inputs.pop(CANDIDATE_MASK), self.spec
        if self.options.exclude_context:
            return masking.of_rows(mask, 0, exclusion.rows_of(spec))
        return masking.of_rows(mask, spec.first_candidate, spec.candidates)

    def _scores(
        self, score: Any, labels: Any, inputs: dict[str, Any], mask: Any
    ) -> tuple[Any, Any]:
        """Scores of the candidates, [C] or [B, C], with the mask, and the contexts' encodings.

        With exclude_context: [R] or [B, R], a score for each row of the vocabulary.
        """
        import tensorflow as tf

        weights = self.weights if score is self.score_one else self.weights.params
        scores, context, inputs = score(weights, labels, inputs)
        if score is self.score_one:
            scores = tf.reshape(scores, [-1])
        if self.first and not self.options.exclude_context:
            scores = scores[..., self.first : self.first + self.spec.candidates]
        if self.head is not None:
            scores = self.head.added_to(scores, inputs)
        if mask is not None:
            scores += mask
        if self.options.exclude_context:
            ids = [inputs[i.name] for i in exclusion.item_inputs(self.spec)]
            return exclusion.exclude(scores, tf.concat(ids, axis=-1), self.spec), context
        return scores, context

    def _lists(self, logits: Any, places: Any) -> dict[str, Any]:
        import tensorflow as tf

        ids = places if self.options.exclude_context else places + self.spec.first_candidate
        return {IDS: ids, SCORES: tf.sigmoid(logits)}


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
