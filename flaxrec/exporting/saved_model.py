"""Writes the SavedModel: JAX computes the scores, TensorFlow ranks them.

`lax.top_k` does not convert on every supported version of JAX, and the ranking needs shapes that
depend on the data. TensorFlow has both.
"""

import functools
from pathlib import Path
from typing import Any

import jax

from flaxrec.config import ExportConfig
from flaxrec.exporting.converter import import_tensorflow
from flaxrec.exporting.ranking import Ranking, mask_input
from flaxrec.exporting.serving import ServingModel
from flaxrec.files import plain_path
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
    tf = import_tensorflow()
    graph, module = _Graph(model, options), tf.Module()
    module.variables_of_graph = graph.variables
    module.serve = tf.function(graph.one, autograph=False)
    module.serve_batch = tf.function(graph.batch, autograph=False)

    def signature(*batch: None) -> dict[str, Any]:
        taken: dict[str, Any] = {i.name: ([*batch, i.length], i.dtype) for i in model.spec.inputs}
        taken |= mask_input(model, options)
        return {name: tf.TensorSpec(*spec, name) for name, spec in taken.items()}

    with quiet():
        signatures = {
            "serving_default": module.serve.get_concrete_function(**signature()),
            "serve_batch": module.serve_batch.get_concrete_function(**signature(None)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        with plain_path(folder) as plain:
            tf.saved_model.save(module, str(plain), signatures=signatures)


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
        self.ranking = Ranking(model, options)
        read = (self.ranking.weights, self.ranking.labels)
        arrays = {id(array): array for array in jax.tree.leaves(read)}  # without repeats
        variable_of = {place: tf.Variable(array) for place, array in arrays.items()}
        self.weights, self.labels = jax.tree.map(lambda array: variable_of[id(array)], read)
        self.coarse_labels = None
        if self.ranking.copy is not None:
            self.coarse_labels = (tf.Variable(self.ranking.copy.table), None)

    @property
    def variables(self) -> list[Any]:
        """All variables, for the module to keep."""
        return jax.tree.leaves((self.weights, self.labels, self.coarse_labels))

    def one(self, **inputs: Any) -> dict[str, Any]:
        """[length] by input name -> ids and scores [K]."""
        mask = self.ranking.mask(inputs.pop(CANDIDATE_MASK, None))
        labels = self.coarse_labels or self.labels
        scores, context, inputs = self.score_one(self.weights, labels, inputs)
        return self.ranking.of_one(scores, context, inputs, mask, self.labels[0])

    def batch(self, **inputs: Any) -> dict[str, Any]:
        """[B, length] by input name -> ids and scores [B, K].

        Computes parts of one size: JAX's symbolic sizes need checks that TensorFlow cannot read.
        """
        import tensorflow as tf

        k, mask = self.options.top_k, self.ranking.mask(inputs.pop(CANDIDATE_MASK, None))
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

        scores, _, inputs = self.score_batch(self.weights.params, self.labels, inputs)
        logits = self.ranking.adjusted(scores, inputs, mask)
        return self.ranking.named(*tf.math.top_k(logits, self.options.top_k))
