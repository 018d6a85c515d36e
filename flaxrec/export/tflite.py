"""SavedModel and TFLite: scores by JAX, top-K by TensorFlow around them, one graph.

`lax.top_k` does not convert on every supported version of JAX; `tf.math.top_k` does.
"""

import contextlib
import functools
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.export import coarse, exclusion, lean, topk
from flaxrec.export.metadata import IDS, SCORES
from flaxrec.export.quiet import quiet
from flaxrec.export.serving import ServingModel
from flaxrec.models.dual_encoder import Params

_BATCH = 32  # contexts that the batched signature works on at a time


def import_tensorflow() -> Any:
    """TensorFlow without its GPUs (it would grab their memory) and with less talk.

    Raises:
      ExportError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet():
            import tensorflow as tf
    except ImportError as error:
        raise ExportError(
            "The export needs TensorFlow, which is not installed here; install flaxrec[export], or "
            "copy the run folder to a machine that has it and run export_tflite.py there."
        ) from error
    tf.get_logger().setLevel(logging.ERROR)
    with contextlib.suppress(RuntimeError):  # already initialised, by the user
        tf.config.set_visible_devices([], "GPU")
    return tf


def save_model(model: ServingModel, options: ExportConfig, folder: Path) -> None:
    """Writes a SavedModel with two signatures that share their weights.

    serving_default: [length] by input name -> ids int32 [K], scores float32 [K]; for phones.
    serve_batch: [B, length] by input name, any B -> ids [B, K], scores [B, K]; for servers.
    Scores are sigmoids of the logits, descending; equal ones in ascending order of the id.

    Raises:
      ExportError: an option does not fit the model.
    """
    exclusion.check(model.spec, options)
    tf = import_tensorflow()
    from jax.experimental import jax2tf  # imports TensorFlow

    to_tensorflow = functools.partial(
        jax2tf.convert, with_gradient=False, native_serialization_platforms=("cpu",)
    )
    score_one = to_tensorflow(functools.partial(model.score_one, trust_ids=options.trust_ids))
    score_batch = to_tensorflow(model.score_batch)
    params = lean.without_padding(model.params)
    labels, first = _labels(model, params, options)
    module = tf.Module()
    module.weights = {_variable(name): tf.Variable(value) for name, value in params.items()}
    shared = [name for name, value in params.items() if value is labels]
    module.labels = module.weights[_variable(shared[0])] if shared else tf.Variable(labels)

    copy = coarse.of(np.asarray(labels)) if coarse.pays(len(labels), options) else None
    if copy is not None:
        module.coarse = tf.Variable(copy.table)

    def scores(score: Any, labels: Any, inputs: dict[str, Any]) -> Any:
        """A score a candidate, or a row where the context is left out; the context's encoding."""
        weights = {name: module.weights[_variable(name)] for name in params}
        scored, context, inputs = score(weights, labels, inputs)
        if score is score_one:
            scored = tf.reshape(scored, [-1])
        if options.exclude_context:
            ids = [inputs[i.name] for i in exclusion.item_inputs(model.spec)]
            return exclusion.exclude(scored, tf.concat(ids, axis=-1), model.spec), context
        return scored[..., first : first + model.spec.candidates] if first else scored, context

    def ranked(values: Any, places: Any) -> dict[str, Any]:
        ids = places if options.exclude_context else places + model.spec.first_candidate
        return {IDS: ids, SCORES: tf.sigmoid(values)}

    @tf.function(autograph=False)
    def serve(**inputs: Any) -> dict[str, Any]:
        if copy is None:
            return ranked(*topk.top_k(scores(score_one, module.labels, inputs)[0], options.top_k))
        scored, context = scores(score_one, module.coarse, inputs)
        own = 0 if options.exclude_context else first
        found = coarse.top_k(scored, context, module.labels, own, copy, options.top_k)
        return ranked(*found)

    def rank_batch(inputs: dict[str, Any]) -> dict[str, Any]:
        scored, _ = scores(score_batch, module.labels, inputs)
        return ranked(*tf.math.top_k(scored, options.top_k))

    @tf.function(autograph=False)
    def serve_batch(**inputs: Any) -> dict[str, Any]:
        """In parts of one size: jax's symbolic sizes need checks that TensorFlow cannot read."""
        count = tf.shape(next(iter(inputs.values())))[0]
        parts = {
            name: tf.reshape(tf.pad(value, [[0, -count % _BATCH], [0, 0]]), [-1, _BATCH, length])
            for name, value in inputs.items()
            for length in value.shape[1:]
        }
        kinds = {IDS: tf.int32, SCORES: tf.float32}
        shape = [_BATCH, options.top_k]
        lists = tf.map_fn(
            rank_batch,
            parts,
            fn_output_signature={name: tf.TensorSpec(shape, kind) for name, kind in kinds.items()},
        )
        return {n: tf.reshape(x, [-1, options.top_k])[:count] for n, x in lists.items()}

    def signature(*batch: None) -> dict[str, Any]:
        specs = model.spec.inputs
        return {i.name: tf.TensorSpec([*batch, i.length], i.dtype, i.name) for i in specs}

    module.serve, module.serve_batch = serve, serve_batch
    with quiet():
        signatures = {
            "serving_default": serve.get_concrete_function(**signature()),
            "serve_batch": serve_batch.get_concrete_function(**signature(None)),
        }
        tf.saved_model.save(module, str(folder), signatures=signatures)


def _labels(model: ServingModel, params: Params, options: ExportConfig) -> tuple[Any, int]:
    """Encodings to score, and candidate 0's row of them.

    Where the context is left out there is one for every row of the vocabulary: what the context
    holds are rows.
    """
    labels, first = model.labels(params)
    if not options.exclude_context or len(labels) == exclusion.rows_of(model.spec):
        return labels, first
    before = model.spec.first_candidate
    after = exclusion.rows_of(model.spec) - before - model.spec.candidates
    return np.pad(labels, ((before, after), (0, 0))), before


def stored_coarse(content: bytes, model: ServingModel, options: ExportConfig) -> bytes:
    """The converted file, with a large catalogue's coarse labels as int8; see `coarse`."""
    labels, _ = _labels(model, lean.without_padding(model.params), options)
    if not coarse.pays(len(labels), options):
        return content
    return coarse.store(content, coarse.of(np.asarray(labels)))


def convert(saved_model: Path) -> bytes:
    """The SavedModel as a float32 .tflite of builtin operators.

    Raises:
      ExportError: the converter refused.
    """
    tf = import_tensorflow()
    try:
        with quiet():
            return tf.lite.TFLiteConverter.from_saved_model(str(saved_model)).convert()
    except Exception as error:
        # The converter prints megabytes of MLIR; the first line says what it is about.
        reason = (str(error).strip() or repr(error)).splitlines()[0][:300]
        raise ExportError(f"The TFLite converter failed ({reason}).") from error


def _variable(name: str) -> str:
    return name.replace("/", "__")
