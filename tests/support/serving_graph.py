"""The serving graph as the TensorFlow example writes it, for tests that read its .tflite files.

Plain TensorFlow from the weights by the example's names: the same operators, which is more than the
oracle's equal numbers, and an LSTM that the converter fuses, which it does not with Keras 3's.
"""

import tempfile
from typing import Any

import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config, GroupConfig
from flaxrec.data.spec import ModelSpec


def to_tflite(config: Config, spec: ModelSpec, weights: dict[str, np.ndarray], top_k: int) -> bytes:
    """A .tflite as the example exports it: inputs [length] by name, ids and scores [K].

    Args:
      config: a model in reference mode.
      spec: its inputs and candidates.
      weights: by the example's names.
      top_k: K.
    """
    import tensorflow as tf

    module = tf.Module()
    variables = {name: tf.Variable(value, name=name) for name, value in weights.items()}
    module.weights = {name.replace("/", "__"): value for name, value in variables.items()}

    def serve(**inputs: Any) -> dict[str, Any]:
        features = {name: tf.expand_dims(value, 0) for name, value in inputs.items()}
        groups = [
            _group(tf, group, features, _under(variables, f"group{i}"))
            for i, (_, group) in enumerate(config_lib.groups(config.model))
        ]
        x = tf.concat(groups, -1)
        dense = _under(variables, "dense")
        hidden = [f"hidden_layer{j}" for j in range(len(config.model.hidden_dims))]
        for layer in [*hidden, "proj_layer"]:
            x = tf.nn.relu(tf.nn.bias_add(x @ dense[f"{layer}/kernel"], dense[f"{layer}/bias"]))
        labels = tf.nn.embedding_lookup(variables["label_embedding"], tf.range(spec.candidates))
        logits = tf.squeeze(tf.matmul(x, labels, transpose_b=True), 0)
        values, ids = tf.math.top_k(logits, top_k)
        return {"top_prediction_ids": ids, "top_prediction_scores": tf.sigmoid(values)}

    module.serve = tf.function(serve, autograph=False)
    signature = {s.name: tf.TensorSpec([s.length], s.dtype, s.name) for s in spec.inputs}
    concrete = module.serve.get_concrete_function(**signature)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": concrete})
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


def _under(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    start = prefix + "/"
    return {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}


def _group(tf: Any, group: GroupConfig, features: dict[str, Any], weights: dict[str, Any]) -> Any:
    embedded = sorted(f.name for f in group.features if f.type != "FLOAT")
    numbers = [f.name for f in group.features if f.type == "FLOAT"]
    parts = [tf.nn.embedding_lookup(weights[f"embedding/{n}"], features[n]) for n in embedded]
    parts += [tf.expand_dims(features[name], -1) for name in numbers]
    mask = tf.constant([[1.0]])
    for i, name in enumerate(embedded):
        present = tf.cast(tf.not_equal(features[name], 0), tf.float32)
        mask = present if i == 0 else mask * present
    mask = tf.expand_dims(mask, -1)
    x = tf.concat(parts, -1) * mask
    if group.encoder == "bow":
        total = tf.reduce_sum(x, 1)
        count = tf.reduce_sum(mask, 1) * tf.ones_like(total)
        return tf.where(tf.not_equal(count, 0.0), total / count, tf.zeros_like(total))
    if group.encoder == "cnn":
        for layer in range(len(group.conv_filter_ratios)):
            kernel, bias = weights[f"conv{layer}/kernel"], weights[f"conv{layer}/bias"]
            x = tf.nn.conv1d(x, kernel, group.conv_kernel_size, "SAME")
            x = tf.nn.relu(tf.nn.bias_add(x, bias))
        return tf.reduce_max(x, 1)
    return _lstm(
        tf, x, weights["lstm/kernel"], weights["lstm/recurrent_kernel"], weights["lstm/bias"]
    )


def _lstm(tf: Any, x: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """The last state; a function that the converter takes for Keras' layer, and fuses."""

    def layer(x, hidden, cell, kernel, recurrent, bias):
        def step(t, hidden, cell, states):
            z = tf.matmul(x[:, t], kernel) + tf.matmul(hidden, recurrent) + bias
            i, f, g, o = tf.split(z, 4, -1)
            cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
            hidden = tf.sigmoid(o) * tf.tanh(cell)
            return t + 1, hidden, cell, states.write(t, hidden)

        states = tf.TensorArray(tf.float32, x.shape[1], element_shape=[1, hidden.shape[-1]])
        _, hidden, cell, states = tf.while_loop(
            lambda t, *_: t < x.shape[1], step, (0, hidden, cell, states)
        )
        states = tf.transpose(states.stack(), [1, 0, 2])
        return hidden, states, hidden, cell, tf.constant(1.0)

    attributes = {"api_implements": "lstm_1", "go_backwards": False, "time_major": False}
    function = tf.function(layer, autograph=False, experimental_attributes=attributes)
    zero = tf.zeros([1, recurrent.shape[0]])
    values = (tf.convert_to_tensor(weight) for weight in (kernel, recurrent, bias))
    return function(x, zero, zero, *values)[0]
