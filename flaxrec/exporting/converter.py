"""Imports TensorFlow and runs its converter from SavedModel to TFLite; which one is installed."""

import contextlib
import importlib.util
import logging
import os
import re
from pathlib import Path
from typing import Any

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.files import plain_path
from flaxrec.tflite.graph_writer import Tensor
from flaxrec.tflite.quiet import quiet

PACKAGE = "litert-converter"


def missing(options: ExportConfig) -> str:
    """What the converter needs and is not installed, '' if nothing; imports nothing."""
    litert = options.converter == "litert"
    found = importlib.util.find_spec("litert_converter" if litert else "tensorflow")
    return "" if found else PACKAGE if litert else "TensorFlow"


def import_tensorflow() -> Any:
    """Imports TensorFlow without GPUs (it would take all their memory) and without log messages.

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
            "copy the run folder to a machine that has it and run export_tflite.py there, or "
            "install flaxrec[litert] and use --converter=litert."
        ) from error
    tf.get_logger().setLevel(logging.ERROR)
    with quiet(), contextlib.suppress(RuntimeError):  # already initialised, by the user
        tf.config.set_visible_devices([], "GPU")
    return tf


def operators_of(tensor: Any) -> Any:
    """What has the operators for a tensor: TensorFlow, or the `GraphWriter` that it belongs to."""
    if isinstance(tensor, Tensor):
        return tensor.ops
    import tensorflow as tf

    return tf


def convert(saved_model: Path) -> bytes:
    """Converts a SavedModel to a float32 .tflite of builtin operators.

    Raises:
      ExportError: the converter refused.
    """
    tf = import_tensorflow()
    try:
        with quiet(), plain_path(saved_model) as folder:
            return tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    except Exception as error:
        raise ExportError(_reason(str(error).strip() or repr(error))) from error


def _reason(text: str) -> str:
    """One sentence for the converter's error, which may hold megabytes of MLIR."""
    refused = re.search(r"'(?:vhlo|stablehlo|mhlo|tf)\.(\w+?)(?:_v\d+)?' op", text)
    if not refused:
        return f"The TFLite converter failed ({text.splitlines()[0][:300]})."
    name = refused[1]
    if name == "XlaCallModule":  # a call of compiled code, such as LAPACK's
        called = re.search(r"lapack_[a-z]+|[a-z]+\w*_ffi|custom_call", text)
        name = called[0] if called else "custom_call"
    return f"The model uses the operator {name}, which TFLite does not have as a builtin."
