"""SavedModel and TFLite: scores by JAX, top-K by TensorFlow around them, one graph.

`lax.top_k` does not convert on every supported version of JAX; `tf.math.top_k` does.
"""

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.export.metadata import IDS, SCORES
from flaxrec.export.quiet import quiet
from flaxrec.export.serving import ServingModel


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
    """Writes a SavedModel: [length] by input name -> ids int32 [K], scores float32 [K].

    Scores are sigmoids of the logits, descending; equal ones in ascending order of the id.
    """
    top_k = options.top_k
    tf = import_tensorflow()
    from jax.experimental import jax2tf  # imports TensorFlow

    converted = jax2tf.convert(
        model.logits, with_gradient=False, native_serialization_platforms=("cpu",)
    )
    module = tf.Module()
    module.weights = {_variable(name): tf.Variable(value) for name, value in model.params.items()}

    @tf.function(autograph=False)
    def serve(**inputs: Any) -> dict[str, Any]:
        weights = {name: module.weights[_variable(name)] for name in model.params}
        logits = converted(weights, inputs)[0]
        values, candidates = tf.math.top_k(logits, top_k)
        return {IDS: candidates + model.spec.first_candidate, SCORES: tf.sigmoid(values)}

    signature = {s.name: tf.TensorSpec([s.length], s.dtype, s.name) for s in model.spec.inputs}
    module.serve = serve
    with quiet():
        concrete = serve.get_concrete_function(**signature)
        tf.saved_model.save(module, str(folder), signatures={"serving_default": concrete})


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
